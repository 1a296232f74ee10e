// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Emits routers: norm, scores, squash, top-k and weights in one kernel, whose
// last task turns the choices into lists of rows by expert.
#include "compiler/codegen/Emitters.h"
#include "compiler/codegen/KernelMatch.h"
#include "compiler/codegen/ProgramBuilder.h"
#include "dialects/moe/IR/Moe.h"
#include "dialects/nn/IR/Nn.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/Support/MathExtras.h"
#include <limits>

using namespace mlir;
using namespace headrace;

namespace {

/// Emits the choice of one row from its scores in `scores[row, 0..E)` and its
/// weights from `values[row, 0..E)`.
class RowEmitter {
public:
  RowEmitter(ProgramBuilder &p, RouterMatch &m, Value scores, Value values,
             Value row, Value taken)
      : p(p), m(m), scores(scores), values(values), row(row), taken(taken),
        experts(m.select.getResult().getType().getExperts()) {}

  void squash() {
    if (!m.squash)
      return;
    Value n = p.index(experts);
    if (m.squash.getKind() == moe::SquashKind::sigmoid) {
      p.loop(n, [&](Value e) {
        Value one = p.f32(1), x = read(e);
        Value exp = math::ExpOp::create(p.b, arith::NegFOp::create(p.b, x));
        write(arith::DivFOp::create(p.b, one,
                                    arith::AddFOp::create(p.b, one, exp)),
              e);
      });
      return;
    }
    Value lowest = p.f32(-std::numeric_limits<double>::infinity());
    Value top = p.fold(p.index(0), n, lowest, [&](Value e, ValueRange best) {
      return SmallVector<Value>{larger(read(e), best[0])};
    })[0];
    Value sum = p.fold(p.index(0), n, p.f32(0), [&](Value e, ValueRange total) {
      Value shifted = arith::SubFOp::create(p.b, read(e), top);
      Value exp = math::ExpOp::create(p.b, shifted);
      write(exp, e);
      return SmallVector<Value>{arith::AddFOp::create(p.b, total[0], exp)};
    })[0];
    p.loop(n, [&](Value e) {
      write(arith::DivFOp::create(p.b, read(e), sum), e);
    });
  }

  /// Writes the slots of the row at `ids[base + slot]`, `weights[...]`.
  void choose(Value ids, Value weights, Value base) {
    int64_t slots = int64_t(m.select.getTopK());
    Value n = p.index(experts), none = p.i32(0), some = p.i32(1);
    p.loop(n, [&](Value e) { p.store(none, taken, e); });
    p.loop(p.index(slots), [&](Value slot) {
      // Strictly larger wins, so of equal scores the lower expert stays; the
      // first free expert stands in until a larger one is met, so that a row of
      // NaN still picks somebody.
      auto best = p.fold(
          p.index(0), n,
          {p.f32(-std::numeric_limits<double>::infinity()), p.i32(-1)},
          [&](Value e, ValueRange best) {
            Value x = choice(e);
            Value number =
                arith::CmpFOp::create(p.b, arith::CmpFPredicate::ORD, x, x);
            x = arith::SelectOp::create(
                p.b, number, x,
                p.f32(-std::numeric_limits<double>::infinity()));
            Value free = arith::CmpIOp::create(p.b, arith::CmpIPredicate::eq,
                                               p.load(taken, e), none);
            Value first = arith::CmpIOp::create(p.b, arith::CmpIPredicate::slt,
                                                best[1], none);
            Value more = arith::CmpFOp::create(p.b, arith::CmpFPredicate::OGT,
                                               x, best[0]);
            Value wins = arith::AndIOp::create(
                p.b, free, arith::OrIOp::create(p.b, first, more));
            return SmallVector<Value>{
                arith::SelectOp::create(p.b, wins, x, best[0]),
                arith::SelectOp::create(p.b, wins, p.toI32(e), best[1])};
          });
      Value expert = best[1], column = p.toIndex(expert);
      p.store(some, taken, column);
      Value at = p.add(base, slot);
      p.store(expert, ids, at);
      p.store(p.load(values, {row, column}), weights, at);
    });
    normalise(weights, base, slots);
  }

private:
  Value read(Value e) { return p.load(scores, {row, e}); }
  /// What decides whether expert `e` is picked.
  Value choice(Value e) {
    Value x = read(e);
    if (!m.bias)
      return x;
    Value bias = p.load(p.memory(m.bias), e);
    if (!bias.getType().isF32())
      bias = arith::ExtFOp::create(p.b, p.b.getF32Type(), bias);
    return arith::AddFOp::create(p.b, x, bias);
  }
  void write(Value value, Value e) { p.store(value, scores, {row, e}); }
  Value larger(Value x, Value y) {
    Value more = arith::CmpFOp::create(p.b, arith::CmpFPredicate::OGT, x, y);
    return arith::SelectOp::create(p.b, more, x, y);
  }
  /// `weights[base + slot] = body(weights[base + slot])` for every slot.
  void each(Value weights, Value base, int64_t slots,
            function_ref<Value(Value)> body) {
    p.loop(p.index(slots), [&](Value slot) {
      Value at = p.add(base, slot);
      p.store(body(p.load(weights, at)), weights, at);
    });
  }
  Value sumOf(Value weights, Value base, int64_t slots,
              function_ref<Value(Value)> body) {
    return p.fold(p.index(0), p.index(slots), p.f32(0),
                  [&](Value slot, ValueRange total) {
                    Value w = p.load(weights, p.add(base, slot));
                    return SmallVector<Value>{
                        arith::AddFOp::create(p.b, total[0], body(w))};
                  })[0];
  }
  /// x / y, and 0 where y is 0.
  Value ratio(Value x, Value y) {
    Value zero = p.f32(0);
    Value empty =
        arith::CmpFOp::create(p.b, arith::CmpFPredicate::OEQ, y, zero);
    return arith::SelectOp::create(p.b, empty, zero,
                                   arith::DivFOp::create(p.b, x, y));
  }
  void normalise(Value weights, Value base, int64_t slots) {
    switch (m.weigh.getNorm()) {
    case moe::WeighNorm::none:
      break;
    case moe::WeighNorm::sum: {
      Value total = sumOf(weights, base, slots, [](Value w) { return w; });
      if (auto eps = m.weigh.getEps())
        total =
            arith::AddFOp::create(p.b, total, p.f32(eps->convertToDouble()));
      each(weights, base, slots, [&](Value w) { return ratio(w, total); });
      break;
    }
    case moe::WeighNorm::pnorm: {
      double power = m.weigh.getP()->convertToDouble();
      auto raise = [&](Value x, double to) -> Value {
        if (to == 1)
          return x;
        // x^p = exp(p log x) for x > 0; 0 stays 0.
        Value zero = p.f32(0);
        Value empty =
            arith::CmpFOp::create(p.b, arith::CmpFPredicate::OEQ, x, zero);
        Value log = math::LogOp::create(p.b, x);
        Value value = math::ExpOp::create(
            p.b, arith::MulFOp::create(p.b, log, p.f32(to)));
        return arith::SelectOp::create(p.b, empty, zero, value);
      };
      Value total = sumOf(weights, base, slots, [&](Value w) {
        return raise(math::AbsFOp::create(p.b, w), power);
      });
      Value root = raise(total, 1 / power);
      each(weights, base, slots, [&](Value w) { return ratio(w, root); });
      break;
    }
    case moe::WeighNorm::softmax: {
      Value top = p.fold(p.index(0), p.index(slots),
                         p.f32(-std::numeric_limits<double>::infinity()),
                         [&](Value slot, ValueRange best) {
                           return SmallVector<Value>{larger(
                               p.load(weights, p.add(base, slot)), best[0])};
                         })[0];
      each(weights, base, slots, [&](Value w) -> Value {
        return math::ExpOp::create(p.b, arith::SubFOp::create(p.b, w, top));
      });
      Value total = sumOf(weights, base, slots, [](Value w) { return w; });
      each(weights, base, slots, [&](Value w) { return ratio(w, total); });
      break;
    }
    }
    if (auto scale = m.weigh.getScale())
      each(weights, base, slots, [&](Value w) -> Value {
        return arith::MulFOp::create(p.b, w, p.f32(scale->convertToDouble()));
      });
  }

  ProgramBuilder &p;
  RouterMatch &m;
  Value scores, values, row, taken;
  int64_t experts;
};

/// Turns ids and weights by row into lists by expert: a counting sort.
void emitBuckets(ProgramBuilder &p, moe::RoutingType routing, Value bytes,
                 const RoutingLayout &layout, Value tokens) {
  Type i32 = p.b.getI32Type(), f32 = p.b.getF32Type();
  int64_t experts = routing.getExperts(), slots = routing.getSlots();
  int64_t all = p.limits.maxTokens * slots;
  Value activeCount = p.view(bytes, layout.activeCount, 1, i32);
  Value active = p.view(bytes, layout.active, experts, i32);
  Value offsets = p.view(bytes, layout.offsets, experts + 1, i32);
  Value cursors = p.view(bytes, layout.cursors, experts, i32);
  Value ids = p.view(bytes, layout.ids, all, i32);
  Value idWeights = p.view(bytes, layout.idWeights, all, f32);
  Value rows = p.view(bytes, layout.rows, all, i32);
  Value weights = p.view(bytes, layout.weights, all, f32);
  Value n = p.index(experts), used = p.mul(tokens, slots), zero = p.i32(0),
        one = p.i32(1);

  p.loop(n, [&](Value e) { p.store(zero, cursors, e); });
  p.loop(used, [&](Value i) {
    Value e = p.loadIndex(ids, i);
    p.store(arith::AddIOp::create(p.b, p.load(cursors, e), one), cursors, e);
  });
  auto sums = p.fold(p.index(0), n, {zero, zero}, [&](Value e, ValueRange v) {
    Value count = p.load(cursors, e);
    p.store(v[0], offsets, e);
    p.store(v[0], cursors, e);
    Value some =
        arith::CmpIOp::create(p.b, arith::CmpIPredicate::ne, count, zero);
    p.when(some, [&] { p.store(p.toI32(e), active, p.toIndex(v[1])); });
    return SmallVector<Value>{
        arith::AddIOp::create(p.b, v[0], count),
        arith::AddIOp::create(p.b, v[1],
                              arith::ExtUIOp::create(p.b, i32, some))};
  });
  p.store(sums[0], offsets, n);
  p.store(sums[1], activeCount, p.index(0));
  p.loop(used, [&](Value i) {
    Value e = p.loadIndex(ids, i);
    Value at32 = p.load(cursors, e), at = p.toIndex(at32);
    p.store(arith::AddIOp::create(p.b, at32, one), cursors, e);
    p.store(p.toI32(p.div(i, slots)), rows, at);
    p.store(p.load(idWeights, i), weights, at);
  });
}

/// Copies the staged rows to rows `first` on of `result`, rounding them.
void storeRows(ProgramBuilder &p, Value stage, Value result, Value first,
               Value count, int64_t columns, int64_t rowLimit) {
  int64_t width = cast<MemRefType>(stage.getType()).getDimSize(1);
  p.loop(p.index((width + columns - 1) / columns), [&](Value block) {
    Value column = p.mul(block, columns);
    p.rows(count, rowLimit, [&](Value row) {
      Value read = flow::ReadOp::create(p.b, p.acc(columns), stage, row, column,
                                        Value());
      flow::StoreOp::create(p.b, read, result, p.add(first, row), column,
                            Value(), /*accumulate=*/false);
    });
  });
}

/// Emits the scores of `count` rows from `first` on: `[kRouterBlock, >= E]` in
/// scratch. Null after an error.
Value emitScores(ProgramBuilder &p, RouterMatch &m, const EmitOptions &options,
                 Value first, Value count) {
  auto type = cast<RankedTensorType>(m.linear.getWeight().getType());
  auto panels = dyn_cast_or_null<flow::PanelsAttr>(tier::packingOf(type));
  if (!panels || tier::scaledOf(type)) {
    m.linear.emitOpError(panels ? "has an encoded weight, which the emitter of "
                                  "routers does not know"
                                : "has a weight that is not packed");
    return {};
  }
  int64_t experts = type.getDimSize(0);
  int64_t in = type.getDimSize(1), columns = panels.getColumns();
  int64_t padded = panels.getPanelCount(experts) * columns;
  Type f32 = p.b.getF32Type();
  Type element = m.linear.getInputs() ? *m.linear.getInputs() : f32;
  // One cache line more than the row, so that rows fall on different sets.
  int64_t elementBytes = element.getIntOrFloatBitWidth() / 8;
  int64_t stride =
      int64_t(llvm::alignTo(uint64_t((in + in % 2) * elementBytes), 64)) + 64;
  Value stage = p.scratch(MemRefType::get(
      {kRouterBlock, in}, element,
      StridedLayoutAttr::get(p.b.getContext(), 0, {stride / elementBytes, 1})));
  Value scores = p.scratch(MemRefType::get({kRouterBlock, padded}, f32));
  flow::RowNormAttr kind;
  Value weight, bias;
  double eps = 0;
  if (m.norm) {
    kind = flow::RowNormAttr::get(p.b.getContext(),
                                  flow::RowNorm(unsigned(m.norm.getKind())));
    eps = m.norm.getEps().convertToDouble();
    if (m.norm.getWeight())
      weight = p.memory(m.norm.getWeight());
    if (m.norm.getBias())
      bias = p.memory(m.norm.getBias());
  }
  Value tile = flow::LoadOp::create(
      p.b, flow::TileType::get(p.b.getContext(), in, element),
      p.memory(m.input), first, count, Value(), stage, weight, bias, kind,
      p.b.getF64FloatAttr(eps), /*in_place=*/UnitAttr());
  p.loop(p.index(panels.getPanelCount(experts)), [&](Value panel) {
    p.rows(count, options.rowLimit, [&](Value row) {
      Value acc = flow::MmaOp::create(
          p.b, p.acc(columns), tile, row, p.memory(m.linear.getWeight()), panel,
          Value(), Value(), Value(), UnitAttr(), TypeAttr());
      if (Value add = m.linear.getBias()) {
        Value read =
            flow::ReadOp::create(p.b, p.acc(columns), p.memory(add), Value(),
                                 p.mul(panel, columns), Value());
        acc = p.map({acc, read}, p.acc(columns),
                    [](OpBuilder &b, Location loc, ValueRange v) -> Value {
                      return arith::AddFOp::create(b, loc, v[0], v[1]);
                    });
      }
      flow::StoreOp::create(p.b, acc, scores, row, p.mul(panel, columns),
                            Value(), /*accumulate=*/false);
    });
  });
  if (m.stored)
    storeRows(p, stage, p.result(*m.stored), first, count, columns,
              options.rowLimit);
  return scores;
}

} // namespace

LogicalResult headrace::emitRouter(flow::KernelOp kernel,
                                   const StepLimits &limits,
                                   const EmitOptions &options) {
  RouterMatch m;
  if (failed(matchRouter(kernel, m)))
    return failure();
  auto routing = m.weigh.getResult().getType();
  int64_t experts = routing.getExperts(), slots = routing.getSlots();
  ProgramBuilder p(kernel, limits);
  RoutingLayout layout(routing, limits);
  Type f32 = p.b.getF32Type(), i32 = p.b.getI32Type();
  Value tokens = p.count(flow::Count::tokens);
  Value first = p.mul(p.task(), kRouterBlock);
  Value count = p.min(p.sub(tokens, first), p.index(kRouterBlock));
  Value scores;
  if (m.linear && !(scores = emitScores(p, m, options, first, count)))
    return failure();
  Value taken = p.scratch(MemRefType::get({experts}, i32));

  Value bytes = p.result(m.routing);
  int64_t all = limits.maxTokens * slots;
  Value ids = p.view(bytes, layout.ids, all, i32);
  Value idWeights = p.view(bytes, layout.idWeights, all, f32);
  p.loop(count, [&](Value row) {
    Value place = p.add(first, row), base = p.mul(place, slots);
    if (!m.linear) {
      RowEmitter(p, m, p.memory(m.select.getChoice()),
                 p.memory(m.weigh.getValue()), place, taken)
          .choose(ids, idWeights, base);
      return;
    }
    RowEmitter emitter(p, m, scores, scores, row, taken);
    emitter.squash();
    emitter.choose(ids, idWeights, base);
  });

  Value counter = p.view(bytes, layout.counter, 1, i32);
  Value blocks = p.div(p.add(tokens, kRouterBlock - 1), kRouterBlock);
  Value last = flow::ArriveOp::create(p.b, p.b.getI1Type(), counter, blocks);
  p.when(last, [&] {
    p.store(p.i32(0), counter, p.index(0));
    emitBuckets(p, routing, bytes, layout, tokens);
  });
  return p.finish();
}
