// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of a recorded GPU: rates against those of the fake driver and of
// NVIDIA's datasheets, and what is said where there is no device.
#include "tests/runtime/fake_cuda/fake_cuda.h"
#include "tools/gpu-probe/gpu_machine.h"

#include <gtest/gtest.h>

namespace headrace::probe {
namespace {

namespace fake = tests::fake_cuda;

/// The number behind `key` in the first line of `text` that has `place`.
uint64_t NumberAt(const std::string &text, const std::string &place,
                  const std::string &key) {
  const size_t line = text.find(place);
  EXPECT_NE(line, std::string::npos) << place << " in\n" << text;
  const size_t end = text.find('\n', line);
  const size_t at = text.find(key + " = ", line);
  EXPECT_LT(at, end) << key << " of " << place << " in\n" << text;
  return at < end ? std::stoull(text.substr(at + key.size() + 3)) : 0;
}

class ProbeGpuTest : public ::testing::Test {
protected:
  void SetUp() override { fake::Reset(); }
};

TEST_F(ProbeGpuTest, MeasuresTheRatesOfTheDevice) {
  GpuReading gpu;
  ASSERT_EQ(ProbeGpu(0, &gpu), "");
  EXPECT_EQ(gpu.name, "Fake GPU 0");
  EXPECT_EQ(gpu.capability, 90u);
  EXPECT_EQ(gpu.driver_version, 13000u);
  EXPECT_EQ(gpu.multiprocessors, uint32_t(fake::kMultiprocessors));
  EXPECT_EQ(gpu.clock_hz, uint64_t(fake::kClockKhz) * 1000);
  EXPECT_EQ(gpu.l2_bytes, uint64_t(fake::kL2Bytes));
  EXPECT_EQ(gpu.memory_bytes, uint64_t(1) << 30);
  // What it takes to begin a large copy hardly shows.
  auto near = [](double rate, uint64_t bytes_per_ns) {
    EXPECT_GT(rate, 0.99 * 1e9 * double(bytes_per_ns));
    EXPECT_LE(rate, 1e9 * double(bytes_per_ns));
  };
  near(gpu.memory_bytes_per_second, fake::kMemoryBytesPerNs);
  near(gpu.to_device_bytes_per_second, fake::kToDeviceBytesPerNs);
  near(gpu.to_host_bytes_per_second, fake::kToHostBytesPerNs);
  EXPECT_NEAR(gpu.to_device_latency_ns,
              fake::kCopyNs + 4096 / fake::kToDeviceBytesPerNs, 1);
  EXPECT_NEAR(gpu.to_host_latency_ns,
              fake::kCopyNs + 4096 / fake::kToHostBytesPerNs, 1);
  EXPECT_NEAR(gpu.launch_ns, fake::kKernelNs, 1);
  EXPECT_EQ(fake::LiveObjects(), 0);
}

TEST_F(ProbeGpuTest, SaysWhatIsMissing) {
  GpuReading gpu;
  EXPECT_EQ(ProbeGpu(1, &gpu), "no such device: 'cuda:1' of 1");
  fake::SetDevices(0);
  EXPECT_EQ(ProbeGpu(0, &gpu),
            "the driver's interface: no CUDA-capable device is detected (100)");
}

/// Wherever it fails, nothing stays behind.
TEST_F(ProbeGpuTest, GivesBackWhatItTook) {
  constexpr int kOutOfMemory = 2;
  GpuReading gpu;
  for (const char *function :
       {"cuCtxPushCurrent_v2", "cuStreamCreate", "cuEventCreate",
        "cuMemAlloc_v2", "cuMemHostAlloc", "cuStreamBeginCapture_v2",
        "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "cuGraphLaunch",
        "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuMemcpyDtoDAsync_v2",
        "cuEventElapsedTime", "cuMemsetD8Async"}) {
    fake::FailAt(function, 1, kOutOfMemory);
    EXPECT_EQ(ProbeGpu(0, &gpu), "the driver's interface: out of memory (2)")
        << function;
    EXPECT_EQ(fake::LiveObjects(), 0) << function;
  }
}

GpuReading Chip(uint32_t capability, uint32_t multiprocessors, uint64_t mhz) {
  GpuReading gpu;
  gpu.name = "Chip";
  gpu.capability = capability;
  gpu.multiprocessors = multiprocessors;
  gpu.clock_hz = mhz * 1000000;
  gpu.memory_bytes = 80000000000;
  gpu.shared_bytes = 232448;
  return gpu;
}

/// At the clocks that NVIDIA's datasheets count with.
TEST(WriteMachine, MultipliesAsTheDatasheetsSay) {
  const std::string a100 = WriteMachine(Chip(80, 108, 1410), HostFigures());
  auto rate = [](const std::string &text, const char *type) {
    return double(NumberAt(text, std::string("<\"") + type, "operations"));
  };
  EXPECT_NEAR(rate(a100, "bf16"), 312e12, 1e12);
  EXPECT_NEAR(rate(a100, "tf32"), 156e12, 1e12);
  EXPECT_NEAR(rate(a100, "i8"), 624e12, 1e12);
  EXPECT_NEAR(rate(a100, "f32"), 19.5e12, 0.1e12);
  EXPECT_EQ(a100.find("\"f8\""), std::string::npos); // it has none
  const std::string h100 = WriteMachine(Chip(90, 132, 1830), HostFigures());
  EXPECT_NEAR(rate(h100, "bf16"), 989e12, 1e12);
  EXPECT_NEAR(rate(h100, "f16"), 989e12, 1e12);
  EXPECT_NEAR(rate(h100, "tf32"), 494e12, 2e12);
  EXPECT_NEAR(rate(h100, "f8"), 1979e12, 2e12);
  EXPECT_NEAR(rate(WriteMachine(Chip(90, 132, 1980), HostFigures()), "f32"),
              67e12, 0.2e12);
}

TEST(WriteMachine, LeavesOutWhatNobodyKnows) {
  const std::string newer = WriteMachine(Chip(121, 48, 2000), HostFigures());
  EXPECT_EQ(newer.find("compute ="), std::string::npos) << newer;
  EXPECT_NE(newer.find("No rates of compute"), std::string::npos);
  EXPECT_EQ(newer.find("\"disk\""), std::string::npos);
  EXPECT_EQ(newer.find("\"l2\""), std::string::npos);
}

TEST(WriteMachine, WritesTheDisk) {
  HostFigures host;
  host.disk = {1 << 30, 2.3456e9, 1.2345e9, 3e8, 91234};
  const std::string text = WriteMachine(Chip(90, 1, 1000), host);
  EXPECT_EQ(NumberAt(text, "<\"disk\", bytes", "bytes"), uint64_t(1) << 30);
  EXPECT_EQ(NumberAt(text, "<\"disk\" to", "bandwidth"), 2350000000u);
  EXPECT_EQ(NumberAt(text, "<\"disk\" to", "latency"), 91200u);
  EXPECT_EQ(NumberAt(text, "<\"disk\" to", "request"), 1230000000u);
  EXPECT_EQ(NumberAt(text, "<\"dram\" to \"disk\"", "bandwidth"), 300000000u);
}

/// A name is text of another program's.
TEST(WriteMachine, KeepsTheTextWhole) {
  GpuReading gpu = Chip(90, 1, 1000);
  gpu.name = "A \"chip\"\n\\";
  const std::string text = WriteMachine(gpu, HostFigures());
  EXPECT_NE(text.find("#tier.machine<\"A  chip   \""), std::string::npos)
      << text;
}

} // namespace
} // namespace headrace::probe
