// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of the fake driver itself: what it sees where order between streams is
// only what events make it.
#include "runtime/drivers/cuda/library.h"
#include "tests/runtime/cuda_host.h"

#include "runtime/src/instance.h"

#include <cmath>

namespace headrace::tests {
namespace {

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
