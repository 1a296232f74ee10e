// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Timed calls with a bound of their own.
#include "tools/headrace/bench/Timing.h"

#include "tools/headrace/Progress.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include <algorithm>

using namespace headrace::tools::bench;

namespace {

/// A peak below this share of the best one seen says that the host has slowed
/// the cores down.
constexpr double kThrottled = 0.94;
/// More of the time than this without a core and it is others that are timed.
constexpr double kDisturbed = 0.01;
/// Bandwidths this far apart before and after a call say that somebody came to
/// or left the memory meanwhile, and neither is the call's.
constexpr double kReadChange = 1.15;
/// Latencies this far apart belong to different placements of the cores: one
/// chiplet or two differ by more than four times, noise within one by less
/// than a third.
constexpr double kOtherState = 1.6;
/// Calls made, and seconds spent, for each call wanted before the machine
/// counts as busy. Builds and tests come in bursts that outlast a few calls.
constexpr int kPatience = 3;
constexpr double kPatienceSeconds = 1;

/// Whether two latencies, the lower one first, show the same placement.
bool sameState(double low, double high) {
  return low < 0 ? high < 0 : high <= kOtherState * low;
}

bool isThrottled(const Sample &sample, const MachineProbe &probe) {
  return sample.slowestPeak < kThrottled * probe.best().operationsPerSecond;
}

bool isDisturbed(const Sample &sample) {
  double low = std::min(sample.latencyBefore, sample.latencyAfter);
  double high = std::max(sample.latencyBefore, sample.latencyAfter);
  return sample.waited > kDisturbed || sample.readChange > kReadChange ||
         low < 0 || !sameState(low, high);
}

template <typename Get>
double medianBy(llvm::ArrayRef<Sample> samples, Get get) {
  std::vector<double> values;
  for (const Sample &sample : samples)
    values.push_back(get(sample));
  return medianOf(values);
}

Measurement summarize(llvm::ArrayRef<Sample> samples, std::string state) {
  Measurement out;
  out.state = std::move(state);
  out.repeats = int(samples.size());
  out.least = out.most = samples[0].seconds;
  for (const Sample &sample : samples) {
    out.least = std::min(out.least, sample.seconds);
    out.most = std::max(out.most, sample.seconds);
  }
  out.median = medianBy(samples, [](const Sample &s) { return s.seconds; });
  out.bound = medianBy(samples, [](const Sample &s) { return s.bound(); });
  out.fraction =
      medianBy(samples, [](const Sample &s) { return s.bound() / s.seconds; });
  out.readBytesPerSecond = medianBy(
      samples, [](const Sample &s) { return s.machine.readBytesPerSecond; });
  out.operationsPerSecond = medianBy(
      samples, [](const Sample &s) { return s.machine.operationsPerSecond; });
  return out;
}

/// Cuts samples where the sorted latencies jump.
std::vector<Measurement> byState(std::vector<Sample> samples) {
  std::vector<Measurement> out;
  llvm::sort(samples, [](const Sample &a, const Sample &b) {
    return a.machine.latencyNs < b.machine.latencyNs;
  });
  for (size_t from = 0; from < samples.size();) {
    size_t to = from + 1;
    while (to < samples.size() && sameState(samples[to - 1].machine.latencyNs,
                                            samples[to].machine.latencyNs))
      ++to;
    auto group = llvm::ArrayRef(samples).slice(from, to - from);
    double latency =
        medianBy(group, [](const Sample &s) { return s.machine.latencyNs; });
    out.push_back(summarize(
        group, latency > 0 ? llvm::formatv("{0:F0} ns core to core", latency)
                           : std::string("one core")));
    from = to;
  }
  llvm::sort(out, [](const Measurement &a, const Measurement &b) {
    return a.repeats > b.repeats;
  });
  return out;
}

} // namespace

double headrace::tools::bench::medianOf(std::vector<double> values) {
  if (values.empty())
    return 0;
  size_t middle = values.size() / 2;
  llvm::sort(values);
  return values.size() % 2 ? values[middle]
                           : (values[middle - 1] + values[middle]) / 2;
}

double Sample::bound() const {
  return std::max(work.bytes / machine.readBytesPerSecond,
                  work.operations / machine.operationsPerSecond);
}

llvm::Expected<Measurements> headrace::tools::bench::measure(
    MachineProbe &probe, const std::string &what, int repeats,
    llvm::function_ref<llvm::Error()> prepare, TimedCall call) {
  std::vector<Sample> samples;
  // The best peak may still rise, so every sample is judged again each time.
  auto good = [&] {
    std::vector<Sample> kept;
    for (const Sample &sample : samples)
      if (!isThrottled(sample, probe) && !isDisturbed(sample))
        kept.push_back(sample);
    return kept;
  };
  Progress progress(what);
  double start = now();
  auto patient = [&] {
    return int(samples.size()) < kPatience * repeats ||
           now() - start < kPatienceSeconds * repeats;
  };
  for (int kept = 0; kept < repeats && patient(); kept = int(good().size())) {
    progress.update(uint64_t(kept), uint64_t(repeats));
    if (llvm::Error error = prepare())
      return std::move(error);
    Sample sample;
    double begin = now();
    uint64_t waited = waitedForCoreNs();
    Reading before = probe.before();
    auto work = call(sample.seconds);
    if (!work)
      return work.takeError();
    Reading after = probe.after();
    sample.waited = double(waitedForCoreNs() - waited) * 1e-9 / (now() - begin);
    sample.work = *work;
    sample.machine = {
        (before.readBytesPerSecond + after.readBytesPerSecond) / 2,
        (before.operationsPerSecond + after.operationsPerSecond) / 2,
        std::min(before.latencyNs, after.latencyNs) < 0
            ? -1
            : (before.latencyNs + after.latencyNs) / 2};
    sample.slowestPeak =
        std::min(before.operationsPerSecond, after.operationsPerSecond);
    auto [low, high] =
        std::minmax(before.readBytesPerSecond, after.readBytesPerSecond);
    sample.readChange = high / low;
    sample.latencyBefore = before.latencyNs;
    sample.latencyAfter = after.latencyNs;
    samples.push_back(sample);
  }
  Measurements out;
  for (const Sample &sample : samples)
    if (isDisturbed(sample))
      ++out.disturbed;
    else if (isThrottled(sample, probe))
      ++out.throttled;
  std::vector<Sample> kept = good();
  if (!kept.empty()) {
    out.states = byState(std::move(kept));
  } else {
    // The figures of a busy machine are better than none, but they say what
    // they are.
    out.states.push_back(summarize(samples, "busy"));
    out.busy = true;
  }
  return out;
}
