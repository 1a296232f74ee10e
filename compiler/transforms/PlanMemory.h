// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Plans the fast memory of a placed program.
#ifndef HEADRACE_COMPILER_TRANSFORMS_PLANMEMORY_H
#define HEADRACE_COMPILER_TRANSFORMS_PLANMEMORY_H

#include "compiler/tiering/Placement.h"
#include "mlir/IR/BuiltinOps.h"

namespace headrace {

struct MemoryPlanOptions {
  uint64_t fastMemory = 0; ///< Bytes; 0: as many as the level has.
  tiering::Strategy strategy = tiering::Strategy::joint;
  uint64_t scratchBytes = 0; ///< That the hungriest kernel needs of a worker.
};

/// Adds the plan to a module whose buffers are placed: `tier.plan`, pins,
/// pools, bundles, and transfers in the schedules. Fails with the number of
/// bytes that would do where `fastMemory` is too little.
mlir::LogicalResult planMemory(mlir::ModuleOp module,
                               const MemoryPlanOptions &options);

} // namespace headrace

#endif // HEADRACE_COMPILER_TRANSFORMS_PLANMEMORY_H
