// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Emits attention over a cache of float32, which matrix instructions would
// round to 16 bits: a block takes one query head of one row, a lane one
// position of a page, then some channels.
//
// The pages of a sequence are dealt to warps by their number, as those of bf16
// are, so a row's result does not depend on what runs beside it.
#include "compiler/codegen/gpu/Attention.h"

using namespace mlir;
using namespace headrace;

namespace {

static_assert(kPositions == kWarp, "a lane takes one position of a page");

class PlainAttention {
public:
  PlainAttention(KernelBuilder &k, const Attention &a)
      : k(k), a(a), perLane(a.padded / kWarp), query(k.shared(a.padded * 4)),
        weights(k.shared(kWarps * kPositions * 4)),
        states(k.shared(kWarps * 2 * 4)),
        sums(k.shared(kWarps * a.padded * 4)) {}

  void emit() {
    Value head = k.rem(k.block(), a.heads), row = k.div(k.block(), a.heads);
    k.when(k.less(row, k.count(flow::Count::tokens)), [&] {
      stageQuery(row, head);
      k.barrier();
      pages(row, head);
      k.barrier();
      k.loop(k.thread(), k.i32(a.dim), k.i32(Attention::kThreads),
             [&](Value c) { merge(row, head, c); });
    });
    k.finish(Attention::kThreads,
             flow::GridAttr::get(k.kernel.getContext(),
                                 flow::GridKind::per_token_block, a.heads, 1,
                                 1));
  }

private:
  static constexpr int64_t kWarps = Attention::kWarps;

  Value floatAt(Value base, Value index) {
    return k.at(base, index, k.f32Type());
  }
  Value load(Value base, Value index) {
    return k.load(k.f32Type(), floatAt(base, index));
  }
  Value stateAt(Value warp, int64_t which) {
    return floatAt(states, k.add(k.mul(warp, 2), which));
  }

  void stageQuery(Value row, Value head) {
    RowsInMemory from = a.queries(k);
    Value scale = k.f32(a.op.getScale().convertToDouble());
    k.loop(k.thread(), k.i32(a.dim), k.i32(Attention::kThreads), [&](Value c) {
      Value x =
          k.load(k.f32Type(), k.at(from, row, k.add(k.mul(head, a.dim), c)));
      k.store(k.mulF(x, scale), floatAt(query, c));
    });
  }

  /// A warp's pages: those whose number is its own modulo kWarps. Leaves its
  /// largest score, its mass and its sums behind.
  void pages(Value row, Value head) {
    Value sequence = a.sequenceOf(k, row), position = a.position(k, row);
    Value kvHead = k.div(head, a.shared), lane = k.lane(), warp = k.warp();
    Value end = k.add(k.div(position, kPositions), 1), start = k.i32(0);
    if (a.window) {
      Value over = k.sub(k.add(position, 1), k.i32(a.window));
      start = k.div(k.max(over, k.i32(0)), kPositions);
    }
    Value skip =
        k.rem(k.add(k.sub(warp, k.rem(start, kWarps)), kWarps), kWarps);
    Value masked = k.f32(kMasked), zero = k.f32(0);
    Value mine = floatAt(weights, k.mul(warp, kPositions));
    SmallVector<Value> init{masked, zero};
    init.append(size_t(perLane), zero);
    SmallVector<Value> state = k.fold(
        k.add(start, skip), end, k.i32(kWarps), init,
        [&](Value page, ValueRange now) -> SmallVector<Value> {
          Value keys = a.headBlock(k, sequence, page, kvHead);
          Value values = k.at(keys, a.layout.keyElements * 4);
          Value key = floatAt(keys, k.mul(lane, a.padded));
          Value seen =
              a.sees(k, position, k.add(k.mul(page, kPositions), lane));
          Value score = k.choose(
              seen, k.f32Type(),
              [&] {
                return k.fold(k.i32(0), k.i32(a.dim), k.i32(1), zero,
                              [&](Value c, ValueRange sum) {
                                return SmallVector<Value>{k.fma(
                                    load(query, c), load(key, c), sum[0])};
                              });
              },
              [&] { return SmallVector<Value>{masked}; })[0];
          Value top = k.larger(k.warpMax(score), now[0]);
          Value weight = k.select(seen, k.exp(k.subF(score, top)), zero);
          Value fade = k.exp(k.subF(now[0], top));
          Value mass = k.addF(k.mulF(now[1], fade), k.warpSum(weight));
          k.warpBarrier(); // The last page's weights have been read.
          k.store(weight, floatAt(mine, lane));
          k.warpBarrier();
          SmallVector<Value> next{top, mass};
          for (int64_t i = 0; i < perLane; ++i) {
            Value channel = k.add(lane, i * kWarp);
            Value line = floatAt(values, k.mul(channel, kPositions));
            next.push_back(k.fold(k.i32(0), k.i32(kPositions), k.i32(1),
                                  k.mulF(now[size_t(2 + i)], fade),
                                  [&](Value j, ValueRange sum) {
                                    return SmallVector<Value>{k.fma(
                                        load(mine, j), load(line, j), sum[0])};
                                  })[0]);
          }
          return next;
        });
    k.when(k.equal(lane, k.i32(0)), [&] {
      k.store(state[0], stateAt(warp, 0));
      k.store(state[1], stateAt(warp, 1));
    });
    for (int64_t i = 0; i < perLane; ++i) {
      Value channel = k.add(lane, i * kWarp);
      k.store(state[size_t(2 + i)],
              floatAt(sums, k.add(k.mul(warp, a.padded), channel)));
    }
  }

  /// The warps' sums of a channel, in the order of the warps.
  void merge(Value row, Value head, Value c) {
    SmallVector<Value> tops;
    Value top = k.f32(kMasked), total = k.f32(0), mass = k.f32(0);
    for (int64_t w = 0; w < kWarps; ++w) {
      tops.push_back(k.load(k.f32Type(), stateAt(k.i32(w), 0)));
      top = k.larger(tops.back(), top);
    }
    for (int64_t w = 0; w < kWarps; ++w) {
      Value fade = k.exp(k.subF(tops[size_t(w)], top));
      Value part = load(sums, k.add(c, w * a.padded));
      total = k.addF(total, k.mulF(part, fade));
      mass =
          k.addF(mass, k.mulF(k.load(k.f32Type(), stateAt(k.i32(w), 1)), fade));
    }
    a.store(k, row, head, c, total, mass, top);
  }

  KernelBuilder &k;
  const Attention &a;
  const int64_t perLane; ///< Channels of a lane.
  Value query, weights, states, sums;
};

} // namespace

void headrace::emitPlainAttention(KernelBuilder &k, const Attention &a) {
  PlainAttention(k, a).emit();
}
