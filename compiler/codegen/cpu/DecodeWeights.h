// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Elements and scales of encoded weights as vectors of float32.
#ifndef HEADRACE_COMPILER_CODEGEN_CPU_DECODEWEIGHTS_H
#define HEADRACE_COMPILER_CODEGEN_CPU_DECODEWEIGHTS_H

#include "mlir/IR/Builders.h"
#include "mlir/IR/Value.h"
#include <array>
#include <utility>

namespace headrace {

/// Bytes of `lanes` neighbouring pairs of `element` (f8E4M3FN or f4E2M1FN).
int64_t pairBytes(mlir::Type element, int64_t lanes);

/// Loads `lanes` neighbouring pairs from `address`: the first elements, and the
/// second ones, as float32. They are exact, but too small by a power of two
/// that `loadScales` makes up for. No element may be a NaN.
std::pair<mlir::Value, mlir::Value> loadPairs(mlir::OpBuilder &b,
                                              mlir::Location loc,
                                              mlir::Type element, int64_t lanes,
                                              mlir::Value address);

/// Lanes of each vector that `loadDotPairs` gives.
constexpr int64_t kDotPairs = 16;

/// Loads the pairs of 32 neighbouring columns as two vectors of pairs of
/// bfloat16, exact, in the order of `dotColumns`. No element may be a NaN.
std::array<mlir::Value, 2> loadDotPairs(mlir::OpBuilder &b, mlir::Location loc,
                                        mlir::Type element,
                                        mlir::Value address);

/// Which of the 32 columns each lane of both vectors is.
llvm::SmallVector<int32_t> dotColumns(mlir::Type element);

/// Loads `lanes` packed scales of elements of type `element` from `address`, as
/// float32; unless elements are `exact`, times the power of two by which
/// `loadPairs` leaves them too small.
mlir::Value loadScales(mlir::OpBuilder &b, mlir::Location loc,
                       mlir::Type element, mlir::Type scale, int64_t lanes,
                       mlir::Value address, bool exact);

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_CPU_DECODEWEIGHTS_H
