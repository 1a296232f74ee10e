// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// pack-weights: the weights of products get the encoding of their panels.
#include "compiler/transforms/Panels.h"
#include "compiler/transforms/PassesDetail.h"
#include "dialects/moe/IR/Moe.h"
#include "dialects/nn/IR/Nn.h"

using namespace mlir;
using namespace headrace;

namespace {

/// Columns of a panel: with 14 rows they fill the 32 registers of AVX-512, and
/// one step of a bf16 panel is two cache lines.
constexpr int64_t kColumns = 32;

struct PackWeightsPass : public ModulePass<PackWeightsPass> {
  HEADRACE_PASS("headrace-pack-weights",
                "chooses the panels of the weights of products")

  void runOnOperation() override {
    ModuleOp module = getOperation();
    SmallVector<nn::LinearOp> linears;
    module.walk([&](nn::LinearOp op) { linears.push_back(op); });
    for (nn::LinearOp linear : linears) {
      auto type = cast<RankedTensorType>(linear.getWeight().getType());
      if (type.getEncoding())
        continue;
      int64_t pack = type.getElementType().isBF16() ? 2 : 1;
      auto panels = flow::PanelsAttr::get(&getContext(), kColumns, pack,
                                          hasGluHalves(linear) ? 2 : 1);
      if (tier::WeightOp symbol = panelWeightOf(linear))
        encode(module, symbol, panels);
    }
    // What merging left without a use is not part of the program any more.
    for (tier::UseOp use : useOps(module))
      if (use.use_empty())
        use.erase();
    for (auto weight :
         llvm::make_early_inc_range(module.getOps<tier::WeightOp>()))
      if (SymbolTable::symbolKnownUseEmpty(weight, module))
        weight.erase();
  }

private:
  static SmallVector<tier::UseOp> useOps(ModuleOp module) {
    SmallVector<tier::UseOp> uses;
    module.walk([&](tier::UseOp op) { uses.push_back(op); });
    return uses;
  }

  /// Gives the weight and every value that stands for it or for one expert's
  /// slice of it the encoding.
  void encode(ModuleOp module, tier::WeightOp symbol, Attribute encoding) {
    auto with = [&](Type type) {
      auto tensor = cast<RankedTensorType>(type);
      return RankedTensorType::get(tensor.getShape(), tensor.getElementType(),
                                   encoding);
    };
    symbol.setTypeAttr(TypeAttr::get(with(symbol.getType())));
    for (tier::UseOp use : useOps(module)) {
      if (use.getWeight() != symbol.getSymName())
        continue;
      use.getResult().setType(with(use.getType()));
      for (OpOperand &operand : use.getResult().getUses())
        if (auto experts = dyn_cast<moe::ExpertsOp>(operand.getOwner())) {
          BlockArgument slice = experts.getBody().getArgument(
              operand.getOperandNumber()); // Operand 0 is the buckets.
          slice.setType(with(slice.getType()));
        }
    }
  }
};
} // namespace

std::unique_ptr<Pass> headrace::createPackWeightsPass() {
  return std::make_unique<PackWeightsPass>();
}
