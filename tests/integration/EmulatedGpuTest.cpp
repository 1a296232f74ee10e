// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Compiles the narrow checkpoints of tests/data for a GPU, runs every kernel
// thread by thread on the CPU, and compares the logits with other people's.
#include "tests/integration/EmulatedGpu.h"
#include "tests/compiler/reference/Goldens.h"
#include <cmath>
#include <gtest/gtest.h>

using namespace headrace;
using namespace headrace::testing;

namespace {

class EmulatedGolden : public ::testing::TestWithParam<std::string> {
protected:
  void SetUp() override {
    auto read = readGolden(GetParam());
    ASSERT_TRUE(bool(read)) << llvm::toString(read.takeError());
    golden = std::move(*read);
    llvm::Error error = gpu.open(GetParam(), 80);
    ASSERT_FALSE(bool(error)) << llvm::toString(std::move(error));
  }
  std::vector<float> feed(const std::vector<size_t> &sizes, bool captured,
                          bool backwards, bool company) {
    gpu.captured = captured;
    gpu.backwards = backwards;
    auto logits = gpu.feed(golden.tokens(), sizes, company);
    EXPECT_TRUE(bool(logits)) << llvm::toString(logits.takeError());
    return logits ? std::move(*logits) : std::vector<float>();
  }
  void expectGolden(const std::vector<float> &logits) {
    GoldenReport report = compareWithGolden(golden, logits, golden.closeness());
    printf("%s\n", report.text.c_str());
    EXPECT_TRUE(report.ok) << report.text;
  }

  Golden golden;
  EmulatedGpu gpu;
};

TEST_P(EmulatedGolden, OneStepOfManyTokens) {
  expectGolden(feed({80}, false, false, false));
}

TEST_P(EmulatedGolden, OneStepOfManyTokensInPortableCode) {
  gpu.portable = true;
  expectGolden(feed({80}, true, true, false));
}

TEST_P(EmulatedGolden, StepsOfFewTokens) {
  std::vector<float> alone = feed({1, 2, 5, 8}, true, false, false);
  expectGolden(alone);
  // What runs beside a row, and which block comes first, changes no bit.
  EXPECT_EQ(alone, feed({3, 1, 6, 4}, false, true, true));
}

/// Past one run of pages, where several blocks share a row's keys.
TEST_P(EmulatedGolden, LongSequencesAgreeInBothClasses) {
  std::vector<int32_t> tokens = golden.tokens();
  tokens.insert(tokens.end(), tokens.begin(), tokens.end());
  auto logitsOf = [&](int64_t sequence, size_t head) {
    // All but the last tokens in large steps, then the rest one by one.
    std::vector<float> last;
    for (size_t at = 0; at < tokens.size();) {
      size_t count = at < head ? std::min<size_t>(80, head - at) : 1;
      auto rows = gpu.step({{sequence,
                             {tokens.begin() + int64_t(at),
                              tokens.begin() + int64_t(at + count)}}});
      EXPECT_TRUE(bool(rows)) << llvm::toString(rows.takeError());
      if (!rows)
        return last;
      last.assign(rows->end() - gpu.vocabulary, rows->end());
      at += count;
    }
    return last;
  };
  std::vector<float> few = logitsOf(1, tokens.size() - 2),
                     many = logitsOf(2, tokens.size());
  ASSERT_EQ(few.size(), many.size());
  double error = 0, norm = 0;
  for (size_t i = 0; i < few.size(); ++i) {
    error += (few[i] - many[i]) * (few[i] - many[i]);
    norm += many[i] * many[i];
  }
  EXPECT_LT(std::sqrt(error / norm), 1e-2);
}

/// Caches of float32, and products in loops: slow, so few of them are run.
class EmulatedFloat32 : public EmulatedGolden {};

TEST_P(EmulatedFloat32, StepsOfBothClasses) {
  size_t rest = golden.tokens().size() - 8;
  std::vector<float> alone = feed({1, 7, rest}, true, false, false);
  expectGolden(alone);
  EXPECT_EQ(alone, feed({1, 7, rest}, false, true, true));
}

/// With sinks, windows and biases, and with neither.
INSTANTIATE_TEST_SUITE_P(Families, EmulatedFloat32,
                         ::testing::Values("tests/data/families/gpt_oss-f32",
                                           "tests/data/families/olmoe-f32"),
                         [](const auto &info) {
                           return testNameOf(info.param);
                         });

INSTANTIATE_TEST_SUITE_P(
    Families, EmulatedGolden,
    ::testing::ValuesIn(listNarrowGoldens("tests/data/families")),
    [](const auto &info) { return testNameOf(info.param); });

} // namespace
