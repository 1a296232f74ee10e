// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Functions as polynomials: neither an image nor a kernel has anybody to call.
#ifndef HEADRACE_COMPILER_CODEGEN_EXPANDMATH_H
#define HEADRACE_COMPILER_CODEGEN_EXPANDMATH_H

#include "mlir/Pass/Pass.h"
#include <memory>

namespace headrace {

/// Replaces exp, tanh, erf and their kin, within whatever op it runs on.
std::unique_ptr<mlir::Pass> createExpandMathPass();

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_EXPANDMATH_H
