// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Making weights out of other weights without touching a byte.
#include "compiler/transforms/WeightSources.h"

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

Value headrace::concatenateWeights(OpBuilder &b, ValueRange parts,
                                   RankedTensorType type, int64_t blocks) {
  SmallVector<Attribute> ranges;
  std::string name;
  tier::WeightOp last;
  for (Value part : parts) {
    last = weightOf(part);
    name += (name.empty() ? "" : "+") + last.getSymName().str();
  }
  for (int64_t block = 0; block < blocks; ++block)
    for (Value part : parts) {
      auto partType = cast<RankedTensorType>(part.getType());
      uint64_t bytes = uint64_t(partType.getNumElements() / blocks) *
                       (partType.getElementTypeBitWidth() / 8);
      llvm::append_range(
          ranges, sliceRanges(weightOf(part), uint64_t(block) * bytes, bytes));
    }
  ModuleOp module = last->getParentOfType<ModuleOp>();
  if (!SymbolTable::lookupSymbolIn(module, name)) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointAfter(last);
    tier::WeightOp::create(b, last.getLoc(), name, type,
                           b.getArrayAttr(ranges));
  }
  return tier::UseOp::create(b, last.getLoc(), type, name);
}
