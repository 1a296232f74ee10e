// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What is in use at the fast level over the time of a step.
#ifndef HEADRACE_TOOLS_SIMULATE_OCCUPANCYLOG_H
#define HEADRACE_TOOLS_SIMULATE_OCCUPANCYLOG_H

#include "runtime/abi/package_generated.h"
#include "tools/simulate/LaunchWork.h"
#include "tools/simulate/Simulation.h"
#include <vector>

namespace headrace::simulate {

/// Notes what a simulator does and says in the end what that took. Times are
/// those of the engine.
class OccupancyLog {
public:
  using Launches = flatbuffers::Vector<flatbuffers::Offset<abi::Launch>>;

  explicit OccupancyLog(const abi::Manifest &manifest);

  /// A step that runs these launches begins.
  void begin(double time, const StepShape &shape, const Launches &launches);
  /// A launch begins: the buffers in use are those that live through it.
  void launch(double time, uint32_t launch);
  /// A transfer to a slot of `pool` was queued; the slot held another bundle
  /// before if `wasFull`.
  void fetch(size_t transfer, uint32_t pool, bool wasFull);
  /// The step is over. Transfers that go on count as arriving to its end.
  std::vector<Occupancy> end(const Engine &engine);

private:
  enum Part {
    kWeights,
    kActivations,
    kCache,
    kScratch,
    kUsed,
    kArriving,
    kParts
  };
  struct Use {
    double time;
    uint64_t bytes;
  };
  struct Fetch {
    size_t transfer;
    uint64_t bytes;
    bool wasFull;
  };
  uint64_t liveBytes(uint32_t launch) const;
  void findLives(const Launches &launches);

  const abi::Manifest &manifest;
  const Launches *known = nullptr;   ///< Whose lives these are:
  std::vector<uint32_t> first, last; ///< By buffer: its launches.
  Occupancy empty;                   ///< Level, capacity, parts.
  uint64_t weightBytes = 0, scratchBytes = 0;
  int64_t usedBytes = 0; ///< Of slots, but for what `fetches` does to them.
  double start = 0;
  uint64_t cacheBytes = 0;
  std::vector<Use> uses;      ///< Of buffers, by launch.
  std::vector<Fetch> fetches; ///< Of this step, and under way before it.
};

} // namespace headrace::simulate

#endif // HEADRACE_TOOLS_SIMULATE_OCCUPANCYLOG_H
