// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Control flow, and the switch over sizes of register tiles.
#include "compiler/codegen/cpu/ProgramLowering.h"

#include "compiler/codegen/Emitters.h"
#include "compiler/codegen/cpu/DecodeWeights.h"

using namespace mlir;
using namespace headrace;

LogicalResult ProgramLowering::cloneOp(Operation *op) {
  StringRef dialect = op->getDialect()->getNamespace();
  bool known = dialect == "arith" || dialect == "math";
  if (!known || op->getNumRegions())
    return op->emitOpError("is not known to the CPU lowering of tile programs");
  b.clone(*op, map);
  return success();
}

LogicalResult ProgramLowering::lowerFor(scf::ForOp op) {
  SmallVector<Value> inits = expand(op.getInitArgs());
  auto lowered = scf::ForOp::create(b, loc, map.lookup(op.getLowerBound()),
                                    map.lookup(op.getUpperBound()),
                                    map.lookup(op.getStep()), inits);
  OpBuilder::InsertionGuard guard(b);
  if (inits.empty())
    lowered.getBody()->getTerminator()->erase();
  b.setInsertionPointToEnd(lowered.getBody());
  map.map(op.getInductionVar(), lowered.getInductionVar());
  bind(op.getRegionIterArgs(), lowered.getRegionIterArgs());
  if (failed(lowerBlock(*op.getBody())))
    return failure();
  scf::YieldOp::create(b, loc,
                       expand(op.getBody()->getTerminator()->getOperands()));
  bind(op.getResults(), lowered.getResults());
  return success();
}

LogicalResult ProgramLowering::lowerIf(scf::IfOp op) {
  SmallVector<Type> types;
  for (Type type : op.getResultTypes()) {
    if (isa<flow::AccType>(type))
      return op.emitOpError("gives a register tile, which the CPU lowering "
                            "does not know");
    types.push_back(type);
  }
  bool hasElse = !op.getElseRegion().empty();
  auto lowered = scf::IfOp::create(b, loc, types, map.lookup(op.getCondition()),
                                   /*addThenBlock=*/true,
                                   /*addElseBlock=*/hasElse);
  auto side = [&](Region &from, Region &to) -> LogicalResult {
    OpBuilder::InsertionGuard guard(b);
    Block &block = to.front();
    block.clear();
    b.setInsertionPointToEnd(&block);
    if (failed(lowerBlock(from.front())))
      return failure();
    scf::YieldOp::create(b, loc,
                         expand(from.front().getTerminator()->getOperands()));
    return success();
  };
  if (failed(side(op.getThenRegion(), lowered.getThenRegion())) ||
      (hasElse && failed(side(op.getElseRegion(), lowered.getElseRegion()))))
    return failure();
  for (auto [from, to] : llvm::zip(op.getResults(), lowered.getResults()))
    map.map(from, to);
  return success();
}

LogicalResult ProgramLowering::lowerRows(flow::RowsOp op) {
  int64_t limit = op.getLimit();
  auto decodedAt = op->getAttrOfType<IntegerAttr>(kDecodedAt);
  if (!decodedAt)
    return lowerRowTiles(op, 1, limit);
  // Several tiles share what one decoding makes. They are small enough for the
  // registers to hold a block's sums beside those of the blocks before: to keep
  // these in memory costs a quarter of the time where blocks have 32 channels.
  int64_t columns = 2 * kDotPairs / lanes;
  int64_t most =
      std::min(limit, (target.vectors - 2 * columns) / (2 * columns));
  int64_t fewest = (limit + most) / most; // Tiles of limit + 1 rows.
  flow::MmaOp mma;
  op.getBody().walk([&](flow::MmaOp found) { mma = found; });
  if (!mma || !mma.getWeight())
    return op.emitOpError("has no product with encoded weights to decode");
  Value several =
      arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ugt,
                            map.lookup(op.getCount()), index(limit));
  auto choice = scf::IfOp::create(b, loc, TypeRange{}, several, true, true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToEnd(choice.thenBlock());
  decoded = offset(field(call, offsetof(headrace_call_t, scratch)),
                   decodedAt.getInt());
  decodePanel(mma);
  LogicalResult result =
      lowerRowTiles(op, ((fewest - 1) * most + 1) / fewest, most);
  decoded = {};
  scf::YieldOp::create(b, loc);
  b.setInsertionPointToEnd(choice.elseBlock());
  if (failed(result) || failed(lowerRowTiles(op, 1, limit)))
    return failure();
  scf::YieldOp::create(b, loc);
  return success();
}

LogicalResult ProgramLowering::lowerRowTiles(flow::RowsOp op, int64_t smallest,
                                             int64_t limit) {
  Value count = map.lookup(op.getCount());
  Value tileCount = arith::CeilDivUIOp::create(b, loc, count, index(limit));
  Value divisor = arith::MaxUIOp::create(b, loc, tileCount, index(1));
  Value base = arith::DivUIOp::create(b, loc, count, divisor);
  Value rest = arith::RemUIOp::create(b, loc, count, divisor);
  LogicalResult result = success();
  loop(index(0), tileCount, 1, {}, [&](Value tile, ValueRange) {
    Value extra =
        arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, tile, rest);
    Value more = arith::IndexCastUIOp::create(b, loc, b.getIndexType(), extra);
    Value size = arith::AddIOp::create(b, loc, base, more);
    Value first =
        arith::AddIOp::create(b, loc, arith::MulIOp::create(b, loc, tile, base),
                              arith::MinUIOp::create(b, loc, tile, rest));
    SmallVector<int64_t> cases;
    for (int64_t r = smallest; r <= limit; ++r)
      cases.push_back(r);
    auto choice = scf::IndexSwitchOp::create(b, loc, TypeRange{}, size, cases,
                                             unsigned(cases.size()));
    OpBuilder::InsertionGuard guard(b);
    for (int64_t r = smallest; r <= limit; ++r) {
      Block &block =
          choice.getCaseRegions()[size_t(r - smallest)].emplaceBlock();
      b.setInsertionPointToEnd(&block);
      rows = r;
      map.map(op.getBody().getArgument(0), first);
      if (failed(lowerBlock(op.getBody().front())))
        result = failure();
      scf::YieldOp::create(b, loc);
    }
    Block &otherwise = choice.getDefaultRegion().emplaceBlock();
    b.setInsertionPointToEnd(&otherwise);
    scf::YieldOp::create(b, loc);
    return SmallVector<Value>{};
  });
  rows = 0;
  return result;
}
