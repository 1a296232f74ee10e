// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Timed calls with a bound of their own, and what is reported of them.
#ifndef HEADRACE_TOOLS_HEADRACE_BENCH_TIMING_H
#define HEADRACE_TOOLS_HEADRACE_BENCH_TIMING_H

#include "tools/headrace/bench/MachineProbe.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/Support/Error.h"
#include <string>
#include <vector>

namespace headrace::tools::bench {

/// What a call cannot do without.
struct Work {
  double bytes = 0;      ///< Read from memory.
  double operations = 0; ///< Products and sums, counted apart.
};

/// One timed call between two readings of the machine.
struct Sample {
  double seconds = 0;
  Work work;
  Reading machine;        ///< The mean of the two.
  double slowestPeak = 0; ///< The lower of the two peaks.
  double waited = 0;      ///< Share of the time spent without a core.
  double readChange = 1;  ///< The higher of the two bandwidths over the lower.
  double latencyBefore = 0, latencyAfter = 0;

  /// Seconds that `work` takes at the rates of `machine`.
  double bound() const;
};

/// The samples of one measurement in one state of the machine.
struct Measurement {
  std::string state; ///< "58 ns core to core", or why there is none.
  double median = 0, least = 0, most = 0;
  double bound = 0;    ///< Median.
  double fraction = 0; ///< Median of bound / seconds, sample by sample.
  double readBytesPerSecond = 0, operationsPerSecond = 0; ///< Medians.
  int repeats = 0;
};

/// All that count, and how many do not.
struct Measurements {
  std::vector<Measurement> states; ///< Those with most samples first.
  bool busy = false; ///< No call went undisturbed; all of them are reported.
  int throttled = 0; ///< Dropped: the clock was low.
  int disturbed = 0; ///< Dropped: others had our cores, or the state changed.

  int dropped() const { return throttled + disturbed; }
};

/// Makes one call: sets the seconds it took, returns what it had to do.
using TimedCall = llvm::function_ref<llvm::Expected<Work>(double &seconds)>;

/// Collects samples until `repeats` of them count, or until it is clear that
/// the machine is too busy for that. `prepare` makes a call's input and stands
/// before the first reading; `what` is shown as progress.
llvm::Expected<Measurements> measure(MachineProbe &probe,
                                     const std::string &what, int repeats,
                                     llvm::function_ref<llvm::Error()> prepare,
                                     TimedCall call);

/// Of equal numbers below and above; 0 of none.
double medianOf(std::vector<double> values);

} // namespace headrace::tools::bench

#endif // HEADRACE_TOOLS_HEADRACE_BENCH_TIMING_H
