// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Writes NumPy's file format.
#include "tools/headrace/Npy.h"

#include "llvm/Support/Endian.h"

using namespace headrace::tools;
namespace fs = llvm::sys::fs;

/// Large enough for any shape, so that the header can be written again when the
/// number of rows is known; a multiple of 64, as the format wants.
static constexpr size_t kHeaderBytes = 128;

static_assert(llvm::endianness::native == llvm::endianness::little,
              "rows are written as they are in memory");

llvm::Expected<std::unique_ptr<NpyWriter>>
NpyWriter::create(const std::string &path) {
  // A rename would replace a device or a pipe by a file.
  fs::file_status status;
  if (!fs::status(path, status) && fs::exists(status) &&
      !fs::is_regular_file(status))
    return llvm::createStringError("%s: is not a regular file", path.c_str());
  auto file = fs::TempFile::create(path + ".part-%%%%%%%%",
                                   fs::all_read | fs::all_write);
  if (!file)
    return llvm::createStringError("%s: cannot be created: %s", path.c_str(),
                                   llvm::toString(file.takeError()).c_str());
  std::unique_ptr<NpyWriter> writer(new NpyWriter(path, std::move(*file)));
  *writer->stream << writer->header();
  return writer;
}

NpyWriter::NpyWriter(const std::string &path, fs::TempFile file)
    : path(path), file(std::move(file)) {
  stream.emplace(this->file.FD, /*shouldClose=*/false);
}

NpyWriter::~NpyWriter() {
  if (!stream)
    return;
  stream->clear_error();
  stream.reset();
  llvm::consumeError(file.discard());
}

std::string NpyWriter::header() const {
  std::string text("\x93NUMPY\x01\x00", 8);
  text += char(kHeaderBytes - 10);
  text += char(0);
  text += "{'descr': '<f4', 'fortran_order': False, 'shape': (" +
          std::to_string(rows) + ", " + std::to_string(columns) + "), }";
  text.resize(kHeaderBytes - 1, ' ');
  return text + "\n";
}

llvm::Error NpyWriter::failed(const std::string &why) const {
  return llvm::createStringError("%s: cannot be written: %s", path.c_str(),
                                 why.c_str());
}

llvm::Error NpyWriter::append(const float *values, int64_t count,
                              int64_t width) {
  columns = width;
  stream->write(reinterpret_cast<const char *>(values),
                size_t(count) * size_t(columns) * sizeof(float));
  rows += count;
  if (stream->has_error())
    return failed(stream->error().message());
  return llvm::Error::success();
}

llvm::Error NpyWriter::keep() {
  stream->seek(0);
  *stream << header();
  stream->flush();
  if (stream->has_error())
    return failed(stream->error().message());
  stream.reset();
  if (llvm::Error error = file.keep(path))
    return failed(llvm::toString(std::move(error)));
  return llvm::Error::success();
}
