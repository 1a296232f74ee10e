// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Compiles every checkpoint of tests/data, runs the package through the C API
// and compares its logits with other people's; then runs the same tokens in
// other ways, which must not change a bit.
#include "tests/compiler/import/Files.h"
#include "tests/compiler/reference/Goldens.h"
#include "tests/integration/PackageModel.h"
#include "tools/headrace/Compile.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <cmath>
#include <gtest/gtest.h>

using namespace headrace;
using namespace headrace::testing;

namespace {

constexpr const char *kFamilies = "tests/data/families";

/// The package of a checkpoint, compiled once for all tests of a process.
std::string packageOf(const std::string &directory, const std::string &cpu) {
  static const test::TempDir packages; // gone when the process ends
  std::string path = packages.file(
      cpu + "-" + llvm::sys::path::filename(directory).str() + ".headrace");
  if (llvm::sys::fs::exists(path))
    return path;
  tools::CompileRequest request;
  request.checkpoint = directory;
  request.output = path;
  request.cpu = cpu;
  request.maxTokens = 80;
  request.quiet = true;
  if (llvm::Error error = tools::compile(request)) {
    ADD_FAILURE() << llvm::toString(std::move(error));
    return "";
  }
  return path;
}

/// All tokens in one step.
std::vector<float> runWhole(const std::string &path,
                            const std::vector<int32_t> &tokens,
                            uint32_t threads) {
  Model model;
  std::vector<float> logits;
  model.open(path, threads);
  if (::testing::Test::HasFatalFailure())
    return logits;
  headrace_sequence_t *sequence = model.sequence();
  model.step({sequence}, {tokens}, {&logits});
  headrace_sequence_release(sequence);
  return logits;
}

class PackageGolden : public ::testing::TestWithParam<std::string> {
protected:
  void SetUp() override {
    directory = GetParam();
    auto read = readGolden(directory);
    ASSERT_TRUE(bool(read)) << llvm::toString(read.takeError());
    golden = std::move(*read);
  }
  std::string directory;
  Golden golden;
};

TEST_P(PackageGolden, LogitsAreThoseOfTransformers) {
  std::string path = packageOf(directory, "native");
  ASSERT_FALSE(path.empty());
  std::vector<float> logits = runWhole(path, golden.tokens(), 2);
  GoldenReport report = compareWithGolden(golden, logits, golden.closeness());
  printf("%s\n", report.text.c_str());
  EXPECT_TRUE(report.ok) << report.text;
}

TEST_P(PackageGolden, OtherInstructionSetsAgree) {
  for (const char *cpu : {"x86-64-v3", "x86-64-v4"}) {
    std::string path = packageOf(directory, cpu);
    ASSERT_FALSE(path.empty());
    std::vector<float> logits = runWhole(path, golden.tokens(), 1);
    GoldenReport report = compareWithGolden(golden, logits, golden.closeness());
    EXPECT_TRUE(report.ok) << cpu << ": " << report.text;
  }
}

TEST_P(PackageGolden, ThreadsDoNotChangeABit) {
  std::string path = packageOf(directory, "native");
  ASSERT_FALSE(path.empty());
  EXPECT_EQ(runWhole(path, golden.tokens(), 1),
            runWhole(path, golden.tokens(), 2));
}

TEST_P(PackageGolden, BatchAndPrefixDoNotChangeABit) {
  std::string path = packageOf(directory, "native");
  ASSERT_FALSE(path.empty());
  std::vector<int32_t> tokens = golden.tokens();
  std::vector<float> whole = runWhole(path, tokens, 2);
  Model model;
  model.open(path, 2);
  if (HasFatalFailure())
    return;
  // Beside other sequences of other lengths, and in pieces: the prefix is read
  // from the cache.
  headrace_sequence_t *mine = model.sequence(), *other = model.sequence(),
                      *third = model.sequence();
  std::vector<float> pieces;
  size_t at = 0;
  const size_t sizes[] = {1, 2, 5, 13, 1, 30, 3};
  for (size_t i = 0; at < tokens.size(); ++i) {
    size_t count = std::min(sizes[i % 7], tokens.size() - at);
    std::vector<int32_t> piece(tokens.begin() + int64_t(at),
                               tokens.begin() + int64_t(at + count));
    std::vector<int32_t> noise(tokens.rbegin(), tokens.rbegin() + 1 + i % 4);
    if (i % 3 == 0)
      model.step({mine}, {piece}, {&pieces});
    else if (i % 3 == 1)
      model.step({other, mine}, {noise, piece}, {nullptr, &pieces});
    else
      model.step({other, mine, third}, {noise, piece, noise},
                 {nullptr, &pieces, nullptr});
    at += count;
  }
  ASSERT_EQ(pieces.size(), whole.size());
  size_t differ = 0;
  for (size_t i = 0; i < whole.size(); ++i)
    differ += pieces[i] != whole[i];
  EXPECT_EQ(differ, 0u);
  for (headrace_sequence_t *sequence : {mine, other, third})
    headrace_sequence_release(sequence);
}

TEST_P(PackageGolden, ForkAndTruncateDoNotChangeABit) {
  std::string path = packageOf(directory, "native");
  ASSERT_FALSE(path.empty());
  std::vector<int32_t> tokens = golden.tokens();
  std::vector<float> whole = runWhole(path, tokens, 1);
  Model model;
  model.open(path, 1);
  if (HasFatalFailure())
    return;
  headrace_sequence_t *first = model.sequence(), *second = nullptr;
  std::vector<int32_t> head(tokens.begin(), tokens.begin() + 37),
      tail(tokens.begin() + 37, tokens.end()), noise(9, tokens[0]);
  std::vector<float> logits;
  model.step({first}, {head}, {&logits});
  REQUIRE_OK(headrace_sequence_fork(first, &second));
  model.step({first}, {noise}, {nullptr});           // Must not reach the fork,
  REQUIRE_OK(headrace_sequence_truncate(first, 37)); // nor what is cut back.
  std::vector<float> forked = logits;
  model.step({second}, {tail}, {&forked});
  model.step({first}, {tail}, {&logits});
  EXPECT_EQ(forked, whole);
  EXPECT_EQ(logits, whole);
  headrace_sequence_release(first);
  headrace_sequence_release(second);
}

INSTANTIATE_TEST_SUITE_P(Families, PackageGolden,
                         ::testing::ValuesIn(listGoldens(kFamilies)),
                         [](const auto &info) {
                           std::string name =
                               llvm::sys::path::filename(info.param).str();
                           for (char &c : name)
                             if (!isalnum(c))
                               c = '_';
                           return name;
                         });

TEST(PackageGoldens, AreThere) {
  EXPECT_GE(listGoldens(kFamilies).size(), 22u);
}

} // namespace
