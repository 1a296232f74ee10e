// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Compiles checkpoints for little fast memory and runs them in it: layers are
// streamed and experts come in waves, and not a bit of the logits may change.
#include "tests/integration/PackageModel.h"
#include "tools/headrace/Compile.h"
#include "tools/package-reader/PackageReader.h"
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

/// The least memory: the refusal of far too little names it. 0: it does not.
uint64_t leastOf(tools::CompileRequest planned) {
  planned.fastMemory = 4096;
  std::string refusal = llvm::toString(tools::compile(planned));
  const std::string before = "expected at least ";
  size_t at = refusal.find(before);
  return at == std::string::npos
             ? 0
             : std::stoull(refusal.substr(at + before.size()));
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

/// Three sequences in batches of unequal shares, one of them forked in the
/// middle of a page and one cut back over the end of one, then all four: the
/// logits of every row.
std::vector<float> converse(const std::string &path, uint64_t budget) {
  Model model;
  std::vector<float> logits;
  model.open(path, 2, budget);
  if (::testing::Test::HasFatalFailure())
    return logits;
  int32_t next = 0;
  auto some = [&](int count) {
    std::vector<int32_t> tokens;
    for (int i = 0; i < count; ++i)
      tokens.push_back((11 * next++ + 5) % 250);
    return tokens;
  };
  headrace_sequence_t *a = model.sequence(), *b = model.sequence(),
                      *c = model.sequence(), *d = nullptr;
  model.step({a, b, c}, {some(13), some(1), some(26)},
             {&logits, &logits, &logits});
  model.step({c, a}, {some(15), some(1)}, {&logits, &logits});
  headrace_status_t forked = headrace_sequence_fork(a, &d);
  EXPECT_FALSE(bool(forked)) << headrace_status_message(forked);
  headrace_status_t cut = headrace_sequence_truncate(c, 30);
  EXPECT_FALSE(bool(cut)) << headrace_status_message(cut);
  model.step({d, b, a}, {some(3), some(7), some(2)},
             {&logits, &logits, &logits});
  for (int i = 0; i < 3; ++i)
    model.step({a, c, d, b}, {some(1), some(4), some(1), some(1)},
               {&logits, &logits, &logits, &logits});
  for (headrace_sequence_t *sequence : {a, b, c, d})
    headrace_sequence_release(sequence);
  return logits;
}

/// What the first cache of a session with a plan has fetched ahead.
headrace_pool_usage_t cacheUsage(Model &model) {
  headrace_pool_usage_t pool = {};
  pool.struct_size = sizeof(pool);
  for (uint32_t i = 0; !pool.is_cache; ++i) {
    headrace_status_t status = headrace_session_pool(model.session, i, &pool);
    EXPECT_FALSE(bool(status)) << headrace_status_message(status);
    if (status)
      break;
  }
  return pool;
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

std::string testName(const ::testing::TestParamInfo<const char *> &info) {
  std::string name = info.param;
  for (char &c : name)
    if (!isalnum(c))
      c = '_';
  return name;
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

  tools::CompileRequest planned = request(GetParam(), path);
  const uint64_t least = leastOf(planned);
  ASSERT_GT(least, 0u);

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

TEST_P(PlannedPackage, GivesTheSameBitsOutOfHomes) {
  tools::CompileRequest planned = request(GetParam(), path);
  ASSERT_FALSE(bool(tools::compile(planned)));
  const std::vector<float> expected = converse(path, 0);
  ASSERT_FALSE(HasFailure());
  // For all that moves, and for little of it.
  for (uint64_t homes : {1 << 26, 1 << 16}) {
    planned.hostMemory = homes;
    const uint64_t least = leastOf(planned);
    ASSERT_GT(least, 0u);
    planned.fastMemory = least;
    llvm::Error error = tools::compile(planned);
    ASSERT_FALSE(bool(error)) << llvm::toString(std::move(error));
    expectSound(path);
    EXPECT_EQ(converse(path, least), expected) << homes;
  }
}

TEST_P(PlannedPackage, GivesTheSameBitsToSeveralSequencesInAnyMemory) {
  tools::CompileRequest planned = request(GetParam(), path);
  planned.fastMemory = uint64_t(1) << 30;
  ASSERT_FALSE(bool(tools::compile(planned)));
  const std::vector<float> expected = converse(path, 0);
  ASSERT_FALSE(HasFailure());
  ASSERT_FALSE(expected.empty());
  for (float value : expected)
    ASSERT_TRUE(std::isfinite(value));
  EXPECT_EQ(converse(path, uint64_t(1) << 30), expected);
  const uint64_t least = leastOf(planned);
  ASSERT_GT(least, 0u);
  for (uint64_t extra : {0, 1 << 16}) {
    planned.fastMemory = least + extra;
    ASSERT_FALSE(bool(tools::compile(planned)));
    EXPECT_EQ(converse(path, planned.fastMemory), expected)
        << planned.fastMemory;
  }
}

/// Pages that move, with weights that stay, over many of them; windows and
/// sinks among the families.
TEST_P(PlannedPackage, GivesTheSameBitsWhereverPagesLive) {
  tools::CompileRequest planned = request(GetParam(), path);
  planned.maxContext = 256;
  planned.fastMemory = uint64_t(1) << 30;
  auto talk = [&](uint64_t budget) {
    Model model;
    std::vector<float> logits;
    model.open(path, 2, budget);
    if (::testing::Test::HasFatalFailure())
      return logits;
    headrace_sequence_t *a = model.sequence(), *b = model.sequence();
    for (int32_t i = 0; i < 5; ++i) {
      std::vector<int32_t> many, few;
      for (int32_t j = 0; j < 43; ++j)
        many.push_back((13 * j + i) % 250);
      for (int32_t j = 0; j < 7; ++j)
        few.push_back((5 * j + i) % 250);
      model.step({a, b}, {many, few}, {&logits, &logits});
    }
    headrace_sequence_release(a);
    headrace_sequence_release(b);
    return logits;
  };
  std::vector<float> expected;
  for (const char *where : {"resident", "streamed"}) {
    planned.keyValues = where;
    llvm::Error error = tools::compile(planned);
    ASSERT_FALSE(bool(error)) << llvm::toString(std::move(error));
    expectSound(path);
    const std::vector<float> logits = talk(planned.fastMemory);
    ASSERT_FALSE(logits.empty());
    if (expected.empty())
      expected = logits;
    EXPECT_EQ(logits, expected) << where;
    EXPECT_EQ(converse(path, planned.fastMemory), converse(path, 0)) << where;
  }
  // The largest step that fits the least memory, pages included.
  const uint64_t least = leastOf(planned);
  planned.fastMemory = least;
  ASSERT_FALSE(bool(tools::compile(planned)));
  expectSound(path);
  EXPECT_EQ(talk(planned.fastMemory), expected);
}

INSTANTIATE_TEST_SUITE_P(Families, PlannedPackage,
                         ::testing::Values("olmoe-bf16", "qwen2_moe-bf16",
                                           "qwen3_moe-f32", "mixtral-bf16",
                                           "gpt_oss-bf16", "llama-f32"),
                         testName);

class Predictions : public PlannedPackage {};

/// Guesses only move experts: with slots for some, with slots for hardly any,
/// and with all of them there, in batches and alone.
TEST_P(Predictions, ChangeNoBit) {
  tools::CompileRequest planned = request(GetParam(), path);
  planned.fastMemory = uint64_t(1) << 30;
  ASSERT_FALSE(bool(tools::compile(planned)));
  const std::vector<float> expected = run(path, 0);
  const std::vector<float> others = converse(path, 0);
  const uint64_t least = leastOf(planned);
  ASSERT_GT(least, 0u);
  planned.predict = "on";
  planned.fastMemory = least + (1 << 17);
  ASSERT_FALSE(bool(tools::compile(planned)));
  expectSound(path);
  {
    Model model;
    model.open(path, 1, planned.fastMemory + (1 << 17)); // A few slots more.
    ASSERT_FALSE(HasFatalFailure());
    headrace_sequence_t *sequence = model.sequence();
    for (int32_t token = 0; token < 40; ++token)
      model.step({sequence}, {{token * 5 % 250}}, {nullptr});
    const headrace_pool_usage_t pool = cacheUsage(model);
    EXPECT_GT(pool.prefetches, 0u);
    EXPECT_LE(pool.prefetches_used, pool.prefetches);
    headrace_sequence_release(sequence);
  }
  uint64_t budget = planned.fastMemory;
  for (uint64_t more : {uint64_t(0), uint64_t(1) << 18, uint64_t(1) << 24}) {
    EXPECT_EQ(run(path, budget + more), expected) << more;
    EXPECT_EQ(converse(path, budget + more), others) << more;
  }
  EXPECT_EQ(run(path, 0), expected) << "mapped";
}

INSTANTIATE_TEST_SUITE_P(Families, Predictions,
                         ::testing::Values("olmoe-bf16", "qwen2_moe-bf16",
                                           "mixtral-bf16"),
                         testName);

} // namespace
