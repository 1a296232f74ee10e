// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How the values between kernels lie in memory. The planner sizes buffers by
// it, the emitters address them by it.
#ifndef HEADRACE_COMPILER_CODEGEN_BUFFERLAYOUT_H
#define HEADRACE_COMPILER_CODEGEN_BUFFERLAYOUT_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/BuiltinTypes.h"

namespace headrace {

namespace moe {
class RoutingType;
} // namespace moe
namespace nn {
class KvCacheType;
} // namespace nn

/// The largest step and sequence a program admits; recorded on the module as
/// `headrace.limits` and fixed at compile time, so that every buffer has a
/// static size.
struct StepLimits {
  int64_t maxTokens = 512;
  int64_t maxSequences = 16;
  int64_t maxContext = 4096;

  static StepLimits of(mlir::ModuleOp module);
  void set(mlir::ModuleOp module) const;
};

/// Byte offsets inside the buffer of a `!moe.routing`. Everything is i32 or
/// f32. What a router's tasks write by row (ids, weights) is turned by the last
/// of them into lists by expert: rows and weights of expert e are entries
/// `offsets[e]` to `offsets[e + 1]`, rows ascending; `active` lists the experts
/// that have rows, ascending.
struct RoutingLayout {
  int64_t counter;     ///< [1] tasks that have arrived; zero between launches.
  int64_t activeCount; ///< [1]
  int64_t active;      ///< [E]
  int64_t offsets;     ///< [E + 1]
  int64_t cursors;     ///< [E]
  int64_t ids;         ///< [T k]
  int64_t idWeights;   ///< [T k] f32
  int64_t rows;        ///< [T k]
  int64_t weights;     ///< [T k] f32
  int64_t bytes;

  RoutingLayout(moe::RoutingType type, const StepLimits &limits);
};

/// Sizes of the pages of a key-value cache; see kernel_abi.h, and for GPUs
/// gpu_kernel_abi.h.
struct KvLayout {
  int64_t pack;        ///< 2 for bf16, else 1.
  int64_t keyElements; ///< of one head's K block.
  int64_t valueElements;
  int64_t headElements;  ///< K and V block of one head.
  int64_t layerElements; ///< a page: all heads of one layer.
  int64_t pageElements;  ///< what one page number takes: a page in each layer.

  explicit KvLayout(nn::KvCacheType type, bool gpu = false);
};

/// On a `tier.buffer` without a role: its contents last from run to run, so
/// nothing shares its bytes.
constexpr const char *kKept = "headrace.kept";

/// Memory of an activation or of packed weights: rows of products' operands are
/// padded to an odd number of cache lines, so that neighbouring rows do not
/// fall on one set; everything else is dense. Packed weights are
/// `[panels][in / pack][columns][pack]`; a stacked weight has its experts as
/// first dimension. Null for a type that is never in memory: of an activation
/// the first dimension alone is dynamic.
mlir::MemRefType memoryType(mlir::Type type, const StepLimits &limits);

/// Slots of the binding table that a weight takes: one, or one an expert for a
/// stacked weight [E, N, K].
int64_t weightSlots(mlir::RankedTensorType type);

/// Bytes of a buffer of `type` at the largest step.
int64_t bufferBytes(mlir::Type type, const StepLimits &limits);

/// Whether a value of `type` is a weight: a tensor of static shape.
bool isWeightType(mlir::Type type);

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_BUFFERLAYOUT_H
