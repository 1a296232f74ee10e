// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Emitters of tile programs: one for each family of kernels. An emitter is
// keyed by the shape of a kernel's region, never by a model's name, and knows
// no target beyond the sizes in EmitOptions.
#ifndef HEADRACE_COMPILER_CODEGEN_EMITTERS_H
#define HEADRACE_COMPILER_CODEGEN_EMITTERS_H

#include "compiler/codegen/BufferLayout.h"
#include "dialects/flow/IR/Flow.h"
#include "mlir/IR/BuiltinOps.h"

namespace headrace {

struct EmitOptions {
  int64_t rowLimit = 12;         ///< Rows of a product's register tile.
  int64_t attentionRowLimit = 4; ///< The same for attention.
  /// Most bytes of a panel of encoded weights that is decoded, as pairs of
  /// bfloat16, into fast memory before several tiles read it; 0: none is.
  int64_t decodedPanelBytes = 0;
};

/// On a `flow.rows` around a product with encoded weights: where in the
/// program's scratch its panel is decoded to, if there is more than one tile.
constexpr llvm::StringLiteral kDecodedAt = "headrace.decoded_at";

/// Rows that one task of a router takes.
constexpr int64_t kRouterBlock = 16;

mlir::LogicalResult emitEmbed(flow::KernelOp, const StepLimits &,
                              const EmitOptions &);
mlir::LogicalResult emitAngles(flow::KernelOp, const StepLimits &,
                               const EmitOptions &);
mlir::LogicalResult emitLinear(flow::KernelOp, const StepLimits &,
                               const EmitOptions &);
mlir::LogicalResult emitRoutedUp(flow::KernelOp, const StepLimits &,
                                 const EmitOptions &);
mlir::LogicalResult emitRoutedDown(flow::KernelOp, const StepLimits &,
                                   const EmitOptions &);
mlir::LogicalResult emitRouter(flow::KernelOp, const StepLimits &,
                               const EmitOptions &);
mlir::LogicalResult emitAttention(flow::KernelOp, const StepLimits &,
                                  const EmitOptions &);

mlir::LogicalResult emitUpstream(flow::KernelOp, const StepLimits &,
                                 const EmitOptions &);

/// Replaces every `flow.kernel` of `module` by its `flow.program`.
mlir::LogicalResult emitTilePrograms(mlir::ModuleOp module,
                                     const EmitOptions &options);

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_EMITTERS_H
