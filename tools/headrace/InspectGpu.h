// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The code of a package for GPUs, for people.
#ifndef HEADRACE_TOOLS_HEADRACE_INSPECTGPU_H
#define HEADRACE_TOOLS_HEADRACE_INSPECTGPU_H

#include "llvm/Support/Error.h"
#include <cstdint>
#include <string>

namespace headrace::tools {

/// The number of tasks or blocks of a launch as a formula; `kind` is a
/// headrace_grid_t.
std::string gridFormula(uint32_t kind, uint64_t base, uint64_t block,
                        uint64_t limit);

/// Prints the code sections, the classes of steps of each entry, and what each
/// kernel needs of a multiprocessor. The package was opened before, so what its
/// manifest says is sound.
llvm::Error inspectGpuCode(const std::string &package);

} // namespace headrace::tools

#endif // HEADRACE_TOOLS_HEADRACE_INSPECTGPU_H
