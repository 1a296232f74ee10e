// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reads the bytes of weights out of the files of a checkpoint.
#include "compiler/package/CheckpointFiles.h"

#include "llvm/Support/Path.h"

using namespace mlir;
using namespace headrace;

llvm::Expected<const char *> CheckpointFiles::read(tier::WeightOp weight,
                                                   uint64_t offset,
                                                   uint64_t bytes,
                                                   std::vector<char> &buffer) {
  struct Piece {
    tier::RangeAttr range;
    const char *source;
  };
  SmallVector<Piece> pieces;
  uint64_t at = 0, end = offset + bytes;
  for (auto range : weight.getSource().getAsRange<tier::RangeAttr>()) {
    uint64_t first = at, from = std::max(at, offset);
    at += range.getBytes();
    uint64_t to = std::min(at, end);
    if (from >= to)
      continue;
    auto file = open(range.getFile());
    if (!file)
      return file.takeError();
    uint64_t size = (*file)->getBufferSize();
    if (range.getOffset() > size ||
        range.getExtent() > size - range.getOffset())
      return llvm::createStringError(
          "%s/%s: weight '%s' ends at byte %llu, but the file has %llu bytes",
          directory.c_str(), range.getFile().str().c_str(),
          weight.getSymName().str().c_str(),
          (unsigned long long)(range.getOffset() + range.getExtent()),
          (unsigned long long)size);
    SmallVector<Attribute> parts;
    range.slice(from - first, to - from, parts);
    for (Attribute part : parts) {
      auto one = cast<tier::RangeAttr>(part);
      pieces.push_back({one, (*file)->getBufferStart() + one.getOffset()});
    }
  }
  if (pieces.size() == 1 && pieces[0].range.isContiguous())
    return pieces[0].source;
  buffer.resize(bytes);
  char *target = buffer.data();
  for (const Piece &piece : pieces) {
    piece.range.gather(piece.source, target);
    target += piece.range.getBytes();
  }
  return static_cast<const char *>(buffer.data());
}

llvm::Expected<llvm::MemoryBuffer *> CheckpointFiles::open(StringRef name) {
  auto &entry = files[name];
  if (!entry) {
    llvm::SmallString<256> path(directory);
    llvm::sys::path::append(path, name);
    auto file = llvm::MemoryBuffer::getFile(path, /*IsText=*/false,
                                            /*RequiresNullTerminator=*/false);
    if (!file)
      return llvm::createStringError("%s: cannot be read: %s", path.c_str(),
                                     file.getError().message().c_str());
    entry = std::move(*file);
  }
  return entry.get();
}
