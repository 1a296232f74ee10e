// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a benchmark prints and writes.
#ifndef HEADRACE_TOOLS_HEADRACE_BENCH_REPORT_H
#define HEADRACE_TOOLS_HEADRACE_BENCH_REPORT_H

#include "tools/headrace/bench/Timing.h"
#include <cstdint>
#include <string>
#include <vector>

namespace headrace::tools::bench {

/// One line of the report.
struct Result {
  std::string shape; ///< Of the layer, or the model's name.
  std::string what;  ///< "layer", "decode", "prefill" or "start-up".
  int64_t tokens = 1;
  int64_t context = 0; ///< Positions before the tokens; models only.
  Measurement measurement;
  int throttled = 0, disturbed = 0; ///< Calls that were dropped.
  bool busy = false;                ///< The figures are those of others, too.
  double bytes = 0, operations = 0; ///< Medians of the work of a call.
  double error = -1; ///< Relative error of the check; negative: none made.
};

class Report {
public:
  Report(MachineInfo machine, unsigned threads)
      : machine(std::move(machine)), threads(threads) {}

  /// Adds one result for each state of `measurements`.
  void add(Result result, const Measurements &measurements);
  /// Something the reader must know beside the figures.
  void note(std::string text) { notes.push_back(std::move(text)); }
  void setProbe(const MachineProbe &probe);

  void print() const;
  void printJson(llvm::raw_ostream &os) const;
  llvm::Error writeJson(const std::string &path) const;
  /// A result that no machine can have: the benchmark is wrong, not fast.
  llvm::Error checkBounds() const;

private:
  MachineInfo machine;
  unsigned threads;
  std::string readLoop, multiplyLoop;
  std::vector<Result> results;
  std::vector<std::string> notes;
};

} // namespace headrace::tools::bench

#endif // HEADRACE_TOOLS_HEADRACE_BENCH_REPORT_H
