// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "compiler/codegen/KernelMatch.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
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
  if (isa<BlockArgument>(scores) && isa<BlockArgument>(m.select.getChoice()))
    return success();
  if (m.select.getChoice() != scores)
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
