// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// pack-weights: the weights of products get the encoding that their target
// reads.
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

/// Input channels of a 128-byte line of 16-bit elements.
constexpr int64_t kLine = 64;

struct PackWeightsPass : public ModulePass<PackWeightsPass> {
  HEADRACE_PASS("headrace-pack-weights",
                "chooses the packing of the weights of products")

  void runOnOperation() override {
    ModuleOp module = getOperation();
    bool gpu = module->hasAttr("headrace.target");
    SmallVector<nn::LinearOp> linears;
    module.walk([&](nn::LinearOp op) { linears.push_back(op); });
    for (nn::LinearOp linear : linears) {
      auto type = cast<RankedTensorType>(linear.getWeight().getType());
      if (tier::packingOf(type))
        continue;
      if (auto scaled = tier::scaledOf(type);
          scaled && (flow::PanelsAttr::kRun % scaled.getColumns() ||
                     scaled.getColumns() % 32)) {
        linear.emitOpError("has a weight with blocks of ")
            << scaled.getColumns() << " input channels; targets know blocks of "
            << "32, 64 and 128";
        return signalPassFailure();
      }
      tier::WeightOp symbol = panelWeightOf(linear);
      Attribute packing = gpu ? fragmentsOf(linear) : panelsOf(linear);
      if (symbol && packing)
        pack(module, symbol, packing);
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
  Attribute panelsOf(nn::LinearOp linear) {
    Type element =
        cast<RankedTensorType>(linear.getWeight().getType()).getElementType();
    bool pairs = element.isBF16() || element.getIntOrFloatBitWidth() < 16;
    return flow::PanelsAttr::get(&getContext(), kColumns, pairs ? 2 : 1,
                                 hasGluHalves(linear) ? 2 : 1);
  }
  /// For a GPU: experts are packed for matrix instructions. Dense weights stay
  /// row-major, which a library reads too, where their rows are whole lines; a
  /// router's are read row by row, in float32. No library reads encoded ones.
  Attribute fragmentsOf(nn::LinearOp linear) {
    auto type = cast<RankedTensorType>(linear.getWeight().getType());
    bool encoded = bool(tier::scaledOf(type));
    bool narrow = encoded || type.getElementType().isBF16() ||
                  type.getElementType().isF16();
    bool dense = !encoded && !isa<moe::ExpertsOp>(linear->getParentOp());
    if (!narrow || isRouter(linear) ||
        (dense && type.getShape().back() % kLine == 0))
      return {};
    return flow::FragmentsAttr::get(&getContext(),
                                    hasGluHalves(linear) ? 2 : 1);
  }
  static bool isRouter(nn::LinearOp linear) {
    for (Operation *user : linear.getResult().getUsers())
      if (isa<moe::SquashOp, moe::SelectOp, moe::WeighOp>(user))
        return true;
    return false;
  }

  static SmallVector<tier::UseOp> useOps(ModuleOp module) {
    SmallVector<tier::UseOp> uses;
    module.walk([&](tier::UseOp op) { uses.push_back(op); });
    return uses;
  }

  /// Gives the weight and every value that stands for it or for one expert's
  /// slice of it the packing.
  void pack(ModuleOp module, tier::WeightOp symbol, Attribute packing) {
    auto with = [&](Type type) {
      return tier::withPacking(cast<RankedTensorType>(type), packing);
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
