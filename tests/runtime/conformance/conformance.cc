// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Conformance: the tests that every driver runs.
#include "tests/runtime/conformance/conformance.h"

#include <algorithm>
#include <cmath>

namespace headrace::tests {

void Conformance::SetUp() {
  instance = MakeInstance();
  headrace_device_t *raw = nullptr;
  headrace_status_t status = GetParam().create(instance.get(), &raw);
  device.reset(raw);
  if (headrace_status_code(status) == HEADRACE_STATUS_UNAVAILABLE) {
    Outcome outcome(status);
    GTEST_SKIP() << outcome.message;
  }
  ASSERT_TRUE(IsOk(status));
  package = OpenFile(instance.get(), file.Path());
  session = MakeSession(device.get(), package.get());
}

std::vector<float> Conformance::Feed(const Sequence &sequence,
                                     const std::vector<int32_t> &tokens,
                                     size_t part) {
  std::vector<float> logits(TOY_VOCABULARY);
  for (size_t at = 0; at < tokens.size(); at += part) {
    headrace_step_item_t item = {};
    item.sequence = sequence.get();
    item.tokens = tokens.data() + at;
    item.token_count = std::min(part, tokens.size() - at);
    auto options = sized<headrace_step_options_t>();
    options.item_size = sizeof(item);
    options.items = &item;
    options.item_count = 1;
    options.logits = logits.data();
    options.logits_rows = 1;
    EXPECT_TRUE(IsOk(headrace_session_step(session.get(), &options, nullptr)));
  }
  return logits;
}

namespace {

std::vector<int32_t> Prompt() {
  std::vector<int32_t> tokens(77);
  for (size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<int32_t>(i * i % TOY_VOCABULARY);
  return tokens;
}

TEST_P(Conformance, HasThreads) {
  EXPECT_GT(headrace_device_thread_count(device.get()), 0u);
}

TEST_P(Conformance, PrefillAndDecodeAgree) {
  const std::vector<int32_t> tokens = Prompt();
  for (size_t part : {size_t(1), size_t(5), size_t(8), size_t(77)}) {
    Sequence sequence = MakeSequence(session.get());
    EXPECT_EQ(Feed(sequence, tokens, part), ToyLogits(tokens)) << part;
  }
}

TEST_P(Conformance, ForkAndTruncateKeepThePrefix) {
  const std::vector<int32_t> tokens = Prompt();
  Sequence sequence = MakeSequence(session.get());
  Feed(sequence, tokens, 77);
  headrace_sequence_t *raw = nullptr;
  ASSERT_TRUE(IsOk(headrace_sequence_fork(sequence.get(), &raw)));
  Sequence fork(raw);
  ASSERT_TRUE(IsOk(headrace_sequence_truncate(fork.get(), 50)));
  std::vector<int32_t> expected(tokens.begin(), tokens.begin() + 50);
  expected.push_back(2);
  EXPECT_EQ(Feed(fork, {2}, 1), ToyLogits(expected));
  expected = tokens;
  expected.push_back(3);
  EXPECT_EQ(Feed(sequence, {3}, 1), ToyLogits(expected));
}

TEST_P(Conformance, SaysWhatItIs) {
  auto info = sized<headrace_device_info_t>();
  ASSERT_TRUE(IsOk(headrace_device_info(device.get(), &info)));
  EXPECT_NE(std::string(info.target), "");
  EXPECT_NE(std::string(info.name), "");
  EXPECT_GT(info.memory_bytes, 0u);
  EXPECT_GT(info.processor_count, 0u);
}

/// Sequences of unequal lengths in one step give what each gives alone.
TEST_P(Conformance, BatchesUnequalSequences) {
  std::vector<Sequence> sequences;
  std::vector<std::vector<int32_t>> history(3), fresh(3);
  for (size_t i = 0; i < 3; ++i)
    sequences.push_back(MakeSequence(session.get()));
  for (size_t round = 0; round < 4; ++round) {
    std::vector<headrace_step_item_t> items;
    for (size_t i = 0; i < 3; ++i) {
      fresh[i].clear();
      for (size_t j = 0; j < 1 + (i * 5 + round * 3) % 11; ++j)
        fresh[i].push_back(
            static_cast<int32_t>((i + 7 * j + round) % TOY_VOCABULARY));
      history[i].insert(history[i].end(), fresh[i].begin(), fresh[i].end());
      items.push_back(Item(sequences[i], fresh[i]));
    }
    headrace_step_options_t step = StepOf(items);
    auto result = sized<headrace_step_result_t>();
    ASSERT_TRUE(IsOk(headrace_session_step(session.get(), &step, &result)));
    ASSERT_EQ(result.row_count, 3u);
    for (size_t i = 0; i < 3; ++i)
      EXPECT_EQ(std::vector<float>(result.logits + i * TOY_VOCABULARY,
                                   result.logits + (i + 1) * TOY_VOCABULARY),
                ToyLogits(history[i]));
  }
}

/// Outputs hold what the kernels of this run wrote, not what was there.
TEST_P(Conformance, PoisonShowsWhatNoKernelWrites) {
  auto options = sized<headrace_session_options_t>();
  options.poison_outputs = 1;
  Session poisoned = MakeSession(device.get(), package.get(), &options);
  Aligned<float> x(2 * TOY_WIDTH), y(2 * TOY_WIDTH);
  for (size_t i = 0; i < 2 * TOY_WIDTH; ++i)
    x[i] = static_cast<float>(i);
  ASSERT_TRUE(IsOk(InvokeToy(poisoned.get(), kScale, 2, x, y)));
  for (size_t i = 0; i < 2 * TOY_WIDTH; ++i)
    EXPECT_EQ(y[i], 3 * x[i]);
  ASSERT_TRUE(IsOk(InvokeToy(poisoned.get(), kEmpty, 1, x, y)));
  for (size_t i = 0; i < 2 * TOY_WIDTH; ++i)
    EXPECT_EQ(std::isnan(y[i]), i < TOY_WIDTH) << i;
}

TEST_P(Conformance, RunsAreTimedWhereAsked) {
  auto options = sized<headrace_session_options_t>();
  options.timing = 1;
  Session timed = MakeSession(device.get(), package.get(), &options);
  Aligned<float> x(TOY_WIDTH), y(TOY_WIDTH);
  for (Session *each : {&session, &timed}) {
    ASSERT_TRUE(IsOk(InvokeToy(each->get(), kScale, 1, x, y)));
    auto info = sized<headrace_session_info_t>();
    ASSERT_TRUE(IsOk(headrace_session_info(each->get(), &info)));
    EXPECT_EQ(info.kernel_ns > 0, each == &timed);
  }
}

TEST_P(Conformance, EveryTaskRunsOnce) {
  Aligned<float> x(TOY_WIDTH);
  Aligned<int32_t> y(TOY_WIDTH);
  y[0] = 0;
  ASSERT_TRUE(IsOk(InvokeToy(session.get(), kCount, 1, x, y)));
  EXPECT_EQ(y[0], 1000);
}

TEST_P(Conformance, ManyLaunchesRunInOrder) {
  Aligned<float> x(TOY_WIDTH), y(TOY_WIDTH);
  for (int i = 0; i < 20; ++i)
    ASSERT_TRUE(IsOk(InvokeToy(session.get(), kEmpty, 1, x, y)));
}

TEST_P(Conformance, DeadlineIsAStatusAndTheDeviceGoesOn) {
  Aligned<float> x(TOY_WIDTH), y(TOY_WIDTH);
  EXPECT_TRUE(
      FailsWith(InvokeToy(session.get(), kSlow, 1, x, y, nullptr, 5000000),
                HEADRACE_STATUS_DEADLINE_EXCEEDED));
  x[0] = 2;
  ASSERT_TRUE(IsOk(InvokeToy(session.get(), kScale, 1, x, y)));
  EXPECT_EQ(y[0], 6);
}

TEST_P(Conformance, CancelIsAStatus) {
  Aligned<float> x(TOY_WIDTH), y(TOY_WIDTH);
  headrace_cancel_t cancel = {};
  headrace_cancel_request(&cancel);
  EXPECT_TRUE(FailsWith(InvokeToy(session.get(), kSlow, 1, x, y, &cancel),
                        HEADRACE_STATUS_CANCELLED));
}

} // namespace
} // namespace headrace::tests
