// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Making weights out of other weights without touching a byte: their ranges are
// cut and strung together.
#ifndef HEADRACE_COMPILER_TRANSFORMS_WEIGHTSOURCES_H
#define HEADRACE_COMPILER_TRANSFORMS_WEIGHTSOURCES_H

#include "dialects/tier/IR/Tier.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"

namespace headrace {

/// The ranges that hold bytes [offset, offset + bytes) of `weight`.
mlir::SmallVector<mlir::Attribute> sliceRanges(tier::WeightOp weight,
                                               uint64_t offset, uint64_t bytes);

/// The weight behind `value`, or null when it is no direct use of one.
tier::WeightOp weightOf(mlir::Value value);

/// Creates a weight from `parts`, of equal elements and encoding, strung
/// together along dimension `dim` (the output channels): for each entry of the
/// dimensions ahead of it all rows of the first part, then of the second, ...
/// Where a part ends within a block of scales, the blocks become as low as they
/// must and their scales are named more than once. Returns a use of it at `b`;
/// an equal weight made before is used again.
mlir::Value concatenateWeights(mlir::OpBuilder &b, mlir::ValueRange parts,
                               unsigned dim);

} // namespace headrace

#endif // HEADRACE_COMPILER_TRANSFORMS_WEIGHTSOURCES_H
