// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of sessions with homes in the host's memory: the results of the mapped
// one, a package that is read once, and a session that can be used after every
// fault.
#include "tests/runtime/arena_session.h"
#include "tests/runtime/faulty_host.h"
#include "tests/runtime/tier/faulty_source.h"

#include <cerrno>
#include <unistd.h>

namespace headrace::tests {
namespace {

std::vector<uint8_t> HousedFile() { return ToyFile(*HousedToyManifest()); }

/// The housed toy with a session that moves its bytes.
struct Housed : Host {
  explicit Housed(Sources sources = {}) : Host(HousedFile()) {
    EXPECT_TRUE(IsOk(CreateArena(*this, sources)));
  }
};

TEST(HousedSession, GivesTheResultsOfTheMappedOne) {
  Housed housed;
  for (size_t length : {1, 7, 30, 100})
    housed.ExpectLogits(std::vector<int32_t>(length, 5));
  ExpectScales(housed.session.get(), 1);
  EXPECT_STREQ(housed.Link(0).name, "memory");
  EXPECT_STREQ(housed.Link(1).name, "disk");
  EXPECT_STREQ(housed.Link(2).name, "pages");
  EXPECT_GT(housed.Link(0).bytes, 0u);
  EXPECT_GT(housed.Link(2).stored_bytes, 0u);
}

TEST(HousedSession, ReadsThePackageOnce) {
  Housed housed;
  const uint64_t filled = housed.Link(1).bytes;
  ASSERT_EQ(truncate(housed.file.Path(), off_t(housed.Blob(0).offset)), 0);
  housed.ExpectLogits(std::vector<int32_t>(20, 5));
  EXPECT_TRUE(IsOk(housed.Scale()));
  EXPECT_EQ(housed.Link(1).bytes, filled);
}

TEST(HousedSession, KnowsThePeakOfItsHome) {
  Housed housed;
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
  const std::vector<uint8_t> whole = HousedFile();
  Host host(whole);
  const uint64_t at = host.Blob(0).offset;
  {
    FaultySource source(whole);
    source.EndAt(at);
    EXPECT_TRUE(FailsWith(CreateArena(host, {&source}),
                          HEADRACE_STATUS_DATA_LOSS,
                          "'weight.0' was read to level 'home'"));
  }
  {
    FaultySource source(whole);
    source.FailAt(int64_t(at), EIO);
    EXPECT_TRUE(FailsWith(CreateArena(host, {&source}), HEADRACE_STATUS_IO,
                          "'weight.0' to level 'home'"));
  }
  std::vector<uint8_t> changed = whole;
  changed[at] ^= 1;
  FaultySource source(changed);
  EXPECT_TRUE(FailsWith(CreateArena(host, {&source}), HEADRACE_STATUS_DATA_LOSS,
                        "read to level 'home' for 'weight.0'"));
}

TEST(HousedSession, ACopyThatHangsEndsAtTheDeadlineOrIsCancelled) {
  const uint64_t home = HousedToyManifest()->plan->bundles[0]->home;
  // In place of the homes; the numbers that it gives do not matter.
  FaultySource homes(
      std::vector<uint8_t>(HousedToyManifest()->levels[1]->arena_bytes));
  Housed housed({nullptr, &homes});
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
  Host host(ToyFile(*manifest));
  EXPECT_TRUE(FailsWith(host.Create(ArenaOptions()),
                        HEADRACE_STATUS_RESOURCE_EXHAUSTED, "are missing"));
  EXPECT_FALSE(host.session);
}

TEST(HousedSession, EveryFailedAllocationIsAStatus) {
  ExpectEveryFailureIsAStatus(HousedFile(), ArenaOptions(),
                              [](FaultyHost &host) {
                                return Step(host.session.get(), host.sequence,
                                            std::vector<int32_t>(40, 3));
                              });
}

} // namespace
} // namespace headrace::tests
