// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The scalar text of elementwise ops, for the regions of `flow.map`.
#ifndef HEADRACE_COMPILER_CODEGEN_ELEMENTWISE_H
#define HEADRACE_COMPILER_CODEGEN_ELEMENTWISE_H

#include "mlir/IR/Builders.h"

namespace headrace {

/// Whether `emitElementwise` knows `op`.
bool isElementwise(mlir::Operation *op);

/// The float32 arithmetic of one element of `op`'s result from one element of
/// each operand.
mlir::Value emitElementwise(mlir::OpBuilder &b, mlir::Location loc,
                            mlir::Operation *op, mlir::ValueRange operands);

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_ELEMENTWISE_H
