// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Stream check: the same tokens through two sessions.
#include "tools/gpu-suite/stream_check.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>

namespace headrace::suite {
namespace {

constexpr int64_t kPromptTokens = 24;
constexpr int kWarmUps = 3;

/// One of the two sessions and what it was fed.
struct Side {
  explicit Side(Loaded &loaded) : loaded(loaded) {}

  Failure Feed(const std::vector<int32_t> &tokens, int64_t vocabulary,
               double *out_seconds = nullptr) {
    logits.clear();
    const auto begin = std::chrono::steady_clock::now();
    Failure failure =
        fed.Feed(loaded.session.get(), tokens.data(), tokens.size(),
                 /*all=*/true, &logits, vocabulary);
    const std::chrono::duration<double> taken =
        std::chrono::steady_clock::now() - begin;
    if (out_seconds)
      *out_seconds = taken.count();
    return failure;
  }

  Loaded &loaded;
  Fed fed;
  std::vector<float> logits;
};

Failure Compare(const Side &resident, const Side &streamed, int64_t position) {
  for (size_t i = 0; i < resident.logits.size(); ++i)
    if (!std::isfinite(resident.logits[i]))
      return "position " + std::to_string(position) + ": logit " +
             std::to_string(i) + " is not finite";
  if (resident.logits.size() == streamed.logits.size() &&
      std::memcmp(resident.logits.data(), streamed.logits.data(),
                  resident.logits.size() * sizeof(float)) == 0)
    return Failure();
  return "position " + std::to_string(position) +
         ": logits differ from those with all weights on the device";
}

/// What has moved between host and device so far, of weights and pages.
struct Moved {
  explicit Moved(const Loaded &loaded) {
    auto link = sized<headrace_link_usage_t>();
    for (uint32_t i = 0;
         Outcome(headrace_session_link(loaded.session.get(), i, &link))
             .failure.empty();
         ++i) {
      if (std::strcmp(link.name, "pcie") && std::strcmp(link.name, "pages"))
        continue; // out of the package
      bytes += link.bytes + link.stored_bytes;
      busy_ns += link.busy_ns;
      wait_ns += link.wait_ns;
    }
  }
  uint64_t bytes = 0, busy_ns = 0, wait_ns = 0;
};

} // namespace

Failure CheckStreamed(const SuiteEntry &entry, const Machine &machine,
                      Loaded &resident, uint64_t seed, int repeats) {
  const int64_t vocabulary = entry.Number("vocabulary");
  Loaded streamed;
  if (Failure failure = streamed.OpenStreamed(machine, resident);
      !failure.empty())
    return failure;
  Side sides[] = {Side(resident), Side(streamed)};
  std::mt19937_64 random(seed);
  for (Side &side : sides)
    if (Failure failure = side.fed.Open(side.loaded.session.get());
        !failure.empty())
      return failure;
  std::vector<double> seconds[2], kernels, copying, waiting, bytes;
  // Key-value pages that move need some to be there.
  const auto prompts =
      static_cast<int>(std::max<int64_t>(entry.Number("prompts"), 1));
  int64_t position = 0;
  for (int i = 0; i < prompts + repeats + kWarmUps; ++i) {
    const std::vector<int32_t> tokens =
        RandomTokens(&random, i < prompts ? kPromptTokens : 1, vocabulary);
    const Moved before(streamed);
    double taken[2] = {0, 0};
    for (int side : {0, 1})
      if (Failure failure = sides[side].Feed(tokens, vocabulary, &taken[side]);
          !failure.empty())
        return failure;
    if (Failure failure = Compare(sides[0], sides[1], position);
        !failure.empty())
      return failure;
    position += static_cast<int64_t>(tokens.size());
    if (i < prompts + kWarmUps)
      continue; // code is loaded, caches fill and clocks rise
    const Moved after(streamed);
    for (int side : {0, 1})
      seconds[side].push_back(taken[side]);
    kernels.push_back(streamed.KernelSeconds());
    copying.push_back(static_cast<double>(after.busy_ns - before.busy_ns) *
                      1e-9);
    waiting.push_back(static_cast<double>(after.wait_ns - before.wait_ns) *
                      1e-9);
    bytes.push_back(static_cast<double>(after.bytes - before.bytes));
  }
  auto level = sized<headrace_level_usage_t>();
  for (uint32_t i = 0; level.budget_bytes == 0 && level.peak_bytes == 0; ++i)
    if (Failure failure =
            Outcome(headrace_session_level(streamed.session.get(), i, &level))
                .failure;
        !failure.empty())
      return failure;
  if (level.peak_bytes > level.certified_bytes)
    return "level '" + std::string(level.name) +
           "' held more than its certificate says";
  std::printf("{\"name\": \"%s\", \"what\": \"streamed step\", \"tokens\": 1, "
              "\"seconds\": %.9g, \"resident_seconds\": %.9g, "
              "\"kernel_seconds\": %.9g, \"link_seconds\": %.9g, "
              "\"wait_seconds\": %.9g, \"link_bytes\": %.9g, "
              "\"level_bytes\": %llu, \"repeats\": %d}\n",
              entry.Text("name").c_str(), Median(seconds[1]),
              Median(seconds[0]), Median(kernels), Median(copying),
              Median(waiting), Median(bytes),
              static_cast<unsigned long long>(level.certified_bytes), repeats);
  return Failure();
}

} // namespace headrace::suite
