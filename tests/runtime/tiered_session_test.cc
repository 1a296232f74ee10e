// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of sessions with the loader `arena`: the results of `mapped` under a
// budget, and a session that can be used after every fault.
#include "tests/runtime/arena_session.h"
#include "tests/runtime/faulty_host.h"
#include "tests/runtime/tier/faulty_source.h"

#include <cerrno>
#include <thread>
#include <unistd.h>

namespace headrace::tests {
namespace {

std::vector<uint8_t> PlannedFile() { return ToyFile(*PlannedToyManifest()); }

/// The planned toy with a session that reads from `source`, if there is one.
/// Blob 0 is the streamed weight.
struct Planned : Host {
  explicit Planned(const headrace_session_options_t &options = ArenaOptions(),
                   runtime::ByteSource *source = nullptr)
      : Host(PlannedFile()) {
    EXPECT_TRUE(IsOk(CreateArena(*this, {source}, options)));
  }
};

TEST(TieredSession, GivesTheResultsOfTheMappedOne) {
  for (uint32_t source : {HEADRACE_SOURCE_DISK, HEADRACE_SOURCE_PAGE_CACHE}) {
    auto options = ArenaOptions();
    options.weight_source = source;
    Planned planned(options);
    for (size_t length : {1, 7, 30, 100})
      planned.ExpectLogits(std::vector<int32_t>(length, 5));
    ExpectScales(planned.session.get(), 2);
    EXPECT_STREQ(planned.Link(0).name,
                 source == HEADRACE_SOURCE_DISK ? "disk" : "page-cache");
    EXPECT_GT(planned.Link(0).bytes, 0u);
  }
}

TEST(TieredSession, MappedRunsAPackageWithAPlanToo) {
  Host host(PlannedFile());
  ASSERT_TRUE(IsOk(host.Create()));
  host.ExpectLogits({1, 2, 3});
  auto link = sized<headrace_link_usage_t>();
  EXPECT_TRUE(FailsWith(headrace_session_link(host.session.get(), 0, &link),
                        HEADRACE_STATUS_OUT_OF_RANGE));
}

TEST(TieredSession, StaysBelowTheCertificate) {
  Planned planned;
  const uint64_t before = planned.Level(0).occupied_bytes;
  planned.ExpectLogits(std::vector<int32_t>(TOY_CONTEXT, 5));
  headrace_level_usage_t level = planned.Level(0);
  EXPECT_STREQ(level.name, "dram");
  EXPECT_GT(level.occupied_bytes, before); // a slot is in use now
  EXPECT_GT(level.peak_bytes, level.occupied_bytes);
  EXPECT_LE(level.peak_bytes, level.certified_bytes);
  EXPECT_TRUE(
      FailsWith(headrace_session_level(planned.session.get(), 1, &level),
                HEADRACE_STATUS_OUT_OF_RANGE));
  const headrace_pool_usage_t pool = planned.Pool(0);
  EXPECT_STREQ(pool.name, "ring");
  EXPECT_EQ(pool.slots, 2u);
  EXPECT_EQ(pool.is_cache, 0u);
}

TEST(TieredSession, RefusesWhatCannotBe) {
  Host plain(ToyFile()), planned(PlannedFile()), wide(PlannedFile(), Cpu(5));
  EXPECT_TRUE(FailsWith(plain.Create(ArenaOptions()),
                        HEADRACE_STATUS_FAILED_PRECONDITION, "--fast-memory"));
  EXPECT_TRUE(FailsWith(wide.Create(ArenaOptions()),
                        HEADRACE_STATUS_FAILED_PRECONDITION,
                        "scratch for 4 threads"));
  auto options = ArenaOptions();
  options.kv_pages = 1000;
  EXPECT_TRUE(FailsWith(planned.Create(options),
                        HEADRACE_STATUS_RESOURCE_EXHAUSTED,
                        "1000 pages, but the plan has room for 12"));
  options = ArenaOptions();
  options.fast_memory_bytes = PlannedToyManifest()->certificate[0]->bytes - 5;
  EXPECT_TRUE(FailsWith(planned.Create(options),
                        HEADRACE_STATUS_RESOURCE_EXHAUSTED, "5 are missing"));
  options.weights = HEADRACE_WEIGHTS_MAPPED;
  EXPECT_TRUE(
      FailsWith(planned.Create(options), HEADRACE_STATUS_INVALID_ARGUMENT));
  options = ArenaOptions();
  options.weight_source = 9;
  EXPECT_TRUE(
      FailsWith(planned.Create(options), HEADRACE_STATUS_UNIMPLEMENTED));
  options.weights = 9;
  options.weight_source = 0;
  EXPECT_TRUE(
      FailsWith(planned.Create(options), HEADRACE_STATUS_UNIMPLEMENTED));
}

TEST(TieredSession, AReadErrorLeavesItUsable) {
  FaultySource source(PlannedFile());
  Planned planned(ArenaOptions(), &source);
  Sequence sequence = MakeSequence(planned.session.get());
  source.FailAt(int64_t(planned.Blob(0).offset), EIO);
  EXPECT_TRUE(FailsWith(planned.Step(sequence, {1, 2, 3}), HEADRACE_STATUS_IO,
                        "'weight.0' to level 'dram'"));
  EXPECT_EQ(headrace_sequence_length(sequence.get()), 0u);
  EXPECT_GE(planned.Link(0).failed, 1u);
  source.FailAt(-1, 0);
  planned.ExpectLogits({1, 2, 3, 4});
}

TEST(TieredSession, AResidentWeightThatCannotBeReadIsRefused) {
  FaultySource source(PlannedFile());
  Host host(PlannedFile());
  source.EndAt(host.Blob(0).offset);
  EXPECT_TRUE(FailsWith(CreateArena(host, {&source}), HEADRACE_STATUS_DATA_LOSS,
                        "'weight.1'"));
  EXPECT_FALSE(host.session);
}

TEST(TieredSession, ATruncatedFileLeavesItUsable) {
  Planned planned;
  planned.ExpectLogits({1, 2});
  // Both entries use a slot each, so this one fetches again.
  ASSERT_EQ(truncate(planned.file.Path(), off_t(planned.Blob(0).offset)), 0);
  EXPECT_TRUE(FailsWith(planned.Scale(), HEADRACE_STATUS_DATA_LOSS,
                        "the package ended at byte"));
  planned.file.Write(PlannedFile());
  EXPECT_TRUE(IsOk(planned.Scale()));
  planned.ExpectLogits({1, 2, 3});
}

TEST(TieredSession, AHangIsAStatusAndTheSessionGoesOn) {
  FaultySource source(PlannedFile());
  Planned planned(ArenaOptions(), &source);
  Sequence sequence = MakeSequence(planned.session.get());
  source.HangAt(int64_t(planned.Blob(0).offset));
  EXPECT_TRUE(FailsWith(planned.Step(sequence, {1, 2}, kHangLimitNs),
                        HEADRACE_STATUS_DEADLINE_EXCEEDED,
                        "'weight.0' was on its way to level 'dram'"));
  EXPECT_EQ(headrace_sequence_length(sequence.get()), 0u);
  source.HangAt(-1);
  planned.ExpectLogits({1, 2, 3});
}

TEST(TieredSession, ASessionReleasedInAHangIsFreedAtItsEnd) {
  FaultyAllocator allocator;
  FaultySource source(PlannedFile());
  {
    Host host(PlannedFile(), Cpu(), MakeInstance(allocator));
    ASSERT_TRUE(IsOk(CreateArena(host, {&source})));
    source.HangAt(int64_t(host.Blob(0).offset));
    EXPECT_TRUE(FailsWith(host.Scale(nullptr, kHangLimitNs),
                          HEADRACE_STATUS_DEADLINE_EXCEEDED));
    source.AwaitHang();
  }
  EXPECT_GT(allocator.live_bytes, 0);
  source.HangAt(-1);
  while (allocator.live_bytes != 0)
    std::this_thread::yield();
}

TEST(TieredSession, EveryFailedAllocationIsAStatus) {
  ExpectEveryFailureIsAStatus(PlannedFile(), ArenaOptions(),
                              [](FaultyHost &host) {
                                return Step(host.session.get(), host.sequence,
                                            std::vector<int32_t>(5, 3));
                              });
}

TEST(TieredSession, StepsDoNotAllocate) {
  FaultyAllocator allocator;
  Host host(PlannedFile(), Cpu(), MakeInstance(allocator));
  ASSERT_TRUE(IsOk(host.Create(ArenaOptions())));
  Sequence sequence = MakeSequence(host.session.get());
  ASSERT_TRUE(IsOk(host.Step(sequence, {7}))); // the sequence's list of pages
  const int64_t before = allocator.calls;
  for (int i = 0; i < 5; ++i)
    ASSERT_TRUE(IsOk(host.Step(sequence, {7})));
  EXPECT_EQ(allocator.calls, before);
}

TEST(TieredSession, TakesLittleBesideTheArena) {
  FaultyAllocator allocator;
  Host host(PlannedFile(), Cpu(), MakeInstance(allocator));
  const int64_t before = allocator.live_bytes;
  ASSERT_TRUE(IsOk(host.Create(ArenaOptions())));
  // docs/runtime-api.md states this number.
  EXPECT_LT(allocator.live_bytes - before, 256 << 10);
}

TEST(TieredSession, TellsWhatItDoes) {
  struct Event {
    uint32_t kind;
    std::string name, link;
    uint64_t begin, end, bytes;
  };
  std::vector<Event> events;
  auto options = ArenaOptions();
  options.on_trace = [](void *self, const headrace_trace_event_t *event) {
    EXPECT_GE(event->struct_size, sizeof(headrace_trace_event_t));
    static_cast<std::vector<Event> *>(self)->push_back(
        {event->kind, event->name, event->link, event->begin_ns, event->end_ns,
         event->bytes});
  };
  options.trace_user_data = &events;
  Planned planned(options);
  planned.ExpectLogits({1, 2, 3});
  auto count = [&](uint32_t kind, const std::string &name) {
    size_t found = 0;
    for (const Event &event : events)
      found += event.kind == kind && event.name == name;
    return found;
  };
  for (const char *kernel : {"embed", "attend", "logits"})
    EXPECT_EQ(count(HEADRACE_TRACE_LAUNCH, kernel), 1u) << kernel;
  EXPECT_EQ(count(HEADRACE_TRACE_PASS, "forward"), 1u);
  EXPECT_EQ(count(HEADRACE_TRACE_TRANSFER, "resident weights"), 1u);
  EXPECT_EQ(count(HEADRACE_TRACE_TRANSFER, "weight.0"), 1u);
  uint64_t bytes = 0;
  for (const Event &event : events) {
    EXPECT_LE(event.begin, event.end);
    bytes += event.bytes;
    if (event.kind == HEADRACE_TRACE_TRANSFER)
      EXPECT_EQ(event.link, "disk");
  }
  EXPECT_EQ(bytes, planned.Link(0).bytes);
}

} // namespace
} // namespace headrace::tests
