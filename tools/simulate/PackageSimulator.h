// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs the schedule of a package on a described machine.
#ifndef HEADRACE_TOOLS_SIMULATE_PACKAGESIMULATOR_H
#define HEADRACE_TOOLS_SIMULATE_PACKAGESIMULATOR_H

#include "tools/simulate/LaunchWork.h"
#include "tools/simulate/Simulation.h"
#include <functional>
#include <memory>

namespace headrace::simulate {

/// The active experts of a routed layer in a step, ascending: `layer` counts
/// the routed layers of the entry from 0 on.
using Routing = std::function<std::vector<uint32_t>(
    uint64_t step, uint32_t layer, uint64_t count)>;

/// The experts that a router which runs ahead finds likely for the routed layer
/// `layer` of a step, the most likely first.
using Prediction =
    std::function<std::vector<uint32_t>(uint64_t step, uint32_t layer)>;

/// Draws `count` of `experts` at random; the same seed gives the same draws.
Routing randomRouting(uint64_t experts, uint64_t seed);

/// Steps of one entry, one after another: what a step leaves in fast memory the
/// next one finds. The manifest has passed plan-check and outlives the
/// simulator, as does the machine.
class PackageSimulator {
public:
  /// `source` is the level that bundles are read from. Without `prediction` two
  /// of three predicted experts are right, as with the trained model of the
  /// tests.
  PackageSimulator(const abi::Manifest &manifest, const Machine &machine,
                   uint32_t entry, std::string source, Routing routing,
                   Prediction prediction = nullptr);
  ~PackageSimulator();

  /// Runs the schedule once.
  Simulation step(const StepShape &shape);

private:
  struct State;
  std::unique_ptr<State> state;
};

} // namespace headrace::simulate

#endif // HEADRACE_TOOLS_SIMULATE_PACKAGESIMULATOR_H
