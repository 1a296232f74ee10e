// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of sessions with homes in the host's memory: the results of the mapped
// one, a package that is read once, and a session that can be used after every
// fault.
#include "tests/runtime/faulty_host.h"
#include "tests/runtime/tier/faulty_source.h"

#include "runtime/src/session.h"

#include <cerrno>
#include <unistd.h>

namespace headrace::tests {
namespace {

headrace_session_options_t ArenaOptions() {
  auto options = sized<headrace_session_options_t>();
  options.weights = HEADRACE_WEIGHTS_ARENA;
  return options;
}

/// The housed toy, with faults where a test says.
struct Housed {
  explicit Housed(runtime::ByteSource *source = nullptr,
                  runtime::ByteSource *homes = nullptr)
      : bytes(ToyFile(*HousedToyManifest())), file(bytes),
        instance(MakeInstance()), device(MakeCpu(instance.get(), 2)),
        package(OpenFile(instance.get(), file.Path())) {
    auto options = ArenaOptions();
    headrace_session_t *raw = nullptr;
    created = std::make_unique<Outcome>(
        runtime::CreateSession(device.get(), package.get(), &options, source,
                               &raw, homes)
            .Release());
    session.reset(raw);
  }

  headrace_status_t Scale(const headrace_cancel_t *cancel = nullptr,
                          uint64_t timeout_ns = 0) {
    return InvokeToy(session.get(), kScale, 1, x, y, cancel, timeout_ns);
  }
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
  headrace_link_usage_t Link(uint32_t index) {
    auto link = sized<headrace_link_usage_t>();
    EXPECT_TRUE(IsOk(headrace_session_link(session.get(), index, &link)));
    return link;
  }
  headrace_level_usage_t Level(uint32_t index) {
    auto level = sized<headrace_level_usage_t>();
    EXPECT_TRUE(IsOk(headrace_session_level(session.get(), index, &level)));
    return level;
  }

  std::vector<uint8_t> bytes;
  TemporaryFile file;
  Instance instance;
  Device device;
  Package package;
  std::unique_ptr<Outcome> created;
  Session session;
  Aligned<float> x{TOY_WIDTH}, y{TOY_WIDTH};
};

/// Where blob 0, the weight with a home, lies in the file.
uint64_t HousedOffset() {
  TemporaryFile file(ToyFile(*HousedToyManifest()));
  Instance instance = MakeInstance();
  Package package = OpenFile(instance.get(), file.Path());
  auto blob = sized<headrace_blob_info_t>();
  EXPECT_TRUE(IsOk(headrace_package_blob(package.get(), 0, &blob)));
  return blob.offset;
}

TEST(HousedSession, GivesTheResultsOfTheMappedOne) {
  Housed housed;
  ASSERT_TRUE(housed.session) << housed.created->message;
  for (size_t length : {1, 7, 30, 100})
    housed.ExpectLogits(std::vector<int32_t>(length, 5));
  for (size_t i = 0; i < TOY_WIDTH; ++i)
    housed.x[i] = float(i);
  EXPECT_TRUE(IsOk(housed.Scale()));
  for (size_t i = 0; i < TOY_WIDTH; ++i)
    EXPECT_EQ(housed.y[i], 3 * float(i));
  EXPECT_STREQ(housed.Link(0).name, "memory");
  EXPECT_STREQ(housed.Link(1).name, "disk");
  EXPECT_STREQ(housed.Link(2).name, "pages");
  EXPECT_GT(housed.Link(0).bytes, 0u);
  EXPECT_GT(housed.Link(2).stored_bytes, 0u);
}

TEST(HousedSession, ReadsThePackageOnce) {
  Housed housed;
  ASSERT_TRUE(housed.session) << housed.created->message;
  const uint64_t filled = housed.Link(1).bytes;
  ASSERT_EQ(truncate(housed.file.Path(), off_t(HousedOffset())), 0);
  housed.ExpectLogits(std::vector<int32_t>(20, 5));
  EXPECT_TRUE(IsOk(housed.Scale()));
  EXPECT_EQ(housed.Link(1).bytes, filled);
}

TEST(HousedSession, KnowsThePeakOfItsHome) {
  Housed housed;
  ASSERT_TRUE(housed.session) << housed.created->message;
  const headrace_level_usage_t before = housed.Level(1);
  EXPECT_STREQ(before.name, "home");
  const uint64_t weights = before.occupied_bytes;
  EXPECT_GT(weights, 0u);
  EXPECT_EQ(before.peak_bytes, weights);
  housed.ExpectLogits(std::vector<int32_t>(TOY_CONTEXT, 5));
  const headrace_level_usage_t after = housed.Level(1);
  EXPECT_EQ(after.occupied_bytes, weights); // its sequence has ended
  EXPECT_GT(after.peak_bytes, weights);
  EXPECT_LE(after.peak_bytes, after.certified_bytes);
}

TEST(HousedSession, AHomeThatCannotBeFilledIsRefused) {
  const auto at = int64_t(HousedOffset());
  const std::vector<uint8_t> whole = ToyFile(*HousedToyManifest());
  {
    FaultySource source(whole);
    source.EndAt(uint64_t(at));
    Housed housed(&source);
    EXPECT_EQ(housed.created->code, HEADRACE_STATUS_DATA_LOSS);
    EXPECT_NE(
        housed.created->message.find("'weight.0' was read to level 'home'"),
        std::string::npos)
        << housed.created->message;
  }
  {
    FaultySource source(whole);
    source.FailAt(at, EIO);
    Housed housed(&source);
    EXPECT_EQ(housed.created->code, HEADRACE_STATUS_IO);
    EXPECT_NE(housed.created->message.find("'weight.0' to level 'home'"),
              std::string::npos)
        << housed.created->message;
  }
  std::vector<uint8_t> changed = whole;
  changed[size_t(at)] ^= 1;
  FaultySource source(changed);
  Housed housed(&source);
  EXPECT_EQ(housed.created->code, HEADRACE_STATUS_DATA_LOSS);
  EXPECT_NE(housed.created->message.find("read to level 'home' for 'weight.0'"),
            std::string::npos)
      << housed.created->message;
}

TEST(HousedSession, ACopyThatHangsEndsAtTheDeadlineOrIsCancelled) {
  const uint64_t home = HousedToyManifest()->plan->bundles[0]->home;
  // In place of the homes; the numbers that it gives do not matter.
  FaultySource homes(
      std::vector<uint8_t>(HousedToyManifest()->levels[1]->arena_bytes));
  Housed housed(nullptr, &homes);
  ASSERT_TRUE(housed.session) << housed.created->message;
  homes.HangAt(int64_t(home));
  EXPECT_TRUE(FailsWith(housed.Scale(nullptr, kHangLimitNs),
                        HEADRACE_STATUS_DEADLINE_EXCEEDED,
                        "link 'memory': the deadline passed while 'weight.0' "
                        "was on its way to level 'dram'"));
  headrace_cancel_t cancel = {};
  headrace_cancel_request(&cancel);
  EXPECT_TRUE(FailsWith(housed.Scale(&cancel), HEADRACE_STATUS_CANCELLED));
  homes.HangAt(-1);
  EXPECT_TRUE(IsOk(housed.Scale()));
}

TEST(HousedSession, AHomeLargerThanTheMachineIsRefused) {
  std::unique_ptr<abi::ManifestT> manifest = HousedToyManifest();
  abi::LevelT &level = *manifest->levels[1];
  level.bytes = level.arena_bytes = manifest->plan->home_budget = uint64_t(1)
                                                                  << 60;
  SealPlan(manifest.get());
  TemporaryFile file(ToyFile(*manifest));
  Instance instance = MakeInstance();
  Device device = MakeCpu(instance.get());
  Package package = OpenFile(instance.get(), file.Path());
  auto options = ArenaOptions();
  headrace_session_t *session = nullptr;
  EXPECT_TRUE(FailsWith(
      headrace_session_create(device.get(), package.get(), &options, &session),
      HEADRACE_STATUS_RESOURCE_EXHAUSTED, "are missing"));
  EXPECT_EQ(session, nullptr);
}

TEST(HousedSession, EveryFailedAllocationIsAStatus) {
  TemporaryFile file(ToyFile(*HousedToyManifest()));
  auto options = ArenaOptions();
  ExpectEveryFailureIsAStatus(file.Path(), &options, [](FaultyHost &host) {
    const std::vector<int32_t> tokens(40, 3);
    auto items = std::vector{Item(host.sequence, tokens)};
    auto step = StepOf(items);
    return Outcome(headrace_session_step(host.session.get(), &step, nullptr))
        .code;
  });
}

} // namespace
} // namespace headrace::tests
