// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Verifiers of the moe ops. `// <op> C<n>` names the constraint in the spec.
#include "dialects/moe/IR/Moe.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace headrace::moe;

#define GET_OP_CLASSES
#include "dialects/moe/IR/MoeOps.cpp.inc"

static int64_t widthOf(Value value) {
  return cast<RankedTensorType>(value.getType()).getDimSize(1);
}

/// Emits unless `a` and `b` agree in experts and slots.
template <typename A, typename B>
static LogicalResult checkRelation(Operation *op, StringRef nameA, A a,
                                   StringRef nameB, B b) {
  if (a.getExperts() == b.getExperts() && a.getSlots() == b.getSlots())
    return success();
  return op->emitOpError("expected experts and slots of ")
         << nameA << " to equal those of " << nameB << ", but got "
         << a.getExperts() << " and " << a.getSlots() << " against "
         << b.getExperts() << " and " << b.getSlots();
}

LogicalResult SelectOp::verify() {
  SelectionType type = getResult().getType();
  if (type.getExperts() != widthOf(getChoice())) // moe.select C1
    return emitOpError("expected experts of the result to equal the columns of "
                       "'choice', but got ")
           << type.getExperts() << " and " << widthOf(getChoice());
  if (type.getSlots() != int64_t(getTopK())) // moe.select C2
    return emitOpError(
               "expected slots of the result to equal 'top_k', but got ")
           << type.getSlots() << " and " << getTopK();
  return success();
}

LogicalResult WeighOp::verify() {
  if (getSelection().getType().getExperts() != widthOf(getValue()))
    return emitOpError(
               "expected experts of 'selection' to equal the columns of "
               "'value', but got ") // moe.weigh C1
           << getSelection().getType().getExperts() << " and "
           << widthOf(getValue());
  if (failed(checkRelation(*this, "the result", getResult().getType(),
                           "'selection'", getSelection().getType())))
    return failure();                                        // moe.weigh C2
  if (getP().has_value() != (getNorm() == WeighNorm::pnorm)) // moe.weigh C3
    return emitOpError("expected 'p' exactly with norm pnorm, but got norm ")
           << stringifyWeighNorm(getNorm())
           << (getP() ? " with 'p'" : " without 'p'");
  if (getP() && !(getP()->convertToDouble() >= 1)) // moe.weigh C3
    return emitOpError("expected 'p' to be at least 1, but got ")
           << getP()->convertToDouble();
  if (getEps() && getNorm() != WeighNorm::sum) // moe.weigh C4
    return emitOpError("expected 'eps' only with norm sum, but got norm ")
           << stringifyWeighNorm(getNorm());
  if (getEps() && !(getEps()->convertToDouble() >= 0)) // moe.weigh C4
    return emitOpError("expected 'eps' not to be negative, but got ")
           << getEps()->convertToDouble();
  return success();
}

LogicalResult DispatchOp::verify() {
  if (failed(checkRelation(*this, "the result", getResult().getType(),
                           "'routing'", getRouting().getType())))
    return failure(); // moe.dispatch C1
  if (getResult().getType().getWidth() != widthOf(getInput()))
    return emitOpError("expected width of the result to equal that of 'input', "
                       "but got ") // moe.dispatch C2
           << getResult().getType().getWidth() << " and "
           << widthOf(getInput());
  return success();
}

LogicalResult ExpertsOp::verifyRegions() {
  BucketsType in = getBuckets().getType(), out = getResult().getType();
  if (failed(checkRelation(*this, "the result", out, "'buckets'", in)))
    return failure(); // moe.experts C4
  for (auto [index, weight] : llvm::enumerate(getWeights())) {
    auto type = cast<RankedTensorType>(weight.getType());
    if (type.getRank() < 2 || type.getDimSize(0) != in.getExperts())
      return emitOpError("expected leading dimension of weight #")
             << index << " to equal the number of experts, but got " << type
             << " and " << in.getExperts(); // moe.experts C1
  }
  Block &block = getBody().front();
  if (block.getNumArguments() != 1 + getWeights().size()) // moe.experts C2
    return emitOpError("expected one region argument for the rows and one a "
                       "weight, but got ")
           << block.getNumArguments() << " for " << getWeights().size()
           << " weights";
  Type rows = RankedTensorType::get({ShapedType::kDynamic, in.getWidth()},
                                    in.getElement());
  if (block.getArgument(0).getType() != rows) // moe.experts C2
    return emitOpError("expected region argument #0 to be ")
           << rows << ", but got " << block.getArgument(0).getType();
  for (auto [index, weight] : llvm::enumerate(getWeights())) {
    auto type = cast<RankedTensorType>(weight.getType());
    Type slice =
        RankedTensorType::get(type.getShape().drop_front(),
                              type.getElementType(), type.getEncoding());
    if (block.getArgument(index + 1).getType() != slice) // moe.experts C2
      return emitOpError("expected region argument #")
             << index + 1 << " to be " << slice << ", but got "
             << block.getArgument(index + 1).getType();
  }
  Type want = RankedTensorType::get({ShapedType::kDynamic, out.getWidth()},
                                    out.getElement());
  auto yield = dyn_cast<YieldOp>(block.getTerminator());
  if (!yield) // moe.experts C3
    return emitOpError("expected the region to end with moe.yield, but got ")
           << block.getTerminator()->getName();
  if (yield.getRows().getType() != want) // moe.experts C3
    return emitOpError("expected the region to yield ")
           << want << ", but got " << yield.getRows().getType();
  return success();
}

LogicalResult CombineOp::verify() {
  if (failed(checkRelation(*this, "'buckets'", getBuckets().getType(),
                           "'routing'", getRouting().getType())))
    return failure(); // moe.combine C1
  if (widthOf(getResult()) != getBuckets().getType().getWidth())
    return emitOpError("expected width of the result to equal that of "
                       "'buckets', but got ") // moe.combine C2
           << widthOf(getResult()) << " and "
           << getBuckets().getType().getWidth();
  for (Value addend : getBase())
    if (addend.getType() != getResult().getType()) // moe.combine C2
      return emitOpError("expected every base addend to be ")
             << getResult().getType() << ", but got " << addend.getType();
  return success();
}
