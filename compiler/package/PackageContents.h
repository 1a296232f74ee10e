// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a package will hold, and the numbers that its tables give to what a
// module names.
#ifndef HEADRACE_COMPILER_PACKAGE_PACKAGECONTENTS_H
#define HEADRACE_COMPILER_PACKAGE_PACKAGECONTENTS_H

#include "compiler/codegen/BufferLayout.h"
#include "compiler/package/CompiledCode.h"
#include "compiler/package/WritePlan.h"
#include "dialects/tier/IR/Tier.h"
#include "llvm/ADT/StringMap.h"

namespace headrace {

/// One slot of the binding table: a weight, or one expert's matrix of a stacked
/// one.
struct WeightSlot {
  tier::WeightOp weight;
  int64_t expert = -1;      ///< Of a stacked weight.
  uint64_t packedBytes = 0; ///< Of the blob that it reads.
};

/// An entry point: one schedule, or for GPUs one a class of steps in the order
/// of the manifest. A code section runs all that are not another's alone.
struct EntryParts {
  llvm::StringRef name;
  flow::ScheduleOp any;
  llvm::SmallVector<std::pair<uint32_t, flow::ScheduleOp>>
      classes; ///< By section.
};

/// Everything that goes into a package but the bytes of weights. Positions in
/// the vectors are the numbers that the manifest uses. Refers to the module.
struct PackageContents {
  mlir::ModuleOp module;
  bool gpu = false;
  StepLimits limits;
  CompiledCode code;
  llvm::SmallVector<WeightSlot> slots;
  llvm::SmallVector<tier::BufferOp> buffers;
  std::vector<EntryParts> entries;
  std::vector<int32_t> endTokens;
  PlanRecord plan;
  llvm::StringMap<uint32_t> firstSlot; ///< Of each weight.
  llvm::StringMap<uint32_t> bufferNumber, kernelNumber, levelNumber;

  /// Collects what `module`, whose kernels `code` is, says of all this. An
  /// error where the two do not fit each other.
  static llvm::Expected<PackageContents> of(mlir::ModuleOp module,
                                            CompiledCode code);

  /// An integer of `headrace.model`; 0 where it is silent.
  int64_t modelNumber(llvm::StringRef name) const;
  /// Bytes of all slots together.
  uint64_t packedBytes() const;
  /// Slots in the order in which their blobs lie in the file: what moves
  /// together side by side, so that one read brings it, then all others.
  llvm::SmallVector<uint32_t, 0> fileOrder() const;
};

} // namespace headrace

#endif // HEADRACE_COMPILER_PACKAGE_PACKAGECONTENTS_H
