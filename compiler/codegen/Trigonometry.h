// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Cosine and sine as arithmetic: generated code has nobody to call.
#ifndef HEADRACE_COMPILER_CODEGEN_TRIGONOMETRY_H
#define HEADRACE_COMPILER_CODEGEN_TRIGONOMETRY_H

#include "mlir/IR/ImplicitLocOpBuilder.h"
#include <utility>

namespace headrace {

/// cos and sin of a float32 angle. The angle is reduced in float64, where a
/// multiple of pi/2 up to 2^31 is exact enough, and both series run in float64
/// on [-pi/4, pi/4]: the float32 results are correctly rounded but for rare
/// last-bit cases.
std::pair<mlir::Value, mlir::Value>
emitCosineAndSine(mlir::ImplicitLocOpBuilder &b, mlir::Value angle);

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_TRIGONOMETRY_H
