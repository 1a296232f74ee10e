// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of packages on the fake GPU: which of its code is chosen, and why a
// package is refused.
#include "runtime/abi/gpu_kernel_abi.h"
#include "runtime/drivers/cuda/resident_package.h"
#include "runtime/src/digest.h"
#include "tests/runtime/cuda_host.h"

namespace headrace::tests {
namespace {

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

} // namespace
} // namespace headrace::tests
