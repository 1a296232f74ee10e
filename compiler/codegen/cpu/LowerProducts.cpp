// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Products with panels of weights as they are.
#include "compiler/codegen/cpu/ProgramLowering.h"

using namespace mlir;
using namespace headrace;

void ProgramLowering::addDotProducts(ArrayRef<Value> pairs, Value x,
                                     int64_t stride,
                                     MutableArrayRef<Value> sums) {
  for (int64_t r = 0; r < rows; ++r) {
    Value both = load(b.getI32Type(), offset(x, r * stride), 4);
    Value xs = LLVM::BitcastOp::create(b, loc, pairs[0].getType(), splat(both));
    for (auto [v, weights] : llvm::enumerate(pairs)) {
      Value &sum = sums[size_t(r) * pairs.size() + v];
      sum = LLVM::CallIntrinsicOp::create(
                b, loc, sum.getType(),
                b.getStringAttr("llvm.x86.avx512bf16.dpbf16ps.512"),
                ValueRange{sum, weights, xs})
                .getResult(0);
    }
  }
}

LogicalResult ProgramLowering::lowerMma(flow::MmaOp op) {
  auto panel = cast<MemRefType>(op.getPanel().getType());
  Tile tile = staged.lookup(op.getRows());
  if (!tile.base)
    return op.emitOpError("reads a tile that no flow.load made");
  if (op.getWeight())
    return lowerEncodedMma(op);
  int64_t depth = panel.getDimSize(1), columns = panel.getDimSize(2),
          pack = panel.getDimSize(3);
  Type weight = panel.getElementType();
  int64_t stepBytes = columns * pack * bytesOf(weight);
  int64_t width = vectorsOf(op.getResult().getType());
  Type f32 = b.getF32Type();
  Value panelBase = address(op.getPanel(), map.lookup(op.getIndex()));
  Value rowBase = offset(
      tile.base, toI64(arith::MulIOp::create(b, loc, map.lookup(op.getFirst()),
                                             index(tile.stride))));
  SmallVector<Value> init;
  if (Value from = op.getInit())
    init = tiles[from];
  else
    init.assign(size_t(rows * width), zeros(vec(f32)));
  bool dot = target.bf16Dot && weight.isBF16() && tile.element.isBF16();
  // Where the prefetches of step 0 begin, and the level they fill.
  SmallVector<std::pair<Value, int32_t>> prefetches;
  if (Value ahead = op.getAhead()) // The first level is busy with this panel.
    prefetches.push_back({address(ahead, map.lookup(op.getAheadIndex())), 2});
  else if (op.getPrefetch() && rows >= target.prefetchRows)
    for (CpuTarget::Prefetch prefetch : target.prefetches)
      prefetches.push_back({offset(panelBase, prefetch.bytes), prefetch.hint});
  int64_t xStep = pack * bytesOf(tile.element);

  // One group of `pack` input channels: width vectors of weights against one
  // broadcast a row.
  auto step = [&](Value k, ValueRange acc) {
    Value w = offset(panelBase,
                     toI64(arith::MulIOp::create(b, loc, k, index(stepBytes))));
    Value x =
        offset(rowBase, toI64(arith::MulIOp::create(b, loc, k, index(xStep))));
    for (auto [base, hint] : prefetches) {
      Value at = offset(
          base, toI64(arith::MulIOp::create(b, loc, k, index(stepBytes))));
      for (int64_t line = 0; line < stepBytes; line += 64)
        LLVM::Prefetch::create(b, loc, offset(at, line), /*rw=*/0, hint,
                               /*cache=*/1);
    }
    SmallVector<Value> out(acc);
    int64_t vectorBytes = lanes * pack * bytesOf(weight);
    if (dot) {
      SmallVector<Value> ws;
      Type pairs = vec(weight, 2 * lanes);
      for (int64_t v = 0; v < width; ++v)
        ws.push_back(load(pairs, offset(w, v * vectorBytes), 64));
      addDotProducts(ws, x, tile.stride, out);
      return out;
    }
    // Without a dot instruction each channel of the group is a multiply-add.
    for (int64_t p = 0; p < pack; ++p) {
      SmallVector<Value> ws;
      for (int64_t v = 0; v < width; ++v) {
        Value at = offset(w, v * vectorBytes);
        if (pack == 1) {
          ws.push_back(loadVector(weight, at, {}, unsigned(vectorBytes)));
          continue;
        }
        // A pair of bf16 is one 32-bit lane: low half first.
        Value word = load(vec(b.getI32Type()), at, 32);
        Value bits =
            p == 0 ? arith::ShLIOp::create(b, loc, word,
                                           splat(arith::ConstantIntOp::create(
                                               b, loc, b.getI32Type(), 16)))
                         .getResult()
                   : arith::AndIOp::create(
                         b, loc, word,
                         splat(arith::ConstantIntOp::create(
                             b, loc, b.getI32Type(), int32_t(0xffff0000u))))
                         .getResult();
        ws.push_back(arith::BitcastOp::create(b, loc, vec(f32), bits));
      }
      for (int64_t r = 0; r < rows; ++r) {
        Value at = offset(x, r * tile.stride + p * bytesOf(tile.element));
        Value scalar = load(tile.element, at, unsigned(bytesOf(tile.element)));
        Value xs = splat(widen(scalar));
        for (int64_t v = 0; v < width; ++v) {
          Value &a = out[size_t(r * width + v)];
          a = math::FmaOp::create(b, loc, ws[size_t(v)], xs, a);
        }
      }
    }
    return out;
  };
  auto op2 = loop(index(0), index(depth), 1, init,
                  [&](Value k, ValueRange acc) { return step(k, acc); });
  tiles[op.getResult()] = SmallVector<Value>(op2.getResults());
  return success();
}
