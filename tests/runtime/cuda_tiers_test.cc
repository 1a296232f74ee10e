// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of weights that move to a GPU, on the fake driver: order, faults, and
// what a session says of them.
#include "runtime/drivers/cuda/library.h"
#include "tests/runtime/fake_cuda/fake_cuda.h"
#include "tests/runtime/harness.h"
#include "tests/runtime/toy_gpu_package.h"

#include "runtime/src/instance.h"

#include <chrono>
#include <cmath>
#include <thread>

namespace headrace::tests {
namespace {

namespace fake = fake_cuda;

constexpr int kOutOfMemory = 2;
constexpr uint64_t kGrace = 50000000;

/// The planned toy on a device, with the loader `arena`.
struct Streamed {
  explicit Streamed(bool staged, uint64_t budget = 0)
      : file(PlannedToyGpuFile(staged)), instance(MakeInstance()) {
    auto options = sized<headrace_cuda_device_options_t>();
    options.stop_grace_ns = kGrace;
    headrace_device_t *raw = nullptr;
    EXPECT_TRUE(
        IsOk(headrace_device_create_cuda(instance.get(), &options, &raw)));
    device.reset(raw);
    package = OpenFile(instance.get(), file.Path());
    status = Create(budget);
  }

  headrace_status_t Create(uint64_t budget) {
    auto options = sized<headrace_session_options_t>();
    options.weights = HEADRACE_WEIGHTS_ARENA;
    options.fast_memory_bytes = budget;
    headrace_session_t *raw = nullptr;
    headrace_status_t made =
        headrace_session_create(device.get(), package.get(), &options, &raw);
    session.reset(raw);
    return made;
  }
  headrace_status_t Step(const Sequence &sequence,
                         const std::vector<int32_t> &tokens,
                         uint64_t timeout_ns = 0,
                         std::vector<float> *logits = nullptr) {
    auto items = std::vector{Item(sequence, tokens)};
    auto step = StepOf(items);
    step.timeout_ns = timeout_ns;
    auto result = sized<headrace_step_result_t>();
    headrace_status_t stepped =
        headrace_session_step(session.get(), &step, &result);
    if (!stepped && logits)
      logits->assign(result.logits, result.logits + TOY_VOCABULARY);
    return stepped;
  }
  void ExpectLogits(const std::vector<int32_t> &tokens) {
    Sequence sequence = MakeSequence(session.get());
    std::vector<float> logits;
    ASSERT_TRUE(IsOk(Step(sequence, tokens, 0, &logits)));
    EXPECT_EQ(logits, ToyLogits(tokens));
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

  TemporaryFile file;
  Instance instance;
  Device device;
  Package package;
  Session session;
  headrace_status_t status = nullptr;
};

class CudaTiers : public ::testing::TestWithParam<bool> {};

/// However late the device is, and where events alone make order.
TEST_P(CudaTiers, GiveTheResultsOfTheResidentSession) {
  for (bool strict : {false, true})
    for (int lag : {0, 1, 50}) {
      fake::SetStrict(strict);
      fake::SetLag(lag);
      Streamed toy(GetParam());
      ASSERT_TRUE(IsOk(toy.status));
      for (size_t length : {1, 7, 30, 100})
        toy.ExpectLogits(std::vector<int32_t>(length, 5));
      Aligned<float> x(2 * TOY_WIDTH), y(2 * TOY_WIDTH);
      for (size_t i = 0; i < 2 * TOY_WIDTH; ++i)
        x[i] = float(i);
      EXPECT_TRUE(IsOk(InvokeToy(toy.session.get(), kScale, 2, x, y)));
      for (size_t i = 0; i < 2 * TOY_WIDTH; ++i)
        EXPECT_EQ(y[i], 3 * float(i));
    }
  EXPECT_EQ(fake::LiveObjects(), 0);
}

TEST_P(CudaTiers, AreCountedByLinkAndLevel) {
  Streamed toy(GetParam());
  ASSERT_TRUE(IsOk(toy.status));
  const uint64_t loaded = toy.Link(0).bytes, read = toy.Link(1).bytes;
  EXPECT_STREQ(toy.Link(0).name, "pcie");
  EXPECT_STREQ(toy.Link(1).name, "disk");
  EXPECT_GT(loaded, 0u); // what stays
  EXPECT_GT(read, GetParam() ? loaded - 1 : loaded);
  toy.ExpectLogits({1, 2, 3});
  auto blob = sized<headrace_blob_info_t>();
  ASSERT_TRUE(IsOk(headrace_package_blob(toy.package.get(), 0, &blob)));
  EXPECT_EQ(toy.Link(0).bytes - loaded, blob.bytes);
  EXPECT_EQ(toy.Link(1).bytes - read, GetParam() ? blob.bytes : 0);
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
  ASSERT_TRUE(IsOk(toy.status));
  const uint64_t certified = toy.Level(0).certified_bytes;
  toy.session.reset();
  EXPECT_TRUE(FailsWith(toy.Create(certified - 100),
                        HEADRACE_STATUS_RESOURCE_EXHAUSTED, "100 are missing"));
  EXPECT_TRUE(IsOk(toy.Create(certified)));
}

TEST_P(CudaTiers, NameTheMemoryThatIsMissing) {
  for (const char *function : {"cuMemAlloc_v2", "cuMemHostAlloc"}) {
    Streamed toy(GetParam());
    ASSERT_TRUE(IsOk(toy.status));
    toy.session.reset();
    const int before = fake::LiveObjects();
    int failed = 0;
    for (;; ++failed) {
      fake::FailAt(function, failed + 1, kOutOfMemory);
      Outcome outcome(toy.Create(0));
      if (outcome.code == HEADRACE_STATUS_OK)
        break;
      EXPECT_EQ(outcome.code, HEADRACE_STATUS_RESOURCE_EXHAUSTED);
      EXPECT_NE(outcome.message.find("out of memory"), std::string::npos)
          << outcome.message;
      EXPECT_EQ(fake::LiveObjects(), before);
    }
    fake::FailAt(function, 1 << 30, kOutOfMemory); // never
    EXPECT_GE(failed, 2); // the arena and what the host keeps, among others
    toy.ExpectLogits({4, 5});
  }
}

TEST_P(CudaTiers, GoOnAfterACopyThatFailed) {
  Streamed toy(GetParam());
  ASSERT_TRUE(IsOk(toy.status));
  int failed = 0;
  for (int nth = 1; nth <= 8; ++nth) {
    // Nothing is in a slot yet.
    toy.session.reset();
    ASSERT_TRUE(IsOk(toy.Create(0)));
    Sequence sequence = MakeSequence(toy.session.get());
    fake::FailAt("cuMemcpyHtoDAsync_v2", nth, kOutOfMemory);
    // What was fetched ahead is tried once more.
    if (Outcome outcome(toy.Step(sequence, {1, 2}));
        outcome.code != HEADRACE_STATUS_OK) {
      ++failed;
      EXPECT_EQ(outcome.code, HEADRACE_STATUS_RESOURCE_EXHAUSTED);
      EXPECT_FALSE(outcome.message.empty());
    }
    fake::FailAt("cuMemcpyHtoDAsync_v2", 1 << 30, kOutOfMemory); // never
    toy.ExpectLogits({9, 8, 7});
  }
  EXPECT_GE(failed, 2);
}

TEST_P(CudaTiers, EndAWaitAtItsDeadline) {
  Streamed toy(GetParam());
  ASSERT_TRUE(IsOk(toy.status));
  auto blob = sized<headrace_blob_info_t>();
  ASSERT_TRUE(IsOk(headrace_package_blob(toy.package.get(), 0, &blob)));
  fake::HangCopies(blob.bytes);
  Sequence sequence = MakeSequence(toy.session.get());
  EXPECT_TRUE(FailsWith(toy.Step(sequence, {1, 2}, kHangLimitNs),
                        HEADRACE_STATUS_DEADLINE_EXCEEDED, "to level 'hbm'"));
  // The link comes back, and with it the session.
  fake::HangCopies(0);
  toy.ExpectLogits({9, 8, 7});
  // It does not, and the session ends all the same.
  sequence.reset();
  toy.session.reset();
  ASSERT_TRUE(IsOk(toy.Create(0)));
  sequence = MakeSequence(toy.session.get());
  fake::HangCopies(blob.bytes);
  EXPECT_TRUE(FailsWith(toy.Step(sequence, {1, 2}, kHangLimitNs),
                        HEADRACE_STATUS_DEADLINE_EXCEEDED, "to level 'hbm'"));
  sequence.reset();
  toy.session.reset();
  EXPECT_TRUE(FailsWith(toy.Create(0), HEADRACE_STATUS_DEVICE_LOST));
  fake::HangCopies(0);
}

/// What a device that is slow to begin is given ahead: launches and transfers
/// wait for each other there, and not for the host.
TEST_P(CudaTiers, KeepOrderOnTheDevice) {
  fake::SetStrict(true);
  Streamed toy(GetParam());
  ASSERT_TRUE(IsOk(toy.status));
  auto blob = sized<headrace_blob_info_t>();
  ASSERT_TRUE(IsOk(headrace_package_blob(toy.package.get(), 0, &blob)));
  Sequence sequence = MakeSequence(toy.session.get());
  const int waits = fake::Calls("cuStreamWaitEvent");
  const size_t ran = fake::Launches().size();
  fake::HangCopies(blob.bytes);
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
  std::vector<float> logits;
  ASSERT_TRUE(IsOk(toy.Step(sequence, {1, 2}, 0, &logits)));
  EXPECT_EQ(logits, ToyLogits({1, 2}));
  for (int32_t token : {3, 4, 5})
    ASSERT_TRUE(IsOk(toy.Step(sequence, {token}, 0, &logits)));
  EXPECT_EQ(logits, ToyLogits({1, 2, 3, 4, 5}));
}

/// A step that is cancelled while its weights come leaves nothing that the next
/// one could stumble over, nor does a session that ends then.
TEST_P(CudaTiers, AreUsableAfterACancelledStep) {
  for (bool ends : {false, true}) {
    fake::SetStrict(true);
    Streamed toy(GetParam());
    ASSERT_TRUE(IsOk(toy.status));
    auto blob = sized<headrace_blob_info_t>();
    ASSERT_TRUE(IsOk(headrace_package_blob(toy.package.get(), 0, &blob)));
    Sequence sequence = MakeSequence(toy.session.get());
    headrace_cancel_t cancel;
    headrace_cancel_reset(&cancel);
    fake::HangCopies(blob.bytes);
    std::thread canceller([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      headrace_cancel_request(&cancel);
    });
    const std::vector<int32_t> tokens = {1, 2};
    auto items = std::vector{Item(sequence, tokens)};
    auto step = StepOf(items);
    step.cancel = &cancel;
    EXPECT_TRUE(
        FailsWith(headrace_session_step(toy.session.get(), &step, nullptr),
                  HEADRACE_STATUS_CANCELLED, "to level 'hbm'"));
    canceller.join();
    fake::HangCopies(0);
    if (!ends)
      toy.ExpectLogits({9, 8, 7});
  }
  EXPECT_EQ(fake::LiveObjects(), 0);
}

/// Copies and launches pass beside each other, by the device's own clock.
TEST_P(CudaTiers, CountTheTimeOfTransfersByTheDevice) {
  Streamed toy(GetParam());
  ASSERT_TRUE(IsOk(toy.status));
  toy.ExpectLogits({1, 2, 3});
  auto blob = sized<headrace_blob_info_t>();
  ASSERT_TRUE(IsOk(headrace_package_blob(toy.package.get(), 0, &blob)));
  const uint64_t before = toy.Link(0).busy_ns, bytes = toy.Link(0).bytes;
  toy.ExpectLogits({4});
  const uint64_t moved = toy.Link(0).bytes - bytes;
  ASSERT_EQ(moved % blob.bytes, 0u);
  EXPECT_EQ(toy.Link(0).busy_ns - before,
            moved / blob.bytes *
                (fake::kCopyNs + blob.bytes / fake::kToDeviceBytesPerNs));
}

TEST_P(CudaTiers, FindDamage) {
  std::vector<uint8_t> bytes = PlannedToyGpuFile(GetParam());
  Streamed toy(GetParam());
  ASSERT_TRUE(IsOk(toy.status));
  auto blob = sized<headrace_blob_info_t>();
  ASSERT_TRUE(IsOk(headrace_package_blob(toy.package.get(), 0, &blob)));
  toy.session.reset();
  bytes[blob.offset + 5] ^= 1;
  toy.file.Write(bytes);
  Outcome made(toy.Create(0));
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

//===----------------------------------------------------------------------===//
// What the fake itself sees
//===----------------------------------------------------------------------===//

/// A kernel on one stream and a copy on another, through the driver's
/// interface.
class FakeCuda : public ::testing::Test {
protected:
  void SetUp() override {
    fake::SetStrict(true);
    ASSERT_TRUE(library.Open(instance.get()->allocator, nullptr).IsOk());
    const auto &api = library.api;
    ASSERT_EQ(api.cuDevicePrimaryCtxRetain(&context, 0), kCuSuccess);
    ASSERT_EQ(api.cuCtxPushCurrent_v2(context), kCuSuccess);
    ASSERT_EQ(api.cuMemAlloc_v2(&target, sizeof(float)), kCuSuccess);
    ASSERT_EQ(api.cuMemHostAlloc(reinterpret_cast<void **>(&pinned),
                                 3 * sizeof(float), 0),
              kCuSuccess);
    for (auto *stream : {&compute, &copies})
      ASSERT_EQ(api.cuStreamCreate(stream, 0), kCuSuccess);
    for (auto *event : {&computed, &copied})
      ASSERT_EQ(api.cuEventCreate(event, 0), kCuSuccess);
  }
  void TearDown() override {
    const auto &api = library.api;
    for (auto *event : {computed, copied})
      api.cuEventDestroy_v2(event);
    for (auto *stream : {compute, copies})
      api.cuStreamDestroy_v2(stream);
    api.cuMemFreeHost(pinned);
    api.cuMemFree_v2(target);
    fake::SetStrict(false);
  }

  void Copy(float value) {
    pinned[0] = value;
    ASSERT_EQ(
        library.api.cuMemcpyHtoDAsync_v2(target, pinned, sizeof(float), copies),
        kCuSuccess);
    ASSERT_EQ(library.api.cuEventRecord(copied, copies), kCuSuccess);
  }
  /// What a kernel would find: reads on its stream.
  void Read() {
    ASSERT_EQ(library.api.cuMemcpyDtoHAsync_v2(pinned + 1, target,
                                               sizeof(float), compute),
              kCuSuccess);
    ASSERT_EQ(library.api.cuEventRecord(computed, compute), kCuSuccess);
  }
  void Await(runtime::cuda::CuEvent event) {
    while (library.api.cuEventQuery(event) != kCuSuccess) {
    }
  }

  static constexpr auto kCuSuccess = runtime::cuda::kCuSuccess;
  Instance instance = MakeInstance();
  runtime::cuda::CudaLibrary library;
  runtime::cuda::CuContext context = nullptr;
  runtime::cuda::CuAddress target = 0;
  float *pinned = nullptr;
  runtime::cuda::CuStream compute = nullptr, copies = nullptr;
  runtime::cuda::CuEvent computed = nullptr, copied = nullptr;
};

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

TEST_F(FakeCuda, GivesWhatWasWaitedFor) {
  Copy(3);
  Await(copied);
  Read();
  Await(computed);
  EXPECT_EQ(pinned[1], 3);
}

TEST_F(FakeCuda, GivesWhatTheDeviceWaitedFor) {
  Copy(3);
  ASSERT_EQ(library.api.cuStreamWaitEvent(compute, copied, 0), kCuSuccess);
  Read();
  // And what comes next waits for the reader.
  ASSERT_EQ(library.api.cuStreamWaitEvent(copies, computed, 0), kCuSuccess);
  ASSERT_EQ(library.api.cuMemcpyHtoDAsync_v2(target, pinned + 2, sizeof(float),
                                             copies),
            kCuSuccess);
  Await(computed);
  EXPECT_EQ(pinned[1], 3);
}

/// A wait is for what was recorded when it was asked for.
TEST_F(FakeCuda, WaitsForNothingThatIsRecordedLater) {
  ASSERT_EQ(library.api.cuStreamWaitEvent(compute, copied, 0), kCuSuccess);
  Copy(3);
  Read();
  Await(computed);
  EXPECT_TRUE(std::isnan(pinned[1])) << pinned[1];
}

TEST_F(FakeCuda, SpoilsWhatIsWrittenBesideItsReaderWithoutAWait) {
  Copy(3);
  ASSERT_EQ(library.api.cuStreamWaitEvent(compute, copied, 0), kCuSuccess);
  Read();
  ASSERT_EQ(library.api.cuMemcpyHtoDAsync_v2(target, pinned + 2, sizeof(float),
                                             copies),
            kCuSuccess);
  Await(computed);
  EXPECT_TRUE(std::isnan(pinned[1])) << pinned[1];
}

/// The host has changed what was still to be sent.
TEST_F(FakeCuda, SpoilsWhatIsSentWhileTheHostWritesIt) {
  Copy(3);
  pinned[0] = 4;
  Await(copied);
  Read();
  Await(computed);
  EXPECT_TRUE(std::isnan(pinned[1])) << pinned[1];
}

TEST_F(FakeCuda, SpoilsWhatIsReadBeforeItArrived) {
  Copy(3);
  Await(copied);
  Copy(4);
  Read();
  Await(computed);
  EXPECT_TRUE(std::isnan(pinned[1])) << pinned[1];
}

TEST_F(FakeCuda, SpoilsWhatIsStillReadWhenItIsWrittenOver) {
  Copy(3);
  Await(copied);
  Read();
  Copy(4); // nobody waited for the reader
  Await(computed);
  EXPECT_TRUE(std::isnan(pinned[1])) << pinned[1];
}

} // namespace
} // namespace headrace::tests
