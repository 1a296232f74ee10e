// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Emits kernels that work row by row without a product: embedding look-up and
// rotary angles.
#include "compiler/codegen/Emitters.h"
#include "compiler/codegen/ProgramBuilder.h"
#include "compiler/codegen/RopeFrequencies.h"
#include "dialects/nn/IR/Nn.h"
#include <cmath>

using namespace mlir;
using namespace headrace;

LogicalResult headrace::emitEmbed(flow::KernelOp kernel,
                                  const StepLimits &limits,
                                  const EmitOptions &) {
  nn::EmbedOp embed;
  kernel.getBody().walk([&](nn::EmbedOp op) { embed = op; });
  auto type = cast<RankedTensorType>(embed.getTable().getType());
  auto panels = dyn_cast_or_null<flow::PanelsAttr>(type.getEncoding());
  if (panels && panels.getHalves() != 1)
    return embed.emitOpError("reads a table whose rows are interleaved");
  ProgramBuilder p(kernel, limits);
  Value table = p.memory(embed.getTable());
  Value row = p.task();
  Value id = p.loadIndex(p.memory(embed.getIds()), row);
  p.loop(p.index(type.getDimSize(1)), [&](Value column) {
    SmallVector<Value> at{id, column};
    if (panels) // A tied table is read where the output product has it.
      at = {p.div(id, panels.getColumns()), p.div(column, panels.getPack()),
            p.rem(id, panels.getColumns()), p.rem(column, panels.getPack())};
    Value value = p.load(table, at);
    if (!value.getType().isF32())
      value = arith::ExtFOp::create(p.b, p.b.getF32Type(), value);
    p.store(value, p.result(0), {row, column});
  });
  return p.finish();
}

/// cos and sin of a float32 angle. The angle is reduced in float64, where a
/// multiple of pi/2 up to 2^31 is exact enough, and both series run in float64
/// on [-pi/4, pi/4]: the float32 results are correctly rounded but for rare
/// last-bit cases.
static std::pair<Value, Value> cosineAndSine(ProgramBuilder &p, Value angle) {
  ImplicitLocOpBuilder &b = p.b;
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

LogicalResult headrace::emitAngles(flow::KernelOp kernel,
                                   const StepLimits &limits,
                                   const EmitOptions &) {
  nn::AnglesOp angles;
  kernel.getBody().walk([&](nn::AnglesOp op) { angles = op; });
  nn::RopeAttr table = angles.getTable();
  int64_t half = table.getDim() / 2;
  SmallVector<float> frequencies = ropeFrequencies(table);
  ProgramBuilder p(kernel, limits);
  Value row = p.task();
  Value position = arith::SIToFPOp::create(
      p.b, p.b.getF32Type(), p.load(p.memory(angles.getPositions()), row));
  Value scale = p.f32(table.getAttentionFactor().convertToDouble());
  // The frequencies are constants, which code may hold; a table in memory would
  // be data to relocate. So each task writes them down for its loop.
  Value known = p.scratch(
      MemRefType::get({std::max<int64_t>(half, 1)}, p.b.getF32Type()));
  for (int64_t i = 0; i < half; ++i)
    p.store(p.f32(frequencies[size_t(i)]), known, p.index(i));
  p.loop(p.index(half), [&](Value i) {
    Value angle = arith::MulFOp::create(p.b, position, p.load(known, i));
    auto [cosine, sine] = cosineAndSine(p, angle);
    p.store(arith::MulFOp::create(p.b, cosine, scale), p.result(0), {row, i});
    p.store(arith::MulFOp::create(p.b, sine, scale), p.result(0),
            {row, p.add(i, half)});
  });
  return p.finish();
}
