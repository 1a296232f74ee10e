// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Materialise: makes a package of the part that is carried, everything but the
// weights, by making and packing the weights again.
#ifndef HEADRACE_TOOLS_GPU_SUITE_MATERIALIZE_H
#define HEADRACE_TOOLS_GPU_SUITE_MATERIALIZE_H

#include "tools/gpu-suite/suite_file.h"

namespace headrace::suite {

/// Writes the package whose beginning, up to the first weight, is the file
/// `skeleton` to `path`. `threads` make weights at once. The package's digests
/// tell whether they are those it was compiled with: the caller verifies it.
Failure Materialize(const std::string &skeleton, const WeightPlan &plan,
                    unsigned threads, const std::string &path);

/// Writes `file` of the plan's checkpoint: the tensors that lie in it.
Failure WriteCheckpointFile(const WeightPlan &plan, const std::string &file,
                            unsigned threads, const std::string &path);

} // namespace headrace::suite

#endif // HEADRACE_TOOLS_GPU_SUITE_MATERIALIZE_H
