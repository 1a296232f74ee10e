// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of sessions: memory, steps cut into passes, invocation, stopping.
#include "tests/runtime/host.h"

#include <cstring>
#include <thread>

namespace headrace::tests {
namespace {

std::vector<float> Row(const float *logits, size_t row) {
  const float *begin = logits + row * TOY_VOCABULARY;
  return std::vector<float>(begin, begin + TOY_VOCABULARY);
}

TEST(SessionStep, GivesTheLastLogits) {
  Toy toy;
  Sequence sequence = MakeSequence(toy.session.get());
  const std::vector<int32_t> tokens = {5, 6, 7};
  std::vector<headrace_step_item_t> items = {Item(sequence, tokens)};
  headrace_step_options_t options = StepOf(items);
  auto result = sized<headrace_step_result_t>();
  ASSERT_TRUE(
      IsOk(headrace_session_step(toy.session.get(), &options, &result)));
  EXPECT_EQ(result.row_count, 1u);
  EXPECT_EQ(result.pass_count, 1u);
  EXPECT_EQ(Row(result.logits, 0), ToyLogits(tokens));
  EXPECT_EQ(headrace_sequence_length(sequence.get()), 3u);
}

/// Longer than a pass, all rows, in the session's memory and in the caller's.
TEST(SessionStep, IsCutIntoPasses) {
  for (bool own_buffer : {false, true}) {
    Toy toy;
    Sequence sequence = MakeSequence(toy.session.get());
    const std::vector<int32_t> tokens = Tokens(100, 1);
    std::vector<float> buffer(100 * TOY_VOCABULARY);
    std::vector<headrace_step_item_t> items = {
        Item(sequence, tokens, HEADRACE_LOGITS_ALL)};
    headrace_step_options_t options = StepOf(items);
    if (own_buffer) {
      options.logits = buffer.data();
      options.logits_rows = 100;
    }
    auto result = sized<headrace_step_result_t>();
    ASSERT_TRUE(
        IsOk(headrace_session_step(toy.session.get(), &options, &result)));
    ASSERT_EQ(result.row_count, 100u);
    EXPECT_EQ(result.pass_count, 25u); // four outputs a pass
    for (size_t i = 0; i < 100; ++i)
      EXPECT_EQ(Row(result.logits, i),
                ToyLogits({tokens.begin(),
                           tokens.begin() + static_cast<ptrdiff_t>(i + 1)}));
  }
}

/// Sequences of unequal lengths in one step give what each gives alone, for
/// any number of threads.
TEST(SessionStep, BatchesUnequalSequences) {
  for (uint32_t threads : {1u, 2u, 5u}) {
    auto options = sized<headrace_session_options_t>();
    options.max_sequences = 7;
    Toy toy(threads, options);
    std::vector<Sequence> sequences;
    std::vector<std::vector<int32_t>> history(7), fresh(7);
    for (int i = 0; i < 7; ++i)
      sequences.push_back(MakeSequence(toy.session.get()));
    for (int round = 0; round < 3; ++round) {
      std::vector<headrace_step_item_t> items;
      size_t rows = 0;
      for (size_t i = 0; i < 7; ++i) {
        fresh[i] = Tokens(1 + (i * 5 + static_cast<size_t>(round) * 3) % 20,
                          round * 7 + static_cast<int32_t>(i));
        history[i].insert(history[i].end(), fresh[i].begin(), fresh[i].end());
        const auto logits = static_cast<uint32_t>((i + 1) % 3);
        items.push_back(Item(sequences[i], fresh[i], logits));
        rows += logits == HEADRACE_LOGITS_LAST  ? 1
                : logits == HEADRACE_LOGITS_ALL ? fresh[i].size()
                                                : 0;
      }
      headrace_step_options_t step = StepOf(items);
      auto result = sized<headrace_step_result_t>();
      ASSERT_TRUE(
          IsOk(headrace_session_step(toy.session.get(), &step, &result)));
      ASSERT_EQ(result.row_count, rows);
      size_t row = 0;
      for (size_t i = 0; i < 7; ++i) {
        if (items[i].logits == HEADRACE_LOGITS_NONE)
          continue;
        size_t first = items[i].logits == HEADRACE_LOGITS_ALL
                           ? history[i].size() - fresh[i].size()
                           : history[i].size() - 1;
        for (size_t end = first + 1; end <= history[i].size(); ++end)
          EXPECT_EQ(
              Row(result.logits, row++),
              ToyLogits({history[i].begin(),
                         history[i].begin() + static_cast<ptrdiff_t>(end)}));
      }
    }
  }
}

TEST(SessionStep, RefusesWrongArguments) {
  auto session_options = sized<headrace_session_options_t>();
  session_options.max_sequences = 4;
  Toy toy(2, session_options);
  Toy other;
  Sequence sequence = MakeSequence(toy.session.get());
  Sequence foreign = MakeSequence(other.session.get());
  const std::vector<int32_t> good = {1, 2}, low = {1, -1},
                             high = {TOY_VOCABULARY}, none;
  auto step = [&](std::vector<headrace_step_item_t> items) {
    headrace_step_options_t options = StepOf(items);
    return headrace_session_step(toy.session.get(), &options, nullptr);
  };
  const auto invalid = HEADRACE_STATUS_INVALID_ARGUMENT;
  EXPECT_TRUE(FailsWith(step({}), invalid, "no items"));
  EXPECT_TRUE(FailsWith(step({Item(sequence, none)}), invalid, "no tokens"));
  EXPECT_TRUE(FailsWith(step({Item(foreign, good)}), invalid, "this session"));
  EXPECT_TRUE(FailsWith(step({Item(nullptr, good)}), invalid, "item #0"));
  EXPECT_TRUE(FailsWith(step({Item(sequence, good), Item(sequence, good)}),
                        invalid, "twice"));
  EXPECT_TRUE(FailsWith(step({Item(sequence, good, 9)}), invalid, "logits"));
  EXPECT_TRUE(FailsWith(step({Item(sequence, low)}),
                        HEADRACE_STATUS_OUT_OF_RANGE, "token #1 is -1"));
  EXPECT_TRUE(FailsWith(step({Item(sequence, high)}),
                        HEADRACE_STATUS_OUT_OF_RANGE, "64"));
  std::vector<headrace_step_item_t> items = {Item(sequence, good)};
  headrace_step_options_t options = StepOf(items);
  options.item_size = 8;
  EXPECT_TRUE(
      FailsWith(headrace_session_step(toy.session.get(), &options, nullptr),
                invalid, "item_size"));
  options = StepOf(items);
  float small;
  options.logits = &small;
  EXPECT_TRUE(
      FailsWith(headrace_session_step(toy.session.get(), &options, nullptr),
                HEADRACE_STATUS_RESOURCE_EXHAUSTED, "'logits' holds 0"));
  EXPECT_TRUE(FailsWith(
      headrace_session_step(toy.session.get(), nullptr, nullptr), invalid));
  EXPECT_EQ(headrace_sequence_length(sequence.get()), 0u);
}

TEST(SessionCreate, TellsItsMemory) {
  auto options = sized<headrace_session_options_t>();
  options.kv_bytes = 5 * TOY_PAGE_BYTES + 1;
  Toy toy(3, options);
  const headrace_session_info_t info = toy.Info();
  EXPECT_EQ(info.kv_pages, 5u);
  EXPECT_EQ(info.kv_pages_free, 5u);
  EXPECT_EQ(info.max_sequences, kToyMaxSequences);
  EXPECT_GE(info.scratch_bytes, 3u * TOY_VOCABULARY * 4u);
  EXPECT_GT(info.io_bytes, 0u);
}

TEST(SessionCreate, RefusesWhatDoesNotFit) {
  Toy toy;
  auto options = sized<headrace_session_options_t>();
  options.kv_bytes = 200;
  EXPECT_TRUE(FailsWith(toy.Create(options), HEADRACE_STATUS_RESOURCE_EXHAUSTED,
                        "56 short"));
  options.kv_bytes = 0;
  options.kv_pages = INT32_MAX;
  EXPECT_TRUE(FailsWith(toy.Create(options), HEADRACE_STATUS_RESOURCE_EXHAUSTED,
                        "missing"));
  options.kv_pages = 0;
  options.weights = 5;
  headrace_session_t *session; // is set in a failure, too
  EXPECT_TRUE(
      FailsWith(headrace_session_create(toy.device.get(), toy.package.get(),
                                        &options, &session),
                HEADRACE_STATUS_UNIMPLEMENTED, "loader"));
  EXPECT_EQ(session, nullptr);
}

TEST(SessionInvoke, RunsOnTheHostsBuffers) {
  Toy toy;
  Aligned<float> x(5 * TOY_WIDTH), y(5 * TOY_WIDTH);
  for (int round = 0; round < 3; ++round) {
    for (size_t i = 0; i < 5 * TOY_WIDTH; ++i)
      x[i] = static_cast<float>(i) + static_cast<float>(round);
    ASSERT_TRUE(IsOk(InvokeToy(toy.session.get(), kScale, 5, x, y)));
    for (size_t i = 0; i < 5 * TOY_WIDTH; ++i)
      EXPECT_EQ(y[i], 3 * x[i]);
  }
  // Other buffers in the next call.
  Aligned<float> x2(TOY_WIDTH), y2(TOY_WIDTH);
  x2[0] = 7;
  ASSERT_TRUE(IsOk(InvokeToy(toy.session.get(), kScale, 1, x2, y2)));
  EXPECT_EQ(y2[0], 21);
}

TEST(SessionInvoke, RefusesWrongArguments) {
  Toy toy;
  Aligned<float> x(5 * TOY_WIDTH), y(5 * TOY_WIDTH);
  headrace_session_t *session = toy.session.get();
  EXPECT_TRUE(FailsWith(InvokeToy(session, kScale, 6, x, y),
                        HEADRACE_STATUS_INVALID_ARGUMENT,
                        "expected 192 bytes, but got 160"));
  EXPECT_TRUE(FailsWith(InvokeToy(session, kScale, 9, x, y),
                        HEADRACE_STATUS_OUT_OF_RANGE, "9 tokens"));
  EXPECT_TRUE(FailsWith(InvokeToy(session, kScale, 0, x, y),
                        HEADRACE_STATUS_OUT_OF_RANGE));
  EXPECT_TRUE(FailsWith(InvokeToy(session, 77, 1, x, y),
                        HEADRACE_STATUS_OUT_OF_RANGE, "entry 77"));
  EXPECT_TRUE(FailsWith(InvokeToy(session, kForward, 1, x, y),
                        HEADRACE_STATUS_INVALID_ARGUMENT, "6 inputs"));
  EXPECT_TRUE(FailsWith(Invoke(session, kScale, 1,
                               reinterpret_cast<const char *>(x.Data()) + 4,
                               128, y.Data(), 128),
                        HEADRACE_STATUS_INVALID_ARGUMENT, "aligned"));
}

TEST(SessionStop, CancelAndDeadline) {
  Toy toy;
  Aligned<float> x(TOY_WIDTH), y(TOY_WIDTH);
  LateCancel cancel;
  EXPECT_TRUE(
      FailsWith(InvokeToy(toy.session.get(), kSlow, 1, x, y, cancel.Get()),
                HEADRACE_STATUS_CANCELLED, "'slow' was cancelled"));
  EXPECT_TRUE(
      FailsWith(InvokeToy(toy.session.get(), kSlow, 1, x, y, nullptr, 20000000),
                HEADRACE_STATUS_DEADLINE_EXCEEDED, "kernel 'slow'"));
  // The device goes on.
  EXPECT_TRUE(IsOk(InvokeToy(toy.session.get(), kScale, 1, x, y)));
}

TEST(SessionStop, StoppedStepsLeaveSequencesAsTheyWere) {
  auto session_options = sized<headrace_session_options_t>();
  session_options.timeout_ns = 1; // every step is late
  Toy toy(2, session_options);
  Sequence sequence = MakeSequence(toy.session.get());
  EXPECT_TRUE(FailsWith(toy.Step(sequence, Tokens(50, 2)),
                        HEADRACE_STATUS_DEADLINE_EXCEEDED));
  EXPECT_EQ(headrace_sequence_length(sequence.get()), 0u);
  EXPECT_EQ(toy.Info().kv_pages_free, toy.Info().kv_pages);
  const std::vector<int32_t> tokens = Tokens(50, 2);
  std::vector<headrace_step_item_t> items = {Item(sequence, tokens)};
  headrace_step_options_t options = StepOf(items);
  options.timeout_ns = 10000000000;
  auto result = sized<headrace_step_result_t>();
  ASSERT_TRUE(
      IsOk(headrace_session_step(toy.session.get(), &options, &result)));
  EXPECT_EQ(Row(result.logits, 0), ToyLogits(tokens));
}

/// A kernel that never ends makes the call return all the same; the device is
/// lost then, and says so.
TEST(SessionStop, AKernelThatNeverEndsLosesTheDevice) {
  Aligned<uint64_t> x(4);
  Aligned<int32_t> state(8);
  state[0] = state[1] = 0;
  x[0] = reinterpret_cast<uint64_t>(__builtin_thread_pointer());
  Toy toy;
  EXPECT_TRUE(FailsWith(
      InvokeToy(toy.session.get(), kStuck, 1, x, state, nullptr, 20000000),
      HEADRACE_STATUS_DEVICE_LOST, "kernel 'stuck'"));
  EXPECT_TRUE(FailsWith(InvokeToy(toy.session.get(), kScale, 1, x, state),
                        HEADRACE_STATUS_DEVICE_LOST, "has not ended"));
  // Lets the thread end; what it used has been kept on purpose, until the
  // device says that nobody is inside any more.
  __atomic_store_n(&state[1], 1, __ATOMIC_RELEASE);
  for (;;) {
    Outcome outcome(InvokeToy(toy.session.get(), kScale, 1, x, state));
    ASSERT_EQ(outcome.code, HEADRACE_STATUS_DEVICE_LOST);
    if (outcome.message.find("had been given up") != std::string::npos)
      break;
    std::this_thread::yield();
  }
  headrace_session_release(toy.session.get()); // the reference kept by it
}

TEST(SessionShare, SessionsOfOneDeviceRunFromManyThreads) {
  Toy toy;
  std::vector<std::thread> hosts;
  for (int host = 0; host < 3; ++host)
    hosts.emplace_back([&, host] {
      Session session = MakeSession(toy.device.get(), toy.package.get());
      for (int round = 0; round < 20; ++round)
        ExpectLogits(session.get(), Tokens(30, host * 100 + round));
    });
  for (std::thread &host : hosts)
    host.join();
}

} // namespace
} // namespace headrace::tests
