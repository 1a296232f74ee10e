// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Emitters of GPU kernels: one for each family. Like those of tile programs
// they are keyed by the ops of a kernel, never by a model's name.
#ifndef HEADRACE_COMPILER_CODEGEN_GPU_GPUEMITTERS_H
#define HEADRACE_COMPILER_CODEGEN_GPU_GPUEMITTERS_H

#include "compiler/codegen/gpu/GpuTarget.h"
#include "compiler/codegen/gpu/KernelBuilder.h"

namespace headrace {

/// A class of steps; each has kernels of its own.
enum class StepSize {
  few, ///< At most kFewTokens tokens: one block of tokens for tensor cores.
  many,
  manyWarpgroups ///< The same with warpgroups' instructions, which only sm_90a
                 ///< has; where it differs, `many` is for portable code only.
};
constexpr int64_t kFewTokens = 8;

/// Which code sections have a kernel or run a schedule, on `gpu.module` and
/// `flow.schedule`; all of them where absent.
constexpr const char *kSectionAttr = "headrace.section", *kCubin = "cubin",
                     *kPtx = "ptx";

llvm::StringRef stepSizeName(StepSize size);

/// Whether a kernel or a schedule belongs to code section kCubin or kPtx.
bool isInSection(mlir::Operation *op, llvm::StringRef section);

/// One kernel that a flow.kernel became.
struct DeviceKernel {
  std::string name;
  llvm::SmallVector<ExtraBuffer> extras;
};

/// What a flow.kernel becomes for one class of steps: kernels launched in
/// order, and what they need besides its operands and results.
struct Expansion {
  llvm::SmallVector<DeviceKernel> kernels;
  int64_t workspaceBytes = 0;
  int64_t tickets = 0;

  /// Notes a kernel that a builder is about to make.
  const DeviceKernel &add(flow::KernelOp kernel, StepSize size,
                          llvm::StringRef part,
                          llvm::ArrayRef<ExtraBuffer> extras);
};

struct GpuOptions {
  GpuTarget target;
  StepLimits limits;
};

#define HEADRACE_GPU_EMITTER(name)                                             \
  mlir::LogicalResult name(flow::KernelOp, const GpuOptions &, StepSize,       \
                           Expansion &)
HEADRACE_GPU_EMITTER(emitGpuAngles);
HEADRACE_GPU_EMITTER(emitGpuAttention);
HEADRACE_GPU_EMITTER(emitGpuElementwise);
HEADRACE_GPU_EMITTER(emitGpuEmbed);
HEADRACE_GPU_EMITTER(emitGpuLinear);
HEADRACE_GPU_EMITTER(emitGpuRoutedDown);
HEADRACE_GPU_EMITTER(emitGpuRoutedUp);
HEADRACE_GPU_EMITTER(emitGpuRouter);
#undef HEADRACE_GPU_EMITTER

/// Replaces every `flow.kernel` of a placed module by `gpu.module`s with a
/// kernel each, and every schedule by one a class of steps. A kernel that
/// cannot be made is an error at its op.
mlir::LogicalResult emitGpuKernels(mlir::ModuleOp module,
                                   const GpuTarget &target);

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_GPU_GPUEMITTERS_H
