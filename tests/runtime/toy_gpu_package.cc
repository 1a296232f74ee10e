// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Toy package for GPUs: the toy's manifest with other code.
#include "tests/runtime/toy_gpu_package.h"

#include "runtime/src/digest.h"
#include "tests/runtime/toy_gpu_kernels.h"

// The text that the build made of toy_gpu_kernels.c.
__asm__(".section .rodata\n"
        "toy_gpu_ptx_begin: .incbin \"" HEADRACE_TOY_PTX "\"\n"
        "toy_gpu_ptx_end: .byte 0\n"
        ".previous\n");
extern "C" const uint8_t toy_gpu_ptx_begin[];
extern "C" const uint8_t toy_gpu_ptx_end[];

namespace headrace::tests {
namespace {

std::unique_ptr<abi::LaunchT> Copy(const abi::LaunchT &launch) {
  auto copy = std::make_unique<abi::LaunchT>();
  copy->kernel = launch.kernel;
  copy->buffers = launch.buffers;
  copy->weights = launch.weights;
  copy->grid_kind = launch.grid_kind;
  copy->grid_base = launch.grid_base;
  copy->grid_block = launch.grid_block;
  copy->grid_limit = launch.grid_limit;
  return copy;
}

/// What stands for the kernels of the toy that only processors have.
const char *SymbolOf(const std::string &kernel) {
  if (kernel == "stuck" || kernel == "busy")
    return "toy_gpu_empty";
#define SYMBOL(Name, Buffers, Weights)                                         \
  if ("toy_gpu_" + kernel == #Name)                                            \
    return #Name;
  TOY_GPU_KERNELS(SYMBOL)
#undef SYMBOL
  return "";
}

} // namespace

std::vector<uint8_t> ToyGpuCode() {
  return std::vector<uint8_t>(toy_gpu_ptx_begin, toy_gpu_ptx_end + 1);
}

/// The same entries on a GPU, with steps, where there are any, in each class.
static void MoveToGpu(abi::ManifestT *manifest, uint32_t threads) {
  const std::vector<uint8_t> text = ToyGpuCode();
  abi::CodeT &code = *manifest->code[0];
  code.target = HEADRACE_GPU_TARGET;
  code.cpu = "sm_80";
  code.format = abi::CodeFormat::ptx;
  code.kernel_abi_version = HEADRACE_GPU_KERNEL_ABI_VERSION;
  code.bytes = text.size();
  code.xxh3 = runtime::Digest(text.data(), text.size());

  auto clear = std::make_unique<abi::KernelT>();
  clear->name = "clear";
  clear->family = "toy";
  manifest->kernels.push_back(std::move(clear));
  const auto clear_index = static_cast<uint32_t>(manifest->kernels.size() - 1);
  for (auto &kernel : manifest->kernels) {
    kernel->entry_offset = 0;
    kernel->scratch_bytes = 0;
    kernel->symbol = SymbolOf(kernel->name);
    auto resources = std::make_unique<abi::KernelResourcesT>();
    resources->threads = threads;
    kernel->resources.push_back(std::move(resources));
  }

  // Shorter than on a processor: here it cannot be stopped.
  if (manifest->entries.size() > kSlow)
    manifest->entries[kSlow]->launches[0]->grid_base = 1 << 18;
  auto cleared = Copy(*manifest->entries[kCount]->launches[0]);
  cleared->kernel = clear_index;
  cleared->grid_base = 1;
  auto &count = manifest->entries[kCount]->launches;
  count.insert(count.begin(), std::move(cleared));

  for (auto &entry : manifest->entries) {
    for (uint32_t i = 0; i < kToyGpuClasses; ++i) {
      auto one = std::make_unique<abi::StepClassT>();
      one->max_tokens = i ? kToyMaxTokens : 1;
      one->max_sequences = i ? kToyMaxSequences : 1;
      one->max_outputs = i ? kToyMaxTokens : 1;
      for (const auto &launch : entry->launches)
        one->launches.push_back(Copy(*launch));
      for (const auto &step : entry->steps)
        one->steps.push_back(std::make_unique<abi::StepT>(*step));
      entry->classes.push_back(std::move(one));
    }
    entry->launches.clear();
    entry->steps.clear();
  }
}

std::unique_ptr<abi::ManifestT> ToyGpuManifest(uint32_t threads) {
  std::unique_ptr<abi::ManifestT> manifest = ToyManifest();
  MoveToGpu(manifest.get(), threads);
  return manifest;
}

std::unique_ptr<abi::ManifestT> PlannedToyGpuManifest(bool staged) {
  std::unique_ptr<abi::ManifestT> manifest = PlannedToyManifest();
  MoveToGpu(manifest.get(), 32);
  abi::PlanT &plan = *manifest->plan;
  abi::BundleT &bundle = *plan.bundles[0];
  manifest->levels[0]->name = "hbm";
  auto host = std::make_unique<abi::LevelT>();
  host->name = "dram";
  plan.home_level = 1;
  auto peak = std::make_unique<abi::PeakT>();
  peak->level = plan.home_level;
  auto part = std::make_unique<abi::PartT>();
  if (staged) {
    plan.staging_bytes = 2 * bundle.bytes;
    part->kind = abi::PartKind::staging;
  } else {
    bundle.home = 0;
    part->kind = abi::PartKind::home;
  }
  host->bytes = host->arena_bytes = peak->bytes = part->bytes =
      staged ? plan.staging_bytes : bundle.bytes;
  peak->parts.push_back(std::move(part));
  manifest->certificate.push_back(std::move(peak));
  manifest->levels.push_back(std::move(host));
  SealPlan(manifest.get());
  return manifest;
}

std::vector<uint8_t> PlannedToyGpuFile(bool staged) {
  return ToyFile(*PlannedToyGpuManifest(staged), ToyGpuCode());
}

std::vector<uint8_t> PagedToyGpuFile() {
  std::unique_ptr<abi::ManifestT> manifest = HousedToyManifest();
  MoveToGpu(manifest.get(), 32);
  manifest->levels[0]->name = "hbm";
  manifest->levels[1]->name = "dram";
  SealPlan(manifest.get());
  return ToyFile(*manifest, ToyGpuCode());
}

std::vector<uint8_t> ToyGpuFile() {
  return ToyFile(*ToyGpuManifest(), ToyGpuCode());
}

std::vector<uint8_t> MatmulToyGpuFile(size_t launches) {
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

} // namespace headrace::tests
