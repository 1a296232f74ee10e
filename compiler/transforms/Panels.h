// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which weights lie in panels, and how.
#ifndef HEADRACE_COMPILER_TRANSFORMS_PANELS_H
#define HEADRACE_COMPILER_TRANSFORMS_PANELS_H

#include "dialects/nn/IR/Nn.h"
#include "dialects/tier/IR/Tier.h"

namespace headrace {

/// The weight of `linear`, inside an expert's body the one that its slice is
/// cut from, if all that read it know panels: products, and embeddings of the
/// same table. Null otherwise.
tier::WeightOp panelWeightOf(nn::LinearOp linear);

/// Whether gate and up of `linear` are its two halves and nothing else reads
/// it, so that they alternate within a panel.
bool hasGluHalves(nn::LinearOp linear);

} // namespace headrace

#endif // HEADRACE_COMPILER_TRANSFORMS_PANELS_H
