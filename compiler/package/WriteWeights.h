// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Packs the weights of a checkpoint into blobs of a package's file.
#ifndef HEADRACE_COMPILER_PACKAGE_WRITEWEIGHTS_H
#define HEADRACE_COMPILER_PACKAGE_WRITEWEIGHTS_H

#include "compiler/package/PackageContents.h"
#include <functional>

namespace headrace {
class OutputFile;

/// A blob of the file as the manifest lists it. No number is zero before it is
/// known, because FlatBuffers leave zeros out.
struct StoredBlob {
  uint64_t offset = 1, bytes = 1;
  std::vector<uint8_t> blake3 = std::vector<uint8_t>(32, 1);
  std::vector<uint64_t> chunks; ///< Checksums.
};

struct StoredWeights {
  std::vector<StoredBlob> blobs;
  std::vector<uint32_t> blobOf; ///< By slot of the binding table.

  /// Before `slots` are written: as if no two of them were equal, so that a
  /// manifest with it is at least as large as the one to come.
  static StoredWeights unwritten(llvm::ArrayRef<WeightSlot> slots);
};

/// Writes what the slots of `contents` read to `file`, from the aligned byte
/// `begin` on: blobs at aligned offsets in the order of fileOrder(), of equal
/// ones the first. The weights' own files are in `checkpoint`. `progress`,
/// where there is one, is called with bytes done and bytes in all. Holds a few
/// chunks of one weight at a time.
llvm::Expected<StoredWeights>
writeWeights(const PackageContents &contents, llvm::StringRef checkpoint,
             OutputFile &file, uint64_t begin,
             const std::function<void(uint64_t, uint64_t)> &progress);

} // namespace headrace

#endif // HEADRACE_COMPILER_PACKAGE_WRITEWEIGHTS_H
