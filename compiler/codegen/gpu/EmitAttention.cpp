// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Emits attention as two GPU kernels.
//
// The first finishes queries, keys and values row by row (slices, norms,
// rotations) and puts keys and values into their pages. The second has the keys
// of a page as the operand with 16 rows and queries on the side of 8, as
// products have weights and tokens: a query column is one row of the step and
// one head of those that share a KV head. Queries and probabilities go in as
// two 16-bit parts each, because scores are large where attention is sharp.
//
// Pages are cut at absolute positions and dealt to warps by their number, so a
// row's result does not depend on what runs beside it. For few rows, blocks
// share the pages of a sequence in runs of kRunPages, and the last one to
// arrive adds the parts up in the order of the runs. Caches of float32, which
// matrix instructions would round, are read by EmitPlainAttention.cpp.
#include "compiler/codegen/HeadReader.h"
#include "compiler/codegen/gpu/Attention.h"
#include "compiler/codegen/gpu/GpuEmitters.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace headrace;

namespace {

constexpr int64_t kWarps = Attention::kWarps, kThreads = Attention::kThreads;
/// Pages of one run, for few rows: one a warp.
constexpr int64_t kRunPages = kWarps;
/// Query columns of a tile, for many rows; twice as many spill registers with
/// heads of 128 channels.
constexpr int64_t kManyColumns = 8;

/// A warp takes one head of one row.
class WarpHeadReader final : public HeadReader {
public:
  WarpHeadReader(KernelBuilder &k, const HeadSource &source, int64_t dim)
      : HeadReader(k, source, dim), k(k), rows(k.rowsOf(source.argument)) {}

private:
  Value input(Value row, Value column) override {
    return k.widen(k.load(rows.element, k.at(rows, row, column)));
  }
  Value normWeight(Value at) override {
    Value weight = source.norm.getWeight();
    Type of = cast<RankedTensorType>(weight.getType()).getElementType();
    return k.widen(k.loadConstant(of, k.at(k.weight(weight), at, of)));
  }
  Value angle(Value row, Value column) override {
    RowsInMemory angles = k.rowsOf(source.rotate.getAngles());
    return k.load(angles.element, k.at(angles, row, column));
  }
  void overChannels(int64_t from, int64_t to,
                    function_ref<void(Value)> body) override {
    k.loop(k.add(k.lane(), from), k.i32(to), k.i32(kWarp), body);
  }
  Value sumOfSquares(Value row, Value from, int64_t width) override {
    return k.warpSum(k.fold(k.lane(), k.i32(width), k.i32(kWarp), k.f32(0),
                            [&](Value c, ValueRange now) {
                              Value x = input(row, k.add(from, c));
                              return SmallVector<Value>{k.fma(x, x, now[0])};
                            })[0]);
  }

  KernelBuilder &k;
  RowsInMemory rows;
};

void emitPrepare(flow::KernelOp kernel, const Attention &a, HeadSource &query,
                 HeadSource &key, HeadSource &value, const GpuOptions &options,
                 StepSize size, Expansion &out) {
  const DeviceKernel &made =
      out.add(kernel, size, "rows", {ExtraBuffer::workspace});
  KernelBuilder k(kernel, made.name, options.limits, made.extras);
  Type element = a.cache.getElement();
  Value row = k.block();
  k.when(k.less(row, k.count(flow::Count::tokens)), [&] {
    Value sequence = a.sequenceOf(k, row), position = a.position(k, row);
    Value page = k.div(position, kPositions),
          slot = k.rem(position, kPositions);
    WarpHeadReader queries(k, query, a.dim), keys(k, key, a.dim),
        values(k, value, a.dim);
    RowsInMemory to = a.queries(k);
    k.loop(k.warp(), k.i32(a.heads), k.i32(kWarps), [&](Value head) {
      queries.read(row, head, [&](Value c, Value x) {
        k.store(x, k.at(to, row, k.add(k.mul(head, a.dim), c)));
      });
    });
    k.loop(k.warp(), k.i32(a.kvHeads), k.i32(kWarps), [&](Value head) {
      Value block = a.headBlock(k, sequence, page, head);
      Value valueBlock = k.at(block, a.layout.keyElements *
                                         (element.getIntOrFloatBitWidth() / 8));
      keys.read(row, head, [&](Value c, Value x) {
        k.store(k.narrow(x, element),
                k.at(block, k.add(k.mul(slot, a.padded), c), element));
      });
      values.read(row, head, [&](Value c, Value x) {
        k.store(k.narrow(x, element),
                k.at(valueBlock, k.add(k.mul(c, kPositions), slot), element));
      });
    });
  });
  k.finish(kThreads, flow::GridAttr::get(kernel.getContext(),
                                         flow::GridKind::per_token, 1, 1, 1));
  out.workspaceBytes = std::max(out.workspaceBytes, a.queryBytes());
}

/// The attention itself, for one tile of query columns of one KV head.
class TileEmitter {
public:
  TileEmitter(KernelBuilder &k, const Attention &a, StepSize size)
      : k(k), a(a),
        rowsPerTile(size == StepSize::few
                        ? 1
                        : std::max<int64_t>(1, kManyColumns / a.shared)),
        columns((rowsPerTile * a.shared + 7) / 8 * 8), tiles(columns / 8),
        runs(size == StepSize::few ? (a.maxPages + kRunPages - 1) / kRunPages
                                   : 1),
        queryPitch(a.padded + 32), weightPitch(kPositions + 32),
        outPitch(a.padded + 4) {}

  void emit() {
    Value run = k.rem(k.block(), runs), rest = k.div(k.block(), runs);
    Value head = k.rem(rest, a.kvHeads), tile = k.div(rest, a.kvHeads);
    Value first = k.mul(tile, rowsPerTile);
    Value tokens = k.count(flow::Count::tokens);
    // Shared memory: queries in two parts, then each warp's probabilities in
    // two parts; at the end each warp's sums.
    queryMemory = k.shared(2 * columns * queryPitch * 2);
    weightMemory = k.shared(kWarps * 2 * columns * weightPitch * 2);
    stateMemory = k.shared(kWarps * columns * 2 * 4);
    outMemory = k.shared(kWarps * columns * outPitch * 4);
    k.when(k.less(first, tokens), [&] {
      Value end = k.min(k.add(first, rowsPerTile), tokens);
      stageQueries(first, end, head);
      Value from = a.sequenceOf(k, first);
      Value to =
          rowsPerTile == 1 ? from : a.sequenceOf(k, k.sub(end, k.i32(1)));
      k.loop(from, k.add(to, 1), k.i32(1), [&](Value sequence) {
        Value low = k.max(a.firstRow(k, sequence), first);
        Value high = k.min(a.firstRow(k, k.add(sequence, 1)), end);
        segment(sequence, head, run, first, low, high, rest);
      });
    });
  }

  int64_t alignedQueryBytes() const {
    return (a.queryBytes() + 255) / 256 * 256;
  }
  /// Floats that the runs of one row leave behind.
  int64_t partialFloats() const {
    return runs * a.kvHeads * columns * (a.dim + 2);
  }

  KernelBuilder &k;
  const Attention &a;
  const int64_t rowsPerTile; ///< Rows of the step in one tile.
  const int64_t columns;     ///< Query columns, a multiple of 8.
  const int64_t tiles;       ///< Blocks of 8 columns.
  const int64_t runs;        ///< Blocks that share a sequence's pages.

private:
  /// Step's row of column `column`, and its head among those that share one.
  Value rowOfColumn(Value column) { return k.div(column, a.shared); }

  Value partAt(Value base, int64_t part, Value column, int64_t pitch,
               Value at) {
    Value row = k.add(column, part * columns);
    return k.at(base, k.add(k.mul(row, pitch), at), k.b.getI16Type());
  }
  /// A float32 as two bf16 whose sum is nearly it.
  std::pair<Value, Value> parts(Value x) {
    Type bf16 = k.b.getBF16Type();
    Value high = k.narrow(x, bf16);
    return {high, k.narrow(k.subF(x, k.widen(high)), bf16)};
  }

  void stageQueries(Value first, Value end, Value head) {
    RowsInMemory from = a.queries(k);
    double scale = a.op.getScale().convertToDouble();
    k.loop(k.thread(), k.i32(columns * a.padded), k.i32(kThreads),
           [&](Value number) {
             Value column = k.div(number, a.padded),
                   c = k.rem(number, a.padded);
             Value row = k.add(first, rowOfColumn(column));
             Value inside =
                 k.both(k.both(k.less(row, end), k.less(c, k.i32(a.dim))),
                        k.less(column, k.i32(rowsPerTile * a.shared)));
             Value which =
                 k.add(k.mul(head, a.shared), k.rem(column, a.shared));
             Value x = k.choose(
                 inside, k.f32Type(),
                 [&] {
                   Value at = k.add(k.mul(which, a.dim), c);
                   return SmallVector<Value>{k.mulF(
                       k.load(k.f32Type(), k.at(from, row, at)), k.f32(scale))};
                 },
                 [&] { return SmallVector<Value>{k.f32(0)}; })[0];
             auto [high, low] = parts(x);
             k.store(high, partAt(queryMemory, 0, column, queryPitch, c));
             k.store(low, partAt(queryMemory, 1, column, queryPitch, c));
           });
    k.barrier();
  }

  /// Rows [low, high) of one sequence, which may be a part of the tile.
  void segment(Value sequence, Value head, Value run, Value first, Value low,
               Value high, Value rest) {
    Value lastPosition = a.position(k, k.sub(high, k.i32(1)));
    Value pageEnd = k.add(k.div(lastPosition, kPositions), 1);
    Value pageStart = k.i32(0);
    if (a.window) {
      Value over = k.sub(k.add(a.position(k, low), 1), k.i32(a.window));
      pageStart = k.div(k.max(over, k.i32(0)), kPositions);
    }
    Value mine = k.boolean(true), firstRun, endRun;
    if (runs > 1) {
      firstRun = k.div(pageStart, kRunPages);
      endRun = k.div(k.add(pageEnd, kRunPages - 1), kRunPages);
      mine = k.both(k.less(run, endRun),
                    k.compare(arith::CmpIPredicate::sge, run, firstRun));
      pageStart = k.max(pageStart, k.mul(run, kRunPages));
      pageEnd = k.min(pageEnd, k.mul(k.add(run, 1), kRunPages));
    }
    k.when(mine, [&] {
      pages(sequence, head, first, low, high, pageStart, pageEnd);
      k.barrier();
      if (runs == 1) {
        merge(first, low, high,
              [&](Value column, Value c, Value total, Value mass, Value top) {
                store(first, head, column, c, total, mass, top);
              });
        k.barrier(); // The next segment writes the same memory.
        return;
      }
      // This run's part, then all of them by the block that arrives last.
      Value parts = k.at(
          k.at(k.extra(ExtraBuffer::workspace), alignedQueryBytes()),
          arith::MulIOp::create(k.b, k.toI64(first), k.i64(partialFloats())),
          k.f32Type());
      auto cell = [&](Value run, Value column, Value at) {
        Value number = k.add(k.mul(head, runs), run);
        number = k.add(k.mul(number, columns), column);
        return k.at(parts, k.add(k.mul(number, a.dim + 2), at), k.f32Type());
      };
      merge(first, low, high,
            [&](Value column, Value c, Value total, Value mass, Value top) {
              k.store(total, cell(run, column, c));
              k.when(k.equal(c, k.i32(0)), [&] {
                k.store(mass, cell(run, column, k.i32(a.dim)));
                k.store(top, cell(run, column, k.i32(a.dim + 1)));
              });
            });
      Value counter = k.at(k.extra(ExtraBuffer::tickets), rest, k.i32Type());
      k.when(k.lastToArrive(counter, k.sub(endRun, firstRun)), [&] {
        eachCell([&](Value column, Value c) {
          auto load = [&](Value run, Value at) {
            return k.load(k.f32Type(), cell(run, column, at));
          };
          Value top = k.fold(firstRun, endRun, k.i32(1), k.f32(kMasked),
                             [&](Value r, ValueRange now) {
                               return SmallVector<Value>{
                                   k.larger(load(r, k.i32(a.dim + 1)), now[0])};
                             })[0];
          SmallVector<Value> sums = k.fold(
              firstRun, endRun, k.i32(1), {k.f32(0), k.f32(0)},
              [&](Value r, ValueRange now) -> SmallVector<Value> {
                Value fade = k.exp(k.subF(load(r, k.i32(a.dim + 1)), top));
                return {k.addF(now[0], k.mulF(load(r, c), fade)),
                        k.addF(now[1], k.mulF(load(r, k.i32(a.dim)), fade))};
              });
          store(first, head, column, c, sums[0], sums[1], top);
        });
      });
    });
  }

  /// Stores the result of a cell; see Attention::store.
  void store(Value first, Value head, Value column, Value c, Value total,
             Value mass, Value top) {
    Value which = k.add(k.mul(head, a.shared), k.rem(column, a.shared));
    a.store(k, k.add(first, rowOfColumn(column)), which, c, total, mass, top);
  }

  /// body(column, channel) over the tile's columns, a thread a cell.
  void eachCell(function_ref<void(Value, Value)> body) {
    k.loop(k.thread(), k.i32(rowsPerTile * a.shared * a.dim), k.i32(kThreads),
           [&](Value number) {
             body(k.div(number, a.dim), k.rem(number, a.dim));
           });
  }

  Value stateAt(Value warp, Value column, int64_t which) {
    Value row = k.add(k.mul(warp, columns), column);
    return k.at(stateMemory, k.add(k.mul(row, 2), which), k.f32Type());
  }
  Value outAt(Value warp, Value column, Value c) {
    Value row = k.add(k.mul(warp, columns), column);
    return k.at(outMemory, k.add(k.mul(row, outPitch), c), k.f32Type());
  }

  /// Adds the warps' sums up, in the order of the warps:
  /// sink(column, channel, weighted sum, mass, largest score).
  void merge(Value first, Value low, Value high,
             function_ref<void(Value, Value, Value, Value, Value)> sink) {
    eachCell([&](Value column, Value c) {
      Value row = k.add(first, rowOfColumn(column));
      Value inside = k.both(k.less(row, high),
                            k.compare(arith::CmpIPredicate::sge, row, low));
      k.when(inside, [&] {
        Value top = k.f32(kMasked);
        SmallVector<Value> tops;
        for (int64_t w = 0; w < kWarps; ++w) {
          tops.push_back(k.load(k.f32Type(), stateAt(k.i32(w), column, 0)));
          top = k.larger(tops.back(), top);
        }
        Value total = k.f32(0), mass = k.f32(0);
        for (int64_t w = 0; w < kWarps; ++w) {
          Value fade = k.exp(k.subF(tops[size_t(w)], top));
          Value part = k.load(k.f32Type(), outAt(k.i32(w), column, c));
          Value weight = k.load(k.f32Type(), stateAt(k.i32(w), column, 1));
          total = k.addF(total, k.mulF(part, fade));
          mass = k.addF(mass, k.mulF(weight, fade));
        }
        sink(column, c, total, mass, top);
      });
    });
  }

  /// Largest value or sum over the 8 lanes that hold a column's positions.
  Value overColumn(Value x, bool sum) {
    for (int64_t mask : {4, 8, 16}) {
      Value other = k.shuffle(x, mask);
      x = sum ? k.addF(x, other) : k.larger(x, other);
    }
    return x;
  }

  /// Both instructions' operand of 16 rows from row-major memory: 8 words.
  SmallVector<Value> rowOperand(Value base, int64_t pitch, int64_t firstRow,
                                int64_t channel) {
    Value row = k.add(k.div(k.lane(), 4), firstRow);
    Value at =
        k.add(k.mul(row, pitch), k.add(k.mul(k.rem(k.lane(), 4), 8), channel));
    Value address = k.at(base, at, k.b.getI16Type());
    SmallVector<Value> low = k.load16(address, false);
    SmallVector<Value> high = k.load16(k.at(address, 8 * pitch * 2), false);
    return {low[0], high[0], low[1], high[1], low[2], high[2], low[3], high[3]};
  }
  /// sums += rows * (high + low part of the columns' operand at `address`).
  SmallVector<Value> multiply(ValueRange rows, Value base, int64_t block,
                              int64_t pitch, int64_t channel, ValueRange sums) {
    SmallVector<Value> out(sums);
    Value column = k.add(k.div(k.lane(), 4), block * 8);
    Value at = k.add(k.mul(k.rem(k.lane(), 4), 8), channel);
    for (int64_t part = 0; part < 2; ++part) {
      SmallVector<Value> right =
          k.load16(partAt(base, part, column, pitch, at), false);
      for (int64_t j = 0; j < 2; ++j)
        out = k.mma(rows.slice(size_t(j * 4), 4),
                    ValueRange(right).slice(size_t(j * 2), 2), out,
                    k.b.getBF16Type());
    }
    return out;
  }

  /// A warp's pages of [pageStart, pageEnd): those whose number is its own
  /// modulo kWarps.
  void pages(Value sequence, Value head, Value first, Value low, Value high,
             Value pageStart, Value pageEnd) {
    int64_t channels = a.padded / 16; // Blocks of 16.
    Value lane = k.lane(), warp = k.warp();
    Value group = k.div(lane, 4), quad = k.rem(lane, 4);
    Value masked = k.f32(kMasked), zero = k.f32(0);
    Value weights = k.at(weightMemory, k.mul(warp, 2 * columns * weightPitch),
                         k.b.getI16Type());
    // Position of each column this lane has scores of; -1: not in the segment.
    SmallVector<Value> positions;
    for (int64_t t = 0; t < tiles; ++t)
      for (int64_t j = 0; j < 2; ++j) {
        Value column = k.add(k.mul(quad, 2), t * 8 + j);
        Value row = k.add(first, rowOfColumn(column));
        Value inside =
            k.both(k.both(k.less(row, high),
                          k.compare(arith::CmpIPredicate::sge, row, low)),
                   k.less(column, k.i32(rowsPerTile * a.shared)));
        Value safe = k.select(inside, row, low);
        positions.push_back(k.select(inside, a.position(k, safe), k.i32(-1)));
      }

    // Carried: for each column of the lane its largest score and its mass, then
    // the sums: channels by columns.
    int64_t states = 2 * tiles;
    SmallVector<Value> init(size_t(states), masked);
    init.append(size_t(states), zero);
    init.append(size_t(channels * tiles * 4), zero);
    // The first of this warp's pages at or behind pageStart.
    Value skip =
        k.rem(k.add(k.sub(warp, k.rem(pageStart, kWarps)), kWarps), kWarps);
    SmallVector<Value> state = k.fold(
        k.add(pageStart, skip), pageEnd, k.i32(kWarps), init,
        [&](Value page, ValueRange now) -> SmallVector<Value> {
          Value keys = a.headBlock(k, sequence, page, head);
          Value values = k.at(keys, a.layout.keyElements * 2);
          // Scores: 32 positions by the tile's columns.
          SmallVector<Value> scores(size_t(2 * tiles * 4), zero);
          for (int64_t c = 0; c < a.padded; c += kPositions)
            for (int64_t half = 0; half < 2; ++half) {
              SmallVector<Value> rows =
                  rowOperand(keys, a.padded, half * 16, c);
              for (int64_t t = 0; t < tiles; ++t) {
                size_t at = size_t((half * tiles + t) * 4);
                SmallVector<Value> sum =
                    multiply(rows, queryMemory, t, queryPitch, c,
                             ValueRange(scores).slice(at, 4));
                llvm::copy(sum, scores.begin() + int64_t(at));
              }
            }
          SmallVector<Value> tops, masses, fades;
          k.warpBarrier(); // The last page's probabilities have been read.
          for (int64_t t = 0; t < tiles; ++t)
            for (int64_t j = 0; j < 2; ++j) {
              size_t column = size_t(t * 2 + j);
              SmallVector<Value> mine, seen;
              Value top = masked;
              for (int64_t half = 0; half < 2; ++half)
                for (int64_t up = 0; up < 2; ++up) {
                  Value at = k.add(k.mul(page, kPositions),
                                   k.add(group, half * 16 + up * 8));
                  Value yes = a.sees(k, positions[column], at);
                  Value s = scores[size_t((half * tiles + t) * 4 + up * 2 + j)];
                  mine.push_back(k.select(yes, s, masked));
                  seen.push_back(yes);
                  top = k.larger(mine.back(), top);
                }
              top = k.larger(overColumn(top, false), now[column]);
              Value sum = zero;
              Value number = k.add(k.mul(quad, 2), t * 8 + j);
              for (int64_t i = 0; i < 4; ++i) {
                Value p = k.select(seen[size_t(i)],
                                   k.exp(k.subF(mine[size_t(i)], top)), zero);
                sum = k.addF(sum, p);
                auto [upper, lower] = parts(p);
                Value at = k.add(group, i * 8);
                k.store(upper, partAt(weights, 0, number, weightPitch, at));
                k.store(lower, partAt(weights, 1, number, weightPitch, at));
              }
              Value fade = k.exp(k.subF(now[column], top));
              tops.push_back(top);
              fades.push_back(fade);
              masses.push_back(
                  k.addF(k.mulF(now[size_t(states) + column], fade),
                         overColumn(sum, true)));
            }
          k.warpBarrier();
          SmallVector<Value> next(tops);
          next.append(masses);
          for (int64_t c = 0; c < channels; ++c) {
            SmallVector<Value> rows = rowOperand(values, kPositions, c * 16, 0);
            for (int64_t t = 0; t < tiles; ++t) {
              SmallVector<Value> sum;
              for (int64_t i = 0; i < 4; ++i)
                sum.push_back(
                    k.mulF(now[size_t(2 * states + (c * tiles + t) * 4 + i)],
                           fades[size_t(t * 2 + i % 2)]));
              next.append(multiply(rows, weights, t, weightPitch, 0, sum));
            }
          }
          return next;
        });
    for (int64_t t = 0; t < tiles; ++t)
      for (int64_t j = 0; j < 2; ++j) {
        Value column = k.add(k.mul(quad, 2), t * 8 + j);
        size_t at = size_t(t * 2 + j);
        k.when(k.equal(group, k.i32(0)), [&] {
          k.store(state[at], stateAt(warp, column, 0));
          k.store(state[size_t(states) + at], stateAt(warp, column, 1));
        });
        for (int64_t c = 0; c < channels; ++c)
          for (int64_t up = 0; up < 2; ++up)
            k.store(
                state[size_t(2 * states + (c * tiles + t) * 4 + up * 2 + j)],
                outAt(warp, column, k.add(group, c * 16 + up * 8)));
      }
  }

  int64_t queryPitch, weightPitch; ///< 16-bit elements from column to column.
  int64_t outPitch;                ///< Floats.
  Value queryMemory, weightMemory, stateMemory, outMemory;
};

} // namespace

LogicalResult headrace::emitGpuAttention(flow::KernelOp kernel,
                                         const GpuOptions &options,
                                         StepSize size, Expansion &out) {
  nn::AttentionOp op;
  kernel.getBody().walk([&](nn::AttentionOp found) { op = found; });
  HeadSource query, key, value;
  if (failed(matchHead(op.getQuery(), query)) ||
      failed(matchHead(op.getKey(), key)) ||
      failed(matchHead(op.getValue(), value)))
    return failure();
  if (!isa<BlockArgument>(op.getCache()))
    return op.emitOpError("reads a cache that is no argument of its kernel");
  Type element = op.getCache().getType().getElement();
  if (!element.isBF16() && !element.isF32())
    return op.emitOpError("has a cache of ")
           << element << "; the GPU's attention reads bf16 and f32";
  Attention a(op, options.limits);
  emitPrepare(kernel, a, query, key, value, options, size, out);
  if (element.isF32()) {
    const DeviceKernel &plain =
        out.add(kernel, size, "", {ExtraBuffer::workspace});
    KernelBuilder k(kernel, plain.name, options.limits, plain.extras);
    emitPlainAttention(k, a);
    return success();
  }
  const DeviceKernel &made =
      out.add(kernel, size, "", {ExtraBuffer::workspace, ExtraBuffer::tickets});
  KernelBuilder k(kernel, made.name, options.limits, made.extras);
  TileEmitter tile(k, a, size);
  tile.emit();
  int64_t blocks = a.kvHeads * tile.runs;
  // Named by the launch, also where a single run needs none.
  out.tickets = std::max(out.tickets, kFewTokens * a.kvHeads);
  if (tile.runs > 1)
    out.workspaceBytes =
        std::max(out.workspaceBytes, tile.alignedQueryBytes() +
                                         kFewTokens * tile.partialFloats() * 4);
  k.finish(kThreads, flow::GridAttr::get(kernel.getContext(),
                                         flow::GridKind::per_token_block,
                                         blocks, tile.rowsPerTile, 1));
  return success();
}
