// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of greedy choice and of draws.
#include "tests/runtime/harness.h"

#include "runtime/src/sampler.h"

#include <cmath>

namespace headrace::tests {
namespace {

using runtime::ArgMax;
using runtime::Candidate;
using runtime::DefaultAllocator;
using runtime::Sample;
using runtime::SamplerOptions;
using runtime::StdAllocator;
using runtime::UniformAt;
using runtime::Vector;

int32_t Draw(const std::vector<float> &logits, const SamplerOptions &options,
             uint64_t position) {
  Vector<Candidate> candidates{StdAllocator<Candidate>(DefaultAllocator())};
  int32_t token = -1;
  EXPECT_TRUE(IsOk(Sample(DefaultAllocator(), logits.data(),
                          static_cast<uint32_t>(logits.size()), options,
                          position, &candidates, &token)
                       .Release()));
  return token;
}

TEST(Sampler, ArgMaxTakesTheLowerIdOfATie) {
  for (uint32_t count : {1u, 5u, 16u, 17u, 100u}) {
    std::vector<float> logits(count, -1);
    logits[count / 2] = 2;
    logits[count - 1] = 2;
    EXPECT_EQ(ArgMax(logits.data(), count), static_cast<int32_t>(count / 2));
  }
}

TEST(Sampler, ArgMaxIgnoresWhatIsNoNumber) {
  std::vector<float> logits = {NAN, -5, NAN, -4, NAN};
  EXPECT_EQ(ArgMax(logits.data(), 5), 3);
  logits.assign(40, NAN);
  EXPECT_EQ(ArgMax(logits.data(), 40), -1);
  logits.assign(40, -INFINITY);
  EXPECT_EQ(ArgMax(logits.data(), 40), 0);
}

TEST(Sampler, NoNumberAtAllIsAFailure) {
  std::vector<float> logits(40, NAN);
  Vector<Candidate> candidates{StdAllocator<Candidate>(DefaultAllocator())};
  int32_t token;
  EXPECT_TRUE(FailsWith(
      Sample(DefaultAllocator(), logits.data(), 40, {}, 0, &candidates, &token)
          .Release(),
      HEADRACE_STATUS_INTERNAL));
}

TEST(Sampler, UniformIsAsDocumented) {
  // SplitMix64 started at 0 gives this first output.
  EXPECT_EQ(UniformAt(0, 0),
            static_cast<double>(0xe220a8397b1dcdafull >> 11) * 0x1p-53);
  EXPECT_NE(UniformAt(1, 0), UniformAt(1, 1));
}

TEST(Sampler, FrequenciesFollowTheSoftmax) {
  const std::vector<float> logits = {0, std::log(2.0f), std::log(5.0f)};
  SamplerOptions options;
  options.temperature = 1;
  options.seed = 7;
  int counts[3] = {};
  for (uint64_t i = 0; i < 8000; ++i)
    ++counts[Draw(logits, options, i)];
  EXPECT_NEAR(counts[0], 1000, 120);
  EXPECT_NEAR(counts[1], 2000, 160);
  EXPECT_NEAR(counts[2], 5000, 200);
}

TEST(Sampler, TopPLeavesOutTheTail) {
  const std::vector<float> logits = {0, std::log(2.0f), std::log(5.0f)};
  SamplerOptions options;
  options.temperature = 1;
  options.top_p = 0.6f;
  for (uint64_t i = 0; i < 200; ++i)
    EXPECT_EQ(Draw(logits, options, i), 2);
  options.top_p = 0.7f;
  int counts[3] = {};
  for (uint64_t i = 0; i < 2000; ++i)
    ++counts[Draw(logits, options, i)];
  EXPECT_EQ(counts[0], 0);
  EXPECT_GT(counts[1], 0);
}

TEST(Sampler, ExtremesAreHarmless) {
  SamplerOptions options;
  options.temperature = 1e-30f;
  EXPECT_EQ(Draw({1, 3, 2}, options, 0), 1);
  options.temperature = 1e30f;
  options.top_p = 1e-30f;
  Draw({1, 3, 2}, options, 0);
  EXPECT_EQ(Draw({1, INFINITY, 2}, options, 0), 1);
  EXPECT_EQ(Draw({NAN, -INFINITY, 2}, options, 0), 2);
}

} // namespace
} // namespace headrace::tests
