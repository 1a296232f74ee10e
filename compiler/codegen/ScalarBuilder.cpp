// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Builds arithmetic on scalars.
#include "compiler/codegen/ScalarBuilder.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace headrace;

Value ScalarBuilder::fma(Value x, Value y, Value z) {
  return math::FmaOp::create(b, x, y, z);
}
Value ScalarBuilder::exp(Value x) { return math::ExpOp::create(b, x); }
Value ScalarBuilder::sqrt(Value x) { return math::SqrtOp::create(b, x); }

Value ScalarBuilder::widen(Value x) {
  if (x.getType().isF32())
    return x;
  return arith::ExtFOp::create(b, b.getF32Type(), x);
}

Value ScalarBuilder::narrow(Value x, Type element) {
  if (x.getType() == element)
    return x;
  return arith::TruncFOp::create(b, element, x);
}
