// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the machine can do right now: read bandwidth, peak, distance of cores.
//
// A shared host changes under a benchmark: it moves cores between chiplets,
// throttles them, and runs other work. So these are measured beside every timed
// call and not once.
#ifndef HEADRACE_TOOLS_HEADRACE_BENCH_MACHINEPROBE_H
#define HEADRACE_TOOLS_HEADRACE_BENCH_MACHINEPROBE_H

#include "tools/headrace/bench/ProbeLoops.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace headrace::tools::bench {

/// What does not change while a benchmark runs.
struct MachineInfo {
  std::string cpu; ///< As the processor calls itself.
  unsigned family = 0, model = 0;
  unsigned cores = 1; ///< That this process may run on.
  uint64_t lastLevelCache = 0;
  std::string clockSource; ///< Of the kernel's monotonic clock.
  std::string date;        ///< UTC, ISO 8601.

  static MachineInfo ofHost();
};

/// One look at the machine with all threads at once.
struct Reading {
  double readBytesPerSecond = 0;
  double operationsPerSecond = 0;
  /// A cache line's way between two cores; 0 on one core, negative where others
  /// had a core while it was measured.
  double latencyNs = 0;
};

/// Nanoseconds that threads of this process have waited for a core so far.
uint64_t waitedForCoreNs();

/// Monotonic seconds.
double now();

/// Measures with as many threads as the benchmark runs.
class MachineProbe {
public:
  static llvm::Expected<std::unique_ptr<MachineProbe>> create(unsigned threads);
  ~MachineProbe();

  /// In the order before a call: what empties the caches comes last, but for
  /// the few milliseconds in registers.
  Reading before();
  /// In the order after a call: the memory comes first.
  Reading after();

  /// Bytes per second that all threads copy from one buffer to another as a
  /// session copies out of homes, each byte counted once; the best of three.
  double copyRate();
  /// Operations per second of all threads in `loop`; the best of three.
  double operationsRate(const MultiplyLoop &loop);
  /// Nanoseconds of one load that depends on the load before it and finds its
  /// line in no cache.
  double loadLatencyNs();
  /// Nanoseconds between the end of a piece of work and the start of the next
  /// one on threads that wait by spinning.
  double handOverNs();

  /// The highest ever read.
  const Reading &best() const { return highest; }
  const char *readLoopName() const { return readLoop.name; }
  const char *multiplyLoopName() const { return multiply.name; }

private:
  struct Crew;
  explicit MachineProbe(unsigned threads);
  llvm::Error start();
  uint64_t roundsFor(const MultiplyLoop &loop);
  double readRate(const ReadLoop &loop);
  double multiplyRate(const MultiplyLoop &loop, uint64_t rounds);
  double latency();
  Reading note(Reading reading);

  std::unique_ptr<Crew> crew;
  unsigned threads;
  size_t bufferBytes = 0;
  uint64_t rounds = 1000;
  ReadLoop readLoop;
  MultiplyLoop multiply;
  Reading highest;
};

} // namespace headrace::tools::bench

#endif // HEADRACE_TOOLS_HEADRACE_BENCH_MACHINEPROBE_H
