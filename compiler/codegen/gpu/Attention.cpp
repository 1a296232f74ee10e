// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the kernels of attention know of the op and of the step.
#include "compiler/codegen/gpu/Attention.h"

using namespace mlir;
using namespace headrace;

Attention::Attention(nn::AttentionOp op, const StepLimits &limits)
    : op(op), cache(op.getCache().getType()), layout(cache, /*gpu=*/true),
      limits(limits), dim(int64_t(cache.getHeadDim())),
      padded((dim + kPositions - 1) / kPositions * kPositions),
      kvHeads(int64_t(cache.getHeads())), heads(int64_t(op.getHeads())),
      shared(heads / kvHeads),
      maxPages((limits.maxContext + kPositions - 1) / kPositions),
      window(op.getWindow() ? int64_t(*op.getWindow()) : 0) {}

Value Attention::sequenceOf(KernelBuilder &k, Value row) const {
  Value sequences = k.buffer(op.getSequences());
  SmallVector<Value> range = k.fold(
      k.i32(0),
      k.i32(int64_t(llvm::Log2_64_Ceil(uint64_t(limits.maxSequences) + 1))),
      k.i32(1), {k.i32(0), k.count(flow::Count::sequences)},
      [&](Value, ValueRange now) -> SmallVector<Value> {
        // now[0] starts at or ahead of the row, now[1] behind it.
        Value middle = k.div(k.add(now[0], now[1]), 2);
        Value start = k.load(k.i32Type(), k.at(sequences, middle, k.i32Type()));
        Value below = k.less(row, start);
        return {k.select(below, now[0], middle),
                k.select(below, middle, now[1])};
      });
  return range[0];
}

Value Attention::firstRow(KernelBuilder &k, Value sequence) const {
  return k.load(k.i32Type(),
                k.at(k.buffer(op.getSequences()), sequence, k.i32Type()));
}

Value Attention::position(KernelBuilder &k, Value row) const {
  return k.load(k.i32Type(),
                k.at(k.buffer(op.getPositions()), row, k.i32Type()));
}

Value Attention::headBlock(KernelBuilder &k, Value sequence, Value page,
                           Value head) const {
  Value at = k.add(k.mul(sequence, maxPages), page);
  Value number =
      k.load(k.i32Type(), k.at(k.pageTable(op.getCache()), at, k.i32Type()));
  Value index =
      arith::MulIOp::create(k.b, k.toI64(number), k.i64(layout.layerElements));
  index = arith::AddIOp::create(k.b, index,
                                k.toI64(k.mul(head, layout.headElements)));
  return k.at(k.buffer(op.getCache()), index, cache.getElement());
}

RowsInMemory Attention::queries(KernelBuilder &k) const {
  return {k.extra(ExtraBuffer::workspace), heads * dim, heads * dim,
          k.f32Type()};
}

Value Attention::sees(KernelBuilder &k, Value position, Value at) const {
  Value yes = k.compare(arith::CmpIPredicate::sle, at, position);
  if (!window)
    return yes;
  return k.both(yes, k.less(position, k.add(at, window)));
}

void Attention::store(KernelBuilder &k, Value row, Value head, Value c,
                      Value total, Value mass, Value top) const {
  RowsInMemory to = k.rowsOfResult(0);
  if (Value sinks = op.getSinks()) {
    Type of = op.getSinks().getType().getElementType();
    Value sink = k.widen(k.loadConstant(of, k.at(k.weight(sinks), head, of)));
    Value peak = k.larger(sink, top), fade = k.exp(k.subF(top, peak));
    total = k.mulF(total, fade);
    mass = k.addF(k.mulF(mass, fade), k.exp(k.subF(sink, peak)));
  }
  Value value = k.divF(total, mass);
  k.store(k.narrow(value, to.element),
          k.at(to, row, k.add(k.mul(head, dim), c)));
}
