// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One step of a package on a machine, for every command that shows one.
#ifndef HEADRACE_TOOLS_HEADRACE_TIMELINE_SIMULATESTEP_H
#define HEADRACE_TOOLS_HEADRACE_TIMELINE_SIMULATESTEP_H

#include "tools/simulate/PackageSimulator.h"
#include "llvm/Support/Error.h"
#include <map>

namespace headrace::tools {

struct StepRequest {
  simulate::StepShape shape;
  uint64_t warmUp = 32; ///< Steps of the same shape before the one returned.
  uint64_t seed = 0;    ///< Of the routing.
  /// Level that bundles are read from; empty: the slowest with a link to the
  /// plan's fast level.
  std::string source;
};

/// One pass that was run, to be simulated again.
struct RecordedPass {
  simulate::StepShape shape;
  std::vector<std::vector<uint32_t>> routed; ///< By routed layer: the experts.
  /// By routed layer: those that were predicted, the most likely first.
  std::map<uint32_t, std::vector<uint32_t>> predicted;
};

/// Simulates passes one after another as they were routed; where nothing was
/// recorded, or weights do not move, as many experts as are expected.
llvm::Expected<std::vector<simulate::Simulation>>
simulatePasses(const std::string &package, const Machine &machine,
               const std::string &source,
               const std::vector<RecordedPass> &passes);

/// Simulates the entry `forward` of a package, or its first one. Refuses a
/// package whose plan does not pass the checker, and a shape beyond its limits.
llvm::Expected<simulate::Simulation> simulateStep(const std::string &package,
                                                  const Machine &machine,
                                                  const StepRequest &request);

} // namespace headrace::tools

#endif // HEADRACE_TOOLS_HEADRACE_TIMELINE_SIMULATESTEP_H
