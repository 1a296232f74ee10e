// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of the cuda driver on the fake one: what conformance does not ask, and
// every call of the driver's interface failing in turn.
#include "runtime/abi/gpu_kernel_abi.h"
#include "runtime/drivers/cuda/resident_package.h"
#include "runtime/src/digest.h"
#include "tests/runtime/cuda_host.h"

#include <chrono>
#include <cmath>
#include <set>
#include <thread>

namespace headrace::tests {
namespace {

/// The toy on a device, with a session.
struct GpuToy : Host {
  explicit GpuToy(const std::vector<uint8_t> &bytes = ToyGpuFile(),
                  const headrace_session_options_t &options =
                      sized<headrace_session_options_t>(),
                  uint64_t grace_ns = kLongGrace)
      : Host(bytes, Cuda(grace_ns)) {
    EXPECT_TRUE(IsOk(Create(options)));
  }
};

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

/// `scale` as [rows, 8] x [8, 8] float16 products, with a bias in the second
/// class's last one.
std::vector<uint8_t> MatmulFile(size_t launches) {
  std::unique_ptr<abi::ManifestT> manifest = ToyGpuManifest();
  for (auto &one : manifest->entries[kScale]->classes) {
    const std::vector<uint32_t> buffers = one->launches[0]->buffers;
    one->launches.clear();
    for (size_t i = 0; i < launches; ++i) {
      auto launch = std::make_unique<abi::LaunchT>();
      launch->kind = abi::LaunchKind::matmul;
      launch->buffers = buffers;
      launch->weights = {0};
      launch->matmul = std::make_unique<abi::MatmulT>();
      launch->matmul->rows = abi::RowKind::tokens;
      launch->matmul->out = 8;
      launch->matmul->in = 8;
      launch->matmul->x_stride = 16;
      launch->matmul->y_stride = 8;
      launch->matmul->element = abi::ElementType::f16;
      launch->matmul->y_element = abi::ElementType::f32;
      launch->matmul->accumulate = i > 0;
      if (i + 1 == launches && one->max_tokens > 1)
        launch->weights.push_back(1);
      one->launches.push_back(std::move(launch));
    }
  }
  return ToyFile(*manifest, ToyGpuCode());
}

TEST(CudaMatmul, GivesTheProduct) {
  GpuToy toy(MatmulFile(3));
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
  GpuToy toy(MatmulFile(2000));
  fake::SetLag(100);
  EXPECT_TRUE(FailsWith(toy.Scale(nullptr, 1000000),
                        HEADRACE_STATUS_DEADLINE_EXCEEDED));
  EXPECT_LT(fake::Calls("cublasLtMatmul"), 2000);
}

TEST(CudaMatmul, NeedsTheLibrary) {
  Host host(MatmulFile(1), [](headrace_instance_t *instance) {
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

//===----------------------------------------------------------------------===//
// Packages
//===----------------------------------------------------------------------===//

/// Why no session can be made of a package.
headrace_status_t Refusal(const std::vector<uint8_t> &bytes) {
  TemporaryFile file(bytes);
  Instance instance = MakeInstance();
  Device device;
  EXPECT_TRUE(IsOk(OpenCuda(instance.get(), &device)));
  Package package;
  headrace_status_t status = make(package, [&](headrace_package_t **out) {
    return headrace_package_open(instance.get(), file.Path(), nullptr, out);
  });
  Session session;
  return status ? status : make(session, [&](headrace_session_t **out) {
    return headrace_session_create(device.get(), package.get(), nullptr, out);
  });
}

TEST(CudaPackage, IsRefusedWithTheReason) {
  const auto precondition = HEADRACE_STATUS_FAILED_PRECONDITION;
  EXPECT_TRUE(FailsWith(Refusal(ToyFile()), precondition,
                        "no code for this GPU (sm_90, kernel ABI 2), only for "
                        "cpu x86-64"));
  fake::SetCapability(75);
  EXPECT_TRUE(FailsWith(Refusal(ToyGpuFile()), precondition,
                        "(sm_75, kernel ABI 2), only for cuda sm_80"));
  fake::SetCapability(90);
  auto manifest = ToyGpuManifest();
  manifest->code[0]->kernel_abi_version = 99;
  EXPECT_TRUE(
      FailsWith(Refusal(ToyFile(*manifest, ToyGpuCode())), precondition));

  manifest = ToyGpuManifest();
  manifest->kernels[0]->symbol = "toy_gpu_none";
  EXPECT_TRUE(FailsWith(Refusal(ToyFile(*manifest, ToyGpuCode())),
                        HEADRACE_STATUS_DATA_LOSS, "lacks 'toy_gpu_none'"));
  manifest = ToyGpuManifest();
  manifest->entries[kCount]->classes.clear();
  EXPECT_TRUE(FailsWith(Refusal(ToyFile(*manifest, ToyGpuCode())), precondition,
                        "entry 'count' has no launches"));
}

TEST(CudaPackage, DamageIsFound) {
  const auto loss = HEADRACE_STATUS_DATA_LOSS;
  // The last blob ends the file.
  std::vector<uint8_t> file = ToyGpuFile();
  file.back() ^= 1;
  EXPECT_TRUE(FailsWith(Refusal(file), loss, "blob #1: chunk 1"));
  // Code is compared when the package is opened.
  auto manifest = ToyGpuManifest();
  file = ToyFile(*manifest, ToyGpuCode());
  file[manifest->code[0]->offset + 100] ^= 1;
  EXPECT_TRUE(FailsWith(Refusal(file), loss, "code: section #0"));

  std::vector<uint8_t> text = ToyGpuCode();
  text.back() = '\n';
  manifest = ToyGpuManifest();
  manifest->code[0]->xxh3 = runtime::Digest(text.data(), text.size());
  EXPECT_TRUE(
      FailsWith(Refusal(ToyFile(*manifest, text)), loss, "end in a zero"));
  text.assign(text.size(), ' ');
  text.back() = 0;
  manifest->code[0]->xxh3 = runtime::Digest(text.data(), text.size());
  EXPECT_TRUE(FailsWith(Refusal(ToyFile(*manifest, text)),
                        HEADRACE_STATUS_FAILED_PRECONDITION,
                        "ptxas: no .version"));
}

TEST(CudaPackage, OfAGpuIsNoneOfTheProcessor) {
  Host host(ToyGpuFile(), Cpu());
  EXPECT_TRUE(FailsWith(host.Create(), HEADRACE_STATUS_FAILED_PRECONDITION,
                        "target 'cuda'"));
}

TEST(CudaPackage, SharedMemoryIsAskedFor) {
  auto manifest = ToyGpuManifest(64);
  for (auto &kernel : manifest->kernels)
    kernel->resources[0]->shared_bytes = 200 << 10;
  GpuToy toy(ToyFile(*manifest, ToyGpuCode()));
  ASSERT_TRUE(IsOk(toy.Scale()));
  ASSERT_EQ(fake::Launches().size(), 1u);
  EXPECT_EQ(fake::Launches()[0].shared_bytes, 200u << 10);
  EXPECT_EQ(fake::Launches()[0].threads, 64u);
}

/// Sections by preference, as "format cpu abi".
TEST(CudaPackage, TheBestCodeIsChosen) {
  auto choose = [](std::vector<std::pair<abi::CodeFormat, const char *>> list,
                   uint32_t capability) {
    auto manifest = ToyGpuManifest();
    manifest->code.clear();
    for (const auto &[format, cpu] : list) {
      auto code = std::make_unique<abi::CodeT>();
      code->target = format == abi::CodeFormat::image ? "cpu" : "cuda";
      code->cpu = cpu;
      code->format = format;
      code->kernel_abi_version = HEADRACE_GPU_KERNEL_ABI_VERSION;
      manifest->code.push_back(std::move(code));
    }
    flatbuffers::FlatBufferBuilder builder;
    abi::FinishManifestBuffer(builder,
                              abi::Manifest::Pack(builder, manifest.get()));
    return runtime::cuda::ChooseCode(
        *abi::GetManifest(builder.GetBufferPointer()), capability);
  };
  using Format = abi::CodeFormat;
  const auto none = runtime::kNoIndex;
  const std::vector<std::pair<Format, const char *>> all = {
      {Format::image, "x86-64"},  {Format::ptx, "sm_80"},
      {Format::cubin, "sm_80"},   {Format::ptx, "sm_90"},
      {Format::cubin, "sm_90"},   {Format::cubin, "sm_90a"},
      {Format::cubin, "sm_100a"}, {Format::ptx, "sm_100f"}};
  EXPECT_EQ(choose(all, 75), none);
  EXPECT_EQ(choose(all, 80), 2u);
  EXPECT_EQ(choose(all, 86), 1u); // machine code is for its chip alone
  EXPECT_EQ(choose(all, 90), 5u);
  EXPECT_EQ(choose(all, 100), 6u);
  EXPECT_EQ(choose(all, 120), 3u);
  EXPECT_EQ(choose({{Format::cubin, "sm_90a"}}, 80), none);
  EXPECT_EQ(choose({{Format::ptx, "sm_90a"}}, 100), none);
  EXPECT_EQ(choose({{Format::ptx, "gfx90"}, {Format::ptx, "sm_"}}, 90), none);
  EXPECT_EQ(
      choose({{Format::ptx, "sm_9999999999"}, {Format::ptx, "sm_90ab"}}, 90),
      none);
}

/// The toy with machine code for sm_90 before its `text`, which is PTX. The
/// fake does not look into the machine code before a test's script refuses it.
std::vector<uint8_t> WithMachineCode(std::vector<uint8_t> text) {
  constexpr size_t kMachineBytes = 4096;
  std::vector<uint8_t> both(kMachineBytes, 0x7f);
  auto manifest = ToyGpuManifest();
  auto portable = std::make_unique<abi::CodeT>(*manifest->code[0]);
  portable->bytes = text.size();
  portable->xxh3 = runtime::Digest(text.data(), text.size());
  portable->offset = 1; // until that of the first is known
  abi::CodeT &machine = *manifest->code[0];
  machine.cpu = "sm_90";
  machine.format = abi::CodeFormat::cubin;
  machine.bytes = kMachineBytes;
  machine.xxh3 = runtime::Digest(both.data(), both.size());
  manifest->code.push_back(std::move(portable));
  for (auto &kernel : manifest->kernels) {
    auto resources =
        std::make_unique<abi::KernelResourcesT>(*kernel->resources[0]);
    resources->code = 1;
    resources->threads = 64; // to tell whose they are
    kernel->resources.push_back(std::move(resources));
  }
  for (auto &entry : manifest->entries)
    for (uint32_t i = 0; i < kToyGpuClasses; ++i) {
      auto same = std::make_unique<abi::StepClassT>(*entry->classes[i]);
      same->code = 1;
      entry->classes.push_back(std::move(same));
    }
  both.insert(both.end(), text.begin(), text.end());
  ToyFile(*manifest, both);
  manifest->code[1]->offset = manifest->code[0]->offset + kMachineBytes;
  return ToyFile(*manifest, both);
}

void Collect(void *lines, headrace_log_level_t level, const char *message) {
  static_cast<std::vector<std::pair<headrace_log_level_t, std::string>> *>(
      lines)
      ->emplace_back(level, message);
}

TEST(CudaPackage, PortableCodeStandsInForRefusedMachineCode) {
  std::vector<std::pair<headrace_log_level_t, std::string>> lines;
  headrace_logger_t logger = {};
  logger.self = &lines;
  logger.log = Collect;
  auto options = sized<headrace_instance_options_t>();
  options.logger = logger;
  Host host(WithMachineCode(ToyGpuCode()), Cuda(), MakeInstance(&options));
  fake::FailAt("cuModuleLoadDataEx", 1, kNoBinaryForGpu);
  ASSERT_TRUE(IsOk(host.Create()));
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].first, HEADRACE_LOG_WARNING);
  EXPECT_NE(lines[0].second.find("refuses the package's machine code for "
                                 "sm_90, so its portable PTX for sm_80 runs"),
            std::string::npos)
      << lines[0].second;
  EXPECT_NE(lines[0].second.find("209"), std::string::npos) << lines[0].second;
  host.ExpectLogits({3, 4});
  ASSERT_FALSE(fake::Launches().empty());
  EXPECT_EQ(fake::Launches()[0].threads, 64u);
}

TEST(CudaPackage, BothReasonsAreSaidWhereNoCodeLoads) {
  std::vector<uint8_t> text(100, ' ');
  text.back() = 0;
  fake::FailAt("cuModuleLoadDataEx", 1, kNoBinaryForGpu);
  headrace_status_t status = Refusal(WithMachineCode(text));
  EXPECT_NE(std::string(headrace_status_message(status)).find("209"),
            std::string::npos)
      << headrace_status_message(status);
  EXPECT_TRUE(FailsWith(status, HEADRACE_STATUS_FAILED_PRECONDITION,
                        "ptxas: no .version"));
  EXPECT_EQ(fake::LiveObjects(), 0);
}

/// What is wrong there is not the code.
TEST(CudaPackage, OtherFailuresDoNotTryOtherCode) {
  fake::FailAt("cuModuleLoadDataEx", 1, kOutOfMemory);
  EXPECT_TRUE(FailsWith(Refusal(WithMachineCode(ToyGpuCode())),
                        HEADRACE_STATUS_RESOURCE_EXHAUSTED));
  EXPECT_EQ(fake::Calls("cuModuleLoadDataEx"), 1);
}

//===----------------------------------------------------------------------===//
// Failures
//===----------------------------------------------------------------------===//

/// Everything a host does, up to the first failure; all objects are released.
headrace_status_t WholeLife(const std::vector<uint8_t> &bytes,
                            headrace_weight_loader_t weights) {
  TemporaryFile file(bytes);
  Instance instance = MakeInstance();
  Device device;
  if (headrace_status_t status = OpenCuda(instance.get(), &device))
    return status;
  Package package = OpenFile(instance.get(), file.Path());
  auto options = sized<headrace_session_options_t>();
  options.weights = weights;
  options.timing = 1;
  options.poison_outputs = 1;
  Session session;
  if (headrace_status_t status = make(session, [&](headrace_session_t **out) {
        return headrace_session_create(device.get(), package.get(), &options,
                                       out);
      }))
    return status;
  auto work = [&]() -> headrace_status_t {
    Sequence sequence = MakeSequence(session.get());
    std::vector<int32_t> history;
    if (headrace_status_t status =
            TryExtend(session.get(), {&sequence}, {&history}, {Tokens(40, 3)}))
      return status;
    Sequence fork = Fork(sequence);
    if (headrace_status_t status =
            TryExtend(session.get(), {&fork}, {&history}, {{7}}))
      return status;
    Aligned<float> x(TOY_WIDTH), y(TOY_WIDTH);
    return InvokeToy(session.get(), kScale, 1, x, y);
  };
  headrace_status_t status = work();
  if (headrace_status_code(status) == HEADRACE_STATUS_DEVICE_LOST)
    headrace_session_release(session.get()); // the reference kept by it
  else if (status)
    EXPECT_TRUE(IsOk(work())); // nothing is left over of the failure
  return status;
}

/// Functions that only end something: a failure of theirs changes no result,
/// but leaves behind what it should have ended.
const std::set<std::string> kEnds = {"cuCtxPopCurrent_v2",
                                     "cuCtxPushCurrent_v2", // before those
                                     "cuDevicePrimaryCtxRelease_v2",
                                     "cuEventDestroy_v2",
                                     "cuGraphDestroy",
                                     "cuGraphExecDestroy",
                                     "cuMemFreeHost",
                                     "cuMemFree_v2",
                                     "cuModuleUnload",
                                     "cuStreamDestroy_v2",
                                     "cublasLtDestroy",
                                     "cublasLtMatmulDescDestroy",
                                     "cublasLtMatmulPreferenceDestroy",
                                     "cublasLtMatrixLayoutDestroy"};

/// Goes through all calls of a whole life and makes each fail in turn.
void EachCallFails(const std::vector<uint8_t> &bytes, int result,
                   headrace_weight_loader_t weights = HEADRACE_WEIGHTS_MAPPED) {
  fake::Reset(); // what was called before
  ASSERT_TRUE(IsOk(WholeLife(bytes, weights)));
  std::vector<std::pair<std::string, int>> calls;
  for (const std::string &function : fake::CalledFunctions())
    calls.emplace_back(function, fake::Calls(function.c_str()));
  for (const auto &[function, count] : calls)
    for (int nth = 1; nth <= count; nth += 1 + nth / 2) {
      SCOPED_TRACE(function + " #" + std::to_string(nth));
      fake::Reset();
      fake::FailAt(function.c_str(), nth, result);
      Outcome outcome(WholeLife(bytes, weights));
      if (!kEnds.count(function) && outcome.code == HEADRACE_STATUS_OK) {
        // While work is late it may be asked less often than before. How long a
        // transfer took is no result, and one that could not wait for its slot
        // is tried once more.
        EXPECT_TRUE(function == "cuEventQuery" ||
                    (weights == HEADRACE_WEIGHTS_ARENA &&
                     (function == "cuEventElapsedTime" ||
                      function == "cuStreamWaitEvent")))
            << function;
      }
      if (outcome.code != HEADRACE_STATUS_OK) {
        EXPECT_FALSE(outcome.message.empty());
      }
      if (!kEnds.count(function)) {
        EXPECT_EQ(fake::ContextDepth(), 0);
        if (outcome.code != HEADRACE_STATUS_DEVICE_LOST) {
          EXPECT_EQ(fake::LiveObjects(), 0);
        }
      }
    }
}

TEST(CudaFailure, EachCallFailsWithAMistake) {
  EachCallFails(ToyGpuFile(), kInvalidValue);
}

TEST(CudaFailure, EachCallFailsForLackOfMemory) {
  EachCallFails(ToyGpuFile(), kOutOfMemory);
}

/// Of sessions whose weights move, out of the host's memory and out of the
/// file.
TEST(CudaFailure, EachCallFailsWhileWeightsMove) {
  for (bool staged : {false, true})
    for (int result : {kInvalidValue, kOutOfMemory})
      EachCallFails(PlannedToyGpuFile(staged), result, HEADRACE_WEIGHTS_ARENA);
}

TEST(CudaFailure, EachCallOfTheLibraryFails) {
  EachCallFails(MatmulFile(2), kInvalidValue);
}

} // namespace
} // namespace headrace::tests
