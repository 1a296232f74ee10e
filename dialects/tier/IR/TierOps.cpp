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
  if (!element.isIntOrFloat() || element.getIntOrFloatBitWidth() % 8)
    return emitOpError("expected elements of whole bytes, but got ")
           << element; // tier.weight C1
  uint64_t want = element.getIntOrFloatBitWidth() / 8;
  bool tooLarge = false;
  for (int64_t size : type.getShape()) {
    want = llvm::SaturatingMultiply<uint64_t>(want, size, &tooLarge);
    if (tooLarge) // tier.weight C2
      return emitOpError("expected the bytes of ")
             << type << " to be fewer than 2^64";
  }
  uint64_t have = 0;
  for (auto range : getSource().getAsRange<RangeAttr>())
    have = llvm::SaturatingAdd(have, range.getBytes());
  if (have != want) // tier.weight C2
    return emitOpError("expected the ranges to add up to ")
           << want << " bytes of " << type << ", but got " << have;
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
  return success();
}
