// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// join-routed: brings the kernels of a routed layer together, so that they can
// run wave by wave: each moves down to the first call that reads its result.
#include "compiler/transforms/PassesDetail.h"

using namespace mlir;
using namespace headrace;

namespace {
struct JoinRoutedPass : public ModulePass<JoinRoutedPass> {
  HEADRACE_PASS("headrace-join-routed",
                "moves routed products next to their readers")

  void runOnOperation() override {
    getOperation().walk([](func::FuncOp function) {
      SmallVector<flow::CallOp> calls;
      for (auto call : function.getBody().getOps<flow::CallOp>())
        if (llvm::any_of(call.getOperands(), [](Value operand) {
              auto use = operand.getDefiningOp<tier::UseOp>();
              return use && use.getType().getRank() >= 3;
            }))
          calls.push_back(call);
      for (flow::CallOp call : llvm::reverse(calls)) {
        Operation *first = nullptr;
        for (Operation *user : call->getUsers())
          if (!first || user->isBeforeInBlock(first))
            first = user;
        // A routed product that others read as rows stays where it is.
        if (isa_and_nonnull<flow::CallOp>(first) &&
            llvm::is_contained(calls, cast<flow::CallOp>(first)))
          call->moveBefore(first);
      }
    });
  }
};
} // namespace

std::unique_ptr<Pass> headrace::createJoinRoutedPass() {
  return std::make_unique<JoinRoutedPass>();
}
