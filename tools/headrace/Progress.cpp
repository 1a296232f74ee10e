// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Progress of long work.
#include "tools/headrace/Progress.h"

#include <cstdio>
#include <unistd.h>

using namespace headrace::tools;
using Clock = std::chrono::steady_clock;

Progress::Progress(std::string what)
    : what(std::move(what)), terminal(isatty(2)), start(Clock::now()),
      lastLine(start) {}

Progress::~Progress() {
  if (shown && terminal)
    fprintf(stderr, "\r\033[K");
}

void Progress::update(uint64_t done, uint64_t total) {
  auto now = Clock::now();
  if (now - start < std::chrono::milliseconds(500) || total == 0)
    return;
  int percent = int(double(done) / double(total) * 100);
  if (percent == lastPercent)
    return;
  if (terminal) {
    char bar[31];
    for (int i = 0; i < 30; ++i)
      bar[i] = i < percent * 30 / 100 ? '#' : '.';
    bar[30] = 0;
    fprintf(stderr, "\r%s [%s] %3d %%", what.c_str(), bar, percent);
    fflush(stderr);
  } else if (now - lastLine > std::chrono::seconds(5)) {
    fprintf(stderr, "%s: %d %%\n", what.c_str(), percent);
    lastLine = now;
  }
  shown = true;
  lastPercent = percent;
}
