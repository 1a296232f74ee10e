// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Manifest, GPU part: checks of what only a GPU driver reads.
#include "runtime/src/manifest_gpu.h"

#include "runtime/abi/gpu_kernel_abi.h"

#include <cinttypes>

namespace headrace::runtime {
namespace {

/// A macro, so that the compiler checks the format.
#define DAMAGED(...)                                                           \
  MakeStatus(allocator, HEADRACE_STATUS_DATA_LOSS, __VA_ARGS__)

const abi::KernelResources *ResourcesOf(const abi::Kernel &kernel,
                                        uint32_t code) {
  if (kernel.resources())
    for (const abi::KernelResources *one : *kernel.resources())
      if (one->code() == code)
        return one;
  return nullptr;
}

bool IsFloat(abi::ElementType type) {
  return type == abi::ElementType::f32 || type == abi::ElementType::bf16 ||
         type == abi::ElementType::f16;
}

/// Bytes of `rows` rows that are `stride` elements apart, the last of `width`.
uint64_t RowBytes(uint64_t rows, uint64_t stride, uint64_t width,
                  abi::ElementType type) {
  // 24, 32 and 3 bits.
  return ((rows - 1) * stride + width) *
         (type == abi::ElementType::f32 ? 4 : 2);
}

class ClassChecker {
public:
  ClassChecker(const Allocator &allocator, const abi::Manifest &manifest,
               uint32_t entry)
      : allocator(allocator), manifest(manifest), entry(entry) {}

  Status Run() {
    const auto *classes = manifest.entries()->Get(entry)->classes();
    if (!classes)
      return Status();
    const abi::Limits &limits = *manifest.limits();
    for (uint32_t i = 0; i < classes->size(); ++i) {
      const abi::StepClass &one = *classes->Get(i);
      if (!IsGpuCode(manifest, one.code()))
        return DAMAGED("manifest: entry #%u: class #%u: code %u is for no GPU",
                       entry, i, one.code());
      if (one.max_tokens() == 0 || one.max_tokens() > limits.max_tokens() ||
          one.max_sequences() == 0 ||
          one.max_sequences() > limits.max_sequences() ||
          one.max_outputs() == 0 || one.max_outputs() > limits.max_tokens())
        return DAMAGED("manifest: entry #%u: class #%u: %u tokens, %u "
                       "sequences and %u outputs are no step of the package",
                       entry, i, one.max_tokens(), one.max_sequences(),
                       one.max_outputs());
      const abi::StepClass *next =
          i + 1 < classes->size() ? classes->Get(i + 1) : nullptr;
      bool last = !next || next->code() != one.code();
      if (last && (one.max_tokens() != limits.max_tokens() ||
                   one.max_sequences() != limits.max_sequences() ||
                   one.max_outputs() != limits.max_tokens()))
        return DAMAGED("manifest: entry #%u: class #%u: the last class of code "
                       "%u does not admit every step",
                       entry, i, one.code());
      if (!last && (next->max_tokens() < one.max_tokens() ||
                    next->max_sequences() < one.max_sequences() ||
                    next->max_outputs() < one.max_outputs()))
        return DAMAGED("manifest: entry #%u: class #%u is larger than the one "
                       "behind it",
                       entry, i);
      for (uint32_t j = i + 1; last && j < classes->size(); ++j)
        if (classes->Get(j)->code() == one.code())
          return DAMAGED("manifest: entry #%u: class #%u: classes of code %u "
                         "stand apart",
                         entry, j, one.code());
      for (uint32_t j = 0; j < one.launches()->size(); ++j)
        HEADRACE_RETURN_IF_ERROR(CheckLaunch(i, j, *one.launches()->Get(j)));
    }
    return Status();
  }

private:
  Status CheckLaunch(uint32_t number, uint32_t index,
                     const abi::Launch &launch) {
    const abi::StepClass &one =
        *manifest.entries()->Get(entry)->classes()->Get(number);
    if (launch.kind() == abi::LaunchKind::matmul)
      return CheckMatmul(number, index, launch);
    // The index was checked with the operands.
    const abi::Kernel &kernel = *manifest.kernels()->Get(launch.kernel());
    if (!kernel.symbol() || !ResourcesOf(kernel, one.code()))
      return DAMAGED("manifest: entry #%u: class #%u: launch #%u: kernel %u is "
                     "not in code %u",
                     entry, number, index, launch.kernel(), one.code());
    uint64_t bytes = 16 + uint64_t(launch.buffers()->size()) * 8 +
                     uint64_t(launch.weights()->size()) * 4;
    if (bytes > HEADRACE_GPU_MAX_PARAMETER_BYTES)
      return DAMAGED("manifest: entry #%u: class #%u: launch #%u: %" PRIu64
                     " bytes of parameters, expected at most %u",
                     entry, number, index, bytes,
                     HEADRACE_GPU_MAX_PARAMETER_BYTES);
    return Status();
  }

  Status CheckMatmul(uint32_t number, uint32_t index,
                     const abi::Launch &launch) {
    const abi::Matmul *product = launch.matmul();
    auto wrong = [&](const char *what) {
      return DAMAGED("manifest: entry #%u: class #%u: launch #%u: a product "
                     "with %s",
                     entry, number, index, what);
    };
    if (!product)
      return wrong("no sizes");
    if (launch.buffers()->size() != 2 || launch.weights()->size() == 0 ||
        launch.weights()->size() > 2)
      return wrong("other operands than x, y, w and a bias");
    if (product->rows() != abi::RowKind::tokens &&
        product->rows() != abi::RowKind::outputs)
      return wrong("rows that are neither tokens nor outputs");
    if (!IsFloat(product->element()) || !IsFloat(product->y_element()))
      return wrong("elements that are no floats");
    if (product->in() == 0 || product->out() == 0 ||
        product->x_stride() < product->in() ||
        product->y_stride() < product->out())
      return wrong("rows that overlap");
    const abi::StepClass &one =
        *manifest.entries()->Get(entry)->classes()->Get(number);
    uint64_t rows = product->rows() == abi::RowKind::tokens ? one.max_tokens()
                                                            : one.max_outputs();
    auto bytes = [&](uint32_t operand) {
      return manifest.buffers()->Get(launch.buffers()->Get(operand))->bytes();
    };
    if (bytes(0) < RowBytes(rows, product->x_stride(), product->in(),
                            product->element()) ||
        bytes(1) < RowBytes(rows, product->y_stride(), product->out(),
                            product->y_element()))
      return wrong("more rows than its buffers hold");
    auto held = [&](uint32_t operand) {
      const uint32_t blob =
          manifest.weights()->Get(launch.weights()->Get(operand))->blob();
      return manifest.blobs()->Get(blob)->bytes();
    };
    if (held(0) < RowBytes(product->out(), product->in(), product->in(),
                           product->element()))
      return wrong("more weights than there are");
    if (launch.weights()->size() > 1 &&
        held(1) <
            RowBytes(1, product->out(), product->out(), product->y_element()))
      return wrong("a longer bias than there is");
    return Status();
  }

  const Allocator &allocator;
  const abi::Manifest &manifest;
  const uint32_t entry;
};

} // namespace

bool IsGpuCode(const abi::Manifest &manifest, uint32_t index) {
  return index < manifest.code()->size() &&
         manifest.code()->Get(index)->target()->string_view() ==
             HEADRACE_GPU_TARGET;
}

Status CheckGpuCode(const Allocator &allocator, const abi::Manifest &manifest) {
  for (uint32_t i = 0; i < manifest.code()->size(); ++i) {
    const abi::Code *code = manifest.code()->Get(i);
    if (code->format() > abi::CodeFormat::MAX)
      return MakeStatus(allocator, HEADRACE_STATUS_UNIMPLEMENTED,
                        "manifest: code #%u: format %u is of a newer version",
                        i, static_cast<unsigned>(code->format()));
    if (IsGpuCode(manifest, i) == (code->format() == abi::CodeFormat::image))
      return DAMAGED("manifest: code #%u: format %u does not fit its target", i,
                     static_cast<unsigned>(code->format()));
    if (code->format() == abi::CodeFormat::image)
      continue;
    for (uint32_t j = 0; j < i; ++j) {
      const abi::Code *other = manifest.code()->Get(j);
      if (other->format() == code->format() &&
          other->cpu()->string_view() == code->cpu()->string_view())
        return DAMAGED("manifest: code #%u and #%u are both for '%.64s'", j, i,
                       code->cpu()->c_str());
    }
  }
  return Status();
}

Status CheckGpuKernel(const Allocator &allocator, const abi::Manifest &manifest,
                      uint32_t index) {
  const abi::Kernel &kernel = *manifest.kernels()->Get(index);
  if (kernel.symbol()->size() == 0 || !kernel.resources() ||
      kernel.resources()->size() == 0)
    return DAMAGED("manifest: kernel #%u: in no code section", index);
  for (uint32_t i = 0; i < kernel.resources()->size(); ++i) {
    const abi::KernelResources &one = *kernel.resources()->Get(i);
    if (!IsGpuCode(manifest, one.code()))
      return DAMAGED("manifest: kernel #%u: code %u is for no GPU", index,
                     one.code());
    if (ResourcesOf(kernel, one.code()) != &one)
      return DAMAGED("manifest: kernel #%u: twice in code %u", index,
                     one.code());
    if (one.threads() == 0 || one.threads() > HEADRACE_GPU_MAX_THREADS ||
        one.threads() % HEADRACE_GPU_WARP_THREADS)
      return DAMAGED("manifest: kernel #%u: %u threads, expected whole warps "
                     "of at most %u",
                     index, one.threads(), HEADRACE_GPU_MAX_THREADS);
    if (one.shared_bytes() > HEADRACE_GPU_MAX_SHARED_BYTES ||
        one.registers() > HEADRACE_GPU_MAX_REGISTERS ||
        one.local_bytes() > HEADRACE_GPU_MAX_LOCAL_BYTES)
      return DAMAGED("manifest: kernel #%u: %u bytes of shared memory, %u "
                     "registers and %u bytes of local memory are more than a "
                     "GPU has",
                     index, one.shared_bytes(), one.registers(),
                     one.local_bytes());
  }
  return Status();
}

Status CheckStepClasses(const Allocator &allocator,
                        const abi::Manifest &manifest, uint32_t index) {
  return ClassChecker(allocator, manifest, index).Run();
}

} // namespace headrace::runtime
