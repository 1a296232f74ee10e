// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which weights lie in panels, and how.
#include "compiler/transforms/Panels.h"

#include "compiler/transforms/WeightSources.h"
#include "dialects/moe/IR/Moe.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace headrace;

/// Whether `use` reads a weight, or an expert's slice of it, by panels.
static bool readsPanels(OpOperand &use) {
  if (auto linear = dyn_cast<nn::LinearOp>(use.getOwner()))
    return &linear.getWeightMutable() == &use;
  auto embed = dyn_cast<nn::EmbedOp>(use.getOwner());
  return embed && &embed.getTableMutable() == &use;
}

tier::WeightOp headrace::panelWeightOf(nn::LinearOp linear) {
  Value weight = linear.getWeight();
  if (auto argument = dyn_cast<BlockArgument>(weight)) {
    auto experts = dyn_cast<moe::ExpertsOp>(argument.getOwner()->getParentOp());
    if (!experts || argument.getArgNumber() == 0)
      return {};
    weight = experts.getWeights()[argument.getArgNumber() - 1];
  }
  tier::WeightOp symbol = weightOf(weight);
  if (!symbol)
    return {};
  bool only = true;
  symbol->getParentOfType<ModuleOp>().walk([&](tier::UseOp use) {
    if (use.getWeight() != symbol.getSymName())
      return;
    for (OpOperand &operand : use.getResult().getUses()) {
      auto experts = dyn_cast<moe::ExpertsOp>(operand.getOwner());
      if (!experts)
        only &= readsPanels(operand);
      else // Operand 0 is the buckets.
        only &= llvm::all_of(
            experts.getBody().getArgument(operand.getOperandNumber()).getUses(),
            readsPanels);
    }
  });
  return only ? symbol : tier::WeightOp();
}

bool headrace::hasGluHalves(nn::LinearOp linear) {
  bool any = false;
  for (Operation *user : linear.getResult().getUsers()) {
    if (isa<tensor::DimOp>(user))
      continue;
    auto slice = dyn_cast<tensor::ExtractSliceOp>(user);
    if (!slice || !slice->hasOneUse() ||
        !isa<nn::GluOp>(*slice->getUsers().begin()))
      return false;
    int64_t half = linear.getType().getDimSize(1) / 2;
    ArrayRef<int64_t> offsets = slice.getStaticOffsets();
    if (offsets[0] != 0 || (offsets[1] != 0 && offsets[1] != half) ||
        slice.getType().getDimSize(1) != half ||
        linear.getType().getDimSize(1) != 2 * half || !slice.hasUnitStride())
      return false;
    any = true;
  }
  return any;
}
