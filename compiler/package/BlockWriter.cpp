// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "compiler/package/BlockWriter.h"
#include "compiler/support/OutputFile.h"
#include <algorithm>
#include <cassert>

using namespace headrace;

llvm::Error BlockWriter::append(const char *data, uint64_t bytes) {
  while (bytes) {
    uint64_t room = kBlock - (begin + held.size()) % kBlock;
    if (bytes < room) {
      held.insert(held.end(), data, data + bytes);
      return llvm::Error::success();
    }
    // To the end of this block; with none begun, all whole ones at once.
    uint64_t part = room;
    if (held.empty()) {
      part += (bytes - room) / kBlock * kBlock;
      if (llvm::Error error = file.write(data, part, begin))
        return error;
      begin += part;
    } else {
      held.insert(held.end(), data, data + part);
      if (llvm::Error error = file.write(held.data(), held.size(), begin))
        return error;
      begin += held.size();
      held.clear();
    }
    data += part;
    bytes -= part;
  }
  return llvm::Error::success();
}

llvm::Error BlockWriter::write(const char *data, uint64_t bytes,
                               uint64_t offset) {
  uint64_t end = begin + held.size();
  assert(offset >= end && "written bytes are not written again");
  static const std::vector<char> zeros(4096);
  for (uint64_t part; end < offset; end += part) {
    part = std::min<uint64_t>(offset - end, zeros.size());
    if (llvm::Error error = append(zeros.data(), part))
      return error;
  }
  return append(data, bytes);
}

llvm::Error BlockWriter::truncate(uint64_t end) {
  if (end >= begin) {
    held.resize(std::min<uint64_t>(held.size(), end - begin));
    return llvm::Error::success();
  }
  begin = end;
  held.clear();
  return file.truncate(end);
}

llvm::Error BlockWriter::finish() {
  return file.write(held.data(), held.size(), begin);
}
