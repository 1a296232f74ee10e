// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One run of an entry of a package on a machine: what happened when.
#ifndef HEADRACE_TOOLS_SIMULATE_SIMULATION_H
#define HEADRACE_TOOLS_SIMULATE_SIMULATION_H

#include "tools/simulate/Engine.h"
#include <cstdint>
#include <string>
#include <vector>

namespace headrace::simulate {

/// Bytes of one level in use, by what they are for, from a time on.
struct Occupancy {
  struct Point {
    double time;                 ///< Seconds.
    std::vector<uint64_t> bytes; ///< One number for each of `parts`.
  };
  std::string level;
  uint64_t capacity = 0; ///< What the package may use.
  std::vector<std::string> parts;
  std::vector<Point> points; ///< In order of time; never empty.

  uint64_t peak() const;
};

/// What a simulated step was and what came out.
struct Simulation {
  std::string model, machine, what; ///< For people.
  uint64_t tokens = 0;              ///< Rows of the step.
  double seconds = 0, stalled = 0;
  std::vector<std::string> lanes; ///< As Engine::lanes.
  std::vector<double> laneBytes;  ///< What went over the link of a lane.
  std::vector<Bar> bars;
  std::vector<Occupancy> occupancy;
  uint64_t hits = 0, misses = 0;    ///< Of routed experts in their cache.
  std::vector<std::string> missing; ///< As Engine::missing.
};

} // namespace headrace::simulate

#endif // HEADRACE_TOOLS_SIMULATE_SIMULATION_H
