// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Sampler: greedy choice and draws from the softmax.
#include "runtime/src/sampler.h"

#include <algorithm>
#include <cmath>

namespace headrace::runtime {
namespace {

uint64_t SplitMix64(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

} // namespace

double UniformAt(uint64_t seed, uint64_t position) {
  uint64_t bits = SplitMix64(seed + (position + 1) * 0x9e3779b97f4a7c15);
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

int32_t ArgMax(const float *logits, uint32_t count) {
  // Maximum first, in lanes the compiler makes vectors of; then where it is.
  // NaN loses every comparison.
  constexpr uint32_t kLanes = 16;
  float lanes[kLanes];
  std::fill(lanes, lanes + kLanes, -INFINITY);
  uint32_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (uint32_t lane = 0; lane < kLanes; ++lane)
      lanes[lane] =
          logits[i + lane] > lanes[lane] ? logits[i + lane] : lanes[lane];
  float best = *std::max_element(lanes, lanes + kLanes);
  for (; i < count; ++i)
    best = logits[i] > best ? logits[i] : best;
  const float *found = std::find(logits, logits + count, best);
  return found == logits + count ? -1 : static_cast<int32_t>(found - logits);
}

Status Sample(const Allocator &allocator, const float *logits, uint32_t count,
              const SamplerOptions &options, uint64_t position,
              Vector<Candidate> *candidates, int32_t *out_token) {
  int32_t best = ArgMax(logits, count);
  if (best < 0)
    return MakeStatus(allocator, HEADRACE_STATUS_INTERNAL,
                      "no logit is a number");
  *out_token = best;
  float largest = logits[best];
  if (options.temperature <= 0 || std::isinf(largest))
    return Status();

  candidates->clear();
  candidates->reserve(count);
  double total = 0;
  for (uint32_t i = 0; i < count; ++i) {
    double weight =
        std::exp((double(logits[i]) - largest) / double(options.temperature));
    if (!(weight > 0))
      continue; // NaN or too far below to be drawn
    candidates->push_back({weight, static_cast<int32_t>(i)});
    total += weight;
  }

  if (options.top_p > 0 && options.top_p < 1) {
    // All tokens below this weight together are worth less than what top_p
    // leaves out, so they need no sorting.
    double least = (1 - double(options.top_p)) * total / double(count);
    candidates->erase(std::remove_if(candidates->begin(), candidates->end(),
                                     [&](const Candidate &candidate) {
                                       return candidate.weight < least;
                                     }),
                      candidates->end());
    std::sort(candidates->begin(), candidates->end(),
              [](const Candidate &a, const Candidate &b) {
                return a.weight != b.weight ? a.weight > b.weight
                                            : a.token < b.token;
              });
    double kept = 0;
    size_t size = 0;
    while (size < candidates->size() && kept < double(options.top_p) * total)
      kept += (*candidates)[size++].weight;
    candidates->resize(size, Candidate{0, 0});
    total = kept;
  }

  double left = UniformAt(options.seed, position) * total;
  for (const Candidate &candidate : *candidates) {
    *out_token = candidate.token;
    left -= candidate.weight;
    if (left < 0)
      break;
  }
  return Status();
}

} // namespace headrace::runtime
