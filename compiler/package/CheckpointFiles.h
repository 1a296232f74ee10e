// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The bytes of weights in the files of a checkpoint.
#ifndef HEADRACE_COMPILER_PACKAGE_CHECKPOINTFILES_H
#define HEADRACE_COMPILER_PACKAGE_CHECKPOINTFILES_H

#include "dialects/tier/IR/Tier.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/MemoryBuffer.h"

namespace headrace {

/// The files of a checkpoint, opened as they are named and kept open.
class CheckpointFiles {
public:
  explicit CheckpointFiles(llvm::StringRef directory) : directory(directory) {}

  /// The `bytes` bytes of `weight` from `offset` on: in place when they are one
  /// run of a file, else gathered into `buffer`.
  llvm::Expected<const char *> read(tier::WeightOp weight, uint64_t offset,
                                    uint64_t bytes, std::vector<char> &buffer);

private:
  llvm::Expected<llvm::MemoryBuffer *> open(llvm::StringRef name);

  std::string directory;
  llvm::StringMap<std::unique_ptr<llvm::MemoryBuffer>> files;
};

} // namespace headrace

#endif // HEADRACE_COMPILER_PACKAGE_CHECKPOINTFILES_H
