// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of weights that move to a GPU, on the fake driver: order, faults, and
// what a session says of them.
#include "tests/runtime/cuda_host.h"

namespace headrace::tests {
namespace {

/// The planned toy on a device, with the loader `arena`. Blob 0 is what moves.
struct Streamed : Host {
  explicit Streamed(bool staged)
      : Host(PlannedToyGpuFile(staged), Cuda(kShortGrace)) {
    EXPECT_TRUE(IsOk(Create(ArenaOptions())));
  }
};

class CudaTiers : public ::testing::TestWithParam<bool> {};

/// However late the device is, and where events alone make order.
TEST_P(CudaTiers, GiveTheResultsOfTheResidentSession) {
  for (bool strict : {false, true})
    for (int lag : {0, 1, 50}) {
      fake::SetStrict(strict);
      fake::SetLag(lag);
      Streamed toy(GetParam());
      for (size_t length : {1, 7, 30, 100})
        toy.ExpectLogits(std::vector<int32_t>(length, 5));
      ExpectScales(toy.session.get(), 2);
    }
  EXPECT_EQ(fake::LiveObjects(), 0);
}

TEST_P(CudaTiers, AreCountedByLinkAndLevel) {
  Streamed toy(GetParam());
  const uint64_t loaded = toy.Link(0).bytes, read = toy.Link(1).bytes;
  EXPECT_STREQ(toy.Link(0).name, "pcie");
  EXPECT_STREQ(toy.Link(1).name, "disk");
  EXPECT_GT(loaded, 0u); // what stays
  EXPECT_GT(read, GetParam() ? loaded - 1 : loaded);
  toy.ExpectLogits({1, 2, 3});
  EXPECT_EQ(toy.Link(0).bytes - loaded, toy.Blob(0).bytes);
  EXPECT_EQ(toy.Link(1).bytes - read, GetParam() ? toy.Blob(0).bytes : 0);
  EXPECT_STREQ(toy.Level(0).name, "hbm");
  EXPECT_LE(toy.Level(0).peak_bytes, toy.Level(0).certified_bytes);
  EXPECT_STREQ(toy.Level(1).name, "dram");
  EXPECT_EQ(toy.Level(1).peak_bytes, toy.Level(1).certified_bytes);
  auto link = sized<headrace_link_usage_t>();
  EXPECT_TRUE(FailsWith(headrace_session_link(toy.session.get(), 2, &link),
                        HEADRACE_STATUS_OUT_OF_RANGE));
}

TEST_P(CudaTiers, RefuseASmallerBudgetByHowMuch) {
  Streamed toy(GetParam());
  const uint64_t certified = toy.Level(0).certified_bytes;
  auto options = ArenaOptions();
  options.fast_memory_bytes = certified - 100;
  EXPECT_TRUE(FailsWith(toy.Create(options), HEADRACE_STATUS_RESOURCE_EXHAUSTED,
                        "100 are missing"));
  options.fast_memory_bytes = certified;
  EXPECT_TRUE(IsOk(toy.Create(options)));
}

TEST_P(CudaTiers, NameTheMemoryThatIsMissing) {
  for (const char *function : {"cuMemAlloc_v2", "cuMemHostAlloc"}) {
    Streamed toy(GetParam());
    toy.session.reset();
    const int before = fake::LiveObjects();
    int failed = 0;
    for (;; ++failed) {
      fake::FailAt(function, failed + 1, kOutOfMemory);
      Outcome outcome(toy.Create(ArenaOptions()));
      if (outcome.code == HEADRACE_STATUS_OK)
        break;
      EXPECT_EQ(outcome.code, HEADRACE_STATUS_RESOURCE_EXHAUSTED);
      EXPECT_NE(outcome.message.find("out of memory"), std::string::npos)
          << outcome.message;
      EXPECT_EQ(fake::LiveObjects(), before);
    }
    fake::FailAt(function, kNever, kOutOfMemory);
    EXPECT_GE(failed, 2); // the arena and what the host keeps, among others
    toy.ExpectLogits({4, 5});
  }
}

TEST_P(CudaTiers, GoOnAfterACopyThatFailed) {
  Streamed toy(GetParam());
  int failed = 0;
  for (int nth = 1; nth <= 8; ++nth) {
    // Nothing is in a slot yet.
    ASSERT_TRUE(IsOk(toy.Create(ArenaOptions())));
    Sequence sequence = MakeSequence(toy.session.get());
    fake::FailAt("cuMemcpyHtoDAsync_v2", nth, kOutOfMemory);
    // What was fetched ahead is tried once more.
    if (Outcome outcome(toy.Step(sequence, {1, 2}));
        outcome.code != HEADRACE_STATUS_OK) {
      ++failed;
      EXPECT_EQ(outcome.code, HEADRACE_STATUS_RESOURCE_EXHAUSTED);
      EXPECT_FALSE(outcome.message.empty());
    }
    fake::FailAt("cuMemcpyHtoDAsync_v2", kNever, kOutOfMemory);
    toy.ExpectLogits({9, 8, 7});
  }
  EXPECT_GE(failed, 2);
}

TEST_P(CudaTiers, EndAWaitAtItsDeadline) {
  Streamed toy(GetParam());
  fake::HangCopies(toy.Blob(0).bytes);
  Sequence sequence = MakeSequence(toy.session.get());
  EXPECT_TRUE(FailsWith(toy.Step(sequence, {1, 2}, kHangLimitNs),
                        HEADRACE_STATUS_DEADLINE_EXCEEDED, "to level 'hbm'"));
  // The link comes back, and with it the session.
  fake::HangCopies(0);
  toy.ExpectLogits({9, 8, 7});
  // It does not, and the session ends all the same.
  sequence.reset();
  toy.session.reset();
  ASSERT_TRUE(IsOk(toy.Create(ArenaOptions())));
  sequence = MakeSequence(toy.session.get());
  fake::HangCopies(toy.Blob(0).bytes);
  EXPECT_TRUE(FailsWith(toy.Step(sequence, {1, 2}, kHangLimitNs),
                        HEADRACE_STATUS_DEADLINE_EXCEEDED, "to level 'hbm'"));
  sequence.reset();
  toy.session.reset();
  EXPECT_TRUE(
      FailsWith(toy.Create(ArenaOptions()), HEADRACE_STATUS_DEVICE_LOST));
  fake::HangCopies(0);
}

/// What a device that is slow to begin is given ahead: launches and transfers
/// wait for each other there, and not for the host.
TEST_P(CudaTiers, KeepOrderOnTheDevice) {
  fake::SetStrict(true);
  Streamed toy(GetParam());
  Sequence sequence = MakeSequence(toy.session.get());
  const int waits = fake::Calls("cuStreamWaitEvent");
  const size_t ran = fake::Launches().size();
  fake::HangCopies(toy.Blob(0).bytes);
  EXPECT_TRUE(FailsWith(toy.Step(sequence, {1, 2}, kHangLimitNs),
                        HEADRACE_STATUS_DEADLINE_EXCEEDED, "to level 'hbm'"));
  // They were begun, and none has run before its weights came.
  EXPECT_GT(fake::Calls("cuStreamWaitEvent"), waits);
  EXPECT_GT(fake::Calls("cuGraphLaunch"), 0);
  EXPECT_EQ(fake::Launches().size(), ran);
  // The next step waits for them, as long as it may.
  EXPECT_TRUE(FailsWith(toy.Step(sequence, {1, 2}, kHangLimitNs),
                        HEADRACE_STATUS_DEADLINE_EXCEEDED, "to level 'hbm'"));
  fake::HangCopies(0);
  std::vector<int32_t> history;
  toy.Extend(sequence, &history, {1, 2});
  for (int32_t token : {3, 4, 5})
    toy.Extend(sequence, &history, {token});
}

/// A step that is cancelled while its weights come leaves nothing that the next
/// one could stumble over, nor does a session that ends then.
TEST_P(CudaTiers, AreUsableAfterACancelledStep) {
  for (bool ends : {false, true}) {
    fake::SetStrict(true);
    Streamed toy(GetParam());
    Sequence sequence = MakeSequence(toy.session.get());
    fake::HangCopies(toy.Blob(0).bytes);
    {
      LateCancel cancel;
      EXPECT_TRUE(FailsWith(toy.Step(sequence, {1, 2}, 0, cancel.Get()),
                            HEADRACE_STATUS_CANCELLED, "to level 'hbm'"));
    }
    fake::HangCopies(0);
    if (!ends)
      toy.ExpectLogits({9, 8, 7});
  }
  EXPECT_EQ(fake::LiveObjects(), 0);
}

/// Copies and launches pass beside each other, by the device's own clock.
TEST_P(CudaTiers, CountTheTimeOfTransfersByTheDevice) {
  Streamed toy(GetParam());
  toy.ExpectLogits({1, 2, 3});
  const uint64_t before = toy.Link(0).busy_ns, bytes = toy.Link(0).bytes;
  toy.ExpectLogits({4});
  const uint64_t moved = toy.Link(0).bytes - bytes;
  ASSERT_EQ(moved % toy.Blob(0).bytes, 0u);
  EXPECT_EQ(
      toy.Link(0).busy_ns - before,
      moved / toy.Blob(0).bytes *
          (fake::kCopyNs + toy.Blob(0).bytes / fake::kToDeviceBytesPerNs));
}

TEST_P(CudaTiers, FindDamage) {
  std::vector<uint8_t> bytes = PlannedToyGpuFile(GetParam());
  Streamed toy(GetParam());
  toy.session.reset();
  bytes[toy.Blob(0).offset + 5] ^= 1;
  toy.file.Write(bytes);
  Outcome made(toy.Create(ArenaOptions()));
  if (!GetParam()) { // read when the session is made
    EXPECT_EQ(made.code, HEADRACE_STATUS_DATA_LOSS);
    EXPECT_NE(made.message.find("to level 'dram'"), std::string::npos)
        << made.message;
    return;
  }
  ASSERT_EQ(made.code, HEADRACE_STATUS_OK) << made.message;
  Sequence sequence = MakeSequence(toy.session.get());
  EXPECT_TRUE(FailsWith(toy.Step(sequence, {1}), HEADRACE_STATUS_DATA_LOSS,
                        "digest does not match"));
}

INSTANTIATE_TEST_SUITE_P(Homes, CudaTiers, ::testing::Bool(),
                         [](const auto &info) {
                           return info.param ? "InThePackage"
                                             : "InPinnedMemory";
                         });

TEST(CudaTiersStaging, ThatHoldsNoBundleIsRefused) {
  std::unique_ptr<abi::ManifestT> manifest =
      PlannedToyGpuManifest(/*staged=*/true);
  manifest->plan->staging_bytes = 0;
  SealPlan(manifest.get());
  TemporaryFile file(ToyFile(*manifest, ToyGpuCode()));
  Instance instance = MakeInstance();
  headrace_package_t *package = nullptr;
  EXPECT_TRUE(FailsWith(
      headrace_package_open(instance.get(), file.Path(), nullptr, &package),
      HEADRACE_STATUS_DATA_LOSS, "through staging of 0"));
  EXPECT_EQ(package, nullptr);
}

} // namespace
} // namespace headrace::tests
