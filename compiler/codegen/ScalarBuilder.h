// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Builds arithmetic on scalars, which the programs of all targets write.
#ifndef HEADRACE_COMPILER_CODEGEN_SCALARBUILDER_H
#define HEADRACE_COMPILER_CODEGEN_SCALARBUILDER_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace headrace {

/// Integers are of any one type, unsigned where it matters: a tile program's
/// are `index`, a GPU kernel's are i32. Floats are float32 unless said.
class ScalarBuilder {
public:
  explicit ScalarBuilder(mlir::Operation *at) : b(at->getLoc(), at) {}

  mlir::ImplicitLocOpBuilder b;

  mlir::Value number(int64_t value, mlir::Type type) {
    return mlir::arith::ConstantOp::create(b, b.getIntegerAttr(type, value));
  }
  mlir::Value i32(int64_t value) { return number(value, b.getI32Type()); }
  mlir::Value f32(double value) {
    return mlir::arith::ConstantOp::create(
        b, mlir::FloatAttr::get(b.getF32Type(), value));
  }

  mlir::Value add(mlir::Value x, mlir::Value y) {
    return mlir::arith::AddIOp::create(b, x, y);
  }
  mlir::Value sub(mlir::Value x, mlir::Value y) {
    return mlir::arith::SubIOp::create(b, x, y);
  }
  mlir::Value mul(mlir::Value x, mlir::Value y) {
    return mlir::arith::MulIOp::create(b, x, y);
  }
  mlir::Value add(mlir::Value x, int64_t y) {
    return y ? add(x, number(y, x.getType())) : x;
  }
  mlir::Value mul(mlir::Value x, int64_t y) {
    return y == 1 ? x : mul(x, number(y, x.getType()));
  }
  mlir::Value div(mlir::Value x, int64_t y) {
    return y == 1 ? x
                  : mlir::arith::DivUIOp::create(b, x, number(y, x.getType()))
                        .getResult();
  }
  mlir::Value rem(mlir::Value x, int64_t y) {
    return mlir::arith::RemUIOp::create(b, x, number(y, x.getType()));
  }

  mlir::Value addF(mlir::Value x, mlir::Value y) {
    return mlir::arith::AddFOp::create(b, x, y);
  }
  mlir::Value subF(mlir::Value x, mlir::Value y) {
    return mlir::arith::SubFOp::create(b, x, y);
  }
  mlir::Value mulF(mlir::Value x, mlir::Value y) {
    return mlir::arith::MulFOp::create(b, x, y);
  }
  mlir::Value divF(mlir::Value x, mlir::Value y) {
    return mlir::arith::DivFOp::create(b, x, y);
  }
  mlir::Value fma(mlir::Value x, mlir::Value y, mlir::Value z);
  mlir::Value exp(mlir::Value x);
  mlir::Value sqrt(mlir::Value x);
  /// A value of a 16-bit or 32-bit float as float32.
  mlir::Value widen(mlir::Value x);
  mlir::Value narrow(mlir::Value x, mlir::Type element);
};

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_SCALARBUILDER_H
