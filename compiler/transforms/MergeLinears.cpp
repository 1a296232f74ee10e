// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// merge-linears: products that read the same rows and feed one consumer (query,
// key and value; gate and up) become one product with one weight.
#include "compiler/transforms/PassesDetail.h"
#include "compiler/transforms/WeightSources.h"
#include "dialects/moe/IR/Moe.h"
#include "dialects/nn/IR/Nn.h"
#include "mlir/Analysis/TopologicalSortUtils.h"

using namespace mlir;
using namespace headrace;

namespace {

/// The product behind an attention operand, past what works channel by channel.
nn::LinearOp productBehind(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (auto linear = dyn_cast<nn::LinearOp>(op))
      return linear;
    if (!isa<nn::RotateOp, nn::NormOp, nn::ClampOp>(op))
      break;
    value = op->getOperand(0);
  }
  return {};
}

bool mayMerge(ArrayRef<nn::LinearOp> linears) {
  nn::LinearOp first = linears.front();
  for (nn::LinearOp linear : linears) {
    if (!linear || linear.getInput() != first.getInput() ||
        linear.getInputs() != first.getInputs() ||
        linear.getWeight().getType().getElementType() !=
            first.getWeight().getType().getElementType() ||
        linear.getWeight().getType().getEncoding() !=
            first.getWeight().getType().getEncoding() ||
        bool(linear.getBias()) != bool(first.getBias()) ||
        !weightOf(linear.getWeight()) ||
        (linear.getBias() && !weightOf(linear.getBias())))
      return false;
  }
  return true;
}

/// Replaces `linears`, which mayMerge, by one product and slices of it.
void merge(ArrayRef<nn::LinearOp> linears) {
  // The last of them in the block: every weight is known there.
  nn::LinearOp last = linears.front();
  for (nn::LinearOp linear : linears)
    if (last->isBeforeInBlock(linear))
      last = linear;
  OpBuilder b(last);
  Location loc = last.getLoc();
  SmallVector<Value> weights, biases;
  int64_t out = 0;
  for (nn::LinearOp linear : linears) {
    weights.push_back(linear.getWeight());
    if (linear.getBias())
      biases.push_back(linear.getBias());
    out += linear.getWeight().getType().getDimSize(0);
  }
  Value weight = concatenateWeights(b, weights, /*dim=*/0);
  Value bias;
  if (!biases.empty())
    bias = concatenateWeights(b, biases, /*dim=*/0);
  auto rows =
      RankedTensorType::get({ShapedType::kDynamic, out}, b.getF32Type());
  Value merged = nn::LinearOp::create(b, loc, rows, last.getInput(), weight,
                                      bias, last.getInputsAttr());
  // A use may stand ahead of the last product; it moves behind.
  int64_t at = 0;
  for (nn::LinearOp linear : linears) {
    int64_t width = linear.getWeight().getType().getDimSize(0);
    Value slice = sliceColumns(b, loc, merged, at, width);
    linear.getResult().replaceAllUsesWith(slice);
    at += width;
  }
  for (nn::LinearOp linear : linears)
    if (linear != last)
      linear.erase();
  last.erase();
}

struct MergeLinearsPass : public ModulePass<MergeLinearsPass> {
  HEADRACE_PASS("headrace-merge-linears",
                "merges products that read the same rows and feed one consumer")

  void runOnOperation() override {
    SmallVector<Operation *> anchors;
    getOperation().walk([&](Operation *op) {
      if (isa<nn::AttentionOp, nn::GluOp>(op) &&
          !op->getParentOfType<moe::ExpertsOp>())
        anchors.push_back(op);
    });
    for (Operation *op : anchors) {
      SmallVector<nn::LinearOp> linears;
      if (auto attention = dyn_cast<nn::AttentionOp>(op))
        linears = {productBehind(attention.getQuery()),
                   productBehind(attention.getKey()),
                   productBehind(attention.getValue())};
      else if (auto glu = dyn_cast<nn::GluOp>(op))
        linears = {glu.getGate().getDefiningOp<nn::LinearOp>(),
                   glu.getUp().getDefiningOp<nn::LinearOp>()};
      if (!linears.front() || !mayMerge(linears))
        continue;
      merge(linears);
    }
    // Slices stand where the last product stood; whatever used the first one
    // earlier has to follow it.
    getOperation().walk([](func::FuncOp function) {
      sortTopologically(&function.getBody().front());
    });
  }
};
} // namespace

std::unique_ptr<Pass> headrace::createMergeLinearsPass() {
  return std::make_unique<MergeLinearsPass>();
}
