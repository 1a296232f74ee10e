// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "compiler/codegen/KernelMatch.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace headrace;

LogicalResult headrace::matchRows(Value value, RowSource &source) {
  while (Operation *op = value.getDefiningOp()) {
    if (auto widen = dyn_cast<arith::ExtFOp>(op)) {
      value = widen.getIn();
    } else if (auto norm = dyn_cast<nn::NormOp>(op);
               norm && norm.getGroups() == 1 && !source.norm) {
      source.norm = norm;
      value = norm.getInput();
    } else if (auto pick = dyn_cast<nn::EmbedOp>(op); pick && !source.pick) {
      source.pick = pick;
      value = pick.getTable();
    } else {
      return op->emitOpError("is no part of a row operand of a "
                             "product");
    }
  }
  source.argument = value;
  return success();
}

/// The last `Op` of `region`; null where there is none.
template <typename Op> static Op findOp(Region &region) {
  Op found;
  region.walk([&](Op op) { found = op; });
  return found;
}

LogicalResult headrace::matchLinear(flow::KernelOp kernel,
                                    ProductMatch &match) {
  match.linear = findOp<nn::LinearOp>(kernel.getBody());
  if (!match.linear)
    return kernel.emitOpError("has no product");
  match.yielded = kernel.getBody().front().getTerminator()->getOperand(0);
  return matchRows(match.linear.getInput(), match.rows);
}

LogicalResult headrace::matchRoutedUp(flow::KernelOp kernel,
                                      ProductMatch &match) {
  auto experts = findOp<moe::ExpertsOp>(kernel.getBody());
  if (!experts)
    return kernel.emitOpError("has no experts");
  match.experts = experts;
  match.dispatch = experts.getBuckets().getDefiningOp<moe::DispatchOp>();
  match.linear = findOp<nn::LinearOp>(experts.getBody());
  Block &body = experts.getBody().front();
  RowSource inside;
  if (match.linear && failed(matchRows(match.linear.getInput(), inside)))
    return failure();
  if (!match.dispatch || inside.argument != body.getArgument(0) ||
      inside.norm || inside.pick)
    return experts.emitOpError("is not a routed product on dispatched rows");
  match.yielded = body.getTerminator()->getOperand(0);
  return matchRows(match.dispatch.getInput(), match.rows);
}

LogicalResult headrace::matchRoutedDown(flow::KernelOp kernel,
                                        RoutedDownMatch &match) {
  match.combine = findOp<moe::CombineOp>(kernel.getBody());
  if (!match.combine)
    return kernel.emitOpError("combines no rows");
  match.experts = match.combine.getBuckets().getDefiningOp<moe::ExpertsOp>();
  if (!match.experts || !isa<BlockArgument>(match.experts.getBuckets()))
    return match.combine.emitOpError(
        "does not combine the rows of routed experts");
  Region &body = match.experts.getBody();
  match.linear = findOp<nn::LinearOp>(body);
  if (!match.linear ||
      body.front().getTerminator()->getOperand(0) != match.linear.getResult())
    return match.experts.emitOpError("is not a routed product");
  return success();
}

LogicalResult headrace::matchHead(Value value, HeadSource &source) {
  while (Operation *op = value.getDefiningOp()) {
    if (auto rotate = dyn_cast<nn::RotateOp>(op); rotate && !source.rotate &&
                                                  source.elementwise.empty() &&
                                                  !source.norm) {
      source.rotate = rotate;
      value = rotate.getInput();
    } else if (isa<nn::ClampOp>(op) && !source.norm) {
      source.elementwise.insert(source.elementwise.begin(), op);
      value = op->getOperand(0);
    } else if (auto norm = dyn_cast<nn::NormOp>(op);
               norm && !source.norm && norm.getKind() == nn::NormKind::rms &&
               !norm.getBias()) {
      source.norm = norm;
      value = norm.getInput();
    } else if (auto slice = dyn_cast<tensor::ExtractSliceOp>(op)) {
      source.offset += slice.getStaticOffsets()[1];
      value = slice.getSource();
    } else {
      return op->emitOpError("is no part of a query, key or value of "
                             "attention");
    }
  }
  source.argument = value;
  return success();
}

std::optional<BiasedScores> headrace::matchBiasedScores(Value choice) {
  auto isVector = [](Value value) {
    auto type = dyn_cast<RankedTensorType>(value.getType());
    return type && type.getRank() == 1 && type.hasStaticShape();
  };
  if (auto sum = choice.getDefiningOp<arith::AddFOp>()) {
    for (unsigned i : {0u, 1u})
      if (auto wide = sum->getOperand(i).getDefiningOp<linalg::BroadcastOp>())
        if (isVector(wide.getInput()) && wide.getDimensions().front() == 0 &&
            wide->hasOneUse())
          return BiasedScores{sum->getOperand(1 - i), wide.getInput(), wide};
    return std::nullopt;
  }
  auto generic = choice.getDefiningOp<linalg::GenericOp>();
  if (!generic || generic.getNumLoops() != 2 ||
      generic.getNumParallelLoops() != 2 || generic.getNumDpsInputs() != 2 ||
      generic.getNumDpsInits() != 1)
    return std::nullopt;
  MLIRContext *context = generic.getContext();
  AffineMap places = AffineMap::getMultiDimIdentityMap(2, context);
  AffineMap columns =
      AffineMap::get(2, 0, getAffineDimExpr(1, context), context);
  SmallVector<AffineMap> maps = generic.getIndexingMapsArray();
  unsigned vector = isVector(generic.getInputs()[0]) ? 0 : 1;
  if (maps[vector] != columns || maps[1 - vector] != places ||
      maps[2] != places || !isVector(generic.getInputs()[vector]))
    return std::nullopt;
  // The body adds the two, widened where they are narrow.
  Block *body = generic.getBody();
  auto sum =
      body->getTerminator()->getOperand(0).getDefiningOp<arith::AddFOp>();
  auto adds = [&](unsigned operand, unsigned input) {
    Value value = sum->getOperand(operand);
    if (auto widen = value.getDefiningOp<arith::ExtFOp>())
      value = widen.getIn();
    return value == body->getArgument(input);
  };
  if (!sum || !((adds(0, 0) && adds(1, 1)) || (adds(0, 1) && adds(1, 0))))
    return std::nullopt;
  return BiasedScores{generic.getInputs()[1 - vector],
                      generic.getInputs()[vector], generic};
}

LogicalResult headrace::matchRouter(flow::KernelOp kernel, RouterMatch &m) {
  arith::TruncFOp rounded;
  for (OpOperand &yielded :
       kernel.getBody().front().getTerminator()->getOpOperands()) {
    if (auto weigh = yielded.get().getDefiningOp<moe::WeighOp>()) {
      m.weigh = weigh;
      m.routing = yielded.getOperandNumber();
    } else if ((rounded = yielded.get().getDefiningOp<arith::TruncFOp>())) {
      m.stored = yielded.getOperandNumber();
    }
  }
  if (!m.weigh)
    return kernel.emitOpError("of family router does not yield a moe.weigh");
  m.select = m.weigh.getSelection().getDefiningOp<moe::SelectOp>();
  Value scores = m.weigh.getValue();
  if (!m.select)
    return m.weigh.emitOpError("weighs a selection of another kernel");
  Value choice = m.select.getChoice();
  if (isa<BlockArgument>(scores) && isa<BlockArgument>(choice))
    return success();
  if (auto biased = matchBiasedScores(choice)) {
    choice = biased->scores;
    m.bias = biased->bias;
    if (!isa<BlockArgument>(m.bias))
      return m.select.emitOpError("has a bias that is no argument of its "
                                  "kernel");
  }
  if (choice != scores)
    return m.weigh.emitOpError("reads other scores than the selection does; in "
                               "a kernel of family router they are the same");
  m.squash = scores.getDefiningOp<moe::SquashOp>();
  if (m.squash)
    scores = m.squash.getScores();
  m.linear = scores.getDefiningOp<nn::LinearOp>();
  if (!m.linear)
    return m.select.emitOpError("has scores that are no product; in a kernel "
                                "of family router they are");
  m.input = m.linear.getInput();
  m.norm = m.input.getDefiningOp<nn::NormOp>();
  if (m.norm)
    m.input = m.norm.getInput();
  if (rounded && rounded.getIn() != m.linear.getInput())
    return rounded.emitOpError("stores other rows than the router reads");
  if (!isa<BlockArgument>(m.input))
    return m.linear.emitOpError("has an input that is neither an argument of "
                                "the kernel nor its norm");
  return success();
}
