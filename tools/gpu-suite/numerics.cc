// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Numerics: layers row by row, models token by token.
#include "tools/gpu-suite/numerics.h"

#include "tools/gpu-suite/cache_flush.h"
#include "tools/gpu-suite/layer_check.h"
#include "tools/gpu-suite/model_check.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <random>

namespace headrace::suite {
namespace {

/// Of the norm of a result; issue 3 asks for it of bfloat16 paths.
constexpr double kMostError = 1e-2;
/// Rows of a layer that the plain reference works out for each number of
/// tokens, where the suite does not say otherwise.
constexpr int64_t kCheckedRows = 3;
/// Tokens whose experts are a matter of rounding are passed over, as long as
/// they are few.
constexpr float kLeastMargin = 1e-4f;
constexpr double kMostPassedOver = 0.05;

std::vector<float> RandomRows(std::mt19937_64 *random, int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> rows(static_cast<size_t>(count));
  for (float &value : rows)
    value = normal(*random);
  return rows;
}

Failure TooFar(int64_t tokens, double error) {
  char text[120];
  std::snprintf(text, sizeof(text),
                "%lld tokens: relative error %.3g, at most %.3g is right",
                static_cast<long long>(tokens), error, kMostError);
  return text;
}

Failure CheckLayer(const SuiteEntry &entry, const WeightPlan &plan,
                   Loaded &loaded, std::mt19937_64 *random) {
  LayerReference reference;
  if (Failure failure = reference.Open(entry, plan); !failure.empty())
    return failure;
  for (int64_t tokens : entry.Numbers("tokens")) {
    const std::vector<float> x =
        RandomRows(random, tokens * reference.Hidden());
    std::vector<float> y(x.size());
    double error = 0;
    Failure failure =
        loaded.Invoke("layer", static_cast<uint32_t>(tokens), x, &y);
    if (failure.empty())
      failure = reference.Compare(x, y, entry.Number("checked", kCheckedRows),
                                  &error);
    if (!failure.empty())
      return std::to_string(tokens) + " tokens: " + failure;
    if (!(error <= kMostError))
      return TooFar(tokens, error);
    std::printf("{\"name\": \"%s\", \"what\": \"layer\", \"tokens\": %lld, "
                "\"error\": %.6g}\n",
                entry.Text("name").c_str(), static_cast<long long>(tokens),
                error);
  }
  return Failure();
}

/// The same tokens in parts of each size, teacher-forced, against the
/// reference.
Failure CheckModel(const SuiteEntry &entry, const WeightPlan &plan,
                   Loaded &loaded, std::mt19937_64 *random) {
  ModelReference reference;
  if (Failure failure = reference.Open(entry, plan); !failure.empty())
    return failure;
  const int64_t vocabulary = reference.Vocabulary();
  const std::vector<int32_t> tokens =
      RandomTokens(random, entry.Number("checked", 48), vocabulary);
  std::vector<float> want, margins;
  if (Failure failure = reference.Step(tokens, &want, &margins);
      !failure.empty())
    return failure;
  for (int64_t part : entry.Numbers("tokens")) {
    Fed fed;
    if (Failure failure = fed.Open(loaded.session.get()); !failure.empty())
      return failure;
    std::vector<float> got;
    for (size_t at = 0; at < tokens.size(); at += static_cast<size_t>(part)) {
      const size_t count =
          std::min(static_cast<size_t>(part), tokens.size() - at);
      if (Failure failure = fed.Feed(loaded.session.get(), tokens.data() + at,
                                     count, true, &got, vocabulary);
          !failure.empty())
        return failure;
    }
    double worst = 0;
    size_t passed = 0;
    for (size_t t = 0; t < tokens.size(); ++t) {
      double difference = 0, size = 0;
      for (size_t v = 0; v < static_cast<size_t>(vocabulary); ++v) {
        const size_t at = t * static_cast<size_t>(vocabulary) + v;
        if (std::isnan(got[at]))
          return "logit " + std::to_string(v) + " of token " +
                 std::to_string(t) + " was not written";
        const double off =
            static_cast<double>(got[at]) - static_cast<double>(want[at]);
        difference += off * off;
        size += static_cast<double>(want[at]) * static_cast<double>(want[at]);
      }
      // Another choice here may also change later tokens, a little.
      if (margins[t] < kLeastMargin)
        ++passed;
      else
        worst = std::max(worst, std::sqrt(difference / size));
    }
    if (static_cast<double>(passed) >
        kMostPassedOver * static_cast<double>(tokens.size()))
      return "the routing of " + std::to_string(passed) + " of " +
             std::to_string(tokens.size()) + " tokens is a matter of rounding";
    if (!(worst <= kMostError))
      return TooFar(part, worst);
    std::printf("{\"name\": \"%s\", \"what\": \"model\", \"tokens\": %lld, "
                "\"error\": %.6g, \"passed_over\": %zu}\n",
                entry.Text("name").c_str(), static_cast<long long>(part), worst,
                passed);
  }
  return Failure();
}

/// Rows that inputs are cut out of besides those of the largest: drawing new
/// ones for each run would leave the device idle for long, and its clocks low.
constexpr int64_t kSpareRows = 4096;

/// Runs before those that count: code is loaded and clocks rise. Few repeats
/// are of somebody who wants no exact times.
int WarmUps(int repeats) { return std::min(repeats, 3); }

Failure BenchLayer(const SuiteEntry &entry, const WeightPlan &plan,
                   const Machine &machine, Loaded &loaded,
                   std::mt19937_64 *random, int repeats) {
  LayerReference reference;
  if (Failure failure = reference.Open(entry, plan); !failure.empty())
    return failure;
  const bool on_gpu = std::string(machine.info.target) == "cuda";
  CacheFlush flush;
  if (on_gpu)
    if (Failure failure = flush.Open(machine.info.ordinal); !failure.empty())
      return failure;
  const int64_t hidden = reference.Hidden();
  std::vector<float> pool;
  for (int64_t tokens : entry.Numbers("tokens")) {
    std::vector<double> times, distinct;
    if (static_cast<int64_t>(pool.size()) < (tokens + kSpareRows) * hidden)
      pool = RandomRows(random, (tokens + kSpareRows) * hidden);
    for (int i = 0; i < WarmUps(repeats) + repeats; ++i) {
      const auto first = static_cast<int64_t>((*random)() % kSpareRows);
      const auto begin = pool.begin() + first * hidden;
      const std::vector<float> x(begin, begin + tokens * hidden);
      std::vector<float> y(x.size());
      if (on_gpu)
        if (Failure failure = flush.Run(); !failure.empty())
          return failure;
      if (Failure failure =
              loaded.Invoke("layer", static_cast<uint32_t>(tokens), x, &y);
          !failure.empty())
        return failure;
      if (i < WarmUps(repeats))
        continue;
      times.push_back(loaded.KernelSeconds());
      // Of many tokens every expert is picked; counting it is slow.
      distinct.push_back(tokens <= 64
                             ? static_cast<double>(reference.DistinctExperts(x))
                             : static_cast<double>(reference.Experts()));
    }
    std::printf("{\"name\": \"%s\", \"what\": \"layer\", \"tokens\": %lld, "
                "\"seconds\": %.9g, \"least\": %.9g, \"experts\": %.6g, "
                "\"bytes\": %.9g, \"operations\": %.9g, \"repeats\": %d}\n",
                entry.Text("name").c_str(), static_cast<long long>(tokens),
                Median(times), *std::min_element(times.begin(), times.end()),
                Median(distinct), Median(distinct) * reference.ExpertBytes(),
                reference.Operations(tokens), repeats);
  }
  return Failure();
}

/// Decode steps of one sequence: the whole step as the host sees it, and the
/// kernels of it.
Failure BenchModel(const SuiteEntry &entry, const WeightPlan &plan,
                   Loaded &loaded, std::mt19937_64 *random, int repeats) {
  const int64_t vocabulary = entry.Number("vocabulary");
  uint64_t bytes = 0;
  // What a step reads of a dense model; of experts only those it picks.
  const double picked = entry.Number("experts")
                            ? entry.Real("slots", 1) / entry.Real("experts", 1)
                            : 1;
  for (const SynthTensor &tensor : plan.tensors) {
    const bool expert = tensor.name.find(".experts.") != std::string::npos;
    const bool table =
        tensor.name == "model.embed_tokens.weight" && entry.Number("tied") == 0;
    if (!table)
      bytes += static_cast<uint64_t>(static_cast<double>(tensor.Bytes()) *
                                     (expert ? picked : 1));
  }
  Fed fed;
  if (Failure failure = fed.Open(loaded.session.get()); !failure.empty())
    return failure;
  const std::vector<int32_t> prompt = RandomTokens(random, 64, vocabulary);
  if (Failure failure = fed.Feed(loaded.session.get(), prompt.data(),
                                 prompt.size(), false, nullptr, vocabulary);
      !failure.empty())
    return failure;
  std::vector<double> kernels, steps;
  for (int i = 0; i < WarmUps(repeats) + repeats; ++i) {
    const std::vector<int32_t> token = RandomTokens(random, 1, vocabulary);
    const auto start = std::chrono::steady_clock::now();
    if (Failure failure = fed.Feed(loaded.session.get(), token.data(), 1, false,
                                   nullptr, vocabulary);
        !failure.empty())
      return failure;
    const std::chrono::duration<double> taken =
        std::chrono::steady_clock::now() - start;
    if (i < WarmUps(repeats))
      continue;
    steps.push_back(taken.count());
    kernels.push_back(loaded.KernelSeconds());
  }
  std::printf("{\"name\": \"%s\", \"what\": \"decode step\", \"tokens\": 1, "
              "\"seconds\": %.9g, \"kernel_seconds\": %.9g, \"bytes\": %llu, "
              "\"repeats\": %d}\n",
              entry.Text("name").c_str(), Median(steps), Median(kernels),
              static_cast<unsigned long long>(bytes), repeats);
  return Failure();
}

} // namespace

Failure CheckNumerics(const SuiteEntry &entry, const WeightPlan &plan,
                      Loaded &loaded, uint64_t seed) {
  std::mt19937_64 random(seed);
  return entry.kind == "layer" ? CheckLayer(entry, plan, loaded, &random)
         : entry.Number("checked", 48) == 0
             ? Failure() // too large for the plain loops
             : CheckModel(entry, plan, loaded, &random);
}

Failure Bench(const SuiteEntry &entry, const WeightPlan &plan,
              const Machine &machine, Loaded &loaded, uint64_t seed,
              int repeats) {
  std::mt19937_64 random(seed);
  return entry.kind == "layer"
             ? BenchLayer(entry, plan, machine, loaded, &random, repeats)
             : BenchModel(entry, plan, loaded, &random, repeats);
}

} // namespace headrace::suite
