// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Arithmetic of one thread on values held as bits.
#ifndef HEADRACE_COMPILER_REFERENCE_SIMT_SCALARS_H
#define HEADRACE_COMPILER_REFERENCE_SIMT_SCALARS_H

#include "mlir/IR/Operation.h"
#include "llvm/ADT/ArrayRef.h"
#include <cstdint>
#include <string>

namespace headrace::simt {

float floatOf(uint64_t bits);
uint64_t bitsOf(float value);
float floatOfBfloat(uint16_t bits);
float floatOfHalf(uint16_t bits);

/// The value of a float of `type`, and the bits of `value` rounded to `type`,
/// to nearest even. A type narrower than float32 rounds a float32.
double realOf(mlir::Type type, uint64_t bits);
uint64_t bitsOf(mlir::Type type, double value);

/// The result of an op of `arith` or `math` on scalars; empty where it is
/// known.
std::string evaluateScalar(mlir::Operation *op,
                           llvm::ArrayRef<uint64_t> operands, uint64_t &result);

} // namespace headrace::simt

#endif // HEADRACE_COMPILER_REFERENCE_SIMT_SCALARS_H
