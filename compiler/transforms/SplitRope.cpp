// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// split-rope: angles are made once a step, rotations stay where they are.
#include "compiler/transforms/PassesDetail.h"
#include "dialects/nn/IR/Nn.h"

using namespace mlir;
using namespace headrace;

namespace {
struct SplitRopePass : public ModulePass<SplitRopePass> {
  HEADRACE_PASS("headrace-split-rope",
                "replaces nn.rope by nn.rotate on shared nn.angles")

  void runOnOperation() override {
    getOperation().walk([](func::FuncOp function) {
      DenseMap<std::pair<Value, Attribute>, Value> made;
      SmallVector<nn::RopeOp> ropes;
      function.walk([&](nn::RopeOp op) { ropes.push_back(op); });
      for (nn::RopeOp rope : ropes) {
        OpBuilder b(rope);
        Value &angles = made[{rope.getPositions(), rope.getTable()}];
        if (!angles) {
          // Ahead of everything that depends on the positions.
          if (Operation *def = rope.getPositions().getDefiningOp())
            b.setInsertionPointAfter(def);
          else
            b.setInsertionPointToStart(&function.getBody().front());
          auto type = RankedTensorType::get(
              {ShapedType::kDynamic, rope.getTable().getDim()}, b.getF32Type());
          angles = nn::AnglesOp::create(b, rope.getLoc(), type,
                                        rope.getPositions(), rope.getTable());
          b.setInsertionPoint(rope);
        }
        Value rotated = nn::RotateOp::create(
            b, rope.getLoc(), rope.getType(), rope.getInput(), angles,
            b.getI64IntegerAttr(int64_t(rope.getHeads())));
        rope.replaceAllUsesWith(rotated);
        rope.erase();
      }
    });
  }
};
} // namespace

std::unique_ptr<Pass> headrace::createSplitRopePass() {
  return std::make_unique<SplitRopePass>();
}
