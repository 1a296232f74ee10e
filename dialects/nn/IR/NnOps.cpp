// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Verifiers of the nn ops. `// <op> C<n>` names the constraint in the spec.
#include "dialects/nn/IR/Nn.h"

#include "mlir/IR/Builders.h"
#include <cmath>

using namespace mlir;
using namespace headrace::nn;

#define GET_OP_CLASSES
#include "dialects/nn/IR/NnOps.cpp.inc"

/// Dimension `dim` of a tensor-typed value.
static int64_t dimOf(Value value, unsigned dim) {
  return cast<RankedTensorType>(value.getType()).getDimSize(dim);
}

/// Emits `expected <what> to equal <of>, but got a and b` unless a == b.
static LogicalResult checkEqual(Operation *op, StringRef what, int64_t got,
                                StringRef of, int64_t want) {
  if (got == want)
    return success();
  return op->emitOpError("expected ") << what << " to equal " << of
                                      << ", but got " << got << " and " << want;
}

LogicalResult EmbedOp::verify() {
  if (failed(checkEqual(*this, "width of 'result'", dimOf(getResult(), 1),
                        "that of 'table'", dimOf(getTable(), 1))))
    return failure(); // nn.embed C1
  return checkEqual(*this, "leading dimension of 'result'",
                    dimOf(getResult(), 0), "that of 'ids'",
                    dimOf(getIds(), 0)); // nn.embed C2
}

LogicalResult NormOp::verify() {
  int64_t width = dimOf(getInput(), 1), groups = getGroups();
  if (groups <= 0 || width % groups) // nn.norm C1
    return emitOpError("expected 'groups' to divide the row width ")
           << width << ", but got " << groups;
  if (getWeight() &&
      failed(checkEqual(*this, "size of 'weight'", dimOf(getWeight(), 0),
                        "the width of one group", width / groups)))
    return failure(); // nn.norm C2
  if (getBias() &&
      failed(checkEqual(*this, "size of 'bias'", dimOf(getBias(), 0),
                        "the width of one group", width / groups)))
    return failure(); // nn.norm C2
  double eps = getEps().convertToDouble();
  if (!std::isfinite(eps) || eps < 0) // nn.norm C3
    return emitOpError("expected 'eps' to be finite and not negative, but got ")
           << eps;
  return success();
}

LogicalResult LinearOp::verify() {
  if (failed(checkEqual(*this, "width of 'input'", dimOf(getInput(), 1),
                        "the input channels of 'weight'",
                        dimOf(getWeight(), 1))))
    return failure(); // nn.linear C1
  if (failed(checkEqual(*this, "width of 'result'", dimOf(getResult(), 1),
                        "the output channels of 'weight'",
                        dimOf(getWeight(), 0))))
    return failure(); // nn.linear C2
  if (getBias() &&
      failed(checkEqual(*this, "size of 'bias'", dimOf(getBias(), 0),
                        "the output channels of 'weight'",
                        dimOf(getWeight(), 0))))
    return failure(); // nn.linear C3
  if (auto inputs = getInputs())
    if (!inputs->isBF16() && !inputs->isF16()) // nn.linear C4
      return emitOpError("expected 'inputs' to be bf16 or f16, but got ")
             << *inputs;
  RankedTensorType weight = getWeight().getType();
  if (weight.getElementTypeBitWidth() < 16 && !tier::scaledOf(weight))
    return emitOpError("expected a weight of ")
           << weight.getElementType() << " to be encoded by #tier.scaled, but "
           << "got " << weight; // nn.linear C5
  return success();
}

LogicalResult RopeOp::verify() {
  int64_t width = dimOf(getInput(), 1), heads = getHeads();
  if (heads <= 0 || width % heads) // nn.rope C1
    return emitOpError("expected 'heads' to divide the row width ")
           << width << ", but got " << heads;
  if (getTable().getDim() > width / heads) // nn.rope C2
    return emitOpError("expected dim of the table to be at most the width of a "
                       "head ")
           << width / heads << ", but got " << getTable().getDim();
  return success();
}

LogicalResult AnglesOp::verify() {
  return checkEqual(*this, "width of 'result'", dimOf(getResult(), 1),
                    "dim of the table", getTable().getDim()); // nn.angles C1
}

LogicalResult RotateOp::verify() {
  int64_t width = dimOf(getInput(), 1), heads = getHeads();
  if (heads <= 0 || width % heads) // nn.rotate C1
    return emitOpError("expected 'heads' to divide the row width ")
           << width << ", but got " << heads;
  if (dimOf(getAngles(), 1) > width / heads) // nn.rotate C2
    return emitOpError("expected 'angles' to be at most as wide as a head ")
           << width / heads << ", but got " << dimOf(getAngles(), 1);
  return success();
}

LogicalResult AttentionOp::verify() {
  KvCacheType cache = getCache().getType();
  int64_t heads = getHeads();
  if (heads <= 0 || heads % cache.getHeads()) // nn.attention C1
    return emitOpError(
               "expected 'heads' to be a multiple of the cache's heads ")
           << cache.getHeads() << ", but got " << heads;
  if (failed(checkEqual(*this, "width of 'query'", dimOf(getQuery(), 1),
                        "heads times head_dim", heads * cache.getHeadDim())) ||
      failed(checkEqual(*this, "width of 'key'", dimOf(getKey(), 1),
                        "the cache's heads times head_dim",
                        cache.getHeads() * cache.getHeadDim())))
    return failure(); // nn.attention C2
  if (int64_t(getLayer()) < 0 || int64_t(getLayer()) >= cache.getLayers())
    return emitOpError("expected 'layer' to be less than the cache's layers ")
           << cache.getLayers() << ", but got "
           << getLayer();                        // nn.attention C3
  if (getWindow() && int64_t(*getWindow()) <= 0) // nn.attention C4
    return emitOpError("expected 'window' to be positive, but got ")
           << *getWindow();
  if (getSinks()) // nn.attention C5
    return checkEqual(*this, "size of 'sinks'", dimOf(getSinks(), 0), "'heads'",
                      heads);
  return success();
}

LogicalResult GluOp::verify() {
  if (auto alpha = getAlpha()) {
    if (getKind() != Activation::silu) // nn.glu C1
      return emitOpError("expected 'alpha' with silu only, but got ")
             << stringifyActivation(getKind());
    if (!alpha->isFinite() || !(alpha->convertToDouble() > 0)) // nn.glu C1
      return emitOpError("expected 'alpha' to be positive and finite, but got ")
             << alpha->convertToDouble();
  }
  if (auto limit = getLimit();
      limit && !(limit->convertToDouble() > 0)) // nn.glu C2
    return emitOpError("expected 'limit' to be positive, but got ")
           << limit->convertToDouble();
  if (auto offset = getOffset(); offset && !offset->isFinite()) // nn.glu C3
    return emitOpError("expected 'offset' to be finite, but got ")
           << offset->convertToDouble();
  return success();
}

LogicalResult ClampOp::verify() {
  double low = getLow().convertToDouble(), high = getHigh().convertToDouble();
  if (!(low <= high)) // nn.clamp C1
    return emitOpError("expected 'low' to be at most 'high', but got ")
           << low << " and " << high;
  return success();
}

LogicalResult ScaleOp::verify() {
  return checkEqual(*this, "width of 'factor'", dimOf(getFactor(), 1), "one",
                    1); // nn.scale C1
}
