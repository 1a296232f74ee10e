// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Writes NumPy's file format.
#include "tools/headrace/Npy.h"

#include "llvm/Support/Endian.h"

using namespace headrace::tools;

/// Large enough for any shape, because the number of rows is known only at the
/// end; a multiple of 64, as the format wants.
static constexpr size_t kHeaderBytes = 128;

static_assert(llvm::endianness::native == llvm::endianness::little,
              "rows are written as they are in memory");

llvm::Expected<std::unique_ptr<NpyWriter>>
NpyWriter::create(const std::string &path) {
  auto writer = std::make_unique<NpyWriter>();
  if (llvm::Error error = writer->file.create(path))
    return std::move(error);
  return writer;
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

llvm::Error NpyWriter::append(const float *values, int64_t count,
                              int64_t width) {
  columns = width;
  uint64_t rowBytes = uint64_t(columns) * sizeof(float);
  if (llvm::Error error = file.write(reinterpret_cast<const char *>(values),
                                     uint64_t(count) * rowBytes,
                                     kHeaderBytes + uint64_t(rows) * rowBytes))
    return error;
  rows += count;
  return llvm::Error::success();
}

llvm::Error NpyWriter::keep() {
  std::string text = header();
  if (llvm::Error error = file.write(text.data(), text.size(), 0))
    return error;
  return file.finish();
}
