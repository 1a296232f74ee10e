// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The frequencies of a rotary table.
#ifndef HEADRACE_COMPILER_CODEGEN_ROPEFREQUENCIES_H
#define HEADRACE_COMPILER_CODEGEN_ROPEFREQUENCIES_H

#include "dialects/nn/IR/Nn.h"
#include "llvm/ADT/SmallVector.h"

namespace headrace {

/// The `dim / 2` frequencies of `table` in float32, as `nn.rope_table` defines
/// them (formulas: transformers, modeling_rope_utils).
llvm::SmallVector<float> ropeFrequencies(nn::RopeAttr table);

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_ROPEFREQUENCIES_H
