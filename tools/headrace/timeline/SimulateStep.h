// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One step of a package on a machine, for every command that shows one.
#ifndef HEADRACE_TOOLS_HEADRACE_TIMELINE_SIMULATESTEP_H
#define HEADRACE_TOOLS_HEADRACE_TIMELINE_SIMULATESTEP_H

#include "tools/simulate/PackageSimulator.h"
#include "llvm/Support/Error.h"

namespace headrace::tools {

struct StepRequest {
  simulate::StepShape shape;
  uint64_t warmUp = 32; ///< Steps of the same shape before the one returned.
  uint64_t seed = 0;    ///< Of the routing.
  /// Level that bundles are read from; empty: the slowest with a link to the
  /// plan's fast level.
  std::string source;
};

/// Simulates the entry `forward` of a package, or its first one. Refuses a
/// package whose plan does not pass the checker, and a shape beyond its limits.
llvm::Expected<simulate::Simulation> simulateStep(const std::string &package,
                                                  const Machine &machine,
                                                  const StepRequest &request);

} // namespace headrace::tools

#endif // HEADRACE_TOOLS_HEADRACE_TIMELINE_SIMULATESTEP_H
