// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A product with any number of tokens: a block of threads has 128 output
// channels by 64 tokens in its registers.
#include "compiler/codegen/gpu/TokenTiles.h"

using namespace mlir;
using namespace headrace;

ManyTokens::ManyTokens(KernelBuilder &k, const Product &product,
                       bool warpgroups)
    : k(k), product(product), warpgroups(warpgroups),
      perWarp(product.encoded ? 1 : 2), blocks(kWarps * perWarp),
      ring(k.shared(kSlots * kSlotBytes)),
      exchange(k.shared(kTile * pitch() * 4)) {}

Value ManyTokens::place(Value row, Value unit) {
  // Fragments: one unit of 8 rows at a time. Row-major: 4 units of 2 rows.
  Value turn = product.fragments ? k.rem(row, 8) : k.mul(k.rem(row, 2), 4);
  return k.add(k.mul(row, kRowBytes),
               k.mul(arith::XOrIOp::create(k.b, unit, turn), kUnit));
}

SmallVector<Value> ManyTokens::load(Value weights, Value group, Value chunk) {
  SmallVector<Value> out;
  int64_t loads = kStepsPerSlot / product.stepsPerLoad();
  for (int64_t n = 0; n < loads; ++n)
    for (int64_t i = 0; i < perWarp; ++i) {
      Value mine = k.add(k.mul(k.warp(), perWarp), i);
      Value block = k.min(k.add(k.mul(group, blocks), mine),
                          k.i32(product.rowBlocks - 1));
      out.append(product.loadWeights(k, weights, block,
                                     k.add(k.mul(chunk, loads), n)));
    }
  return out;
}

SmallVector<Value> ManyTokens::multiply(ValueRange words, Value slot,
                                        int64_t step, ValueRange sums) {
  constexpr int64_t kTokenBlocks = kTile / kBlockTokens;
  SmallVector<Value> out(sums);
  Value lane = k.lane();
  int64_t units = product.fragments ? 8 : 4;
  Value token = product.fragments ? k.rem(lane, units) : k.div(lane, units);
  Value unit = product.fragments ? k.div(lane, units) : k.rem(lane, units);
  size_t held = size_t(product.heldWords());
  SmallVector<Product::Operands> weights;
  for (int64_t i = 0; i < perWarp; ++i)
    weights.push_back(product.operandsOf(k, words.slice(size_t(i) * held, held),
                                         step % product.stepsPerLoad()));
  for (int64_t t = 0; t < kTokenBlocks; ++t) {
    Value bytes = place(k.add(token, t * kBlockTokens), k.add(unit, step * 4));
    Value address = k.at(slot, bytes, k.b.getI8Type());
    SmallVector<Value> right =
        product.fragments ? k.loadMatrices(address) : k.load16(address, false);
    for (int64_t i = 0; i < perWarp; ++i) {
      size_t at = size_t((i * kTokenBlocks + t) * kAccumulators);
      SmallVector<Value> sum =
          product.multiply(k, weights[size_t(i)], right,
                           ValueRange(out).slice(at, kAccumulators));
      llvm::copy(sum, out.begin() + int64_t(at));
    }
  }
  return out;
}

SmallVector<Value> ManyTokens::multiplyAsOne(ValueRange words, Value slot,
                                             ValueRange sums) {
  // A slot is in the 128-byte swizzle of the instruction's operand already: 8
  // rows of 128 bytes, their units turned by the row's number.
  Value start = LLVM::PtrToIntOp::create(k.b, k.b.getI64Type(), slot);
  Value low = arith::AndIOp::create(
      k.b, arith::ShRUIOp::create(k.b, start, k.i64(4)), k.i64(0x3fff));
  constexpr int64_t kRows = 8 * kRowBytes / 16; // From 8 rows to the next 8.
  constexpr uint64_t kFields =
      uint64_t(1) << 62 | uint64_t(kRows) << 32 | uint64_t(1) << 16;
  Value descriptor = arith::OrIOp::create(k.b, low, k.i64(int64_t(kFields)));
  if (!product.encoded)
    return k.multiplyWarpgroup(words, descriptor, sums, perWarp, kChannels / 16,
                               kTile, product.element);
  // Steps whose elements share their scales have sums of their own, which are
  // then multiplied by these once.
  int64_t together = std::min(
      kStepsPerSlot, tier::scaledOf(product.encoded).getColumns() / kStep);
  int64_t perLoad = product.stepsPerLoad();
  size_t held = size_t(product.heldWords());
  SmallVector<Value> out(sums), zeros(sums.size(), k.f32(0));
  for (int64_t first = 0; first < kStepsPerSlot; first += together) {
    Product::Operands weights;
    SmallVector<Value> elements;
    for (int64_t s = first; s < first + together; ++s) {
      weights = product.operandsOf(
          k, words.slice(size_t(s / perLoad) * held, held), s % perLoad);
      elements.append(weights.words);
    }
    Value from = arith::AddIOp::create(k.b, descriptor,
                                       k.i64(first * kStep * 2 / kUnit));
    SmallVector<Value> parts =
        k.multiplyWarpgroup(elements, from, zeros, perWarp,
                            together * kStep / 16, kTile, product.element);
    for (auto [i, part] : llvm::enumerate(parts))
      out[i] = k.fma(part, i % kAccumulators < 2 ? weights.low : weights.high,
                     out[i]);
  }
  return out;
}

void ManyTokens::run(const RowsInMemory &source, Value weights, Value group,
                     Value count, function_ref<Value(Value)> rowOf,
                     ResultSink sink) {
  constexpr int64_t kTokenBlocks = kTile / kBlockTokens;
  const int64_t sumCount = perWarp * kTokenBlocks * kAccumulators;
  int64_t chunks = product.paddedIn() / kChannels;
  Value thread = k.thread(), lane = k.lane(), warp = k.warp();
  Type byte = k.b.getI8Type();
  k.loop(k.i32(0), count, k.i32(kTile), [&](Value first) {
    Value left = k.min(k.sub(count, first), k.i32(kTile));
    // Which units of which rows this thread copies, chunk after chunk.
    SmallVector<Value> from, rows, units;
    for (int64_t i = 0; i < kUnits; ++i) {
      Value number = k.add(thread, i * threads());
      rows.push_back(k.div(number, kRowBytes / kUnit));
      units.push_back(k.rem(number, kRowBytes / kUnit));
      Value token = k.add(first, k.min(rows.back(), k.sub(left, k.i32(1))));
      from.push_back(k.at(source, rowOf(token), k.mul(units.back(), 8)));
    }
    auto slotOf = [&](Value chunk) {
      return k.at(ring, k.mul(k.rem(chunk, kSlots), kSlotBytes), byte);
    };
    auto copy = [&](Value chunk) {
      k.when(k.less(chunk, k.i32(chunks)), [&] {
        Value slot = slotOf(chunk);
        for (int64_t i = 0; i < kUnits; ++i) {
          size_t n = size_t(i);
          Value column =
              k.add(k.mul(chunk, kChannels), k.mul(units[n], kUnit / 2));
          Value bytes = k.mul(k.sub(k.i32(product.in), column), 2);
          bytes = k.max(k.min(bytes, k.i32(kUnit)), k.i32(0));
          bytes = k.select(k.less(rows[n], left), bytes, k.i32(0));
          k.copyAsync(k.at(slot, place(rows[n], units[n]), byte),
                      k.at(from[n], k.mul(chunk, kRowBytes), byte), bytes);
        }
      });
      k.commitCopies();
    };
    k.barrier(); // Nobody reads the ring any more.
    copy(k.i32(0));
    copy(k.i32(1));
    SmallVector<Value> carried(size_t(sumCount), k.f32(0));
    carried.append(load(weights, group, k.i32(0)));
    carried =
        k.fold(k.i32(0), k.i32(chunks), k.i32(1), carried,
               [&](Value chunk, ValueRange now) {
                 ValueRange held = now.drop_front(size_t(sumCount));
                 k.awaitCopies(1);
                 if (warpgroups)
                   k.fenceProxy();
                 k.barrier();
                 copy(k.add(chunk, 2));
                 // The weights of the next chunk are on their way meanwhile.
                 Value next = k.add(chunk, 1);
                 SmallVector<Value> coming = k.choose(
                     k.less(next, k.i32(chunks)), held.getTypes(),
                     [&] { return load(weights, group, next); },
                     [&] { return SmallVector<Value>(held); });
                 ValueRange sums = now.take_front(size_t(sumCount));
                 SmallVector<Value> out(sums);
                 Value slot = slotOf(chunk);
                 if (warpgroups)
                   out = multiplyAsOne(held, slot, sums);
                 int64_t perLoad = product.stepsPerLoad();
                 size_t each = size_t(product.heldWords() * perWarp);
                 for (int64_t s = 0; s < kStepsPerSlot && !warpgroups; ++s)
                   out = multiply(held.slice(size_t(s / perLoad) * each, each),
                                  slot, s, out);
                 out.append(coming);
                 return out;
               });
    k.awaitCopies(0);

    // Through shared memory, so that neighbouring threads store neighbours.
    auto cell = [&](Value token, Value row) {
      return k.at(exchange, k.add(k.mul(token, pitch()), row), k.f32Type());
    };
    for (int64_t i = 0; i < perWarp; ++i)
      for (int64_t t = 0; t < kTokenBlocks; ++t)
        for (int64_t j = 0; j < kAccumulators; ++j) {
          Value block = k.add(k.mul(warp, perWarp), i);
          Value row =
              k.add(k.mul(block, kBlockRows), k.add(k.div(lane, 4), j / 2 * 8));
          Value token =
              k.add(k.mul(k.rem(lane, 4), 2), t * kBlockTokens + j % 2);
          k.store(carried[size_t((i * kTokenBlocks + t) * kAccumulators + j)],
                  cell(token, row));
        }
    k.barrier();
    int64_t each = kBlockRows / product.halves, width = blocks * each;
    k.loop(thread, k.mul(left, width), k.i32(threads()), [&](Value number) {
      Value token = k.div(number, width), within = k.rem(number, width);
      Value column = k.add(k.mul(group, width), within);
      k.when(k.less(column, k.i32(product.out / product.halves)), [&] {
        Value row =
            k.add(k.mul(k.div(within, each), kBlockRows), k.rem(within, each));
        Value sum = k.load(k.f32Type(), cell(token, row)), up;
        if (product.halves == 2)
          up = k.load(k.f32Type(), cell(token, k.add(row, each)));
        sink(k.add(first, token), column, sum, up);
      });
    });
  });
}
