// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Emits attention: head norms, rotation, cache write and the attention itself.
//
// One task is one sequence and one KV head: it alone writes and reads that
// head's pages, so nothing has to be ordered between tasks. The query heads
// that share the KV head are rows of one register tile, so that every page is
// read once. Pages are cut at absolute positions and walked in order with a
// running maximum, and a page that a row may not see leaves its state as it is:
// a row's result depends on its own sequence alone. Queries and probabilities
// stay float32: scores are large where attention is sharp, and rounding them to
// the cache's type would cost more accuracy than all other roundings of a
// layer.
#include "compiler/codegen/Emitters.h"
#include "compiler/codegen/HeadReader.h"
#include "compiler/codegen/ProgramBuilder.h"
#include "dialects/nn/IR/Nn.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "runtime/abi/kernel_abi.h"

using namespace mlir;
using namespace headrace;

namespace {

constexpr int64_t kPositions = HEADRACE_KV_PAGE_POSITIONS;
/// Below every score; finite, so that differences of it are numbers.
constexpr double kMasked = -1e30;

class MemoryHeadReader final : public HeadReader {
public:
  MemoryHeadReader(ProgramBuilder &p, const HeadSource &source, int64_t headDim)
      : HeadReader(p, source, headDim), p(p),
        memory(p.memory(source.argument)) {}

private:
  Value input(Value row, Value column) override {
    return p.load(memory, {row, column});
  }
  Value normWeight(Value at) override {
    return p.widen(p.load(p.memory(source.norm.getWeight()), at));
  }
  Value angle(Value row, Value column) override {
    return p.load(p.memory(source.rotate.getAngles()), {row, column});
  }
  void overChannels(int64_t from, int64_t to,
                    function_ref<void(Value)> body) override {
    p.loop(p.index(from), p.index(to), 1, body);
  }
  /// In eight running sums, so that the additions of a row overlap.
  Value sumOfSquares(Value row, Value from, int64_t width) override {
    constexpr int64_t kSums = 8;
    SmallVector<Value> zeros(kSums, p.f32(0));
    int64_t main = width / kSums * kSums;
    auto square = [&](Value c, Value total) {
      Value x = input(row, p.add(from, c));
      return p.fma(x, x, total);
    };
    SmallVector<Value> sums =
        p.fold(p.index(0), p.index(main / kSums), zeros,
               [&](Value i, ValueRange totals) {
                 SmallVector<Value> out;
                 Value base = p.mul(i, kSums);
                 for (int64_t s = 0; s < kSums; ++s)
                   out.push_back(square(p.add(base, s), totals[size_t(s)]));
                 return out;
               });
    for (int64_t c = main; c < width; ++c)
      sums[0] = square(p.index(c), sums[0]);
    for (int64_t n = kSums / 2; n; n /= 2)
      for (int64_t s = 0; s < n; ++s)
        sums[size_t(s)] = p.addF(sums[size_t(s)], sums[size_t(s + n)]);
    return sums[0];
  }

  ProgramBuilder &p;
  Value memory;
};

} // namespace

LogicalResult headrace::emitAttention(flow::KernelOp kernel,
                                      const StepLimits &limits,
                                      const EmitOptions &options) {
  nn::AttentionOp op;
  kernel.getBody().walk([&](nn::AttentionOp found) { op = found; });
  HeadSource query, key, value;
  if (failed(matchHead(op.getQuery(), query)) ||
      failed(matchHead(op.getKey(), key)) ||
      failed(matchHead(op.getValue(), value)))
    return failure();
  if (!isa<BlockArgument>(op.getCache()))
    return op.emitOpError("reads a cache that is no argument of its kernel");
  if (op.getLayer())
    return op.emitOpError(
               "expected layer 0 in a kernel, whose launch says which "
               "layer's pages it gets, but got ")
           << op.getLayer();

  nn::KvCacheType cache = op.getCache().getType();
  KvLayout layout(cache);
  int64_t dim = cache.getHeadDim(), kvHeads = cache.getHeads();
  int64_t shared = int64_t(op.getHeads()) / kvHeads;
  int64_t chunks = (dim + kPositions - 1) / kPositions;
  int64_t maxPages = (limits.maxContext + kPositions - 1) / kPositions;
  Type element = cache.getElement();
  Type rowElement = Float32Type::get(kernel.getContext());

  ProgramBuilder p(kernel, limits);
  Value pool = p.memory(op.getCache()), table = p.pageTable(op.getCache());
  Value positions = p.memory(op.getPositions());
  Value sequences = p.memory(op.getSequences());
  Value result = p.result(0);
  Type resultElement = cast<MemRefType>(result.getType()).getElementType();
  int64_t maxRows = limits.maxTokens * shared;
  // An odd number of pairs from row to row keeps rows off each other's sets.
  int64_t stride = dim + dim % 2 + 32;
  auto strided = [&](int64_t rows, int64_t width, int64_t rowStride,
                     Type type) {
    return MemRefType::get(
        {rows, width}, type,
        StridedLayoutAttr::get(p.b.getContext(), 0, {rowStride, 1}));
  };
  Value queries = p.scratch(strided(maxRows, dim, stride, rowElement));
  Value outputs = p.scratch(strided(maxRows, dim, stride, resultElement));
  int64_t limit = options.attentionRowLimit;
  Value weights = p.scratch(strided(limit, kPositions, kPositions, rowElement));

  Value sequence = p.div(p.task(), kvHeads), head = p.rem(p.task(), kvHeads);
  Value first = p.loadIndex(sequences, sequence);
  Value end = p.loadIndex(sequences, p.add(sequence, 1));
  Value count = p.sub(end, first);
  Value start = p.loadIndex(positions, first);
  Value tableRow = p.mul(sequence, maxPages);
  // The pages of the launch's layer: the pool's operand begins with them.
  Value headStart = p.mul(head, layout.headElements);
  auto headBlock = [&](Value page) {
    Value number = p.loadIndex(table, p.add(tableRow, page));
    return p.add(p.mul(number, layout.layerElements), headStart);
  };

  // Keys and values of the step's rows into their pages, queries into scratch.
  MemoryHeadReader keys(p, key, dim), values(p, value, dim),
      heads(p, query, dim);
  p.loop(count, [&](Value i) {
    Value row = p.add(first, i), position = p.add(start, i);
    Value block = headBlock(p.div(position, kPositions));
    Value slot = p.rem(position, kPositions);
    keys.read(row, head, [&](Value c, Value x) {
      Value at =
          p.add(p.mul(p.add(p.mul(p.div(c, layout.pack), kPositions), slot),
                      layout.pack),
                p.rem(c, layout.pack));
      p.store(p.narrow(x, element), pool, p.add(block, at));
    });
    Value valueBlock = p.add(block, layout.keyElements);
    values.read(row, head, [&](Value c, Value x) {
      Value chunk = p.mul(p.div(c, kPositions), kPositions * kPositions);
      Value pair = p.mul(p.div(slot, layout.pack), kPositions * layout.pack);
      Value lane = p.add(p.mul(p.rem(c, kPositions), layout.pack),
                         p.rem(slot, layout.pack));
      p.store(p.narrow(x, element), pool,
              p.add(valueBlock, p.add(chunk, p.add(pair, lane))));
    });
    p.loop(p.index(shared), [&](Value h) {
      Value to = p.add(p.mul(i, shared), h);
      Value from = p.add(p.mul(head, shared), h);
      heads.read(row, from,
                 [&](Value c, Value x) { p.store(x, queries, {to, c}); });
      if (dim % 2 && layout.pack == 2) { // The half pair behind an odd width.
        auto wide = flow::ViewOp::create(
            p.b, strided(maxRows, stride, stride, rowElement), queries, Value(),
            0);
        p.store(p.f32(0), wide, {to, p.index(dim)});
      }
    });
  });

  // A row's head decides its sink; its rows are the tile's.
  Value sinks;
  if (op.getSinks()) {
    Value of = p.memory(op.getSinks());
    sinks = p.scratch(MemRefType::get({maxRows}, rowElement));
    p.loop(p.mul(count, shared), [&](Value row) {
      Value h = p.add(p.mul(head, shared), p.rem(row, shared));
      Value sink = p.load(of, h);
      if (sink.getType() != rowElement)
        sink = arith::ExtFOp::create(p.b, rowElement, sink);
      p.store(sink, sinks, row);
    });
  }

  Value total = p.mul(count, shared);
  auto tileType = flow::TileType::get(p.b.getContext(), dim, rowElement);
  Value queryTile = flow::LoadOp::create(
      p.b, tileType, queries, p.index(0), total, Value(), Value(), Value(),
      Value(), flow::RowNormAttr(), p.b.getF64FloatAttr(0),
      /*in_place=*/p.b.getUnitAttr());
  auto keyType = MemRefType::get(
      {1, (dim + layout.pack - 1) / layout.pack, kPositions, layout.pack},
      element);
  auto valueType = MemRefType::get(
      {chunks, kPositions / layout.pack, kPositions, layout.pack}, element);
  auto wide = p.acc(kPositions), one = p.acc(1);
  double scale = op.getScale().convertToDouble();
  int64_t window = op.getWindow() ? int64_t(*op.getWindow()) : 0;

  p.rows(total, limit, [&](Value row) {
    // Position of each row, and the pages that the tile's rows may see.
    Value rowNumbers =
        flow::IotaOp::create(p.b, p.accI32(1), flow::IotaKind::rows, row);
    Value base = p.toI32(start);
    Value at = p.map(rowNumbers, p.accI32(1),
                     [&](OpBuilder &b, Location loc, ValueRange v) -> Value {
                       Value by = arith::ConstantIntOp::create(
                           b, loc, b.getI32Type(), shared);
                       Value i = arith::DivUIOp::create(b, loc, v[0], by);
                       return arith::AddIOp::create(b, loc, i, base);
                     });
    Value lastRow = p.min(p.add(row, limit), total);
    Value last = p.add(start, p.div(p.sub(lastRow, p.index(1)), shared));
    Value pageEnd = p.add(p.div(last, kPositions), 1);
    Value pageStart = p.index(0);
    if (window) {
      Value lowest = p.add(start, p.div(row, shared));
      Value over = p.add(lowest, 1);
      Value cut = arith::MaxUIOp::create(p.b, over, p.index(window));
      pageStart = p.div(p.sub(cut, p.index(window)), kPositions);
    }
    auto visible = [&](OpBuilder &b, Location loc, Value column,
                       Value position) -> Value {
      Value yes = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sle,
                                        column, position);
      if (!window)
        return yes;
      Value far = arith::AddIOp::create(
          b, loc, column,
          arith::ConstantIntOp::create(b, loc, b.getI32Type(), window));
      return arith::AndIOp::create(
          b, loc, yes,
          arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sgt, far,
                                position));
    };
    auto number = [](OpBuilder &b, Location loc, double x) -> Value {
      return arith::ConstantOp::create(b, loc,
                                       FloatAttr::get(b.getF32Type(), x));
    };

    // The largest score so far and the sum of all; a sink is the first of them.
    SmallVector<Value> init;
    if (sinks)
      init.push_back(
          flow::ReadOp::create(p.b, one, sinks, row, Value(), Value()));
    else
      init.push_back(flow::ConstantOp::create(
          p.b, one, p.b.getF32FloatAttr(float(kMasked))));
    init.push_back(
        flow::ConstantOp::create(p.b, one, p.b.getF32FloatAttr(sinks ? 1 : 0)));
    for (int64_t c = 0; c < chunks; ++c)
      init.push_back(
          flow::ConstantOp::create(p.b, wide, p.b.getF32FloatAttr(0)));

    ValueRange state = p.fold(
        pageStart, pageEnd, init,
        [&](Value page, ValueRange carried) -> SmallVector<Value> {
          auto pageAt = [&](Value block) -> std::pair<Value, Value> {
            return {flow::ViewOp::create(p.b, keyType, pool, block, 0),
                    flow::ViewOp::create(p.b, valueType, pool,
                                         p.add(block, layout.keyElements), 0)};
          };
          auto [keyPage, valuePage] = pageAt(headBlock(page));
          // Pages lie anywhere in the pool: only the table says what comes
          // next.
          Value following = p.min(p.add(page, 1), p.sub(pageEnd, p.index(1)));
          auto [nextKeys, nextValues] = pageAt(headBlock(following));
          Value scores = flow::MmaOp::create(
              p.b, wide, queryTile, row, keyPage, p.index(0), Value(), nextKeys,
              p.index(0), UnitAttr(), TypeAttr());
          Value columns = flow::IotaOp::create(p.b, p.accI32(kPositions),
                                               flow::IotaKind::columns,
                                               p.mul(page, kPositions));
          Value masked = p.map(
              {scores, columns, at}, wide,
              [&](OpBuilder &b, Location loc, ValueRange v) -> Value {
                Value s =
                    arith::MulFOp::create(b, loc, v[0], number(b, loc, scale));
                return arith::SelectOp::create(b, loc,
                                               visible(b, loc, v[1], v[2]), s,
                                               number(b, loc, kMasked));
              });
          Value peak =
              flow::ReduceOp::create(p.b, one, flow::ReduceKind::max, masked);
          Value top =
              p.map({carried[0], peak}, one,
                    [](OpBuilder &b, Location loc, ValueRange v) -> Value {
                      Value more = arith::CmpFOp::create(
                          b, loc, arith::CmpFPredicate::OGT, v[0], v[1]);
                      return arith::SelectOp::create(b, loc, more, v[0], v[1]);
                    });
          Value probability = p.map(
              {masked, columns, at, top}, wide,
              [&](OpBuilder &b, Location loc, ValueRange v) -> Value {
                Value e = math::ExpOp::create(
                    b, loc, arith::SubFOp::create(b, loc, v[0], v[3]));
                return arith::SelectOp::create(
                    b, loc, visible(b, loc, v[1], v[2]), e, number(b, loc, 0));
              });
          Value fade =
              p.map({carried[0], top}, one,
                    [](OpBuilder &b, Location loc, ValueRange v) -> Value {
                      return math::ExpOp::create(
                          b, loc, arith::SubFOp::create(b, loc, v[0], v[1]));
                    });
          Value sum = flow::ReduceOp::create(p.b, one, flow::ReduceKind::sum,
                                             probability);
          Value mass =
              p.map({carried[1], fade, sum}, one,
                    [](OpBuilder &b, Location loc, ValueRange v) -> Value {
                      Value kept = arith::MulFOp::create(b, loc, v[0], v[1]);
                      return arith::AddFOp::create(b, loc, kept, v[2]);
                    });
          flow::StoreOp::create(p.b, probability, weights, p.index(0),
                                p.index(0), Value(), /*accumulate=*/false);
          Value weightTile = flow::LoadOp::create(
              p.b,
              flow::TileType::get(p.b.getContext(), kPositions, rowElement),
              weights, p.index(0), p.index(limit), Value(), Value(), Value(),
              Value(), flow::RowNormAttr(), p.b.getF64FloatAttr(0),
              /*in_place=*/p.b.getUnitAttr());
          SmallVector<Value> next{top, mass};
          for (int64_t c = 0; c < chunks; ++c) {
            Value faded =
                p.map({carried[size_t(2 + c)], fade}, wide,
                      [](OpBuilder &b, Location loc, ValueRange v) -> Value {
                        return arith::MulFOp::create(b, loc, v[0], v[1]);
                      });
            next.push_back(flow::MmaOp::create(
                p.b, wide, weightTile, p.index(0), valuePage, p.index(c), faded,
                nextValues, p.index(c), UnitAttr(), TypeAttr()));
          }
          return next;
        });
    for (int64_t c = 0; c < chunks; ++c) {
      Value out = p.map({state[size_t(2 + c)], state[1]}, wide,
                        [](OpBuilder &b, Location loc, ValueRange v) -> Value {
                          return arith::DivFOp::create(b, loc, v[0], v[1]);
                        });
      flow::StoreOp::create(p.b, out, outputs, row, p.index(c * kPositions),
                            Value(), /*accumulate=*/false);
    }
  });

  p.loop(count, [&](Value i) {
    p.loop(p.index(shared), [&](Value h) {
      Value from = p.add(p.mul(i, shared), h);
      Value column = p.mul(p.add(p.mul(head, shared), h), dim);
      p.loop(p.index(dim), [&](Value c) {
        p.store(p.load(outputs, {from, c}), result,
                {p.add(first, i), p.add(column, c)});
      });
    });
  });
  return p.finish();
}
