// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Measures what a launch costs: an entry of 1000 launches of two empty tasks.
#include "tests/runtime/harness.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

int main(int argc, char **argv) {
  using namespace headrace::tests;
  const uint32_t threads = argc > 1 ? static_cast<uint32_t>(atoi(argv[1])) : 2;
  Toy toy(threads);
  Aligned<float> x(TOY_WIDTH), y(TOY_WIDTH);
  std::vector<double> times;
  for (int i = 0; i < 2000; ++i) {
    auto start = std::chrono::steady_clock::now();
    Outcome outcome(InvokeToy(toy.session.get(), kEmpty, 1, x, y));
    auto end = std::chrono::steady_clock::now();
    if (outcome.code) {
      std::fprintf(stderr, "error: %s\n", outcome.message.c_str());
      return 1;
    }
    times.push_back(
        std::chrono::duration<double, std::nano>(end - start).count() / 1000);
  }
  std::sort(times.begin(), times.end());
  std::printf("threads %u: ns a launch: min %.0f, median %.0f, p99 %.0f\n",
              threads, times.front(), times[times.size() / 2],
              times[times.size() * 99 / 100]);
  return 0;
}
