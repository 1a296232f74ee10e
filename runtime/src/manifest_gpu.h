// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Manifest, GPU part: the checks of code sections, kernels and step classes
// that only a GPU driver reads.
#ifndef HEADRACE_RUNTIME_SRC_MANIFEST_GPU_H
#define HEADRACE_RUNTIME_SRC_MANIFEST_GPU_H

#include "runtime/abi/package_generated.h"
#include "runtime/src/status.h"

namespace headrace::runtime {

/// Whether code section `index` exists and is for GPUs.
bool IsGpuCode(const abi::Manifest &manifest, uint32_t index);

/// Each GPU section has a format of its own, and no two are for the same chip.
Status CheckGpuCode(const Allocator &allocator, const abi::Manifest &manifest);

/// Kernel `index`, which has a symbol: what it needs of each section is within
/// the limits of gpu_kernel_abi.h.
Status CheckGpuKernel(const Allocator &allocator, const abi::Manifest &manifest,
                      uint32_t index);

/// The step classes of entry `index`, but for the operands and grids of their
/// launches: bounds, kernels, library products, and that each section's classes
/// grow and the last one admits every step.
Status CheckStepClasses(const Allocator &allocator,
                        const abi::Manifest &manifest, uint32_t index);

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_MANIFEST_GPU_H
