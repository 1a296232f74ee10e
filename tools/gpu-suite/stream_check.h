// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Stream check: a model whose weights are more than the memory planned for it.
#ifndef HEADRACE_TOOLS_GPU_SUITE_STREAM_CHECK_H
#define HEADRACE_TOOLS_GPU_SUITE_STREAM_CHECK_H

#include "tools/gpu-suite/runner.h"

namespace headrace::suite {

/// Runs a package with a plan twice, with all weights on the device and with
/// those that move, and compares the logits bit for bit; then times steps of
/// one token. Prints a line of JSON: seconds of both kinds of step, of the
/// kernels, of the link and of waiting for it, and bytes that a step moved.
Failure CheckStreamed(const SuiteEntry &entry, const Machine &machine,
                      Loaded &resident, uint64_t seed, int repeats);

} // namespace headrace::suite

#endif // HEADRACE_TOOLS_GPU_SUITE_STREAM_CHECK_H
