// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of sequences: fork, truncate, full contexts and pools, generation.
#include "tests/runtime/host.h"

namespace headrace::tests {
namespace {

/// A session with a pool of `pages` pages for `sequences` sequences.
struct Pool : Host {
  explicit Pool(uint32_t pages, uint32_t sequences = 8) : Host(ToyFile()) {
    auto options = sized<headrace_session_options_t>();
    options.kv_pages = pages;
    options.max_sequences = sequences;
    EXPECT_TRUE(IsOk(Create(options)));
  }
  uint32_t FreePages() { return Info().kv_pages_free; }
};

std::vector<int32_t> Joined(std::vector<int32_t> a,
                            const std::vector<int32_t> &b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(Sequence, ForksShareFullPagesAndCopyThePartialOne) {
  Pool pool(10);
  const std::vector<int32_t> prefix = Tokens(40, 1), left = Tokens(30, 2),
                             right = Tokens(5, 3);
  Sequence first = MakeSequence(pool.session.get());
  std::vector<int32_t> a;
  pool.Extend(first, &a, prefix);
  EXPECT_EQ(pool.FreePages(), 8u);
  Sequence second = Fork(first);
  Sequence third = Fork(second);
  EXPECT_EQ(headrace_sequence_length(third.get()), 40u);
  EXPECT_EQ(pool.FreePages(), 8u);
  std::vector<int32_t> b = a, c = a;
  pool.Extend(second, &b, left);
  EXPECT_EQ(pool.FreePages(), 6u); // the copy and one more
  pool.Extend(first, &a, right);
  EXPECT_EQ(pool.FreePages(), 5u);
  pool.Extend(third, &c, right); // alone with its page by now
  EXPECT_EQ(pool.FreePages(), 5u);
  first.reset();
  second.reset();
  third.reset();
  EXPECT_EQ(pool.FreePages(), 10u);
}

TEST(Sequence, TruncatedSequencesGoOnAsIfNothingHadBeen) {
  Pool pool(10);
  const std::vector<int32_t> tokens = Tokens(100, 4), other = Tokens(20, 5);
  for (uint32_t length : {0u, 1u, 31u, 32u, 33u, 64u, 99u, 100u}) {
    Sequence sequence = MakeSequence(pool.session.get());
    std::vector<int32_t> history;
    pool.Extend(sequence, &history, tokens);
    std::vector<int32_t> forked = history;
    Sequence fork = Fork(sequence);
    ASSERT_TRUE(IsOk(headrace_sequence_truncate(sequence.get(), length)));
    EXPECT_EQ(headrace_sequence_length(sequence.get()), length);
    history.resize(length);
    pool.Extend(sequence, &history, other);
    // The fork has kept what was cut.
    pool.Extend(fork, &forked, {9});
  }
  EXPECT_EQ(pool.FreePages(), 10u);
  Sequence sequence = MakeSequence(pool.session.get());
  EXPECT_TRUE(FailsWith(headrace_sequence_truncate(sequence.get(), 1),
                        HEADRACE_STATUS_OUT_OF_RANGE));
}

TEST(Sequence, FullContextIsAStatus) {
  Pool pool(10);
  Sequence sequence = MakeSequence(pool.session.get());
  EXPECT_TRUE(FailsWith(pool.Step(sequence, Tokens(129, 1)),
                        HEADRACE_STATUS_RESOURCE_EXHAUSTED, "context full"));
  EXPECT_EQ(headrace_sequence_length(sequence.get()), 0u);
  ASSERT_TRUE(IsOk(pool.Step(sequence, Tokens(128, 1))));
  EXPECT_TRUE(FailsWith(pool.Step(sequence, {1}),
                        HEADRACE_STATUS_RESOURCE_EXHAUSTED, "context full"));
  EXPECT_EQ(headrace_sequence_length(sequence.get()), 128u);
}

TEST(Sequence, FullPoolIsAStatus) {
  Pool pool(3);
  Sequence first = MakeSequence(pool.session.get());
  Sequence second = MakeSequence(pool.session.get());
  ASSERT_TRUE(IsOk(pool.Step(first, Tokens(40, 1))));
  EXPECT_TRUE(FailsWith(pool.Step(second, Tokens(33, 1)),
                        HEADRACE_STATUS_RESOURCE_EXHAUSTED,
                        "2 pages needed, 1 of 3 free"));
  EXPECT_EQ(headrace_sequence_length(second.get()), 0u);
  std::vector<int32_t> history;
  pool.Extend(second, &history, Tokens(32, 1));
  // A fork has no page for its copy.
  Sequence fork = Fork(first);
  EXPECT_TRUE(FailsWith(pool.Step(fork, {1}),
                        HEADRACE_STATUS_RESOURCE_EXHAUSTED, "pool full"));
  second.reset();
  history = Tokens(40, 1);
  pool.Extend(fork, &history, {1});
}

TEST(Sequence, TooManyIsAStatus) {
  Pool pool(4, 2);
  Sequence first = MakeSequence(pool.session.get());
  Sequence second = MakeSequence(pool.session.get());
  headrace_sequence_t *third;
  EXPECT_TRUE(FailsWith(headrace_sequence_create(pool.session.get(), &third),
                        HEADRACE_STATUS_RESOURCE_EXHAUSTED, "2 sequences"));
  EXPECT_TRUE(FailsWith(headrace_sequence_fork(first.get(), &third),
                        HEADRACE_STATUS_RESOURCE_EXHAUSTED));
  second.reset();
  EXPECT_TRUE(IsOk(headrace_sequence_fork(first.get(), &third)));
  headrace_sequence_release(third);
}

/// What greedy generation should give.
std::vector<int32_t> Greedy(std::vector<int32_t> tokens, size_t count) {
  std::vector<int32_t> made;
  while (made.size() < count) {
    made.push_back(ToyNext(tokens));
    tokens.push_back(made.back());
  }
  return made;
}

TEST(Generate, IsGreedyByDefault) {
  Pool pool(10);
  Sequence sequence = MakeSequence(pool.session.get());
  const std::vector<int32_t> prompt = Tokens(20, 7);
  auto options = sized<headrace_generate_options_t>();
  options.max_new_tokens = 12;
  std::vector<int32_t> tokens(12);
  auto result = sized<headrace_generate_result_t>();
  ASSERT_TRUE(IsOk(headrace_sequence_generate(
      sequence.get(), prompt.data(), prompt.size(), &options, tokens.data(),
      tokens.size(), &result)));
  EXPECT_EQ(result.token_count, 12u);
  EXPECT_EQ(result.reason, HEADRACE_STOP_LENGTH);
  EXPECT_EQ(tokens, Greedy(prompt, 12));
  EXPECT_EQ(headrace_sequence_length(sequence.get()), 31u);
  // The last token starts the next prompt.
  const std::vector<int32_t> next = {tokens.back(), 4};
  options.max_new_tokens = 1;
  int32_t token;
  ASSERT_TRUE(IsOk(headrace_sequence_generate(sequence.get(), next.data(), 2,
                                              &options, &token, 1, &result)));
  EXPECT_EQ(token, ToyNext(Joined(Joined(prompt, tokens), {4})));
}

TEST(Generate, StopsAtEndTokensCallbacksAndFullContexts) {
  Pool pool(10);
  const std::vector<int32_t> prompt = Tokens(20, 7);
  const std::vector<int32_t> expected = Greedy(prompt, 200);
  auto result = sized<headrace_generate_result_t>();

  Sequence sequence = MakeSequence(pool.session.get());
  auto options = sized<headrace_generate_options_t>();
  const int32_t ends[] = {-1, expected[3]};
  options.end_tokens = ends;
  options.end_token_count = 2;
  ASSERT_TRUE(IsOk(headrace_sequence_generate(sequence.get(), prompt.data(),
                                              prompt.size(), &options, nullptr,
                                              0, &result)));
  EXPECT_EQ(result.reason, HEADRACE_STOP_END);
  EXPECT_LE(result.token_count, 4u);

  sequence = MakeSequence(pool.session.get());
  options = sized<headrace_generate_options_t>();
  std::vector<int32_t> seen;
  options.user_data = &seen;
  options.on_token = [](void *user, const headrace_token_event_t *event) {
    auto &list = *static_cast<std::vector<int32_t> *>(user);
    EXPECT_EQ(event->position, 20 + list.size());
    EXPECT_GE(event->logits[event->token], event->logits[0]);
    list.push_back(event->token);
    return list.size() == 5 ? 1 : 0;
  };
  ASSERT_TRUE(IsOk(headrace_sequence_generate(sequence.get(), prompt.data(),
                                              prompt.size(), &options, nullptr,
                                              0, &result)));
  EXPECT_EQ(result.reason, HEADRACE_STOP_CALLBACK);
  EXPECT_EQ(seen, std::vector<int32_t>(expected.begin(), expected.begin() + 5));

  sequence = MakeSequence(pool.session.get());
  options = sized<headrace_generate_options_t>();
  ASSERT_TRUE(IsOk(headrace_sequence_generate(sequence.get(), prompt.data(),
                                              prompt.size(), &options, nullptr,
                                              0, &result)));
  EXPECT_EQ(result.reason, HEADRACE_STOP_CONTEXT);
  EXPECT_EQ(result.token_count, 109u); // 20 + 108 are fed, one more is made
}

TEST(Generate, FullPoolEndsIt) {
  Pool pool(1);
  Sequence sequence = MakeSequence(pool.session.get());
  const std::vector<int32_t> prompt = Tokens(20, 7);
  auto result = sized<headrace_generate_result_t>();
  ASSERT_TRUE(IsOk(headrace_sequence_generate(sequence.get(), prompt.data(),
                                              prompt.size(), nullptr, nullptr,
                                              0, &result)));
  EXPECT_EQ(result.reason, HEADRACE_STOP_CONTEXT);
  EXPECT_EQ(result.token_count, 13u);
}

TEST(Generate, DrawsDependOnSeedAndPositionOnly) {
  Pool pool(20);
  const std::vector<int32_t> prompt = Tokens(20, 7);
  auto options = sized<headrace_generate_options_t>();
  options.max_new_tokens = 20;
  options.temperature = 20;
  options.top_p = 0.9f;
  auto run = [&](uint64_t seed) {
    Sequence sequence = MakeSequence(pool.session.get());
    options.seed = seed;
    std::vector<int32_t> tokens(20);
    EXPECT_TRUE(IsOk(headrace_sequence_generate(
        sequence.get(), prompt.data(), prompt.size(), &options, tokens.data(),
        tokens.size(), nullptr)));
    return tokens;
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
}

TEST(Generate, FailuresLeaveTheSequenceAsItWas) {
  Pool pool(10);
  Sequence sequence = MakeSequence(pool.session.get());
  ASSERT_TRUE(IsOk(pool.Step(sequence, Tokens(10, 1))));
  headrace_cancel_t cancel = {};
  auto options = sized<headrace_generate_options_t>();
  options.cancel = &cancel;
  options.user_data = &cancel;
  options.on_token = [](void *user, const headrace_token_event_t *event) {
    if (event->position == 20)
      headrace_cancel_request(static_cast<headrace_cancel_t *>(user));
    return 0;
  };
  const int32_t prompt[] = {3};
  EXPECT_TRUE(
      FailsWith(headrace_sequence_generate(sequence.get(), prompt, 1, &options,
                                           nullptr, 0, nullptr),
                HEADRACE_STATUS_CANCELLED));
  EXPECT_EQ(headrace_sequence_length(sequence.get()), 10u);
  headrace_cancel_reset(&cancel);
  options = sized<headrace_generate_options_t>();
  options.temperature = -1;
  EXPECT_TRUE(
      FailsWith(headrace_sequence_generate(sequence.get(), prompt, 1, &options,
                                           nullptr, 0, nullptr),
                HEADRACE_STATUS_INVALID_ARGUMENT, "temperature"));
  EXPECT_TRUE(
      FailsWith(headrace_sequence_generate(sequence.get(), prompt, 0, nullptr,
                                           nullptr, 0, nullptr),
                HEADRACE_STATUS_INVALID_ARGUMENT));
}

} // namespace
} // namespace headrace::tests
