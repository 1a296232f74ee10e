// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The scalar text of elementwise ops.
#include "compiler/codegen/Elementwise.h"

#include "dialects/nn/IR/Nn.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>

using namespace mlir;
using namespace headrace;

bool headrace::isElementwise(Operation *op) {
  return isa<arith::AddFOp, arith::SubFOp, arith::MulFOp, nn::ActOp, nn::GluOp,
             nn::ClampOp, nn::ScaleOp>(op);
}

static Value constant(OpBuilder &b, Location loc, double value) {
  return arith::ConstantOp::create(b, loc,
                                   FloatAttr::get(b.getF32Type(), value));
}

static Value sigmoid(OpBuilder &b, Location loc, Value x) {
  Value one = constant(b, loc, 1.0);
  Value e = math::ExpOp::create(b, loc, arith::NegFOp::create(b, loc, x));
  return arith::DivFOp::create(b, loc, one,
                               arith::AddFOp::create(b, loc, one, e));
}

static Value silu(OpBuilder &b, Location loc, Value x, double alpha) {
  Value scaled = x;
  if (alpha != 1)
    scaled = arith::MulFOp::create(b, loc, x, constant(b, loc, alpha));
  Value e = math::ExpOp::create(b, loc, arith::NegFOp::create(b, loc, scaled));
  return arith::DivFOp::create(
      b, loc, x, arith::AddFOp::create(b, loc, constant(b, loc, 1.0), e));
}

static Value activate(OpBuilder &b, Location loc, nn::Activation kind,
                      Value x) {
  auto mul = [&](Value l, Value r) -> Value {
    return arith::MulFOp::create(b, loc, l, r);
  };
  auto add = [&](Value l, Value r) -> Value {
    return arith::AddFOp::create(b, loc, l, r);
  };
  Value half = constant(b, loc, 0.5), one = constant(b, loc, 1.0);
  switch (kind) {
  case nn::Activation::silu:
    return silu(b, loc, x, 1);
  case nn::Activation::gelu: {
    Value scaled = mul(x, constant(b, loc, std::sqrt(0.5)));
    return mul(mul(half, x), add(one, math::ErfOp::create(b, loc, scaled)));
  }
  case nn::Activation::gelu_tanh: {
    Value cube = mul(mul(x, x), mul(x, constant(b, loc, 0.044715)));
    Value inner = mul(constant(b, loc, std::sqrt(2.0 / M_PI)), add(x, cube));
    return mul(mul(half, x), add(one, math::TanhOp::create(b, loc, inner)));
  }
  case nn::Activation::relu: {
    Value zero = constant(b, loc, 0.0);
    return arith::MaximumFOp::create(b, loc, x, zero);
  }
  case nn::Activation::sigmoid:
    return sigmoid(b, loc, x);
  }
  return {};
}

static Value gate(OpBuilder &b, Location loc, nn::GluOp glu, Value gate,
                  Value up) {
  if (auto limit = glu.getLimit()) {
    double most = limit->convertToDouble();
    Value high = constant(b, loc, most), low = constant(b, loc, -most);
    gate = arith::MinimumFOp::create(b, loc, gate, high);
    up = arith::MinimumFOp::create(
        b, loc, arith::MaximumFOp::create(b, loc, up, low), high);
  }
  if (auto offset = glu.getOffset())
    up = arith::AddFOp::create(b, loc, up,
                               constant(b, loc, offset->convertToDouble()));
  auto alpha = glu.getAlpha();
  Value active = alpha ? silu(b, loc, gate, alpha->convertToDouble())
                       : activate(b, loc, glu.getKind(), gate);
  return arith::MulFOp::create(b, loc, active, up);
}

Value headrace::emitElementwise(OpBuilder &b, Location loc, Operation *op,
                                ValueRange v) {
  return llvm::TypeSwitch<Operation *, Value>(op)
      .Case([&](arith::AddFOp) -> Value {
        return arith::AddFOp::create(b, loc, v[0], v[1]);
      })
      .Case([&](arith::SubFOp) -> Value {
        return arith::SubFOp::create(b, loc, v[0], v[1]);
      })
      .Case<arith::MulFOp, nn::ScaleOp>([&](auto) -> Value {
        return arith::MulFOp::create(b, loc, v[0], v[1]);
      })
      .Case(
          [&](nn::ActOp act) { return activate(b, loc, act.getKind(), v[0]); })
      .Case([&](nn::GluOp glu) { return gate(b, loc, glu, v[0], v[1]); })
      .Case([&](nn::ClampOp clamp) -> Value {
        Value low = constant(b, loc, clamp.getLow().convertToDouble());
        Value high = constant(b, loc, clamp.getHigh().convertToDouble());
        return arith::MinimumFOp::create(
            b, loc, arith::MaximumFOp::create(b, loc, v[0], low), high);
      })
      .Default([](Operation *) { return Value(); });
}
