// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Plans the fast memory of a placed program.
#ifndef HEADRACE_COMPILER_TRANSFORMS_PLANMEMORY_H
#define HEADRACE_COMPILER_TRANSFORMS_PLANMEMORY_H

#include "compiler/tiering/Placement.h"
#include "mlir/IR/BuiltinOps.h"

namespace headrace {

/// Whether routers run ahead, to fetch what they say.
enum class Predict {
  automatic, ///< Where it pays, with slots for the experts of two layers.
  on,        ///< Wherever experts have slots.
  off
};

/// A buffer that no launch of the module names yet: what kernels need besides
/// their operands.
struct KernelBuffer {
  std::string name;
  mlir::Type type;
  uint64_t bytes = 0;
  bool kept = false; ///< Its contents last from run to run.
};

/// Where the pages of the key-value cache live.
enum class KeyValues {
  automatic, ///< As moves the fewest bytes.
  resident,  ///< In fast memory.
  streamed   ///< Elsewhere, and in slots of fast memory when they are used.
};

struct MemoryPlanOptions {
  uint64_t fastMemory = 0; ///< Bytes; 0: as many as the level has.
  /// Bytes of the host's memory for what moves, beside the fast level; 0: for a
  /// GPU as many as the machine has, for a CPU none.
  uint64_t hostMemory = 0;
  tiering::Strategy strategy = tiering::Strategy::joint;
  Predict predict = Predict::automatic;
  KeyValues keyValues = KeyValues::automatic;
  uint64_t scratchBytes = 0; ///< That the hungriest kernel needs of a worker.
  std::vector<KernelBuffer> buffers; ///< To place beside those of the module.
};

/// What became of a plan.
struct MemoryPlanSummary {
  uint64_t minimum = 0;    ///< Bytes with which a plan exists.
  uint64_t cacheSlots = 0; ///< Of experts; 0: none moves.
  int64_t picks = 0;       ///< Experts that a row uses in one layer, at most.
  /// Whether routers that run ahead gain more time than wrong guesses cost.
  bool guessesPay = false;
};

/// Adds the plan to a module whose buffers are placed: `tier.plan`, pins,
/// pools, bundles, and transfers in the schedules. Fails with the number of
/// bytes that would do where `fastMemory` is too little.
mlir::FailureOr<MemoryPlanSummary> planMemory(mlir::ModuleOp module,
                                              const MemoryPlanOptions &options);

} // namespace headrace

#endif // HEADRACE_COMPILER_TRANSFORMS_PLANMEMORY_H
