// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of sessions whose key-value pages live at a slower level: the logits of
// pages that stay, no byte moved that is not used, and a session that can be
// used after every fault.
#include "tests/runtime/arena_session.h"
#include "tests/runtime/conversation.h"
#include "tests/runtime/faulty_host.h"

#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>

namespace headrace::tests {
namespace {

/// A home in memory that fails or hangs when a test says so.
class FaultyHome final : public runtime::ByteSource {
public:
  FaultyHome() : data(1 << 16, 0xab) {} // what a reader must never see

  int64_t Read(uint64_t offset, void *out, uint64_t bytes) override {
    std::lock_guard<std::mutex> lock(mutex);
    if (read_error)
      return -read_error;
    std::memcpy(out, data.data() + offset, bytes);
    return int64_t(bytes);
  }
  int64_t Write(uint64_t offset, const void *from, uint64_t bytes) override {
    std::unique_lock<std::mutex> lock(mutex);
    while (hang) {
      hanging = true;
      changed.notify_all();
      changed.wait(lock);
    }
    if (write_error)
      return -write_error;
    bytes = std::min<uint64_t>(bytes, 100); // the rest is asked for again
    std::memcpy(data.data() + offset, from, bytes);
    return int64_t(bytes);
  }
  void FailReads(int error) {
    std::lock_guard<std::mutex> lock(mutex);
    read_error = error;
  }
  void FailWrites(int error) {
    std::lock_guard<std::mutex> lock(mutex);
    write_error = error;
  }
  void Hang(bool on) {
    std::lock_guard<std::mutex> lock(mutex);
    hang = on;
    changed.notify_all();
  }
  void AwaitHang() {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return hanging; });
  }

private:
  std::vector<uint8_t> data;
  std::mutex mutex;
  std::condition_variable changed;
  int read_error = 0, write_error = 0;
  bool hang = false, hanging = false;
};

std::vector<uint8_t> PagedFile() { return ToyFile(*PagedToyManifest()); }

/// The paged toy with a session whose pages live in `home`, if there is one.
struct Paged : Host {
  explicit Paged(runtime::ByteSource *home = nullptr) : Host(PagedFile()) {
    EXPECT_TRUE(IsOk(CreateArena(*this, {nullptr, home})));
  }
  /// The link of pages, which comes after that of weights.
  headrace_link_usage_t Pages() { return Link(1); }
};

TEST(PagedSession, GivesTheLogitsOfPagesThatStay) {
  Paged in_a_file;
  Converse(in_a_file.session.get());
  FaultyHome home;
  Paged in_memory(&home);
  Converse(in_memory.session.get());
}

TEST(PagedSession, MovesThePagesThatAreUsed) {
  FaultyHome home;
  Paged paged(&home);
  Sequence a = MakeSequence(paged.session.get());
  auto expect = [&](uint64_t fetched, uint64_t stored) {
    const headrace_link_usage_t link = paged.Pages();
    EXPECT_STREQ(link.name, "pages");
    EXPECT_EQ(link.bytes, fetched * TOY_PAGE_BYTES);
    EXPECT_EQ(link.stored_bytes, stored * TOY_PAGE_BYTES);
  };
  expect(0, 0);
  ASSERT_TRUE(IsOk(paged.Step(a, std::vector<int32_t>(8, 1))));
  expect(0, 1); // a page that begins with the step is not fetched
  ASSERT_TRUE(IsOk(paged.Step(a, std::vector<int32_t>(24, 1)))); // 3 passes
  expect(3, 4);
  ASSERT_TRUE(IsOk(paged.Step(a, {1}))); // the second page, behind the first
  expect(4, 5);
  ASSERT_TRUE(IsOk(paged.Step(a, {1})));
  expect(6, 6);
  // A fork copies the page that both add to, and both read the first one.
  Sequence b = Fork(a);
  const std::vector<int32_t> one = {2};
  auto items = std::vector{Item(a, one), Item(b, one)};
  auto step = StepOf(items);
  ASSERT_TRUE(IsOk(headrace_session_step(paged.session.get(), &step, nullptr)));
  expect(6 + 1 + 3, 6 + 1 + 2);
  const headrace_level_usage_t level = paged.Level(1);
  EXPECT_STREQ(level.name, "disk");
  EXPECT_EQ(level.occupied_bytes, 3u * TOY_PAGE_BYTES);
  EXPECT_GE(level.certified_bytes, level.occupied_bytes);
}

TEST(PagedSession, MappedWeightsHaveTheirPagesInMemory) {
  Host host(PagedFile());
  ASSERT_TRUE(IsOk(host.Create()));
  host.ExpectLogits(std::vector<int32_t>(50, 2));
}

TEST(PagedSession, AFullDiskLeavesItUsable) {
  FaultyHome home;
  Paged paged(&home);
  Sequence sequence = MakeSequence(paged.session.get());
  std::vector<int32_t> history;
  paged.Extend(sequence, &history, std::vector<int32_t>(40, 4));
  home.FailWrites(ENOSPC);
  EXPECT_TRUE(FailsWith(paged.Step(sequence, {1, 2}), HEADRACE_STATUS_IO,
                        "writing 'kv.0' from level 'dram' failed at byte"));
  EXPECT_EQ(headrace_sequence_length(sequence.get()), 40u);
  home.FailWrites(0);
  paged.Extend(sequence, &history, {5});
  EXPECT_GE(paged.Pages().failed, 1u);
}

TEST(PagedSession, AReadErrorLeavesItUsable) {
  FaultyHome home;
  Paged paged(&home);
  Sequence sequence = MakeSequence(paged.session.get());
  std::vector<int32_t> history;
  paged.Extend(sequence, &history, std::vector<int32_t>(7, 4));
  home.FailReads(EIO);
  EXPECT_TRUE(FailsWith(paged.Step(sequence, {1, 2}), HEADRACE_STATUS_IO,
                        "reading 'kv.0' to level 'dram' failed at byte"));
  // Nor can a page be copied.
  Sequence fork = Fork(sequence);
  EXPECT_TRUE(FailsWith(paged.Step(fork, {1}), HEADRACE_STATUS_IO, "'kv.0'"));
  home.FailReads(0);
  std::vector<int32_t> forked = history;
  paged.Extend({&fork, &sequence}, {&forked, &history}, {{5}, {6}});
}

TEST(PagedSession, AHangIsAStatusAndTheSessionGoesOn) {
  FaultyHome home;
  Paged paged(&home);
  Sequence sequence = MakeSequence(paged.session.get());
  std::vector<int32_t> history;
  paged.Extend(sequence, &history, std::vector<int32_t>(7, 4));
  home.Hang(true);
  EXPECT_TRUE(FailsWith(paged.Step(sequence, {1}, kHangLimitNs),
                        HEADRACE_STATUS_DEADLINE_EXCEEDED,
                        "'kv.0' was on its way from level 'dram'"));
  // The page that is still being written is not touched before that ends.
  EXPECT_TRUE(FailsWith(paged.Step(sequence, {1}, kHangLimitNs),
                        HEADRACE_STATUS_DEADLINE_EXCEEDED));
  home.Hang(false);
  paged.Extend(sequence, &history, {2});
  headrace_cancel_t cancel = {};
  home.Hang(true);
  std::thread canceller([&] {
    home.AwaitHang();
    headrace_cancel_request(&cancel);
  });
  EXPECT_TRUE(FailsWith(paged.Step(sequence, {3}, 0, &cancel),
                        HEADRACE_STATUS_CANCELLED));
  canceller.join();
  home.Hang(false);
  paged.Extend(sequence, &history, {2});
}

TEST(PagedSession, ASessionReleasedInAHangIsFreedAtItsEnd) {
  FaultyAllocator allocator;
  FaultyHome home;
  {
    Host host(PagedFile(), Cpu(), MakeInstance(allocator));
    ASSERT_TRUE(IsOk(CreateArena(host, {nullptr, &home})));
    Sequence sequence = MakeSequence(host.session.get());
    home.Hang(true);
    EXPECT_TRUE(FailsWith(host.Step(sequence, {3}, kHangLimitNs),
                          HEADRACE_STATUS_DEADLINE_EXCEEDED));
    home.AwaitHang();
  }
  EXPECT_GT(allocator.live_bytes, 0);
  home.Hang(false);
  while (allocator.live_bytes != 0)
    std::this_thread::yield();
}

TEST(PagedSession, ADirectoryThatIsNotThereIsRefused) {
  Host host(PagedFile());
  auto options = ArenaOptions();
  options.page_directory = "/nowhere/at/all";
  EXPECT_TRUE(
      FailsWith(host.Create(options), HEADRACE_STATUS_IO, "'/nowhere/at/all'"));
  EXPECT_FALSE(host.session);
}

/// With a sequence of two pages and a fork of it.
TEST(PagedSession, EveryFailedAllocationIsAStatus) {
  ExpectEveryFailureIsAStatus(
      PagedFile(), ArenaOptions(), [](FaultyHost &host) {
        const std::vector<int32_t> tokens(40, 3);
        Sequence fork;
        headrace_status_t status =
            Step(host.session.get(), host.sequence, tokens);
        if (!status)
          status = make(fork, [&](headrace_sequence_t **out) {
            return headrace_sequence_fork(host.sequence.get(), out);
          });
        return status ? status : Step(host.session.get(), fork, tokens);
      });
}

TEST(PagedSession, StepsDoNotAllocate) {
  FaultyAllocator allocator;
  Host host(PagedFile(), Cpu(), MakeInstance(allocator));
  ASSERT_TRUE(IsOk(host.Create(ArenaOptions())));
  Sequence sequence = MakeSequence(host.session.get());
  const std::vector<int32_t> tokens(20, 7);
  const int64_t before = allocator.calls;
  for (int i = 0; i < 5; ++i)
    ASSERT_TRUE(IsOk(host.Step(sequence, tokens)));
  EXPECT_EQ(allocator.calls, before);
}

} // namespace
} // namespace headrace::tests
