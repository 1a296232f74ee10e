// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the launches of a package read and multiply in a step of a given shape.
#ifndef HEADRACE_TOOLS_SIMULATE_LAUNCHWORK_H
#define HEADRACE_TOOLS_SIMULATE_LAUNCHWORK_H

#include "runtime/abi/package_generated.h"
#include "tools/simulate/Engine.h"
#include <string>
#include <vector>

namespace headrace::simulate {

/// The sizes of a step.
struct StepShape {
  uint64_t tokens = 1;    ///< Rows, evenly over the sequences.
  uint64_t sequences = 1; ///< At most `tokens`.
  uint64_t outputs = 1;   ///< Rows of logits.
  uint64_t context = 0;   ///< Positions of each sequence before the step.

  /// Positions that the step's attention reads, each once a layer.
  double positionsRead() const {
    return double(sequences) * double(context) + double(tokens);
  }
  /// Pairs of a row and a position that it sees.
  double pairs() const {
    double own = double(tokens) / double(sequences);
    return double(tokens) * (double(context) + (own + 1) / 2);
  }
};

/// One weight of the binding table.
struct WeightSize {
  uint64_t bytes = 0; ///< As packed.
  double elements = 0;
  uint64_t rows = 0; ///< 0: a vector.
  double rowBytes = 0;
  std::string type; ///< Of the elements: "bf16".
};

/// Sizes, looked up once; the manifest outlives it and has passed the checks of
/// plan-check's reader.
class LaunchWork {
public:
  explicit LaunchWork(const abi::Manifest &manifest);

  /// `active` is the number of experts that a routed launch reads, and `share`
  /// the share of the rows' picks that fell on them; neither is looked at for
  /// other launches. Bytes are those of weights and of the cache, each
  /// read once; activations stay in the processor's caches and are not counted.
  /// The level is the caller's to fill in.
  KernelWork of(const abi::Launch &launch, const StepShape &shape,
                double active, double share = 1) const;

  /// The kernel's name; a product of the driver's library has none of ours.
  std::string nameOf(const abi::Launch &launch) const;
  /// Whether a launch reads experts that the step's routing chooses.
  bool isRouted(const abi::Launch &launch) const;
  /// Consecutive slots of the launch's weight operand `operand`.
  uint32_t slotsOf(const abi::Launch &launch, uint32_t operand) const;
  const WeightSize &weight(uint32_t slot) const { return weights[slot]; }
  /// Picks of one row, and experts to pick from; 0 where nothing is routed.
  uint64_t picks() const { return routedPicks; }
  uint64_t experts() const { return routedExperts; }

private:
  bool hasRole(const abi::Launch &launch, const char *role) const;

  const abi::Manifest &manifest;
  std::vector<WeightSize> weights;
  uint64_t routedPicks = 0, routedExperts = 0;
};

/// Experts that `tokens` rows are expected to hit when each picks `picks` of
/// `experts` at random, as a whole number from `picks` on.
uint64_t expectedDistinct(uint64_t tokens, uint64_t picks, uint64_t experts);

} // namespace headrace::simulate

#endif // HEADRACE_TOOLS_SIMULATE_LAUNCHWORK_H
