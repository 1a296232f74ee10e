// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Link bench: what the link between host and device carries.
#ifndef HEADRACE_TOOLS_GPU_SUITE_LINK_BENCH_H
#define HEADRACE_TOOLS_GPU_SUITE_LINK_BENCH_H

#include "tools/gpu-suite/runner.h"

namespace headrace::suite {

/// Times, on a GPU, one copy of pinned memory; the same bytes in pieces, two
/// under way, as the driver uploads weights; that while the device fills
/// memory; and copies within the device. Prints a line of JSON for each.
Failure BenchLink(const Machine &machine);

} // namespace headrace::suite

#endif // HEADRACE_TOOLS_GPU_SUITE_LINK_BENCH_H
