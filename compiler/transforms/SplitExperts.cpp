// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// split-experts: a gated feed-forward body becomes two, gate and up merged into
// one product, with the intermediate as buckets between them: the form in which
// a routed feed-forward is two kernels.
#include "compiler/transforms/PassesDetail.h"
#include "compiler/transforms/WeightSources.h"
#include "dialects/moe/IR/Moe.h"
#include "dialects/nn/IR/Nn.h"

using namespace mlir;
using namespace headrace;

namespace {

/// A body `down(act(gate(x)) * up(x))` on weights of the experts op; gate and
/// up have a bias or have none, and so has down.
struct GatedBody {
  nn::LinearOp gate, up, down;
  nn::GluOp glu;
  /// What the products read; a bias may be null.
  Value gateWeight, upWeight, downWeight, gateBias, upBias, downBias;
};

bool matchBody(moe::ExpertsOp experts, GatedBody &m) {
  Block &body = experts.getBody().front();
  auto stacked = [&](Value slice, Value &weight) {
    auto argument = dyn_cast<BlockArgument>(slice);
    if (!argument || argument.getArgNumber() == 0)
      return false;
    weight = experts.getWeights()[argument.getArgNumber() - 1];
    return bool(weightOf(weight));
  };
  auto operands = [&](nn::LinearOp linear, Value &weight, Value &bias) {
    return stacked(linear.getWeight(), weight) &&
           (!linear.getBias() || stacked(linear.getBias(), bias));
  };
  m.down = body.getTerminator()->getOperand(0).getDefiningOp<nn::LinearOp>();
  if (!m.down)
    return false;
  m.glu = m.down.getInput().getDefiningOp<nn::GluOp>();
  if (!m.glu)
    return false;
  m.gate = m.glu.getGate().getDefiningOp<nn::LinearOp>();
  m.up = m.glu.getUp().getDefiningOp<nn::LinearOp>();
  Value rows = body.getArgument(0);
  return m.gate && m.up && m.gate.getInput() == rows &&
         m.up.getInput() == rows &&
         bool(m.gate.getBias()) == bool(m.up.getBias()) &&
         m.gate.getInputs() == m.up.getInputs() &&
         m.gate.getWeight().getType() == m.up.getWeight().getType() &&
         operands(m.gate, m.gateWeight, m.gateBias) &&
         operands(m.up, m.upWeight, m.upBias) &&
         operands(m.down, m.downWeight, m.downBias) &&
         (!m.gateBias || m.gateBias.getType() == m.upBias.getType());
}

void split(moe::ExpertsOp experts, GatedBody &m) {
  OpBuilder b(experts);
  Location loc = experts.getLoc();
  auto in = experts.getBuckets().getType(), out = experts.getResult().getType();
  int64_t width = cast<RankedTensorType>(m.gateWeight.getType()).getDimSize(1);
  // Gate's rows of an expert, then up's: [experts, 2 * width, ...].
  auto merge = [&](Value gate, Value up) {
    return concatenateWeights(b, {gate, up}, /*dim=*/1);
  };
  SmallVector<Value> merged{merge(m.gateWeight, m.upWeight)};
  if (m.gateBias)
    merged.push_back(merge(m.gateBias, m.upBias));
  SmallVector<Value> down{m.downWeight};
  if (m.downBias)
    down.push_back(m.downBias);
  // An expert's slice of each of `weights`, as arguments of a body.
  auto slices = [&](Block &block, ValueRange weights) {
    SmallVector<Value> out;
    for (Value weight : weights) {
      auto type = cast<RankedTensorType>(weight.getType());
      out.push_back(block.addArgument(
          RankedTensorType::get(type.getShape().drop_front(),
                                type.getElementType(), type.getEncoding()),
          loc));
    }
    out.resize(2); // A bias that is not there is null.
    return out;
  };
  // The rows between the two products are rounded as the second one reads them.
  Type middleElement = b.getF32Type();
  if (auto inputs = m.down.getInputs())
    middleElement = *inputs;
  auto middle = moe::BucketsType::get(b.getContext(), in.getExperts(),
                                      in.getSlots(), width, middleElement);
  auto rowsOf = [&](int64_t columns, Type element) {
    return RankedTensorType::get({ShapedType::kDynamic, columns}, element);
  };

  auto first = moe::ExpertsOp::create(b, loc, middle, experts.getBuckets(),
                                      ValueRange(merged));
  {
    OpBuilder::InsertionGuard guard(b);
    Block &block = first.getBody().emplaceBlock();
    b.setInsertionPointToEnd(&block);
    Value x = block.addArgument(rowsOf(in.getWidth(), in.getElement()), loc);
    SmallVector<Value> w = slices(block, merged);
    Value both = nn::LinearOp::create(b, loc, rowsOf(2 * width, b.getF32Type()),
                                      x, w[0], w[1], m.gate.getInputsAttr());
    Value low = sliceColumns(b, loc, both, 0, width);
    Value high = sliceColumns(b, loc, both, width, width);
    Value h = nn::GluOp::create(b, loc, low.getType(), ValueRange{low, high},
                                m.glu->getAttrs());
    if (!middleElement.isF32())
      h = arith::TruncFOp::create(b, loc, rowsOf(width, middleElement), h);
    moe::YieldOp::create(b, loc, h);
  }
  auto second =
      moe::ExpertsOp::create(b, loc, out, first.getResult(), ValueRange(down));
  {
    OpBuilder::InsertionGuard guard(b);
    Block &block = second.getBody().emplaceBlock();
    b.setInsertionPointToEnd(&block);
    Value h = block.addArgument(rowsOf(width, middleElement), loc);
    SmallVector<Value> w = slices(block, down);
    if (!middleElement.isF32())
      h = arith::ExtFOp::create(b, loc, rowsOf(width, b.getF32Type()), h);
    Value y = nn::LinearOp::create(b, loc, m.down.getType(), h, w[0], w[1],
                                   m.down.getInputsAttr());
    moe::YieldOp::create(b, loc, y);
  }
  experts.getResult().replaceAllUsesWith(second.getResult());
  experts.erase();
}

struct SplitExpertsPass : public ModulePass<SplitExpertsPass> {
  HEADRACE_PASS("headrace-split-experts",
                "splits gated expert bodies into their two products")

  void runOnOperation() override {
    SmallVector<moe::ExpertsOp> all;
    getOperation().walk([&](moe::ExpertsOp op) { all.push_back(op); });
    for (moe::ExpertsOp experts : all) {
      GatedBody body;
      if (matchBody(experts, body))
        split(experts, body);
    }
    // Where a product makes the last base addend, the sum of them all joins its
    // kernel; otherwise the combine adds them up itself.
    SmallVector<moe::CombineOp> combines;
    getOperation().walk([&](moe::CombineOp op) { combines.push_back(op); });
    for (moe::CombineOp combine : combines) {
      if (combine.getBase().size() < 2)
        continue;
      Value made = combine.getBase().back();
      if (!made.hasOneUse() ||
          !isa_and_nonnull<nn::LinearOp, nn::ScaleOp>(made.getDefiningOp()))
        continue;
      OpBuilder b(combine);
      Value sum = combine.getBase()[0];
      for (Value addend : combine.getBase().drop_front())
        sum = arith::AddFOp::create(b, combine.getLoc(), sum, addend);
      combine.getBaseMutable().assign(sum);
    }
  }
};
} // namespace

std::unique_ptr<Pass> headrace::createSplitExpertsPass() {
  return std::make_unique<SplitExpertsPass>();
}
