// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Verifiers of the tier ops. `// <op> C<n>` names the constraint in the spec.
#include "dialects/tier/IR/Tier.h"

#include "mlir/IR/Builders.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace headrace::tier;

#define GET_OP_CLASSES
#include "dialects/tier/IR/TierOps.cpp.inc"

LogicalResult WeightOp::verify() {
  auto type = dyn_cast<RankedTensorType>(getType());
  if (!type || !type.hasStaticShape()) // tier.weight C1
    return emitOpError("expected type to be a ranked tensor of static shape, "
                       "but got ")
           << getType();
  Type element = type.getElementType();
  if (!scaledOf(type) &&
      (!element.isIntOrFloat() || element.getIntOrFloatBitWidth() % 8))
    return emitOpError("expected elements of whole bytes, but got ")
           << element; // tier.weight C1
  std::optional<uint64_t> want = storedBytes(type);
  if (!want) // tier.weight C2
    return emitOpError("expected the bytes of ")
           << type << " to be fewer than 2^64";
  uint64_t have = 0;
  for (auto range : getSource().getAsRange<RangeAttr>())
    have = llvm::SaturatingAdd(have, range.getBytes());
  if (have != *want) // tier.weight C2
    return emitOpError("expected the ranges to add up to ")
           << *want << " bytes of " << type << ", but got " << have;
  return success();
}

LogicalResult UseOp::verifySymbolUses(SymbolTableCollection &tables) {
  auto weight =
      tables.lookupNearestSymbolFrom<WeightOp>(*this, getWeightAttr());
  if (!weight) // tier.use C1
    return emitOpError("expected '@")
           << getWeight() << "' to name a tier.weight, but there is none";
  if (weight.getType() != getType()) { // tier.use C2
    auto diag = emitOpError("expected the result type to be that of '@")
                << getWeight() << "', " << weight.getType() << ", but got "
                << getType();
    diag.attachNote(weight.getLoc()) << "weight is here";
    return diag;
  }
  return success();
}

LogicalResult PlanOp::verify() {
  auto above = [](uint64_t a, uint64_t b) { return int64_t(a) > int64_t(b); };
  if (above(getMinimum(), getArena()) ||
      (getBudget() && above(getArena(), getBudget()))) // tier.plan C1
    return emitOpError("expected minimum, arena and budget to ascend, but got ")
           << int64_t(getMinimum()) << ", " << int64_t(getArena()) << ", "
           << int64_t(getBudget());
  if (uint64_t budget = getHomeBudget().value_or(0);
      budget && above(getHomeArena().value_or(0), budget)) // tier.plan C1
    return emitOpError("expected a home arena of at most ")
           << int64_t(budget) << " bytes, but got "
           << int64_t(getHomeArena().value_or(0));
  for (uint64_t value : {getWorkerBytes(), getScratch(), getKv(),
                         getHomeArena().value_or(0), getStaging().value_or(0)})
    if (value % 4096) // tier.plan C2
      return emitOpError("expected multiples of 4096, but got ")
             << int64_t(value);
  if (above(getStaging().value_or(0),
            getHomeArena().value_or(0))) // tier.plan C2
    return emitOpError("expected at most ")
           << int64_t(getHomeArena().value_or(0)) << " bytes of staging";
  if (getHome().has_value() != getHomeArena().has_value() ||
      getHome().has_value() != getHomeBudget().has_value() ||
      getHome().has_value() != getStaging().has_value()) // tier.plan C3
    return emitOpError("expected a home with an arena, a budget and staging, "
                       "or none of them");
  return success();
}

/// Matrices that a weight stands for: one slot of the binding table each.
static int64_t partsOf(WeightOp weight) {
  auto type = cast<RankedTensorType>(weight.getType());
  return type.getRank() >= 3 ? type.getDimSize(0) : 1;
}

LogicalResult PinOp::verifySymbolUses(SymbolTableCollection &tables) {
  Operation *what = tables.lookupNearestSymbolFrom(*this, getWhatAttr());
  auto weight = dyn_cast_or_null<WeightOp>(what);
  auto buffer = dyn_cast_or_null<BufferOp>(what);
  if (!weight && !(buffer && buffer.getRole())) // tier.pin C1
    return emitOpError("expected '@")
           << getWhat() << "' to name a weight or a buffer with a role";
  int64_t parts = weight ? partsOf(weight) : 1;
  if (int64_t(getOffsets().size()) != parts) // tier.pin C2
    return emitOpError("expected ")
           << parts << " offsets, but got " << getOffsets().size();
  int64_t unit = weight ? 4096 : 64;
  for (int64_t offset : getOffsets())
    if (offset < 0 || offset % unit) // tier.pin C3
      return emitOpError("expected offsets that are multiples of ")
             << unit << ", but got " << offset;
  return success();
}

LogicalResult PoolOp::verify() {
  if (int64_t(getMinSlots()) <= 0 ||
      int64_t(getSlots()) < int64_t(getMinSlots())) // tier.pool C1
    return emitOpError("expected at least one slot and no fewer than 'least', "
                       "but got ")
           << int64_t(getSlots()) << " and " << int64_t(getMinSlots());
  if (int64_t(getSlotBytes()) <= 0 || getSlotBytes() % 4096 ||
      int64_t(getOffset()) < 0 || getOffset() % 4096) // tier.pool C2
    return emitOpError("expected slots of whole pages at a page, but got ")
           << int64_t(getSlotBytes()) << " bytes at " << int64_t(getOffset());
  if (bool(getPolicy()) != (getKind() == PoolKind::cache)) // tier.pool C3
    return emitOpError("expected a policy for a cache and for nothing else");
  return success();
}

LogicalResult BundleOp::verifySymbolUses(SymbolTableCollection &tables) {
  auto pool = tables.lookupNearestSymbolFrom<PoolOp>(*this, getPoolAttr());
  if (!pool || int64_t(getBytes()) < 0 ||
      int64_t(getBytes()) > int64_t(pool.getSlotBytes())) // tier.bundle C1
    return emitOpError("expected '@")
           << getPool() << "' to name a pool with slots of "
           << int64_t(getBytes()) << " bytes";
  for (auto symbol : getWeights().getAsRange<FlatSymbolRefAttr>()) {
    auto weight = tables.lookupNearestSymbolFrom<WeightOp>(*this, symbol);
    int64_t parts = weight ? partsOf(weight) : 0;
    if (parts != int64_t(getExperts().value_or(1))) // tier.bundle C2
      return emitOpError("expected ")
             << symbol << " to name a weight of " << getExperts().value_or(1)
             << " matrices, but got " << parts;
  }
  if (getOffsets().size() != getWeights().size()) // tier.bundle C3
    return emitOpError("expected one offset a weight, but got ")
           << getOffsets().size() << " for " << getWeights().size();
  int64_t last = -1;
  for (int64_t offset : getOffsets()) {
    if (offset <= last || offset % 4096) // tier.bundle C3
      return emitOpError("expected ascending multiples of 4096, but got ")
             << offset;
    last = offset;
  }
  if (int64_t home = int64_t(getHome().value_or(0));
      home < 0 || home % 4096) // tier.bundle C3
    return emitOpError("expected a home at a multiple of 4096, but got ")
           << home;
  return success();
}

LogicalResult PagesOp::verifySymbolUses(SymbolTableCollection &tables) {
  auto pool = tables.lookupNearestSymbolFrom<PoolOp>(*this, getPoolAttr());
  if (!pool || pool.getKind() != PoolKind::ring || int64_t(getBytes()) < 0 ||
      int64_t(getBytes()) > int64_t(pool.getSlotBytes())) // tier.pages C1
    return emitOpError("expected '@")
           << getPool() << "' to name a ring with slots of "
           << int64_t(getBytes()) << " bytes";
  if (int64_t(getOffset()) < 0 || getOffset() % 4096) // tier.pages C2
    return emitOpError("expected offset to be a multiple of 4096, but got ")
           << int64_t(getOffset());
  return success();
}

LogicalResult StoreOp::verifySymbolUses(SymbolTableCollection &tables) {
  auto prefetch = getToken().getDefiningOp<PrefetchOp>();
  if (!prefetch || !tables.lookupNearestSymbolFrom<PagesOp>(
                       prefetch, prefetch.getBundleAttr())) // tier.store C1
    return emitOpError("expected the token of a prefetch of tier.pages");
  return success();
}

LogicalResult PrefetchOp::verifySymbolUses(SymbolTableCollection &tables) {
  Operation *what = tables.lookupNearestSymbolFrom(*this, getBundleAttr());
  FlatSymbolRefAttr ring;
  if (auto bundle = dyn_cast_or_null<BundleOp>(what);
      bundle && !bundle.getExperts())
    ring = bundle.getPoolAttr();
  else if (auto pages = dyn_cast_or_null<PagesOp>(what))
    ring = pages.getPoolAttr();
  auto pool =
      ring ? tables.lookupNearestSymbolFrom<PoolOp>(what, ring) : PoolOp();
  if (!pool || pool.getKind() != PoolKind::ring) // tier.prefetch C1
    return emitOpError("expected '@")
           << getBundle() << "' to name a bundle of a ring";
  if (int64_t(getSlot()) < 0 ||
      int64_t(getSlot()) >= int64_t(pool.getSlots())) // tier.prefetch C2
    return emitOpError("expected one of ")
           << pool.getSlots() << " slots, but got " << int64_t(getSlot());
  return success();
}

LogicalResult BufferOp::verify() {
  if (!getOffset() && !getRole()) // tier.buffer C1
    return emitOpError("expected an offset or a role, but got neither");
  if (getOffset() &&
      (int64_t(*getOffset()) < 0 || *getOffset() % 64)) // tier.buffer C2
    return emitOpError("expected offset to be a multiple of 64, but got ")
           << int64_t(*getOffset());
  if (int64_t(getBytes()) < 0) // tier.buffer C3
    return emitOpError("expected bytes not to be negative, but got ")
           << int64_t(getBytes());
  auto module = (*this)->getParentOfType<ModuleOp>();
  auto machine = module ? module->getAttrOfType<MachineAttr>("tier.machine")
                        : MachineAttr();
  if (machine && llvm::none_of(machine.getLevels(), [&](LevelAttr level) {
        return level.getName() == getLevel();
      })) // tier.buffer C4
    return emitOpError("expected level to be one of ")
           << machine << ", but got '" << getLevel() << "'";
  return success();
}
