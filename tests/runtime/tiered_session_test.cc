// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of sessions with the loader `arena`: the results of `mapped` under a
// budget, and a session that can be used after every fault.
#include "tests/runtime/faulty_host.h"
#include "tests/runtime/tier/faulty_source.h"

#include "runtime/src/session.h"

#include <cerrno>
#include <thread>
#include <unistd.h>

namespace headrace::tests {
namespace {

headrace_session_options_t ArenaOptions() {
  auto options = sized<headrace_session_options_t>();
  options.weights = HEADRACE_WEIGHTS_ARENA;
  return options;
}

std::vector<uint8_t> PlannedFile() { return ToyFile(*PlannedToyManifest()); }

/// Where blob 0, the streamed weight, lies in the file.
uint64_t StreamedOffset(headrace_package_t *package) {
  auto blob = sized<headrace_blob_info_t>();
  EXPECT_TRUE(IsOk(headrace_package_blob(package, 0, &blob)));
  return blob.offset;
}

/// The planned toy with a session that reads from `source`, if there is one.
struct Planned {
  explicit Planned(const headrace_session_options_t &options = ArenaOptions(),
                   bool faulty = false)
      : bytes(PlannedFile()), file(bytes), source(bytes),
        instance(MakeInstance()), device(MakeCpu(instance.get(), 2)),
        package(OpenFile(instance.get(), file.Path())) {
    headrace_session_t *raw = nullptr;
    EXPECT_TRUE(
        IsOk(runtime::CreateSession(device.get(), package.get(), &options,
                                    faulty ? &source : nullptr, &raw)
                 .Release()));
    session.reset(raw);
  }

  /// Feeds `tokens` to a new sequence and compares the logits.
  void ExpectLogits(const std::vector<int32_t> &tokens) {
    Sequence sequence = MakeSequence(session.get());
    auto items = std::vector{Item(sequence, tokens)};
    auto step = StepOf(items);
    auto result = sized<headrace_step_result_t>();
    ASSERT_TRUE(IsOk(headrace_session_step(session.get(), &step, &result)));
    const std::vector<float> expected = ToyLogits(tokens);
    for (size_t i = 0; i < expected.size(); ++i)
      ASSERT_EQ(result.logits[i], expected[i]) << i;
  }
  headrace_status_t Step(const Sequence &sequence,
                         const std::vector<int32_t> &tokens,
                         uint64_t timeout_ns = 0) {
    auto items = std::vector{Item(sequence, tokens)};
    auto step = StepOf(items);
    step.timeout_ns = timeout_ns;
    return headrace_session_step(session.get(), &step, nullptr);
  }
  headrace_link_usage_t Link() {
    auto link = sized<headrace_link_usage_t>();
    EXPECT_TRUE(IsOk(headrace_session_link(session.get(), 0, &link)));
    return link;
  }

  std::vector<uint8_t> bytes;
  TemporaryFile file;
  FaultySource source;
  Instance instance;
  Device device;
  Package package;
  Session session;
};

TEST(TieredSession, GivesTheResultsOfTheMappedOne) {
  for (uint32_t source : {HEADRACE_SOURCE_DISK, HEADRACE_SOURCE_PAGE_CACHE}) {
    auto options = ArenaOptions();
    options.weight_source = source;
    Planned planned(options);
    for (size_t length : {1, 7, 30, 100})
      planned.ExpectLogits(std::vector<int32_t>(length, 5));
    Aligned<float> x(2 * TOY_WIDTH), y(2 * TOY_WIDTH);
    for (size_t i = 0; i < 2 * TOY_WIDTH; ++i)
      x[i] = float(i);
    EXPECT_TRUE(IsOk(InvokeToy(planned.session.get(), kScale, 2, x, y)));
    for (size_t i = 0; i < 2 * TOY_WIDTH; ++i)
      EXPECT_EQ(y[i], 3 * float(i));
    EXPECT_STREQ(planned.Link().name,
                 source == HEADRACE_SOURCE_DISK ? "disk" : "page-cache");
    EXPECT_GT(planned.Link().bytes, 0u);
  }
}

TEST(TieredSession, MappedRunsAPackageWithAPlanToo) {
  TemporaryFile file(PlannedFile());
  Instance instance = MakeInstance();
  Device device = MakeCpu(instance.get());
  Package package = OpenFile(instance.get(), file.Path());
  Session session = MakeSession(device.get(), package.get());
  Sequence sequence = MakeSequence(session.get());
  const std::vector<int32_t> tokens = {1, 2, 3};
  auto items = std::vector{Item(sequence, tokens)};
  auto step = StepOf(items);
  auto result = sized<headrace_step_result_t>();
  ASSERT_TRUE(IsOk(headrace_session_step(session.get(), &step, &result)));
  EXPECT_EQ(result.logits[0], ToyLogits(tokens)[0]);
  auto link = sized<headrace_link_usage_t>();
  EXPECT_TRUE(FailsWith(headrace_session_link(session.get(), 0, &link),
                        HEADRACE_STATUS_OUT_OF_RANGE));
}

TEST(TieredSession, StaysBelowTheCertificate) {
  Planned planned;
  auto level = sized<headrace_level_usage_t>();
  ASSERT_TRUE(IsOk(headrace_session_level(planned.session.get(), 0, &level)));
  const uint64_t before = level.occupied_bytes;
  planned.ExpectLogits(std::vector<int32_t>(TOY_CONTEXT, 5));
  ASSERT_TRUE(IsOk(headrace_session_level(planned.session.get(), 0, &level)));
  EXPECT_STREQ(level.name, "dram");
  EXPECT_GT(level.occupied_bytes, before); // a slot is in use now
  EXPECT_GT(level.peak_bytes, level.occupied_bytes);
  EXPECT_LE(level.peak_bytes, level.certified_bytes);
  EXPECT_TRUE(
      FailsWith(headrace_session_level(planned.session.get(), 1, &level),
                HEADRACE_STATUS_OUT_OF_RANGE));
  auto pool = sized<headrace_pool_usage_t>();
  ASSERT_TRUE(IsOk(headrace_session_pool(planned.session.get(), 0, &pool)));
  EXPECT_STREQ(pool.name, "ring");
  EXPECT_EQ(pool.slots, 2u);
  EXPECT_EQ(pool.is_cache, 0u);
}

TEST(TieredSession, RefusesWhatCannotBe) {
  auto create = [](const headrace_session_options_t &options, bool planned,
                   uint32_t threads = 2) {
    TemporaryFile file(planned ? PlannedFile() : ToyFile());
    Instance instance = MakeInstance();
    Device device = MakeCpu(instance.get(), threads);
    Package package = OpenFile(instance.get(), file.Path());
    headrace_session_t *session = nullptr;
    headrace_status_t status = headrace_session_create(
        device.get(), package.get(), &options, &session);
    headrace_session_release(session);
    return status;
  };
  auto options = ArenaOptions();
  EXPECT_TRUE(FailsWith(create(options, false),
                        HEADRACE_STATUS_FAILED_PRECONDITION, "--fast-memory"));
  EXPECT_TRUE(FailsWith(create(options, true, 5),
                        HEADRACE_STATUS_FAILED_PRECONDITION,
                        "scratch for 4 threads"));
  options.kv_pages = 1000;
  EXPECT_TRUE(FailsWith(create(options, true),
                        HEADRACE_STATUS_RESOURCE_EXHAUSTED,
                        "1000 pages, but the plan has room for 12"));
  options = ArenaOptions();
  options.fast_memory_bytes = PlannedToyManifest()->certificate[0]->bytes - 5;
  EXPECT_TRUE(FailsWith(create(options, true),
                        HEADRACE_STATUS_RESOURCE_EXHAUSTED, "5 are missing"));
  options.weights = HEADRACE_WEIGHTS_MAPPED;
  EXPECT_TRUE(
      FailsWith(create(options, true), HEADRACE_STATUS_INVALID_ARGUMENT));
  options = ArenaOptions();
  options.weight_source = 9;
  EXPECT_TRUE(FailsWith(create(options, true), HEADRACE_STATUS_UNIMPLEMENTED));
  options.weights = 9;
  options.weight_source = 0;
  EXPECT_TRUE(FailsWith(create(options, true), HEADRACE_STATUS_UNIMPLEMENTED));
}

TEST(TieredSession, AReadErrorLeavesItUsable) {
  Planned planned(ArenaOptions(), /*faulty=*/true);
  Sequence sequence = MakeSequence(planned.session.get());
  planned.source.FailAt(int64_t(StreamedOffset(planned.package.get())), EIO);
  EXPECT_TRUE(FailsWith(planned.Step(sequence, {1, 2, 3}), HEADRACE_STATUS_IO,
                        "'weight.0' to level 'dram'"));
  EXPECT_EQ(headrace_sequence_length(sequence.get()), 0u);
  EXPECT_GE(planned.Link().failed, 1u);
  planned.source.FailAt(-1, 0);
  planned.ExpectLogits({1, 2, 3, 4});
}

TEST(TieredSession, AResidentWeightThatCannotBeReadIsRefused) {
  TemporaryFile file(PlannedFile());
  FaultySource source(PlannedFile());
  source.EndAt(
      StreamedOffset(OpenFile(MakeInstance().get(), file.Path()).get()));
  Instance instance = MakeInstance();
  Device device = MakeCpu(instance.get());
  Package package = OpenFile(instance.get(), file.Path());
  auto options = ArenaOptions();
  headrace_session_t *session = nullptr;
  EXPECT_TRUE(FailsWith(runtime::CreateSession(device.get(), package.get(),
                                               &options, &source, &session)
                            .Release(),
                        HEADRACE_STATUS_DATA_LOSS, "'weight.1'"));
  EXPECT_EQ(session, nullptr);
}

TEST(TieredSession, ATruncatedFileLeavesItUsable) {
  Planned planned;
  planned.ExpectLogits({1, 2});
  // Both entries use a slot each, so this one fetches again.
  ASSERT_EQ(truncate(planned.file.Path(),
                     off_t(StreamedOffset(planned.package.get()))),
            0);
  Aligned<float> x(TOY_WIDTH), y(TOY_WIDTH);
  EXPECT_TRUE(FailsWith(InvokeToy(planned.session.get(), kScale, 1, x, y),
                        HEADRACE_STATUS_DATA_LOSS,
                        "the package ended at byte"));
  planned.file.Write(planned.bytes);
  EXPECT_TRUE(IsOk(InvokeToy(planned.session.get(), kScale, 1, x, y)));
  planned.ExpectLogits({1, 2, 3});
}

TEST(TieredSession, AHangIsAStatusAndTheSessionGoesOn) {
  Planned planned(ArenaOptions(), /*faulty=*/true);
  Sequence sequence = MakeSequence(planned.session.get());
  planned.source.HangAt(int64_t(StreamedOffset(planned.package.get())));
  EXPECT_TRUE(FailsWith(planned.Step(sequence, {1, 2}, kHangLimitNs),
                        HEADRACE_STATUS_DEADLINE_EXCEEDED,
                        "'weight.0' was on its way to level 'dram'"));
  EXPECT_EQ(headrace_sequence_length(sequence.get()), 0u);
  planned.source.HangAt(-1);
  planned.ExpectLogits({1, 2, 3});
}

TEST(TieredSession, ASessionReleasedInAHangIsFreedAtItsEnd) {
  FaultyAllocator allocator;
  TemporaryFile file(PlannedFile());
  FaultySource source(PlannedFile());
  {
    auto instance_options = sized<headrace_instance_options_t>();
    instance_options.allocator = allocator.Interface();
    Instance instance = MakeInstance(&instance_options);
    Device device = MakeCpu(instance.get());
    Package package = OpenFile(instance.get(), file.Path());
    auto options = ArenaOptions();
    headrace_session_t *raw = nullptr;
    ASSERT_TRUE(IsOk(runtime::CreateSession(device.get(), package.get(),
                                            &options, &source, &raw)
                         .Release()));
    Session session(raw);
    source.HangAt(int64_t(StreamedOffset(package.get())));
    Aligned<float> x(TOY_WIDTH), y(TOY_WIDTH);
    EXPECT_TRUE(FailsWith(
        InvokeToy(session.get(), kScale, 1, x, y, nullptr, kHangLimitNs),
        HEADRACE_STATUS_DEADLINE_EXCEEDED));
    source.AwaitHang();
  }
  EXPECT_GT(allocator.live_bytes, 0);
  source.HangAt(-1);
  while (allocator.live_bytes != 0)
    std::this_thread::yield();
}

TEST(TieredSession, EveryFailedAllocationIsAStatus) {
  TemporaryFile file(PlannedFile());
  auto options = ArenaOptions();
  ExpectEveryFailureIsAStatus(file.Path(), &options, [](FaultyHost &host) {
    const std::vector<int32_t> tokens(5, 3);
    auto items = std::vector{Item(host.sequence, tokens)};
    auto step = StepOf(items);
    return Outcome(headrace_session_step(host.session.get(), &step, nullptr))
        .code;
  });
}

TEST(TieredSession, StepsDoNotAllocate) {
  FaultyAllocator allocator;
  TemporaryFile file(PlannedFile());
  auto instance_options = sized<headrace_instance_options_t>();
  instance_options.allocator = allocator.Interface();
  Instance instance = MakeInstance(&instance_options);
  Device device = MakeCpu(instance.get());
  Package package = OpenFile(instance.get(), file.Path());
  auto options = ArenaOptions();
  Session session = MakeSession(device.get(), package.get(), &options);
  Sequence sequence = MakeSequence(session.get());
  auto run = [&] {
    const std::vector<int32_t> tokens = {7};
    auto items = std::vector{Item(sequence, tokens)};
    auto step = StepOf(items);
    ASSERT_TRUE(IsOk(headrace_session_step(session.get(), &step, nullptr)));
  };
  run(); // the sequence's list of pages
  const int64_t before = allocator.calls;
  for (int i = 0; i < 5; ++i)
    run();
  EXPECT_EQ(allocator.calls, before);
}

TEST(TieredSession, TakesLittleBesideTheArena) {
  FaultyAllocator allocator;
  TemporaryFile file(PlannedFile());
  auto instance_options = sized<headrace_instance_options_t>();
  instance_options.allocator = allocator.Interface();
  Instance instance = MakeInstance(&instance_options);
  Device device = MakeCpu(instance.get());
  Package package = OpenFile(instance.get(), file.Path());
  const int64_t before = allocator.live_bytes;
  auto options = ArenaOptions();
  Session session = MakeSession(device.get(), package.get(), &options);
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
  EXPECT_EQ(bytes, planned.Link().bytes);
}

} // namespace
} // namespace headrace::tests
