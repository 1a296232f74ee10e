// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Cosine and sine as arithmetic: generated code has nobody to call.
#include "compiler/codegen/Trigonometry.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include <cmath>

using namespace mlir;
using namespace headrace;

std::pair<Value, Value> headrace::emitCosineAndSine(ImplicitLocOpBuilder &b,
                                                    Value angle) {
  Type f64 = b.getF64Type(), i64 = b.getI64Type();
  auto c = [&](double value) -> Value {
    return arith::ConstantOp::create(b, FloatAttr::get(f64, value));
  };
  auto integer = [&](int64_t value) -> Value {
    return arith::ConstantIntOp::create(b, i64, value);
  };
  auto mul = [&](Value l, Value r) -> Value {
    return arith::MulFOp::create(b, l, r);
  };
  auto add = [&](Value l, Value r) -> Value {
    return arith::AddFOp::create(b, l, r);
  };
  Value x = arith::ExtFOp::create(b, f64, angle);
  // Angles are not negative, so adding a half and cutting off rounds.
  Value turns = arith::FPToSIOp::create(b, i64, add(mul(x, c(M_2_PI)), c(0.5)));
  Value back = arith::SIToFPOp::create(b, f64, turns);
  Value r = arith::SubFOp::create(b, x, mul(back, c(M_PI_2)));
  r = arith::SubFOp::create(b, r, mul(back, c(6.123233995736766e-17)));
  Value r2 = mul(r, r);
  // Taylor series; the first term left out is below 2^-53 on the interval.
  auto series = [&](ArrayRef<double> terms) {
    Value sum = c(terms.back());
    for (double term : llvm::reverse(terms.drop_back()))
      sum = add(mul(sum, r2), c(term));
    return sum;
  };
  SmallVector<double> sineTerms, cosineTerms;
  double factorial = 1;
  for (int n = 0; n < 9; ++n) {
    double sign = n % 2 ? -1 : 1;
    cosineTerms.push_back(sign / factorial);
    factorial *= 2 * n + 1;
    sineTerms.push_back(sign / factorial);
    factorial *= 2 * n + 2;
  }
  Value sine = mul(r, series(sineTerms)), cosine = series(cosineTerms);
  auto bit = [&](Value v, int64_t mask) -> Value {
    return arith::CmpIOp::create(b, arith::CmpIPredicate::ne,
                                 arith::AndIOp::create(b, v, integer(mask)),
                                 integer(0));
  };
  Value odd = bit(turns, 1);
  Value s = arith::SelectOp::create(b, odd, cosine, sine);
  Value k = arith::SelectOp::create(b, odd, sine, cosine);
  Value flipSine = bit(turns, 2);
  Value flipCosine = bit(arith::AddIOp::create(b, turns, integer(1)), 2);
  s = arith::SelectOp::create(b, flipSine, arith::NegFOp::create(b, s), s);
  k = arith::SelectOp::create(b, flipCosine, arith::NegFOp::create(b, k), k);
  Type f32 = b.getF32Type();
  return {arith::TruncFOp::create(b, f32, k),
          arith::TruncFOp::create(b, f32, s)};
}
