// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Products with panels of encoded weights.
#include "compiler/codegen/cpu/ProgramLowering.h"

#include "compiler/codegen/cpu/DecodeWeights.h"

using namespace mlir;
using namespace headrace;

namespace {

/// How the bytes of a panel of encoded weights lie: runs of 128 channels, each
/// of scales and then groups of two channels.
struct EncodedPanel {
  explicit EncodedPanel(flow::MmaOp op)
      : type(cast<RankedTensorType>(*op.getWeight())),
        scaled(tier::scaledOf(type)),
        panels(cast<flow::PanelsAttr>(scaled.getPacking())),
        element(type.getElementType()), in(type.getShape().back()),
        columns(panels.getColumns()), block(scaled.getColumns()),
        groupBytes(pairBytes(element, columns)),
        scaleBytes(panels.getRunScaleBytes(scaled)),
        runBytes(scaleBytes + kRun / 2 * groupBytes) {}

  static constexpr int64_t kRun = flow::PanelsAttr::kRun;
  RankedTensorType type;
  tier::ScaledAttr scaled;
  flow::PanelsAttr panels;
  Type element;
  int64_t in, columns;
  int64_t block; ///< Channels that share a scale.
  int64_t groupBytes, scaleBytes, runBytes;

  int64_t bytes() const { return panels.getPanelBytes(type); }
  /// Groups whose bytes are a cache line, at least one.
  int64_t groupsOfLine() const { return std::max<int64_t>(64 / groupBytes, 1); }
};

/// Bytes of a decoded group: two vectors of pairs.
constexpr int64_t kDecodedGroup = 2 * kDotPairs * 4;

} // namespace

void ProgramLowering::decodePanel(flow::MmaOp op) {
  EncodedPanel panel(op);
  Value from = address(op.getPanel(), map.lookup(op.getIndex()));
  auto run = [&](Value number, int64_t channels) {
    Value groups = offset(at(from, number, panel.runBytes), panel.scaleBytes);
    Value to = at(decoded, number, panel.kRun / 2 * kDecodedGroup);
    int64_t count = (channels + 1) / 2, step = panel.groupsOfLine();
    if (count % step)
      step = 1;
    loop(index(0), index(count), step, {}, [&](Value group, ValueRange) {
      Value source = at(groups, group, panel.groupBytes);
      Value target = at(to, group, kDecodedGroup);
      for (int64_t i = 0; i < step; ++i)
        for (auto [v, pairs] : llvm::enumerate(loadDotPairs(
                 b, loc, panel.element, offset(source, i * panel.groupBytes))))
          LLVM::StoreOp::create(
              b, loc, pairs,
              offset(target, i * kDecodedGroup + int64_t(v) * 64), 64);
      return SmallVector<Value>{};
    });
  };
  loop(index(0), index(panel.in / panel.kRun), 1, {},
       [&](Value number, ValueRange) {
         run(number, panel.kRun);
         return SmallVector<Value>{};
       });
  if (int64_t rest = panel.in % panel.kRun)
    run(index(panel.in / panel.kRun), rest);
}

LogicalResult ProgramLowering::lowerEncodedMma(flow::MmaOp op) {
  EncodedPanel panel(op);
  Tile tile = staged.lookup(op.getRows());
  Type f32 = b.getF32Type();
  constexpr int64_t kRun = EncodedPanel::kRun;
  int64_t width = panel.columns / lanes, xBytes = bytesOf(tile.element);
  if (panel.in % 2 && xBytes != 2) // Nothing pads such rows to pairs.
    return op.emitOpError("has an encoded weight of ")
           << panel.in << " input channels for rows of " << tile.element
           << "; expected an even number";
  bool dot = target.bf16Dot && tile.element.isBF16();
  // Where the pairs are, and what they take.
  Value panelBase = address(op.getPanel(), map.lookup(op.getIndex()));
  int64_t groupBytes = decoded ? kDecodedGroup : panel.groupBytes;
  Value rowBase = offset(
      tile.base, toI64(arith::MulIOp::create(b, loc, map.lookup(op.getFirst()),
                                             index(tile.stride))));
  // While decoded pairs are read, the next panel comes into the second level.
  SmallVector<CpuTarget::Prefetch, 2> prefetches;
  if (decoded)
    prefetches.push_back({panel.bytes(), 2});
  else if (op.getPrefetch() && rows >= target.prefetchRows)
    prefetches = target.prefetches;
  // Which column each lane stands for while the panel is read.
  SmallVector<int32_t> order, back;
  if (dot)
    order = dotColumns(panel.element);
  back.resize(order.size());
  for (auto [lane, column] : llvm::enumerate(order))
    back[size_t(column)] = int32_t(lane);

  // Two input channels: the panel's pairs against one of each row.
  auto pair = [&](Value weights, Value x, ArrayRef<Value> sums) {
    SmallVector<Value> out(sums);
    if (dot) {
      Type type = vec(b.getBF16Type(), 2 * lanes);
      std::array<Value, 2> pairs;
      if (decoded)
        pairs = {load(type, weights, 64), load(type, offset(weights, 64), 64)};
      else
        pairs = loadDotPairs(b, loc, panel.element, weights);
      addDotProducts(ArrayRef(pairs).take_front(size_t(width)), x, tile.stride,
                     out);
      return out;
    }
    SmallVector<std::pair<Value, Value>> floats;
    for (int64_t v = 0; v < width; ++v)
      floats.push_back(
          loadPairs(b, loc, panel.element, lanes,
                    offset(weights, v * pairBytes(panel.element, lanes))));
    for (int64_t p = 0; p < 2; ++p)
      for (int64_t r = 0; r < rows; ++r) {
        Value scalar =
            load(tile.element, offset(x, r * tile.stride + p * xBytes),
                 unsigned(xBytes));
        Value xs = splat(widen(scalar));
        for (int64_t v = 0; v < width; ++v) {
          Value &sum = out[size_t(r * width + v)];
          auto [first, second] = floats[size_t(v)];
          sum = math::FmaOp::create(b, loc, p ? second : first, xs, sum);
        }
      }
    return out;
  };

  // One block: `channels` of it from `pairs` and `x` on; `stored` is where its
  // encoded groups are.
  auto sumBlock = [&](Value pairs, Value stored, Value x, Value scales,
                      int64_t channels, ValueRange totals) {
    int64_t groups = (channels + 1) / 2, step = panel.groupsOfLine();
    if (groups % step)
      step = 1;
    SmallVector<Value> zero(totals.size(), zeros(vec(f32)));
    auto sums = loop(
        index(0), index(groups), step, zero, [&](Value group, ValueRange now) {
          Value from = at(pairs, group, groupBytes);
          Value rowsFrom = at(x, group, 2 * xBytes);
          if (!prefetches.empty()) {
            Value line = at(stored, group, panel.groupBytes);
            for (CpuTarget::Prefetch ahead : prefetches)
              for (int64_t i = 0; i < step * panel.groupBytes; i += 64)
                LLVM::Prefetch::create(b, loc, offset(line, ahead.bytes + i),
                                       /*rw=*/0, ahead.hint, /*cache=*/1);
          }
          SmallVector<Value> out(now);
          for (int64_t i = 0; i < step; ++i)
            out = pair(offset(from, i * groupBytes),
                       offset(rowsFrom, i * 2 * xBytes), out);
          return out;
        });
    SmallVector<Value> scale, out;
    int64_t scaleBytes = panel.scaled.getPackedScaleBytes();
    for (int64_t v = 0; v < width; ++v)
      scale.push_back(loadScales(b, loc, panel.element, panel.scaled.getScale(),
                                 lanes, offset(scales, v * lanes * scaleBytes),
                                 /*exact=*/dot));
    scale = reordered(scale, order);
    for (auto [i, total] : llvm::enumerate(totals))
      out.push_back(math::FmaOp::create(b, loc, sums.getResult(unsigned(i)),
                                        scale[i % size_t(width)], total));
    return out;
  };

  // `channels` of one run: whole blocks, and what is left of one.
  auto sumRun = [&](Value run, int64_t channels, ValueRange totals) {
    Value scales = at(panelBase, run, panel.runBytes);
    Value stored = offset(scales, panel.scaleBytes);
    Value pairs = decoded ? at(decoded, run, kRun / 2 * kDecodedGroup) : stored;
    Value x = at(rowBase, run, kRun * xBytes);
    SmallVector<Value> out(totals);
    int64_t block = panel.block, whole = channels / block;
    auto one = [&](Value number, int64_t channels, ValueRange now) {
      return sumBlock(at(pairs, number, block / 2 * groupBytes),
                      at(stored, number, block / 2 * panel.groupBytes),
                      at(x, number, block * xBytes),
                      at(scales, number,
                         panel.columns * panel.scaled.getPackedScaleBytes()),
                      channels, now);
    };
    if (whole == 1)
      out = one(index(0), block, out);
    else if (whole)
      out = SmallVector<Value>(loop(index(0), index(whole), 1, out,
                                    [&](Value number, ValueRange now) {
                                      return one(number, block, now);
                                    })
                                   .getResults());
    if (channels % block)
      out = one(index(whole), channels % block, out);
    return out;
  };

  SmallVector<Value> totals;
  if (Value from = op.getInit())
    totals = reordered(tiles[from], order);
  else
    totals.assign(size_t(rows * width), zeros(vec(f32)));
  int64_t runs = panel.in / kRun;
  if (runs)
    totals = SmallVector<Value>(
        loop(index(0), index(runs), 1, totals, [&](Value run, ValueRange now) {
          return sumRun(run, kRun, now);
        }).getResults());
  if (panel.in % kRun)
    totals = sumRun(index(runs), panel.in % kRun, totals);
  tiles[op.getResult()] = reordered(totals, back);
  return success();
}

SmallVector<Value> ProgramLowering::reordered(ValueRange vectors,
                                              ArrayRef<int32_t> order) {
  SmallVector<Value> out(vectors);
  if (order.empty())
    return out;
  for (size_t i = 0; i < out.size(); i += 2)
    for (size_t v = 0; v < 2; ++v)
      out[i + v] = LLVM::ShuffleVectorOp::create(
          b, loc, vectors[i], vectors[i + 1],
          order.slice(v * order.size() / 2, order.size() / 2));
  return out;
}
