// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Writes a long run of bytes in whole blocks of the file.
#ifndef HEADRACE_COMPILER_PACKAGE_BLOCKWRITER_H
#define HEADRACE_COMPILER_PACKAGE_BLOCKWRITER_H

#include "llvm/Support/Error.h"
#include <cstdint>
#include <vector>

namespace headrace {
class OutputFile;

/// Bytes that are written one behind the other. They reach the file in blocks
/// that begin at multiples of `kBlock`, whatever the pieces: the page cache
/// then holds a block in one huge page, where the file system has them, and a
/// process that maps the file reads it without misses of its TLB. Holds at most
/// one block. One thread at a time.
class BlockWriter {
public:
  static constexpr uint64_t kBlock = uint64_t(2) << 20; ///< A huge page.

  /// Writes `file` from byte `begin` on.
  BlockWriter(OutputFile &file, uint64_t begin) : file(file), begin(begin) {}

  /// Writes zeros up to byte `offset`, which is not behind what was written,
  /// and then `bytes` bytes of `data`.
  llvm::Error write(const char *data, uint64_t bytes, uint64_t offset);

  /// Forgets what was written from byte `end` on.
  llvm::Error truncate(uint64_t end);

  /// Brings what is held to the file. Nothing may be written afterwards.
  llvm::Error finish();

private:
  llvm::Error append(const char *data, uint64_t bytes);

  OutputFile &file;
  uint64_t begin;         ///< Of the bytes that are held.
  std::vector<char> held; ///< Never reaches the next multiple of kBlock.
};

} // namespace headrace

#endif // HEADRACE_COMPILER_PACKAGE_BLOCKWRITER_H
