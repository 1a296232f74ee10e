// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Compiles checkpoints for little fast memory and runs them in it: layers are
// streamed and experts come in waves, and not a bit of the logits may change.
#include "tests/integration/PackageModel.h"
#include "tools/headrace/Compile.h"
#include "tools/plan-check/PackageReader.h"
#include "tools/plan-check/PlanChecker.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <unistd.h>

using namespace headrace;
using namespace headrace::testing;

namespace {

constexpr const char *kFamilies = "tests/data/families/";

tools::CompileRequest request(const std::string &family,
                              const std::string &output) {
  tools::CompileRequest request;
  request.checkpoint = kFamilies + family;
  request.output = output;
  request.cpu = "x86-64-v3";
  request.maxTokens = 40;
  request.maxSequences = 8;
  request.maxContext = 64;
  request.quiet = true;
  return request;
}

/// A prompt of many tokens, so that every expert is active, then single ones.
std::vector<float> run(const std::string &path, uint64_t budget) {
  Model model;
  std::vector<float> logits;
  model.open(path, 1, budget);
  if (::testing::Test::HasFatalFailure())
    return logits;
  headrace_sequence_t *first = model.sequence(), *second = model.sequence();
  std::vector<int32_t> prompt;
  for (int32_t i = 0; i < 30; ++i)
    prompt.push_back((7 * i + 3) % 250);
  model.step({first, second}, {prompt, {5, 9}}, {&logits, &logits});
  for (int32_t token = 10; token < 14; ++token)
    model.step({first, second}, {{token}, {token + 40}}, {&logits, &logits});
  headrace_sequence_release(first);
  headrace_sequence_release(second);
  return logits;
}

/// The plan holds to every rule of the checker.
void expectSound(const std::string &path) {
  plancheck::PackageReader reader;
  std::string error;
  ASSERT_TRUE(reader.open(path, &error)) << error;
  for (const plancheck::Violation &found :
       plancheck::checkPlan(reader.manifest()))
    ADD_FAILURE() << plancheck::ruleName(found.rule) << ": " << found.text;
}

class PlannedPackage : public ::testing::TestWithParam<const char *> {
protected:
  ~PlannedPackage() override {
    if (!path.empty())
      llvm::sys::fs::remove(path);
  }
  std::string path = ::testing::TempDir() + "headrace-planned-" +
                     std::to_string(getpid()) + ".headrace";
};

TEST_P(PlannedPackage, GivesTheSameBitsInAnyMemory) {
  tools::CompileRequest plain = request(GetParam(), path);
  ASSERT_FALSE(bool(tools::compile(plain)));
  const std::vector<float> expected = run(path, 0);
  ASSERT_FALSE(HasFailure());
  for (float value : expected)
    ASSERT_TRUE(std::isfinite(value));
  EXPECT_NE(expected.front(), expected.back());

  // The refusal of far too little names the least.
  tools::CompileRequest planned = request(GetParam(), path);
  planned.fastMemory = 4096;
  std::string refusal = llvm::toString(tools::compile(planned));
  const std::string before = "expected at least ";
  size_t at = refusal.find(before);
  ASSERT_NE(at, std::string::npos) << refusal;
  const uint64_t least = std::stoull(refusal.substr(at + before.size()));

  planned.fastMemory = uint64_t(1) << 30;
  ASSERT_FALSE(bool(tools::compile(planned)));
  expectSound(path);
  const std::vector<float> all = run(path, uint64_t(1) << 30);
  EXPECT_EQ(all, expected);
  for (uint64_t extra : {0, 1 << 14, 1 << 16, 1 << 17}) {
    planned.fastMemory = least + extra;
    ASSERT_FALSE(bool(tools::compile(planned)));
    expectSound(path);
    EXPECT_EQ(run(path, 0), expected) << "mapped, " << planned.fastMemory;
    EXPECT_EQ(run(path, planned.fastMemory), expected) << planned.fastMemory;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, PlannedPackage,
                         ::testing::Values("olmoe-bf16", "qwen2_moe-bf16",
                                           "qwen3_moe-f32", "mixtral-bf16",
                                           "gpt_oss-bf16", "llama-f32"),
                         [](const auto &info) {
                           std::string name = info.param;
                           for (char &c : name)
                             if (!isalnum(c))
                               c = '_';
                           return name;
                         });

} // namespace
