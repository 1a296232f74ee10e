// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Making weights out of other weights without touching a byte.
#include "compiler/transforms/WeightSources.h"

#include "llvm/Support/MathExtras.h"
#include <numeric>

using namespace mlir;
using namespace headrace;

SmallVector<Attribute> headrace::sliceRanges(tier::WeightOp weight,
                                             uint64_t offset, uint64_t bytes) {
  SmallVector<Attribute> out;
  uint64_t at = 0, end = offset + bytes;
  for (auto range : weight.getSource().getAsRange<tier::RangeAttr>()) {
    uint64_t from = std::max(at, offset);
    uint64_t to = std::min(at + range.getBytes(), end);
    if (from < to)
      range.slice(from - at, to - from, out);
    at += range.getBytes();
  }
  return out;
}

tier::WeightOp headrace::weightOf(Value value) {
  auto use = value.getDefiningOp<tier::UseOp>();
  if (!use)
    return {};
  return SymbolTable::lookupNearestSymbolFrom<tier::WeightOp>(
      use, use.getWeightAttr());
}

namespace {

/// The entries of a weight along a dimension, for one entry of those ahead: the
/// rows of a matrix, or the values of a vector.
struct Rows {
  tier::WeightOp weight;
  int64_t count, columns;
  uint64_t elementBytes; ///< Of one row.
  tier::ScaledAttr scaled;

  Rows(tier::WeightOp weight, unsigned dim) : weight(weight) {
    auto type = cast<RankedTensorType>(weight.getType());
    count = type.getDimSize(dim);
    columns = ShapedType::getNumElements(type.getShape().drop_front(dim + 1));
    elementBytes = uint64_t(columns) * type.getElementTypeBitWidth() / 8;
    scaled = tier::scaledOf(type);
  }
  uint64_t scaleRowBytes() const {
    return scaled ? uint64_t(scaled.getAllScaleBytes(1, columns)) : 0;
  }
  int64_t scaleRows() const {
    return scaled ? int64_t(llvm::divideCeil(uint64_t(count),
                                             uint64_t(scaled.getRows())))
                  : 0;
  }
  uint64_t matrixBytes() const {
    return uint64_t(count) * elementBytes +
           uint64_t(scaleRows()) * scaleRowBytes();
  }
};

} // namespace

/// Rows of a block of scales that no end of a part but the last cuts.
static int64_t commonBlock(ArrayRef<Rows> parts) {
  int64_t rows = parts[0].scaled.getRows();
  for (const Rows &part : parts.drop_back())
    rows = std::gcd(rows, part.count);
  return rows;
}

Value headrace::concatenateWeights(OpBuilder &b, ValueRange values,
                                   unsigned dim) {
  SmallVector<Rows> parts;
  std::string name;
  int64_t rows = 0;
  for (Value value : values) {
    parts.emplace_back(weightOf(value), dim);
    name += (name.empty() ? "" : "+") + parts.back().weight.getSymName().str();
    rows += parts.back().count;
  }
  tier::WeightOp last = parts.back().weight;
  auto one = cast<RankedTensorType>(last.getType());
  SmallVector<int64_t> shape(one.getShape());
  shape[dim] = rows;
  Attribute encoding = one.getEncoding();
  int64_t block = 0;
  if (tier::ScaledAttr scaled = parts[0].scaled) {
    block = commonBlock(parts);
    encoding = tier::ScaledAttr::get(b.getContext(), block, scaled.getColumns(),
                                     scaled.getScale(), scaled.getPacking());
  }
  auto type = RankedTensorType::get(shape, one.getElementType(), encoding);
  ModuleOp module = last->getParentOfType<ModuleOp>();
  if (!SymbolTable::lookupSymbolIn(module, name)) {
    SmallVector<Attribute> ranges;
    int64_t matrices =
        ShapedType::getNumElements(one.getShape().take_front(dim));
    for (int64_t matrix = 0; matrix < matrices; ++matrix) {
      auto add = [&](const Rows &part, uint64_t offset, uint64_t bytes) {
        llvm::append_range(
            ranges,
            sliceRanges(part.weight,
                        uint64_t(matrix) * part.matrixBytes() + offset, bytes));
      };
      for (const Rows &part : parts)
        add(part, 0, uint64_t(part.count) * part.elementBytes);
      for (const Rows &part : parts) {
        uint64_t at = uint64_t(part.count) * part.elementBytes;
        uint64_t rowBytes = part.scaleRowBytes();
        if (block && block == part.scaled.getRows()) {
          add(part, at, uint64_t(part.scaleRows()) * rowBytes);
          continue;
        }
        for (int64_t row = 0; block && row < part.count; row += block)
          add(part, at + uint64_t(row / part.scaled.getRows()) * rowBytes,
              rowBytes);
      }
    }
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointAfter(last);
    tier::WeightOp::create(b, last.getLoc(), name, type,
                           b.getArrayAttr(ranges));
  }
  return tier::UseOp::create(b, last.getLoc(), type, name);
}
