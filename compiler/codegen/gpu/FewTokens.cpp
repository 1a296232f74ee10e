// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A product with up to eight tokens. Weights are read once, 16 bytes a lane,
// with the next loads under way while the last ones are multiplied.
#include "compiler/codegen/gpu/TokenTiles.h"

using namespace mlir;
using namespace headrace;

/// Row blocks from which on a block of threads takes more of them: fewer blocks
/// stage the tokens, and enough of them are left to fill the GPU.
constexpr int64_t kManyRowBlocks = 512;

/// Words of weights that a lane has under way.
constexpr int64_t kWordsUnderWay = 32;

/// Warps that share `loads` loads, all of them alike where that can be. Nine
/// leave no registers for many row blocks.
static int64_t warpsFor(int64_t loads, int64_t blocks) {
  if (loads < 32)
    return loads >= 8 ? 4 : loads >= 4 ? 2 : 1;
  return blocks == 1 && loads % 8 && loads % 9 == 0 ? 9 : 8;
}

/// Loads of a warp in a round, of `words` each: as many as `kWordsUnderWay`
/// allows, of those numbers that leave none for after the last round.
static int64_t depthFor(int64_t loads, int64_t words) {
  int64_t depth = std::max(int64_t(2), kWordsUnderWay / words);
  while (depth > 1 && loads % depth)
    --depth;
  return depth;
}

FewTokens::FewTokens(KernelBuilder &k, const Product &product, bool inPlace)
    : k(k), product(product), inPlace(inPlace) {
  blocks = product.rowBlocks >= 2 * kManyRowBlocks ? 4
           : product.rowBlocks >= kManyRowBlocks   ? 2
                                                   : 1;
  warps = warpsFor(product.loads(), blocks);
  depth = depthFor(product.loads() / warps, blocks * product.heldWords());
  stride = stageBytes(product) / kBlockTokens;
  if (!inPlace)
    tokens = k.shared(stageBytes(product));
}

int64_t FewTokens::groups() const {
  return (product.rowBlocks + blocks - 1) / blocks;
}

int64_t FewTokens::stageBytes(const Product &product) {
  // One instruction reads a 16-byte unit of each of 8 tokens (fragments), or 4
  // units of 2 tokens at a time: these must fall on different banks.
  int64_t bytes = product.paddedIn() * 2; // A multiple of 128.
  return kBlockTokens * (bytes + (product.fragments ? 16 : 64));
}

void FewTokens::stage(const RowsInMemory &source, nn::NormOp norm, Value count,
                      function_ref<Value(Value)> rowOf) {
  if (inPlace) { // Tokens past the last one are computed and not stored.
    Value token = k.min(k.div(k.lane(), 4), k.sub(count, k.i32(1)));
    tokens = k.at(source, rowOf(token), k.i32(0));
    return;
  }
  RowStage rows(k, source, norm);
  k.loop(k.warp(), k.i32(kBlockTokens), k.i32(warps), [&](Value token) {
    Value there = k.at(tokens, k.mul(token, stride), k.b.getI8Type());
    Value wanted = k.less(token, count);
    k.when(wanted, [&] {
      rows.read(rowOf(token), product.paddedIn(),
                [&](Value column, ValueRange values) {
                  SmallVector<Value> words;
                  for (size_t i = 0; i < size_t(kChunk); i += 2)
                    words.push_back(
                        k.pack(values[i], values[i + 1], product.element));
                  k.store16(words, k.at(there, column, k.b.getI16Type()));
                });
    });
    k.when(arith::XOrIOp::create(k.b, wanted, k.boolean(true)), [&] {
      SmallVector<Value> zeros(4, k.i32(0));
      k.loop(k.mul(k.lane(), kChunk), k.i32(product.paddedIn()),
             k.i32(kWarp * kChunk), [&](Value column) {
               k.store16(zeros, k.at(there, column, k.b.getI16Type()));
             });
    });
  });
  k.barrier();
}

void FewTokens::start(Value from, Value ofGroup) {
  weights = from;
  group = ofGroup;
  if (product.loads() >= warps * depth)
    first = loadRound(k.i32(0));
}

SmallVector<Value> FewTokens::load(Value number) {
  SmallVector<Value> out;
  for (int64_t i = 0; i < blocks; ++i) {
    Value block =
        k.min(k.add(k.mul(group, blocks), i), k.i32(product.rowBlocks - 1));
    out.append(product.loadWeights(k, weights, block, number));
  }
  return out;
}

Value FewTokens::loadOf(Value round, int64_t i) {
  return k.add(k.mul(k.add(k.mul(round, depth), i), warps), k.warp());
}

SmallVector<Value> FewTokens::loadRound(Value round) {
  SmallVector<Value> out;
  for (int64_t i = 0; i < depth; ++i)
    out.append(load(loadOf(round, i)));
  return out;
}

SmallVector<Value> FewTokens::loadTokens(Value step) {
  Value lane = k.lane();
  if (inPlace) {
    // Four words as ldmatrix would give them, or one unit.
    int64_t each = product.fragments ? 2 : 8;
    Value column = k.add(k.mul(step, kStep), k.mul(k.rem(lane, 4), each));
    Value start = k.at(tokens, column, product.element);
    if (!product.fragments)
      return k.load16(start, false);
    SmallVector<Value> words;
    for (int64_t i = 0; i < 4; ++i)
      words.push_back(k.load(k.i32Type(), k.at(start, i * 16)));
    return words;
  }
  int64_t units = product.fragments ? 8 : 4; // Tokens first, then units.
  Value token = product.fragments ? k.rem(lane, units) : k.div(lane, units);
  Value unit = product.fragments ? k.div(lane, units) : k.rem(lane, units);
  Value bytes = k.add(k.mul(token, stride),
                      k.add(k.mul(step, kStep * 2), k.mul(unit, 16)));
  Value address = k.at(tokens, bytes, k.b.getI8Type());
  return product.fragments ? k.loadMatrices(address) : k.load16(address, false);
}

SmallVector<Value> FewTokens::multiply(ValueRange words, Value number,
                                       ValueRange sums) {
  SmallVector<Value> out(sums);
  size_t held = size_t(product.heldWords());
  for (int64_t s = 0; s < product.stepsPerLoad(); ++s) {
    SmallVector<Value> right =
        loadTokens(k.add(k.mul(number, product.stepsPerLoad()), s));
    for (size_t i = 0; i < size_t(blocks); ++i) {
      size_t at = i * kAccumulators;
      SmallVector<Value> sum = product.multiply(
          k, product.operandsOf(k, words.slice(i * held, held), s), right,
          ValueRange(out).slice(at, kAccumulators));
      llvm::copy(sum, out.begin() + int64_t(at));
    }
  }
  return out;
}

void FewTokens::run(Value count, ResultSink sink) {
  int64_t sums = blocks * kAccumulators;
  int64_t loadWords = blocks * product.heldWords(), words = loadWords * depth;
  Value warp = k.warp();
  SmallVector<Value> acc(size_t(sums), k.f32(0));
  int64_t rounds = product.loads() / (warps * depth);
  if (rounds) {
    SmallVector<Value> carried(acc);
    carried.append(first);
    carried = k.fold(
        k.i32(0), k.i32(rounds), k.i32(1), carried,
        [&](Value round, ValueRange now) {
          // The next weights are on their way while these are
          // multiplied.
          ValueRange held = now.drop_front(size_t(sums));
          Value next = k.add(round, 1);
          SmallVector<Value> coming = k.choose(
              k.less(next, k.i32(rounds)), held.getTypes(),
              [&] { return loadRound(next); },
              [&] { return SmallVector<Value>(held); });
          SmallVector<Value> out(now.take_front(size_t(sums)));
          for (int64_t i = 0; i < depth; ++i)
            out = multiply(held.slice(size_t(i * loadWords), size_t(loadWords)),
                           loadOf(round, i), out);
          out.append(coming);
          return out;
        });
    acc.assign(carried.begin(), carried.end() - words);
  }
  if (product.loads() % (warps * depth))
    acc = k.fold(k.add(warp, rounds * warps * depth), k.i32(product.loads()),
                 k.i32(warps), acc, [&](Value number, ValueRange now) {
                   return multiply(load(number), number, now);
                 });

  // The warps' sums meet in shared memory; warp i finishes row blocks i, i +
  // warps, ...
  Value meeting = k.shared(warps * blocks * kWarp * 16);
  auto placeOf = [&](Value warp, Value block) {
    Value number = k.add(k.mul(warp, blocks), block);
    return k.at(meeting, k.add(k.mul(number, kWarp), k.lane()), k.words());
  };
  for (int64_t i = 0; i < blocks; ++i) {
    SmallVector<Value> bits;
    for (int64_t j = 0; j < kAccumulators; ++j)
      bits.push_back(arith::BitcastOp::create(
          k.b, k.i32Type(), acc[size_t(i * kAccumulators + j)]));
    k.store16(bits, placeOf(warp, k.i32(i)));
  }
  k.barrier();
  k.loop(warp, k.i32(blocks), k.i32(warps), [&](Value block) {
    SmallVector<Value> total;
    for (int64_t w = 0; w < warps; ++w) {
      SmallVector<Value> bits = k.load16(placeOf(k.i32(w), block), false);
      for (int64_t j = 0; j < kAccumulators; ++j) {
        Value part =
            arith::BitcastOp::create(k.b, k.f32Type(), bits[size_t(j)]);
        if (w == 0)
          total.push_back(part);
        else
          total[size_t(j)] = k.addF(total[size_t(j)], part);
      }
    }
    int64_t each = kBlockRows / product.halves;
    Value first = k.mul(k.add(k.mul(group, blocks), block), each);
    Value low = k.add(first, k.div(k.lane(), 4));
    Value limit = k.i32(product.out / product.halves);
    for (int64_t j = 0; j < kAccumulators / product.halves; ++j) {
      Value column = k.add(low, j / 2 * 8);
      Value token = k.add(k.mul(k.rem(k.lane(), 4), 2), j % 2);
      k.when(k.both(k.less(column, limit), k.less(token, count)), [&] {
        sink(token, column, total[size_t(j)],
             product.halves == 2 ? total[size_t(j + 2)] : Value());
      });
    }
  });
}
