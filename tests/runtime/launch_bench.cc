// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Measures what a launch costs: empty tasks on the calling thread, and, with
// tasks of some microseconds, how far two tasks on two threads take longer than
// one.
#include "tests/runtime/host.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

using namespace headrace::tests;

/// Nanoseconds a launch, sorted.
static std::vector<double> Measure(headrace_session_t *session, uint32_t entry,
                                   double launches) {
  Aligned<float> x(TOY_WIDTH), y(TOY_WIDTH);
  std::vector<double> times;
  for (int i = 0; i < 1000; ++i) {
    auto start = std::chrono::steady_clock::now();
    Outcome outcome(InvokeToy(session, entry, 1, x, y));
    std::chrono::duration<double, std::nano> time =
        std::chrono::steady_clock::now() - start;
    if (outcome.code) {
      std::fprintf(stderr, "error: %s\n", outcome.message.c_str());
      std::exit(1);
    }
    times.push_back(time.count() / launches);
  }
  std::sort(times.begin(), times.end());
  return times;
}

int main(int argc, char **argv) {
  const uint32_t threads = argc > 1 ? static_cast<uint32_t>(atoi(argv[1])) : 2;
  Toy toy(threads);
  const struct {
    const char *name;
    uint32_t entry;
    double launches;
  } rows[] = {{"two empty tasks", kEmpty, 1000},
              {"one busy task", kBusy1, 100},
              {"two busy tasks", kBusy2, 100}};
  std::printf("%u threads, ns a launch\n", threads);
  for (const auto &row : rows) {
    std::vector<double> times =
        Measure(toy.session.get(), row.entry, row.launches);
    std::printf("%-16s min %6.0f  median %6.0f  p90 %6.0f\n", row.name,
                times.front(), times[times.size() / 2],
                times[times.size() * 9 / 10]);
  }
  return 0;
}
