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

/// A body `down(act(gate(x)) * up(x))` on weights of the experts op.
struct GatedBody {
  nn::LinearOp gate, up, down;
  nn::GluOp glu;
  unsigned gateWeight, upWeight, downWeight; ///< Operand numbers.
};

bool matchBody(moe::ExpertsOp experts, GatedBody &m) {
  Block &body = experts.getBody().front();
  auto weightNumber = [&](Value value, unsigned &number) {
    auto argument = dyn_cast<BlockArgument>(value);
    if (!argument || argument.getArgNumber() == 0)
      return false;
    number = argument.getArgNumber() - 1;
    return bool(weightOf(experts.getWeights()[number]));
  };
  m.down = body.getTerminator()->getOperand(0).getDefiningOp<nn::LinearOp>();
  if (!m.down || m.down.getBias())
    return false;
  m.glu = m.down.getInput().getDefiningOp<nn::GluOp>();
  if (!m.glu)
    return false;
  m.gate = m.glu.getGate().getDefiningOp<nn::LinearOp>();
  m.up = m.glu.getUp().getDefiningOp<nn::LinearOp>();
  Value rows = body.getArgument(0);
  return m.gate && m.up && m.gate.getInput() == rows &&
         m.up.getInput() == rows && !m.gate.getBias() && !m.up.getBias() &&
         m.gate.getInputs() == m.up.getInputs() &&
         m.gate.getWeight().getType() == m.up.getWeight().getType() &&
         weightNumber(m.gate.getWeight(), m.gateWeight) &&
         weightNumber(m.up.getWeight(), m.upWeight) &&
         weightNumber(m.down.getWeight(), m.downWeight);
}

void split(moe::ExpertsOp experts, GatedBody &m) {
  OpBuilder b(experts);
  Location loc = experts.getLoc();
  auto in = experts.getBuckets().getType(), out = experts.getResult().getType();
  Value gate = experts.getWeights()[m.gateWeight];
  Value up = experts.getWeights()[m.upWeight];
  Value down = experts.getWeights()[m.downWeight];
  auto gateType = cast<RankedTensorType>(gate.getType());
  int64_t count = gateType.getDimSize(0), width = gateType.getDimSize(1);
  auto mergedType = RankedTensorType::get(
      {count, 2 * width, gateType.getDimSize(2)}, gateType.getElementType());
  Value merged = concatenateWeights(b, {gate, up}, mergedType, count);
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
                                      ValueRange{merged});
  {
    OpBuilder::InsertionGuard guard(b);
    Block &block = first.getBody().emplaceBlock();
    b.setInsertionPointToEnd(&block);
    Value x = block.addArgument(rowsOf(in.getWidth(), in.getElement()), loc);
    Value w = block.addArgument(
        RankedTensorType::get(mergedType.getShape().drop_front(),
                              mergedType.getElementType()),
        loc);
    Value both = nn::LinearOp::create(b, loc, rowsOf(2 * width, b.getF32Type()),
                                      x, w, Value(), m.gate.getInputsAttr());
    Value low = sliceColumns(b, loc, both, 0, width);
    Value high = sliceColumns(b, loc, both, width, width);
    Value h =
        nn::GluOp::create(b, loc, low.getType(), m.glu.getKind(), low, high);
    if (!middleElement.isF32())
      h = arith::TruncFOp::create(b, loc, rowsOf(width, middleElement), h);
    moe::YieldOp::create(b, loc, h);
  }
  auto second =
      moe::ExpertsOp::create(b, loc, out, first.getResult(), ValueRange{down});
  {
    OpBuilder::InsertionGuard guard(b);
    Block &block = second.getBody().emplaceBlock();
    b.setInsertionPointToEnd(&block);
    Value h = block.addArgument(rowsOf(width, middleElement), loc);
    Value w = block.addArgument(m.down.getWeight().getType(), loc);
    if (!middleElement.isF32())
      h = arith::ExtFOp::create(b, loc, rowsOf(width, b.getF32Type()), h);
    Value y = nn::LinearOp::create(b, loc, m.down.getType(), h, w, Value(),
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
