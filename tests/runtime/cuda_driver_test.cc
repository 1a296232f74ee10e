// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of the cuda driver on the fake one: what conformance does not ask of
// devices, steps, stops and products.
#include "tests/runtime/cuda_host.h"

#include <cmath>
#include <thread>

namespace headrace::tests {
namespace {

//===----------------------------------------------------------------------===//
// Devices
//===----------------------------------------------------------------------===//

TEST(CudaDevice, IsUnavailableWithoutTheLibrary) {
  Instance instance = MakeInstance();
  headrace_device_t *device = nullptr;
  uint32_t count = 7;
  auto options = sized<headrace_cuda_device_options_t>();
  options.cuda_library = "libcuda-that-is-not.so";
  EXPECT_TRUE(
      FailsWith(headrace_device_create_cuda(instance.get(), &options, &device),
                HEADRACE_STATUS_UNAVAILABLE, "no such device"));
  EXPECT_EQ(device, nullptr);
  EXPECT_TRUE(
      FailsWith(headrace_cuda_device_count(instance.get(), &options, &count),
                HEADRACE_STATUS_UNAVAILABLE, "libcuda-that-is-not.so"));
  EXPECT_EQ(count, 0u);
  options.cuda_library = "libm.so.6";
  EXPECT_TRUE(
      FailsWith(headrace_device_create_cuda(instance.get(), &options, &device),
                HEADRACE_STATUS_UNAVAILABLE, "has no cuInit"));
}

TEST(CudaDevice, IsUnavailableWithoutADevice) {
  Instance instance = MakeInstance();
  Device device;
  fake::SetDevices(0);
  EXPECT_TRUE(FailsWith(OpenCuda(instance.get(), &device),
                        HEADRACE_STATUS_UNAVAILABLE, "CUDA_ERROR_NO_DEVICE"));
  fake::SetDevices(2);
  uint32_t count = 0;
  EXPECT_TRUE(
      IsOk(headrace_cuda_device_count(instance.get(), nullptr, &count)));
  EXPECT_EQ(count, 2u);
  EXPECT_TRUE(FailsWith(OpenCuda(instance.get(), &device, 2),
                        HEADRACE_STATUS_UNAVAILABLE, "'cuda:2' of 2"));
}

TEST(CudaDevice, SaysWhatItIs) {
  fake::SetDevices(3);
  Instance instance = MakeInstance();
  Device device;
  ASSERT_TRUE(IsOk(OpenCuda(instance.get(), &device, 2)));
  auto info = sized<headrace_device_info_t>();
  ASSERT_TRUE(IsOk(headrace_device_info(device.get(), &info)));
  EXPECT_STREQ(info.target, "cuda");
  EXPECT_STREQ(info.name, "Fake GPU 2");
  EXPECT_EQ(info.memory_bytes, uint64_t(1) << 30);
  EXPECT_EQ(info.ordinal, 2u);
  EXPECT_EQ(info.compute_capability, 90u);
  EXPECT_EQ(info.driver_version, 13000u);
  EXPECT_EQ(info.processor_count, 4u);
}

/// The host's own context stays current, and none is left behind.
TEST(CudaDevice, LeavesContextsAsTheyWere) {
  GpuToy toy;
  Sequence sequence = MakeSequence(toy.session.get());
  ASSERT_TRUE(IsOk(toy.Step(sequence, {1, 2, 3})));
  EXPECT_EQ(fake::ContextDepth(), 0);
  EXPECT_EQ(fake::Calls("cuCtxPushCurrent_v2"),
            fake::Calls("cuCtxPopCurrent_v2"));
}

//===----------------------------------------------------------------------===//
// Steps
//===----------------------------------------------------------------------===//

TEST(CudaStep, IsCapturedOnceForEachClass) {
  GpuToy toy;
  Sequence sequence = MakeSequence(toy.session.get());
  std::vector<int32_t> history;
  auto feed = [&](const std::vector<int32_t> &tokens) {
    toy.Extend(sequence, &history, tokens);
  };
  feed(Tokens(5, 1));
  feed(Tokens(7, 2));
  EXPECT_EQ(fake::Calls("cuStreamBeginCapture_v2"), 1);
  for (int32_t i = 0; i < 40; ++i)
    feed({i});
  EXPECT_EQ(fake::Calls("cuStreamBeginCapture_v2"), 2);
  EXPECT_EQ(fake::Calls("cuGraphInstantiateWithFlags"), 2);
  EXPECT_EQ(fake::Calls("cuGraphLaunch"), 42);
  EXPECT_EQ(fake::Calls("cuLaunchKernel"), 6);
  const std::vector<fake::Launched> launches = fake::Launches();
  ASSERT_EQ(launches.size(), 3u * 42);
  // The grid of the class's largest step, not of this one.
  EXPECT_EQ(launches[0].kernel, "toy_gpu_embed");
  EXPECT_EQ(launches[0].blocks, kToyMaxTokens);
  EXPECT_EQ(launches.back().kernel, "toy_gpu_logits");
  EXPECT_EQ(launches.back().blocks, 1u);
  EXPECT_TRUE(launches.back().replayed);
  EXPECT_EQ(fake::BlockingCopies(), 0);
}

TEST(CudaStep, BatchesUnequalSequences) {
  auto options = sized<headrace_session_options_t>();
  options.max_sequences = 7;
  GpuToy toy(ToyGpuFile(), options);
  std::vector<Sequence> sequences;
  for (int i = 0; i < 7; ++i)
    sequences.push_back(MakeSequence(toy.session.get()));
  std::vector<std::vector<int32_t>> history(7);
  for (int round = 0; round < 3; ++round) {
    std::vector<const Sequence *> all;
    std::vector<std::vector<int32_t> *> histories;
    std::vector<std::vector<int32_t>> fresh;
    for (size_t i = 0; i < 7; ++i) {
      all.push_back(&sequences[i]);
      histories.push_back(&history[i]);
      fresh.push_back(Tokens(1 + (i * 5 + static_cast<size_t>(round) * 3) % 20,
                             round * 7 + static_cast<int32_t>(i)));
    }
    toy.Extend(all, histories, fresh);
  }
}

/// Copies that come late must still read what belonged to their step, and pages
/// handed out again must be zero by then.
TEST(CudaStep, WorksHoweverLateTheDeviceIs) {
  fake::SetLag(7);
  GpuToy toy;
  for (int round = 0; round < 4; ++round) {
    Sequence sequence = MakeSequence(toy.session.get());
    std::vector<int32_t> history;
    toy.Extend(sequence, &history, Tokens(60, round));
    toy.Extend(Fork(sequence), &history, {9});
  }
  EXPECT_EQ(fake::BlockingCopies(), 0);
}

TEST(CudaStep, IsTimedByTheDevice) {
  auto options = sized<headrace_session_options_t>();
  options.timing = 1;
  GpuToy toy(ToyGpuFile(), options);
  Sequence sequence = MakeSequence(toy.session.get());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(IsOk(toy.Step(sequence, {1})));
    EXPECT_EQ(toy.Info().kernel_ns, 3000u); // a microsecond a kernel
  }
}

/// A kernel that writes nothing is seen, and nothing else is poisoned.
TEST(CudaStep, PoisonShowsWhatNoKernelWrites) {
  auto options = sized<headrace_session_options_t>();
  options.poison_outputs = 1;
  GpuToy toy(ToyGpuFile(), options);
  Aligned<float> x(TOY_WIDTH), y(TOY_WIDTH);
  x[0] = 2;
  ASSERT_TRUE(IsOk(InvokeToy(toy.session.get(), kScale, 1, x, y)));
  EXPECT_EQ(y[0], 6);
  ASSERT_TRUE(IsOk(InvokeToy(toy.session.get(), kEmpty, 1, x, y)));
  for (size_t i = 0; i < TOY_WIDTH; ++i)
    EXPECT_TRUE(std::isnan(y[i]));
  toy.ExpectLogits({1, 2});
}

//===----------------------------------------------------------------------===//
// Sharing
//===----------------------------------------------------------------------===//

TEST(CudaShare, SessionsShareCodeAndWeightsOfAPackage) {
  GpuToy toy;
  const int uploads = fake::Calls("cuMemcpyHtoDAsync_v2");
  Session other = MakeSession(toy.device.get(), toy.package.get());
  EXPECT_EQ(fake::Calls("cuModuleLoadDataEx"), 1);
  // Only its binding table.
  EXPECT_EQ(fake::Calls("cuMemcpyHtoDAsync_v2"), uploads + 1);
  toy.session.reset();
  ExpectLogits(other.get(), {4});
}

TEST(CudaShare, ManyThreadsUseOneDevice) {
  GpuToy toy;
  std::vector<std::thread> hosts;
  for (int host = 0; host < 4; ++host)
    hosts.emplace_back([&, host] {
      for (int round = 0; round < 5; ++round) {
        Session session = MakeSession(toy.device.get(), toy.package.get());
        ExpectLogits(session.get(), Tokens(30, host * 10 + round));
      }
    });
  for (std::thread &host : hosts)
    host.join();
}

//===----------------------------------------------------------------------===//
// Stopping
//===----------------------------------------------------------------------===//

TEST(CudaStop, CancelAndDeadlineWhileTheDeviceWorks) {
  GpuToy toy;
  fake::SetLag(20);
  Aligned<float> x(TOY_WIDTH), y(TOY_WIDTH);
  {
    LateCancel cancel;
    EXPECT_TRUE(
        FailsWith(InvokeToy(toy.session.get(), kSlow, 1, x, y, cancel.Get()),
                  HEADRACE_STATUS_CANCELLED, "'slow'"));
  }
  EXPECT_TRUE(
      FailsWith(InvokeToy(toy.session.get(), kSlow, 1, x, y, nullptr, 2000000),
                HEADRACE_STATUS_DEADLINE_EXCEEDED, "'slow'"));
  fake::SetLag(1);
  toy.ExpectLogits({4, 5});
}

/// Nothing is enqueued for a call that is over before it starts.
TEST(CudaStop, IsSeenBeforeTheFirstLaunch) {
  GpuToy toy;
  headrace_cancel_t cancel = {};
  headrace_cancel_request(&cancel);
  EXPECT_TRUE(FailsWith(toy.Scale(&cancel), HEADRACE_STATUS_CANCELLED));
  EXPECT_TRUE(
      FailsWith(toy.Scale(nullptr, 1), HEADRACE_STATUS_DEADLINE_EXCEEDED));
  EXPECT_TRUE(fake::Launches().empty());
}

TEST(CudaStop, WorkThatNeverEndsLosesTheDevice) {
  GpuToy toy(ToyGpuFile(), sized<headrace_session_options_t>(), kShortGrace);
  Sequence sequence = MakeSequence(toy.session.get());
  fake::SetHang(true);
  EXPECT_TRUE(FailsWith(toy.Step(sequence, {1}, 5000000),
                        HEADRACE_STATUS_DEVICE_LOST, "does not end"));
  EXPECT_EQ(headrace_sequence_length(sequence.get()), 0u);
  EXPECT_TRUE(FailsWith(toy.Step(sequence, {1}), HEADRACE_STATUS_DEVICE_LOST,
                        "was lost"));
  headrace_session_t *second = nullptr;
  EXPECT_TRUE(
      FailsWith(headrace_session_create(toy.device.get(), toy.package.get(),
                                        nullptr, &second),
                HEADRACE_STATUS_DEVICE_LOST));
  headrace_session_release(toy.session.get()); // the reference kept by it
}

TEST(CudaStop, AnIllegalAccessLosesTheDevice) {
  GpuToy toy;
  Sequence sequence = MakeSequence(toy.session.get());
  fake::FaultAtNextKernel(kIllegalAddress);
  EXPECT_TRUE(FailsWith(toy.Step(sequence, {1}), HEADRACE_STATUS_DEVICE_LOST,
                        "CUDA_ERROR_ILLEGAL_ADDRESS"));
  EXPECT_TRUE(FailsWith(toy.Step(sequence, {1}), HEADRACE_STATUS_DEVICE_LOST));
  headrace_session_release(toy.session.get()); // the reference kept by it
}

//===----------------------------------------------------------------------===//
// Products of the library
//===----------------------------------------------------------------------===//

TEST(CudaMatmul, GivesTheProduct) {
  GpuToy toy(MatmulToyGpuFile(3));
  for (uint32_t rows : {1u, 5u}) {
    Aligned<_Float16> x(rows * 16);
    Aligned<float> y(rows * 8);
    for (size_t i = 0; i < rows * 16; ++i)
      x[i] = static_cast<_Float16>(static_cast<int>(i * i % 17));
    ASSERT_TRUE(IsOk(InvokeToy(toy.session.get(), kScale, rows, x, y)));
    for (size_t r = 0; r < rows; ++r)
      for (size_t n = 0; n < 8; ++n) {
        // The blob's 2v + 1 in 32 bits are float16 numbers and zeros.
        float expected = 0;
        for (size_t k = 0; k < 8; k += 2)
          expected += static_cast<float>(x[r * 16 + k]) *
                      std::ldexp(static_cast<float>(n * 8 + k + 1), -24);
        expected *= 3;
        if (rows > 1) { // A blob of 0x5a, read as what the result is.
          const uint32_t bits = 0x5a5a5a5a;
          float bias;
          std::memcpy(&bias, &bits, sizeof(bias));
          expected += bias;
        }
        EXPECT_EQ(y[r * 8 + n], expected) << r << ' ' << n;
      }
  }
  EXPECT_EQ(fake::Calls("cuStreamBeginCapture_v2"), 0);
  // One choice for each product and number of rows.
  EXPECT_EQ(fake::Calls("cublasLtMatmulAlgoGetHeuristic"), 6);
}

/// Launches that are not captured are paced, so that a stop is seen.
TEST(CudaMatmul, LongStepsStopBetweenLaunches) {
  GpuToy toy(MatmulToyGpuFile(2000));
  fake::SetLag(100);
  EXPECT_TRUE(FailsWith(toy.Scale(nullptr, 1000000),
                        HEADRACE_STATUS_DEADLINE_EXCEEDED));
  EXPECT_LT(fake::Calls("cublasLtMatmul"), 2000);
}

TEST(CudaMatmul, NeedsTheLibrary) {
  Host host(MatmulToyGpuFile(1), [](headrace_instance_t *instance) {
    auto options = sized<headrace_cuda_device_options_t>();
    options.cublaslt_library = "libcublasLt-that-is-not.so";
    Device device;
    EXPECT_TRUE(IsOk(make(device, [&](headrace_device_t **out) {
      return headrace_device_create_cuda(instance, &options, out);
    })));
    return device;
  });
  EXPECT_TRUE(FailsWith(host.Create(), HEADRACE_STATUS_UNAVAILABLE,
                        "libcublasLt-that-is-not.so"));
}

} // namespace
} // namespace headrace::tests
