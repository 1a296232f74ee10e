// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of the manifest's checks of what only a GPU driver reads: one wrong
// number at a time.
#include "tests/runtime/harness.h"

#include "runtime/src/package.h"

#include <functional>

namespace headrace::tests {
namespace {

using Change = std::function<void(abi::ManifestT &)>;

std::unique_ptr<abi::KernelResourcesT> Resources(uint32_t code) {
  auto one = std::make_unique<abi::KernelResourcesT>();
  one->code = code;
  one->threads = 128;
  one->shared_bytes = 1024;
  one->registers = 64;
  return one;
}

/// The toy as if its code were PTX: every kernel has a symbol, every entry a
/// class for few tokens and one for the rest.
std::unique_ptr<abi::ManifestT> GpuToy() {
  std::unique_ptr<abi::ManifestT> manifest = SmallToyManifest();
  abi::CodeT &code = *manifest->code[0];
  code.target = "cuda";
  code.cpu = "sm_80";
  code.format = abi::CodeFormat::ptx;
  code.features = 0;
  for (auto &kernel : manifest->kernels) {
    kernel->symbol = kernel->name;
    kernel->resources.push_back(Resources(0));
  }
  for (auto &entry : manifest->entries) {
    for (uint32_t tokens : {2u, kToyMaxTokens}) {
      auto one = std::make_unique<abi::StepClassT>();
      one->max_tokens = tokens;
      one->max_sequences = std::min(tokens, kToyMaxSequences);
      one->max_outputs = tokens;
      for (const auto &launch : entry->launches)
        one->launches.push_back(std::make_unique<abi::LaunchT>(*launch));
      entry->classes.push_back(std::move(one));
    }
    entry->launches.clear();
  }
  return manifest;
}

headrace_status_t OpenChanged(const Change &change, bool inspect = true) {
  std::unique_ptr<abi::ManifestT> manifest = GpuToy();
  change(*manifest);
  std::vector<uint8_t> file = ToyFile(*manifest);
  Instance instance = MakeInstance();
  headrace_package_options_t options = {};
  options.inspect_only = inspect;
  headrace_package_t *package;
  headrace_status_t status =
      runtime::OpenPackageFromMemory(instance.get(), file.data(), file.size(),
                                     options, &package)
          .Release();
  headrace_package_release(package);
  return status;
}

/// The first launch of the language model's first class as a product.
abi::MatmulT &MakeProduct(abi::ManifestT &m) {
  abi::LaunchT &launch = *m.entries[0]->classes[0]->launches[0];
  launch.kind = abi::LaunchKind::matmul;
  launch.weights = {1};
  launch.matmul = std::make_unique<abi::MatmulT>();
  launch.matmul->rows = abi::RowKind::tokens;
  launch.matmul->in = launch.matmul->x_stride = 2;
  launch.matmul->out = launch.matmul->y_stride = 4;
  launch.matmul->element = abi::ElementType::bf16;
  launch.matmul->y_element = abi::ElementType::f32;
  return *launch.matmul;
}

/// The same with a bias, of which its blob holds all but a few numbers.
void MakeBiased(abi::ManifestT &m) {
  abi::MatmulT &product = MakeProduct(m);
  product.in = product.x_stride = 1;
  product.out = product.y_stride =
      static_cast<uint32_t>(m.blobs[m.weights[1]->blob]->bytes / 4 + 8);
  m.buffers[0]->bytes = 1 << 18;
  m.entries[0]->classes[0]->launches[0]->weights = {1, 1};
}

TEST(ManifestGpu, TheToyIsFine) {
  EXPECT_TRUE(IsOk(OpenChanged([](abi::ManifestT &) {})));
  EXPECT_TRUE(IsOk(OpenChanged([](abi::ManifestT &m) { MakeProduct(m); })));
}

struct Case {
  const char *name;
  Change change;
  const char *message;
  headrace_status_code_t code = HEADRACE_STATUS_DATA_LOSS;
};

class ManifestGpuDamage : public ::testing::TestWithParam<Case> {};

TEST_P(ManifestGpuDamage, IsRefused) {
  EXPECT_TRUE(FailsWith(OpenChanged(GetParam().change), GetParam().code,
                        GetParam().message));
}

#define CHANGE(Statement) [](abi::ManifestT &m) { Statement; }
#define RESOURCES m.kernels[1]->resources
#define CLASSES m.entries[0]->classes
#define LAUNCH0 m.entries[0]->classes[0]->launches[0]
#define LAUNCH m.entries[0]->classes[1]->launches[2]

INSTANTIATE_TEST_SUITE_P(
    Fields, ManifestGpuDamage,
    ::testing::Values(
        Case{"format_unknown",
             CHANGE(m.code[0]->format = static_cast<abi::CodeFormat>(9)),
             "format 9", HEADRACE_STATUS_UNIMPLEMENTED},
        Case{"format_image", CHANGE(m.code[0]->format = abi::CodeFormat::image),
             "does not fit"},
        Case{"kernel_without_symbol", CHANGE(m.kernels[1]->symbol = ""),
             "kernel #1"},
        Case{"kernel_nowhere", CHANGE(RESOURCES.clear()), "kernel #1"},
        Case{"kernel_twice", CHANGE(RESOURCES.push_back(Resources(0))),
             "twice"},
        Case{"kernel_code", CHANGE(RESOURCES[0]->code = 1), "for no GPU"},
        Case{"threads_zero", CHANGE(RESOURCES[0]->threads = 0), "threads"},
        Case{"threads_part", CHANGE(RESOURCES[0]->threads = 33), "threads"},
        Case{"threads_many", CHANGE(RESOURCES[0]->threads = 1056), "threads"},
        Case{"shared", CHANGE(RESOURCES[0]->shared_bytes = 232449), "shared"},
        Case{"registers", CHANGE(RESOURCES[0]->registers = 256), "registers"},
        Case{"local", CHANGE(RESOURCES[0]->local_bytes = UINT32_MAX), "local"},
        Case{"class_code", CHANGE(CLASSES[0]->code = 1), "for no GPU"},
        Case{"class_tokens", CHANGE(CLASSES[0]->max_tokens = 0), "class #0"},
        Case{"class_many_tokens", CHANGE(CLASSES[0]->max_tokens = 9),
             "class #0"},
        Case{"class_sequences", CHANGE(CLASSES[0]->max_sequences = 0),
             "class #0"},
        Case{"class_outputs", CHANGE(CLASSES[0]->max_outputs = 0), "class #0"},
        Case{"class_order", CHANGE(std::swap(CLASSES[0], CLASSES[1])),
             "class #0 is larger"},
        Case{"class_last", CHANGE(CLASSES.pop_back()), "every step"},
        Case{"launch_kind",
             CHANGE(LAUNCH->kind = static_cast<abi::LaunchKind>(5)), "kind 5",
             HEADRACE_STATUS_UNIMPLEMENTED},
        Case{"launch_kernel", CHANGE(LAUNCH->kernel = 99), "kernel 99"},
        Case{"launch_weight", CHANGE(LAUNCH->weights[0] = 99),
             "weights 99 + 1 of 2"},
        Case{"launch_buffer", CHANGE(LAUNCH->buffers[0] = 99), "buffer 99"},
        Case{"launch_parameters",
             CHANGE(LAUNCH->buffers.resize(600, LAUNCH->buffers[0])),
             "parameters"},
        Case{"cpu_launch",
             CHANGE(m.entries[0]->launches.push_back(
                 std::make_unique<abi::LaunchT>(*LAUNCH))),
             "no code of a CPU"},
        Case{"product_sizes", CHANGE(LAUNCH->kind = abi::LaunchKind::matmul),
             "no sizes"},
        Case{"product_rows",
             CHANGE(MakeProduct(m).rows = abi::RowKind::sequences), "rows"},
        Case{"product_elements",
             CHANGE(MakeProduct(m).element = abi::ElementType::i32), "floats"},
        Case{"product_overlap", CHANGE(MakeProduct(m).x_stride = 1), "overlap"},
        Case{"product_large", CHANGE(MakeProduct(m).y_stride = UINT32_MAX),
             "more rows"},
        Case{"product_bias", CHANGE(MakeBiased(m)), "a longer bias"},
        Case {
          "product_weight",
              CHANGE(MakeProduct(m).out = 4096; m.buffers[0]->bytes = 1 << 17;
                     LAUNCH0->matmul->y_stride = 4096),
              "more weights"
        }),
    [](const ::testing::TestParamInfo<Case> &info) {
      return std::string(info.param.name);
    });

/// Whether it can run is asked when a session is made, for a device.
TEST(ManifestGpu, ThePackageOpens) {
  EXPECT_TRUE(IsOk(OpenChanged([](abi::ManifestT &) {}, false)));
}

} // namespace
} // namespace headrace::tests
