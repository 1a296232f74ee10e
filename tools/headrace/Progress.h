// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Progress of long work: a bar on a terminal, plain lines elsewhere.
#ifndef HEADRACE_TOOLS_HEADRACE_PROGRESS_H
#define HEADRACE_TOOLS_HEADRACE_PROGRESS_H

#include <chrono>
#include <cstdint>
#include <string>

namespace headrace::tools {

/// Shows on stderr how far work on `what` has come. Nothing is shown for work
/// that ends within half a second.
class Progress {
public:
  explicit Progress(std::string what);
  ~Progress();
  void update(uint64_t done, uint64_t total);

private:
  std::string what;
  bool terminal, shown = false;
  int lastPercent = -1;
  std::chrono::steady_clock::time_point start, lastLine;
};

} // namespace headrace::tools

#endif // HEADRACE_TOOLS_HEADRACE_PROGRESS_H
