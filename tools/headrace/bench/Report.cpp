// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a benchmark prints and writes.
#include "tools/headrace/bench/Report.h"

#include "compiler/support/OutputFile.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"
#include <algorithm>
#include <cstdio>

using namespace headrace::tools::bench;

/// What measuring may add to a fraction of 1.
static constexpr double kMostFraction = 1.05;

void Report::add(Result result, const Measurements &measurements) {
  result.throttled = measurements.throttled;
  result.disturbed = measurements.disturbed;
  result.busy = measurements.busy;
  for (const Measurement &state : measurements.states) {
    result.measurement = state;
    results.push_back(result);
  }
}

void Report::setProbe(const MachineProbe &probe) {
  readLoop = probe.readLoopName();
  multiplyLoop = probe.multiplyLoopName();
}

/// Three digits with the unit that suits.
static std::string seconds(double value) {
  char text[32];
  if (value >= 1)
    snprintf(text, sizeof(text), "%.2f s", value);
  else if (value >= 1e-3)
    snprintf(text, sizeof(text), "%.*f ms", value < 0.1 ? 2 : 1, value * 1e3);
  else
    snprintf(text, sizeof(text), "%.1f us", value * 1e6);
  return text;
}

void Report::print() const {
  printf("%s (family %u, model %u), %u of %u cores, clock %s, %s\n",
         machine.cpu.c_str(), machine.family, machine.model, threads,
         machine.cores, machine.clockSource.c_str(), machine.date.c_str());
  printf("read: %s; peak: %s\n", readLoop.c_str(), multiplyLoop.c_str());
  int width = 5;
  for (const Result &result : results)
    width = std::max(width, int(result.shape.size()));
  printf("%-*s %-8s %6s %7s %10s %10s %10s %10s %8s %7s %7s %5s %7s  %s\n",
         width, "shape", "what", "tokens", "context", "median", "min", "max",
         "bound", "fraction", "GB/s", "GFLOP/s", "kept", "dropped", "state");
  for (const Result &result : results) {
    const Measurement &m = result.measurement;
    printf("%-*s %-8s %6lld %7lld %10s %10s %10s %10s %8.3f %7.1f %7.0f "
           "%5d %7d  %s\n",
           width, result.shape.c_str(), result.what.c_str(),
           (long long)result.tokens, (long long)result.context,
           seconds(m.median).c_str(), seconds(m.least).c_str(),
           seconds(m.most).c_str(), seconds(m.bound).c_str(), m.fraction,
           m.readBytesPerSecond / 1e9, m.operationsPerSecond / 1e9, m.repeats,
           result.throttled + result.disturbed, m.state.c_str());
  }
  for (const std::string &text : notes)
    printf("note: %s\n", text.c_str());
}

void Report::printJson(llvm::raw_ostream &os) const {
  std::vector<double> read, peak;
  for (const Result &result : results) {
    if (result.measurement.bound == 0)
      continue;
    read.push_back(result.measurement.readBytesPerSecond / 1e9);
    peak.push_back(result.measurement.operationsPerSecond / 1e9);
  }
  llvm::json::OStream json(os, 2);
  json.object([&] {
    json.attributeObject("machine", [&] {
      json.attribute("read_gbps", medianOf(read));
      json.attribute("bf16_gflops", medianOf(peak));
      json.attribute("cpu", machine.cpu);
      json.attribute("family", int64_t(machine.family));
      json.attribute("model", int64_t(machine.model));
      json.attribute("cores", int64_t(machine.cores));
      json.attribute("threads", int64_t(threads));
      json.attribute("last_level_cache", int64_t(machine.lastLevelCache));
      json.attribute("clock", machine.clockSource);
      json.attribute("date", machine.date);
      json.attribute("read_loop", readLoop);
      json.attribute("peak_loop", multiplyLoop);
    });
    json.attributeArray("results", [&] {
      for (const Result &result : results)
        json.object([&] {
          const Measurement &m = result.measurement;
          json.attribute("shape", result.shape);
          json.attribute("what", result.what);
          json.attribute("tokens", result.tokens);
          json.attribute("context", result.context);
          json.attribute("seconds_median", m.median);
          json.attribute("seconds_min", m.least);
          json.attribute("seconds_max", m.most);
          if (m.bound > 0) { // A start has none.
            json.attribute("bound_seconds", m.bound);
            json.attribute("fraction_of_bound", m.fraction);
            json.attribute("read_gbps", m.readBytesPerSecond / 1e9);
            json.attribute("bf16_gflops", m.operationsPerSecond / 1e9);
          }
          json.attribute("bytes", result.bytes);
          json.attribute("operations", result.operations);
          if (result.error >= 0)
            json.attribute("relative_error", result.error);
          json.attribute("repeats", int64_t(m.repeats));
          json.attribute("dropped",
                         int64_t(result.throttled + result.disturbed));
          json.attribute("throttled", int64_t(result.throttled));
          json.attribute("disturbed", int64_t(result.disturbed));
          json.attribute("busy", result.busy);
          json.attribute("state", m.state);
        });
    });
    json.attributeArray("notes", [&] {
      for (const std::string &text : notes)
        json.value(text);
    });
  });
  os << "\n";
}

llvm::Error Report::writeJson(const std::string &path) const {
  return writeText(path, [&](llvm::raw_ostream &os) { printJson(os); });
}

llvm::Error Report::checkBounds() const {
  for (const Result &result : results)
    if (!result.busy && result.measurement.fraction > kMostFraction)
      return llvm::createStringError(
          "%s, %s of %lld tokens: %.2f of the bound; a benchmark that beats "
          "its bound measures something else",
          result.shape.c_str(), result.what.c_str(), (long long)result.tokens,
          result.measurement.fraction);
  return llvm::Error::success();
}
