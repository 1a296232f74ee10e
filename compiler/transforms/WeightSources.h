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

/// Creates a weight of `type` from the rows of `parts`: block by block (a block
/// is an expert, or the whole of a matrix), all rows of the first part's block,
/// then of the second's, ... `blocks` is the number of blocks of every part.
/// Returns a use of it at `b`; an equal weight made before is used again.
mlir::Value concatenateWeights(mlir::OpBuilder &b, mlir::ValueRange parts,
                               mlir::RankedTensorType type, int64_t blocks);

} // namespace headrace

#endif // HEADRACE_COMPILER_TRANSFORMS_WEIGHTSOURCES_H
