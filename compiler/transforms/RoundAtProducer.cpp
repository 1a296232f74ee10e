// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// round-at-producer: a value that only products read, all of them rounding it
// to one type, is stored in that type by whoever makes it.
#include "compiler/transforms/PassesDetail.h"
#include "dialects/nn/IR/Nn.h"

using namespace mlir;
using namespace headrace;

namespace {
struct RoundAtProducerPass : public ModulePass<RoundAtProducerPass> {
  HEADRACE_PASS("headrace-round-at-producer",
                "stores what only products read in the products' type")

  void runOnOperation() override {
    SmallVector<std::pair<Value, Type>> found;
    getOperation().walk([&](Operation *op) {
      // A norm is remade in its consumers' prologue and never stored.
      if (!isa<nn::GluOp, nn::ActOp, nn::AttentionOp>(op) ||
          !isa<func::FuncOp>(op->getParentOp()))
        return;
      Value value = op->getResult(0);
      Type type;
      for (OpOperand &use : value.getUses()) {
        auto linear = dyn_cast<nn::LinearOp>(use.getOwner());
        if (!linear || linear.getInput() != value || !linear.getInputs() ||
            (type && type != *linear.getInputs()))
          return;
        type = *linear.getInputs();
      }
      if (type)
        found.push_back({value, type});
    });
    for (auto [value, type] : found) {
      OpBuilder b(value.getContext());
      b.setInsertionPointAfterValue(value);
      auto rows = cast<RankedTensorType>(value.getType());
      auto narrow = arith::TruncFOp::create(
          b, value.getLoc(), RankedTensorType::get(rows.getShape(), type),
          value);
      Value wide =
          arith::ExtFOp::create(b, value.getLoc(), rows, narrow.getResult());
      value.replaceUsesWithIf(
          wide, [&](OpOperand &use) { return use.getOwner() != narrow; });
    }
  }
};
} // namespace

std::unique_ptr<Pass> headrace::createRoundAtProducerPass() {
  return std::make_unique<RoundAtProducerPass>();
}
