// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// round-at-producer: a value that only products read, all of them rounding it
// to one type, is stored in that type by whoever makes it.
//
// A norm is as a rule made again by each kernel that reads it. One whose rows
// are dispatched is not: every column group of every expert would make it
// again. Its router stores the rows, rounded as the experts want them.
#include "compiler/transforms/PassesDetail.h"
#include "dialects/moe/IR/Moe.h"
#include "dialects/nn/IR/Nn.h"

using namespace mlir;
using namespace headrace;

namespace {
struct RoundAtProducerPass : public ModulePass<RoundAtProducerPass> {
  HEADRACE_PASS("headrace-round-at-producer",
                "stores what only products read in the products' type")

  void runOnOperation() override {
    getOperation().walk([](nn::NormOp norm) { storeDispatchedRows(norm); });
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
      auto rounded = round(value, type);
      value.replaceUsesWithIf(rounded.second, [&](OpOperand &use) {
        return use.getOwner() != rounded.first.getDefiningOp();
      });
    }
  }

private:
  /// `value` rounded to `type`, and that as float32 again.
  static std::pair<Value, Value> round(Value value, Type type) {
    OpBuilder b(value.getContext());
    b.setInsertionPointAfterValue(value);
    auto rows = cast<RankedTensorType>(value.getType());
    Value narrow = arith::TruncFOp::create(
        b, value.getLoc(), RankedTensorType::get(rows.getShape(), type), value);
    Value wide = arith::ExtFOp::create(b, value.getLoc(), rows, narrow);
    return {narrow, wide};
  }

  /// The type to which every product on the rows of `experts` rounds them; null
  /// where they are read in another way.
  static Type roundedBy(moe::ExpertsOp experts) {
    Type type;
    for (Operation *user : experts.getBody().getArgument(0).getUsers()) {
      auto linear = dyn_cast<nn::LinearOp>(user);
      if (!linear || !linear.getInputs() ||
          linear.getInput() != experts.getBody().getArgument(0) ||
          (type && type != *linear.getInputs()))
        return {};
      type = *linear.getInputs();
    }
    return type;
  }

  static bool isRouter(nn::LinearOp linear) {
    for (Operation *user : linear.getResult().getUsers()) {
      auto routes = [](Operation *op) {
        return isa<moe::SelectOp, moe::WeighOp>(op);
      };
      if (routes(user) ||
          (isa<moe::SquashOp>(user) && llvm::any_of(user->getUsers(), routes)))
        return true;
    }
    return false;
  }

  static void storeDispatchedRows(nn::NormOp norm) {
    bool routed = false;
    Type type;
    SmallVector<moe::DispatchOp> dispatches;
    SmallVector<moe::ExpertsOp> bodies;
    SmallVector<nn::LinearOp> products;
    for (Operation *user : norm.getResult().getUsers()) {
      if (auto linear = dyn_cast<nn::LinearOp>(user)) {
        routed |= isRouter(linear);
        products.push_back(linear);
      }
      auto dispatch = dyn_cast<moe::DispatchOp>(user);
      if (!dispatch)
        continue;
      dispatches.push_back(dispatch);
      for (Operation *reader : dispatch.getResult().getUsers()) {
        auto experts = dyn_cast<moe::ExpertsOp>(reader);
        Type here = experts ? roundedBy(experts) : Type();
        if (!here || (type && type != here))
          return;
        type = here;
        bodies.push_back(experts);
      }
    }
    if (!routed || !type)
      return;
    auto [narrow, wide] = round(norm.getResult(), type);
    for (moe::DispatchOp dispatch : dispatches) {
      moe::BucketsType buckets = dispatch.getResult().getType();
      dispatch.getInputMutable().assign(narrow);
      dispatch.getResult().setType(
          moe::BucketsType::get(buckets.getContext(), buckets.getExperts(),
                                buckets.getSlots(), buckets.getWidth(), type));
    }
    for (moe::ExpertsOp experts : bodies) {
      BlockArgument rows = experts.getBody().getArgument(0);
      auto old = cast<RankedTensorType>(rows.getType());
      rows.setType(RankedTensorType::get(old.getShape(), type));
      OpBuilder b = OpBuilder::atBlockBegin(&experts.getBody().front());
      auto widened = arith::ExtFOp::create(b, experts.getLoc(), old, rows);
      rows.replaceAllUsesExcept(widened, widened);
    }
    // A shared expert rounds the same rows the same way.
    for (nn::LinearOp linear : products)
      if (linear.getInputs() == type)
        linear.getInputMutable().assign(wide);
    if (wide.use_empty())
      wide.getDefiningOp()->erase();
  }
};
} // namespace

std::unique_ptr<Pass> headrace::createRoundAtProducerPass() {
  return std::make_unique<RoundAtProducerPass>();
}
