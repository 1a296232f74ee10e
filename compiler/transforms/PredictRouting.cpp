// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// predict-routing: runs each router once more, a routed layer earlier, on the
// rows that the router of that layer reads. What it picks there is a guess at
// what it will pick, early enough to fetch those experts.
//
// The call goes right ahead of the layer's routed products: the layer's own
// routing is known by then, and nothing has waited for an expert yet.
#include "compiler/transforms/PassesDetail.h"
#include "dialects/moe/IR/Moe.h"

using namespace mlir;
using namespace headrace;

namespace {

/// A call that makes the routing of a routed layer, and the first call of the
/// layer that reads stacked weights by it.
struct Router {
  flow::CallOp call, product;
};

bool readsExperts(flow::CallOp call) {
  return llvm::any_of(call.getOperands(), [](Value operand) {
    auto use = operand.getDefiningOp<tier::UseOp>();
    return use && use.getType().getRank() >= 3;
  });
}

/// Routers of a function in the order in which their layers run.
SmallVector<Router> routersOf(func::FuncOp function) {
  SmallVector<Router> routers;
  for (auto call : function.getBody().getOps<flow::CallOp>()) {
    if (!readsExperts(call))
      continue;
    for (Value operand : call.getOperands()) {
      auto router = operand.getDefiningOp<flow::CallOp>();
      if (isa<moe::RoutingType>(operand.getType()) && router &&
          llvm::none_of(routers,
                        [&](Router &one) { return one.call == router; }))
        routers.push_back({router, call});
    }
  }
  return routers;
}

struct PredictRoutingPass : public ModulePass<PredictRoutingPass> {
  HEADRACE_PASS("headrace-predict-routing",
                "runs each router ahead, a routed layer early")

  void runOnOperation() override {
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      SmallVector<Router> routers = routersOf(function);
      for (size_t i = 1; i < routers.size(); ++i)
        predict(routers[i - 1], routers[i].call);
    }
  }

  /// Calls `next` on the rows of the router before it, where both take rows and
  /// weights alike.
  static void predict(Router &before, flow::CallOp next) {
    if (next.getOperandTypes() != before.call.getOperandTypes())
      return;
    SmallVector<Value> operands;
    for (auto [mine, other] :
         llvm::zip(next.getOperands(), before.call.getOperands())) {
      const bool isWeight = bool(mine.getDefiningOp<tier::UseOp>());
      if (isWeight != bool(other.getDefiningOp<tier::UseOp>()))
        return;
      operands.push_back(isWeight ? mine : other);
    }
    OpBuilder b(before.product);
    for (Value &operand : operands)
      if (auto weight = operand.getDefiningOp<tier::UseOp>())
        operand = b.clone(*weight)->getResult(0);
    Operation *call = b.clone(*next);
    call->setOperands(operands);
    call->setAttr(kPredicts, b.getUnitAttr());
  }
};

} // namespace

std::unique_ptr<Pass> headrace::createPredictRoutingPass() {
  return std::make_unique<PredictRoutingPass>();
}
