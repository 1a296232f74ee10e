// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of key-value pages that leave a GPU for the host's memory, on the fake
// driver: the logits of pages that stay, whatever the device does late, no byte
// moved that is not used, and a session that can be used after every fault.
#include "tests/runtime/conversation.h"
#include "tests/runtime/cuda_host.h"

namespace headrace::tests {
namespace {

/// Larger than the logits of a row, so that these are not what hangs.
constexpr size_t kTwoPages = 2 * TOY_PAGE_BYTES;

struct Paged : Host {
  Paged() : Host(PagedToyGpuFile(), Cuda(kShortGrace)) {
    EXPECT_TRUE(IsOk(Create(ArenaOptions())));
  }
  /// The link of pages, which comes after those of weights.
  headrace_link_usage_t Pages() { return Link(2); }
};

TEST(CudaPages, GiveTheLogitsOfPagesThatStay) {
  for (bool strict : {false, true})
    for (int lag : {0, 1, 50}) {
      fake::SetStrict(strict);
      fake::SetLag(lag);
      Paged paged;
      Converse(paged.session.get());
      auto options = sized<headrace_session_options_t>();
      Converse(
          MakeSession(paged.device.get(), paged.package.get(), &options).get());
    }
  EXPECT_EQ(fake::LiveObjects(), 0);
}

TEST(CudaPages, AreMovedWhereTheyAreUsed) {
  Paged paged;
  Sequence a = MakeSequence(paged.session.get());
  auto expect = [&](uint64_t fetched, uint64_t stored) {
    // The next step waits for what is stored; until then it is not counted.
    ASSERT_TRUE(IsOk(paged.Step(a, {1})));
    const headrace_link_usage_t link = paged.Pages();
    EXPECT_STREQ(link.name, "pages");
    EXPECT_EQ(link.bytes, fetched * TOY_PAGE_BYTES);
    EXPECT_GE(link.stored_bytes, stored * TOY_PAGE_BYTES);
    EXPECT_LE(link.stored_bytes, (stored + 1) * TOY_PAGE_BYTES);
  };
  EXPECT_EQ(paged.Pages().bytes, 0u);
  const int zeroed = fake::Calls("cuMemsetD8Async");
  ASSERT_TRUE(IsOk(paged.Step(a, std::vector<int32_t>(8, 1))));
  expect(1, 1); // a page that begins with the step is not fetched,
  EXPECT_EQ(fake::Calls("cuMemsetD8Async"), zeroed + 1);         // but zeroed
  ASSERT_TRUE(IsOk(paged.Step(a, std::vector<int32_t>(22, 1)))); // 3 passes
  expect(1 + 3 + 1, 2 + 3);
  expect(1 + 3 + 1 + 1, 2 + 3 + 1); // the second page, behind the first
  expect(1 + 3 + 1 + 1 + 2, 2 + 3 + 1 + 1);
  EXPECT_STREQ(paged.Level(1).name, "dram");
  const uint64_t weights = paged.Level(1).occupied_bytes - 2 * TOY_PAGE_BYTES;
  EXPECT_GT(weights, 0u);
  // A fork copies the page that both add to, and both read the first one.
  Sequence b = Fork(a);
  const uint64_t fetched = paged.Pages().bytes;
  const std::vector<int32_t> one = {2};
  auto items = std::vector{Item(a, one), Item(b, one)};
  auto step = StepOf(items);
  ASSERT_TRUE(IsOk(headrace_session_step(paged.session.get(), &step, nullptr)));
  EXPECT_EQ(paged.Pages().bytes - fetched, 3u * TOY_PAGE_BYTES);
  EXPECT_EQ(paged.Level(1).occupied_bytes, weights + 3u * TOY_PAGE_BYTES);
  for (uint32_t level : {0, 1})
    EXPECT_LE(paged.Level(level).peak_bytes,
              paged.Level(level).certified_bytes);
}

TEST(CudaPages, AnyCopyThatFailsLeavesThemUsable) {
  Paged paged;
  int failed = 0;
  for (const char *function :
       {"cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuMemsetD8Async"})
    for (int nth = 1; nth <= 8; ++nth) {
      ASSERT_TRUE(IsOk(paged.Create(ArenaOptions())));
      Sequence sequence = MakeSequence(paged.session.get());
      std::vector<int32_t> history;
      paged.Extend(sequence, &history, std::vector<int32_t>(31, 4));
      fake::FailAt(function, nth, kOutOfMemory);
      Outcome outcome(paged.Step(sequence, {1, 2, 3}));
      fake::FailAt(function, kNever, kOutOfMemory);
      if (outcome.code == HEADRACE_STATUS_OK) {
        history.insert(history.end(), {1, 2, 3});
      } else {
        ++failed;
        EXPECT_EQ(outcome.code, HEADRACE_STATUS_RESOURCE_EXHAUSTED);
        EXPECT_FALSE(outcome.message.empty());
        EXPECT_EQ(headrace_sequence_length(sequence.get()), 31u);
      }
      paged.Extend(sequence, &history, {5});
      sequence.reset();
      Converse(paged.session.get());
    }
  EXPECT_GE(failed, 5);
}

TEST(CudaPages, AFailureNamesThem) {
  Paged paged;
  Sequence sequence = MakeSequence(paged.session.get());
  ASSERT_TRUE(IsOk(paged.Step(sequence, std::vector<int32_t>(8, 4))));
  // The first copy to the host of a step is that of its pages.
  fake::FailAt("cuMemcpyDtoHAsync_v2", 1, kOutOfMemory);
  EXPECT_TRUE(FailsWith(paged.Step(sequence, {1}),
                        HEADRACE_STATUS_RESOURCE_EXHAUSTED,
                        "link 'pages': copying 'kv.0' from level 'hbm'"));
  fake::FailAt("cuMemcpyDtoHAsync_v2", kNever, kOutOfMemory);
}

TEST(CudaPages, AHangIsAStatusAndTheSessionGoesOn) {
  for (bool strict : {false, true}) {
    fake::SetStrict(strict);
    Paged paged;
    Sequence sequence = MakeSequence(paged.session.get());
    std::vector<int32_t> history;
    paged.Extend(sequence, &history, std::vector<int32_t>(28, 4));
    fake::HangStores(kTwoPages);
    // Its logits need no store; what comes next does.
    paged.Extend(sequence, &history, std::vector<int32_t>(8, 3));
    EXPECT_TRUE(FailsWith(paged.Step(sequence, {1}, kHangLimitNs),
                          HEADRACE_STATUS_DEADLINE_EXCEEDED,
                          "'kv.0' was on its way from level 'hbm'"));
    fake::HangStores(0);
    paged.Extend(sequence, &history, {2});
    fake::HangCopies(kTwoPages);
    EXPECT_TRUE(FailsWith(paged.Step(sequence, {1}, kHangLimitNs),
                          HEADRACE_STATUS_DEADLINE_EXCEEDED,
                          "'kv.0' was on its way to level 'hbm'"));
    {
      LateCancel cancel;
      EXPECT_TRUE(FailsWith(paged.Step(sequence, {1}, 0, cancel.Get()),
                            HEADRACE_STATUS_CANCELLED));
    }
    fake::HangCopies(0);
    paged.Extend(sequence, &history, {2, 3});
  }
  EXPECT_EQ(fake::LiveObjects(), 0);
}

/// It loses the device, and is a session that can be released all the same.
TEST(CudaPages, ASessionEndsInAHang) {
  Paged paged;
  Sequence sequence = MakeSequence(paged.session.get());
  ASSERT_TRUE(IsOk(paged.Step(sequence, std::vector<int32_t>(28, 4))));
  fake::HangStores(kTwoPages);
  ASSERT_TRUE(IsOk(paged.Step(sequence, std::vector<int32_t>(8, 3))));
  sequence.reset();
  EXPECT_TRUE(
      FailsWith(paged.Create(ArenaOptions()), HEADRACE_STATUS_DEVICE_LOST));
  fake::HangStores(0);
}

} // namespace
} // namespace headrace::tests
