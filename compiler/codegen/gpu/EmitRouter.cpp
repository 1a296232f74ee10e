// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Emits routers as one GPU kernel: norm, scores, squash, top-k and weights, and
// the lists of rows by expert.
//
// A block scores some tokens for some experts, unless other kernels made the
// scores. The last block to arrive at a
// block of tokens chooses for them, one warp a token; the last of these sorts
// the choices by expert. Nothing goes through the host and nothing waits.
#include "compiler/codegen/KernelMatch.h"
#include "compiler/codegen/gpu/GpuEmitters.h"
#include "compiler/codegen/gpu/RowStage.h"
#include "dialects/moe/IR/Moe.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include <limits>

using namespace mlir;
using namespace headrace;

namespace {

constexpr int64_t kWarps = 8, kThreads = kWarps * kWarp;
constexpr int64_t kExpertsPerBlock = 32;
/// Shared memory for staged tokens, so that two blocks fit a multiprocessor.
constexpr int64_t kStageBytes = 96 << 10;

class RouterEmitter {
public:
  RouterEmitter(KernelBuilder &k, RouterMatch &m, int64_t tokensPerBlock)
      : experts(int64_t(m.weigh.getResult().getType().getExperts())),
        slots(int64_t(m.weigh.getResult().getType().getSlots())),
        perLane((experts + kWarp - 1) / kWarp), tokensPerBlock(tokensPerBlock),
        groups(m.linear ? (experts + kExpertsPerBlock - 1) / kExpertsPerBlock
                        : 1),
        k(k), m(m), layout(m.weigh.getResult().getType(), k.limits) {}

  void emit() {
    Value tokens = k.count(flow::Count::tokens);
    Value block = k.div(k.block(), groups), group = k.rem(k.block(), groups);
    Value first = k.mul(block, tokensPerBlock);
    k.when(k.less(first, tokens), [&] {
      Value count = k.min(k.sub(tokens, first), k.i32(tokensPerBlock));
      if (m.linear)
        score(first, count, group);
      Value counter = k.at(k.extra(ExtraBuffer::tickets), block, k.i32Type());
      Value last = groups == 1 ? k.boolean(true)
                               : k.lastToArrive(counter, k.i32(groups));
      if (groups == 1) {
        k.fence();
        k.barrier();
      }
      k.when(last, [&] {
        k.when(k.less(k.warp(), count),
               [&] { choose(k.add(first, k.warp())); });
        Value blocks = k.div(k.add(tokens, tokensPerBlock - 1), tokensPerBlock);
        Value all = k.lastToArrive(list(layout.counter, k.i32(0)), blocks);
        k.when(all, [&] { sort(tokens); });
      });
    });
  }

  const int64_t experts, slots, perLane, tokensPerBlock;
  const int64_t groups; ///< Blocks that share the experts of some tokens.

private:
  Value list(int64_t offset, Value index) {
    return k.at(k.at(k.result(m.routing), offset), index, k.i32Type());
  }
  /// What decides who is picked.
  RowsInMemory scores() {
    if (!m.linear)
      return k.rowsOf(m.select.getChoice());
    return {k.extra(ExtraBuffer::workspace), experts, experts, k.f32Type()};
  }

  /// Scores of tokens `first` on for the experts of `group`, one expert a warp
  /// at a time, all in float32.
  void score(Value first, Value count, Value group) {
    auto type = cast<RankedTensorType>(m.linear.getWeight().getType());
    int64_t in = type.getDimSize(1);
    int64_t padded = (in + kChunk - 1) / kChunk * kChunk;
    Type element = m.linear.getInputs() ? *m.linear.getInputs() : k.f32Type();
    RowsInMemory stage{k.shared(tokensPerBlock * padded * 4), padded, padded,
                       k.f32Type()};
    RowStage rows(k, k.rowsOf(m.input), m.norm);
    // Where there are fewer tokens the last one stands in; its scores are not
    // stored again.
    k.when(k.less(k.warp(), k.i32(tokensPerBlock)), [&] {
      Value token = k.min(k.warp(), k.sub(count, k.i32(1)));
      auto keep = [&](Value column, ValueRange values) {
        SmallVector<Value> bits;
        for (Value x : values)
          bits.push_back(arith::BitcastOp::create(
              k.b, k.i32Type(), k.widen(k.narrow(x, element))));
        Value to = k.at(stage, k.warp(), column);
        k.store16(ValueRange(bits).take_front(4), to);
        k.store16(ValueRange(bits).drop_front(4), k.at(to, 16));
        if (m.stored)
          k.when(k.both(k.equal(group, k.i32(0)), k.less(k.warp(), count)),
                 [&] { storeRow(k.add(first, token), column, values); });
      };
      rows.read(k.add(first, token), padded, keep);
    });
    k.barrier();
    RowsInMemory weights{k.weight(m.linear.getWeight()), in, in,
                         type.getElementType()};
    RowStage weightRows(k, weights, nn::NormOp());
    Value begin = k.add(k.mul(group, kExpertsPerBlock), k.warp());
    Value end = k.min(k.mul(k.add(group, 1), kExpertsPerBlock), k.i32(experts));
    k.loop(begin, end, k.i32(kWarps), [&](Value expert) {
      SmallVector<Value> zeros(size_t(tokensPerBlock), k.f32(0));
      SmallVector<Value> sums = k.fold(
          k.mul(k.lane(), kChunk), k.i32(padded), k.i32(kWarp * kChunk), zeros,
          [&](Value column, ValueRange now) {
            SmallVector<Value> w = weightRows.chunk(expert, column, true);
            SmallVector<Value> out(now);
            for (int64_t t = 0; t < tokensPerBlock; ++t) {
              Value from = k.at(stage, k.i32(t), column);
              SmallVector<Value> x = k.load16(from, false);
              x.append(k.load16(k.at(from, 16), false));
              for (size_t i = 0; i < size_t(kChunk); ++i)
                out[size_t(t)] =
                    k.fma(arith::BitcastOp::create(k.b, k.f32Type(), x[i]),
                          w[i], out[size_t(t)]);
            }
            return out;
          });
      Value bias;
      if (Value vector = m.linear.getBias()) {
        Type of = cast<RankedTensorType>(vector.getType()).getElementType();
        bias = k.widen(k.loadConstant(of, k.at(k.weight(vector), expert, of)));
      }
      for (int64_t t = 0; t < tokensPerBlock; ++t) {
        Value sum = k.warpSum(sums[size_t(t)]);
        if (bias)
          sum = k.addF(sum, bias);
        Value mine =
            k.both(k.equal(k.lane(), k.i32(0)), k.less(k.i32(t), count));
        k.when(mine,
               [&] { k.store(sum, k.at(scores(), k.add(first, t), expert)); });
      }
    });
  }

  /// A chunk of the norm's rows as the experts read them.
  void storeRow(Value row, Value column, ValueRange values) {
    RowsInMemory to = k.rowsOfResult(*m.stored);
    SmallVector<Value> words;
    for (size_t i = 0; i < size_t(kChunk); i += 2)
      words.push_back(k.pack(values[i], values[i + 1], to.element));
    k.store16(words, k.at(to, row, column));
  }

  /// The choice of one token by one warp: lane l has the scores of experts l,
  /// l + 32, ...
  void choose(Value token) {
    Value lane = k.lane();
    Value lowest = k.f32(-std::numeric_limits<double>::infinity());
    SmallVector<Value> score, number, bias;
    for (int64_t i = 0; i < perLane; ++i) {
      Value expert = k.add(lane, i * kWarp);
      Value inside = k.less(expert, k.i32(experts));
      Value safe = k.min(expert, k.i32(experts - 1));
      Value x = k.load(k.f32Type(), k.at(scores(), token, safe));
      score.push_back(k.select(inside, x, lowest));
      number.push_back(expert);
      if (m.bias) {
        Type of = cast<RankedTensorType>(m.bias.getType()).getElementType();
        bias.push_back(
            k.widen(k.loadConstant(of, k.at(k.weight(m.bias), safe, of))));
      }
    }
    squash(score, lowest);
    // What is picked by; what is weighed stays as it is.
    SmallVector<Value> choice(score);
    for (auto [x, add] : llvm::zip(choice, bias))
      x = k.addF(x, add);

    // The best free score wins, of equal ones the lower expert; a NaN counts as
    // the smallest score. Bit i of `taken`: the lane's i-th expert is not free.
    Value none = k.i32(INT32_MAX);
    Value outside = k.i32(0);
    for (int64_t i = 0; i < perLane; ++i)
      outside = arith::OrIOp::create(
          k.b, outside,
          k.select(k.less(number[size_t(i)], k.i32(experts)), k.i32(0),
                   k.i32(int64_t(1) << i)));
    SmallVector<Value> chosen = k.fold(
        k.i32(0), k.i32(slots), k.i32(1), {outside, k.i32(0), k.f32(0)},
        [&](Value slot, ValueRange now) -> SmallVector<Value> {
          Value taken = now[0], best = lowest, who = none;
          for (int64_t i = 0; i < perLane; ++i) {
            Value bit =
                arith::AndIOp::create(k.b, taken, k.i32(int64_t(1) << i));
            Value free = k.equal(bit, k.i32(0));
            Value x = orLowest(choice[size_t(i)], lowest);
            auto [value, index] =
                better(best, who, k.select(free, x, lowest),
                       k.select(free, number[size_t(i)], none));
            best = value;
            who = index;
          }
          for (int64_t mask = kWarp / 2; mask; mask /= 2)
            std::tie(best, who) =
                better(best, who, k.shuffle(best, mask), k.shuffle(who, mask));
          Value held = score[0];
          for (int64_t i = 1; i < perLane; ++i)
            held = k.select(k.equal(k.div(who, kWarp), k.i32(i)),
                            score[size_t(i)], held);
          Value weight = k.broadcast(held, k.rem(who, kWarp));
          if (!m.linear) { // The weight is another score.
            RowsInMemory values = k.rowsOf(m.weigh.getValue());
            weight = k.load(values.element, k.at(values, token, who));
          }
          Value owner = k.equal(k.rem(who, kWarp), lane);
          Value bit = arith::ShLIOp::create(k.b, k.i32(1), k.div(who, kWarp));
          taken =
              arith::OrIOp::create(k.b, taken, k.select(owner, bit, k.i32(0)));
          Value mine = k.equal(lane, slot);
          return {taken, k.select(mine, who, now[1]),
                  k.select(mine, weight, now[2])};
        });
    Value mine = k.less(lane, k.i32(slots));
    Value weight = normalise(chosen[2], mine, lowest);
    k.when(mine, [&] {
      Value at = k.add(k.mul(token, slots), lane);
      k.store(chosen[1], list(layout.ids, at));
      k.store(weight, list(layout.idWeights, at));
    });
  }

  Value orLowest(Value x, Value lowest) {
    Value number = arith::CmpFOp::create(k.b, arith::CmpFPredicate::ORD, x, x);
    return k.select(number, x, lowest);
  }
  std::pair<Value, Value> better(Value x, Value i, Value y, Value j) {
    Value more = arith::CmpFOp::create(k.b, arith::CmpFPredicate::OGT, y, x);
    Value same = arith::CmpFOp::create(k.b, arith::CmpFPredicate::OEQ, y, x);
    Value wins = arith::OrIOp::create(k.b, more, k.both(same, k.less(j, i)));
    return {k.select(wins, y, x), k.select(wins, j, i)};
  }

  void squash(SmallVector<Value> &score, Value lowest) {
    if (!m.squash)
      return;
    if (m.squash.getKind() == moe::SquashKind::sigmoid) {
      for (Value &x : score) {
        Value e = k.exp(arith::NegFOp::create(k.b, x));
        x = k.divF(k.f32(1), k.addF(k.f32(1), e));
      }
      return;
    }
    Value top = lowest;
    for (Value x : score)
      top = k.larger(x, top);
    top = k.warpMax(top);
    Value sum = k.f32(0);
    for (Value &x : score) {
      x = k.exp(k.subF(x, top)); // 0 for what lies past the last expert.
      sum = k.addF(sum, x);
    }
    sum = k.warpSum(sum);
    for (Value &x : score)
      x = k.divF(x, sum);
  }

  /// x / y, and 0 where y is 0.
  Value ratio(Value x, Value y) {
    Value empty =
        arith::CmpFOp::create(k.b, arith::CmpFPredicate::OEQ, y, k.f32(0));
    return k.select(empty, k.f32(0), k.divF(x, y));
  }
  Value normalise(Value w, Value mine, Value lowest) {
    auto sumOf = [&](Value x) {
      return k.warpSum(k.select(mine, x, k.f32(0)));
    };
    switch (m.weigh.getNorm()) {
    case moe::WeighNorm::none:
      break;
    case moe::WeighNorm::sum: {
      Value total = sumOf(w);
      if (auto eps = m.weigh.getEps())
        total = k.addF(total, k.f32(eps->convertToDouble()));
      w = ratio(w, total);
      break;
    }
    case moe::WeighNorm::pnorm: {
      double power = m.weigh.getP()->convertToDouble();
      auto raise = [&](Value x, double to) -> Value {
        if (to == 1)
          return x;
        Value empty =
            arith::CmpFOp::create(k.b, arith::CmpFPredicate::OEQ, x, k.f32(0));
        Value log = math::LogOp::create(k.b, x);
        return k.select(empty, k.f32(0), k.exp(k.mulF(log, k.f32(to))));
      };
      Value total = sumOf(raise(math::AbsFOp::create(k.b, w), power));
      w = ratio(w, raise(total, 1 / power));
      break;
    }
    case moe::WeighNorm::softmax: {
      Value top = k.warpMax(k.select(mine, w, lowest));
      w = k.exp(k.subF(w, top));
      w = ratio(w, sumOf(w));
      break;
    }
    }
    if (auto scale = m.weigh.getScale())
      w = k.mulF(w, k.f32(scale->convertToDouble()));
    return w;
  }

  /// Sums up to and with this lane.
  Value scan(Value x) {
    for (int64_t distance = 1; distance < kWarp; distance *= 2) {
      Value other = k.shuffleUp(x, distance);
      Value there = k.less(k.i32(distance - 1), k.lane());
      x = k.add(x, k.select(there, other, k.i32(0)));
    }
    return x;
  }

  /// A counting sort of all choices by expert that keeps the order of rows.
  /// Each warp counts and then places one run of them.
  void sort(Value tokens) {
    Value lane = k.lane(), warp = k.warp();
    Value histogram = k.shared(kWarps * experts * 4);
    Value used = k.mul(tokens, slots);
    Value run =
        k.mul(k.div(k.add(used, kWarps * kWarp - 1), kWarps * kWarp), kWarp);
    Value begin = k.mul(warp, run);
    auto cell = [&](Value warp, Value expert) {
      return k.at(histogram, k.add(k.mul(warp, experts), expert), k.i32Type());
    };
    k.loop(k.thread(), k.i32(kWarps * experts), k.i32(kThreads), [&](Value i) {
      k.store(k.i32(0), k.at(histogram, i, k.i32Type()));
    });
    k.barrier();
    // body(place, expert, rank among the lanes with this expert, is there one);
    // the lane of rank 0 counts all of them.
    auto walk = [&](function_ref<void(Value, Value, Value, Value)> body) {
      k.loop(k.i32(0), run, k.i32(kWarp), [&](Value offset) {
        Value place = k.add(k.add(begin, offset), lane);
        Value inside = k.less(place, used);
        Value safe = k.min(place, k.sub(used, k.i32(1)));
        Value id = k.load(k.i32Type(), list(layout.ids, safe));
        Value expert = k.select(inside, id, k.i32(-1));
        Value same = k.lanesWithSame(expert);
        Value below =
            k.sub(arith::ShLIOp::create(k.b, k.i32(1), lane), k.i32(1));
        Value rank = k.countBits(arith::AndIOp::create(k.b, same, below));
        k.when(inside, [&] { body(place, id, rank, inside); });
        k.warpBarrier();
        k.when(k.both(inside, k.equal(rank, k.i32(0))), [&] {
          Value at = cell(warp, id);
          k.store(k.add(k.load(k.i32Type(), at), k.countBits(same)), at);
        });
        k.warpBarrier();
      });
    };
    walk([](Value, Value, Value, Value) {});
    k.barrier();
    // Warp 0 turns counts into places: experts ascend, within one the warps do.
    k.when(k.equal(warp, k.i32(0)), [&] {
      int64_t rounds = perLane;
      SmallVector<Value> ends = k.fold(
          k.i32(0), k.i32(rounds), k.i32(1), {k.i32(0), k.i32(0)},
          [&](Value round, ValueRange now) -> SmallVector<Value> {
            Value expert = k.add(k.mul(round, kWarp), lane);
            Value inside = k.less(expert, k.i32(experts));
            Value safe = k.min(expert, k.i32(experts - 1));
            Value mine = k.i32(0);
            SmallVector<Value> before;
            for (int64_t w = 0; w < kWarps; ++w) {
              before.push_back(mine);
              mine = k.add(mine, k.load(k.i32Type(), cell(k.i32(w), safe)));
            }
            mine = k.select(inside, mine, k.i32(0));
            Value some = k.select(k.less(k.i32(0), mine), k.i32(1), k.i32(0));
            Value sum = scan(mine), actives = scan(some);
            Value start = k.add(now[0], k.sub(sum, mine));
            k.warpBarrier(); // Lanes past the last expert read its counts.
            k.when(inside, [&] {
              k.store(start, list(layout.offsets, expert));
              for (int64_t w = 0; w < kWarps; ++w)
                k.store(k.add(start, before[size_t(w)]),
                        cell(k.i32(w), expert));
              k.when(k.equal(some, k.i32(1)), [&] {
                Value at = k.add(now[1], k.sub(actives, some));
                k.store(expert, list(layout.active, at));
              });
            });
            return {k.add(now[0], k.broadcast(sum, k.i32(kWarp - 1))),
                    k.add(now[1], k.broadcast(actives, k.i32(kWarp - 1)))};
          });
      k.when(k.equal(lane, k.i32(0)), [&] {
        k.store(ends[0], list(layout.offsets, k.i32(experts)));
        k.store(ends[1], list(layout.activeCount, k.i32(0)));
      });
    });
    k.barrier();
    walk([&](Value place, Value expert, Value rank, Value) {
      Value to = k.add(k.load(k.i32Type(), cell(warp, expert)), rank);
      k.store(k.div(place, slots), list(layout.rows, to));
      k.store(k.load(k.f32Type(), list(layout.idWeights, place)),
              list(layout.weights, to));
    });
  }

  KernelBuilder &k;
  RouterMatch &m;
  RoutingLayout layout;
};

} // namespace

LogicalResult headrace::emitGpuRouter(flow::KernelOp kernel,
                                      const GpuOptions &options, StepSize size,
                                      Expansion &out) {
  RouterMatch m;
  if (failed(matchRouter(kernel, m)))
    return failure();
  if (m.stored) {
    auto rows = cast<RankedTensorType>(kernel.getType().getResult(*m.stored));
    if (rows.getElementType().isF32())
      return m.linear.emitOpError("stores rows of float32; a GPU's products "
                                  "take bf16 and f16");
  }
  auto type = m.linear ? cast<RankedTensorType>(m.linear.getWeight().getType())
                       : RankedTensorType();
  if (type && type.getEncoding())
    return m.linear.emitOpError("has packed weights; the GPU's router reads "
                                "rows");
  auto routing = m.weigh.getResult().getType();
  int64_t experts = int64_t(routing.getExperts());
  if (int64_t(routing.getSlots()) > kWarp || experts > kWarp * 31)
    return m.select.emitOpError("picks ")
           << routing.getSlots() << " of " << experts
           << " experts; the GPU's router picks up to 32 of up to 992";
  int64_t tokens = kWarps;
  while (type && tokens > 1 &&
         tokens * (type.getDimSize(1) + kChunk) * 4 > kStageBytes)
    tokens /= 2;
  const DeviceKernel &made =
      out.add(kernel, size, "", {ExtraBuffer::workspace, ExtraBuffer::tickets});
  KernelBuilder k(kernel, made.name, options.limits, made.extras);
  RouterEmitter emitter(k, m, tokens);
  emitter.emit();
  int64_t blocks = (options.limits.maxTokens + tokens - 1) / tokens;
  out.tickets = std::max(out.tickets, blocks);
  out.workspaceBytes =
      std::max(out.workspaceBytes, options.limits.maxTokens * experts * 4);
  k.finish(kThreads, flow::GridAttr::get(kernel.getContext(),
                                         flow::GridKind::per_token_block,
                                         emitter.groups, tokens, 1));
  return success();
}
