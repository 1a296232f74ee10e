// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Verifiers of the tier ops. `// <op> C<n>` names the constraint in the spec.
#include "dialects/tier/IR/Tier.h"

#include "mlir/IR/Builders.h"

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
  uint64_t want = uint64_t(type.getNumElements()) *
                  (type.getElementTypeBitWidth() / 8);
  uint64_t have = 0;
  for (auto range : getSource().getAsRange<RangeAttr>())
    have += range.getBytes();
  if (have != want) // tier.weight C2
    return emitOpError("expected the ranges to add up to ")
           << want << " bytes of " << type << ", but got " << have;
  return success();
}

LogicalResult UseOp::verifySymbolUses(SymbolTableCollection &tables) {
  auto weight = tables.lookupNearestSymbolFrom<WeightOp>(*this, getWeightAttr());
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

LogicalResult BufferOp::verify() {
  if (!getOffset() && !getRole()) // tier.buffer C1
    return emitOpError("expected an offset or a role, but got neither");
  if (getOffset() && *getOffset() % 64 != 0) // tier.buffer C2
    return emitOpError("expected offset to be a multiple of 64, but got ")
           << *getOffset();
  return success();
}
