// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Emitters of GPU kernels: one for each family. Like those of tile programs
// they are keyed by the ops of a kernel, never by a model's name.
#ifndef HEADRACE_COMPILER_CODEGEN_GPU_GPUEMITTERS_H
#define HEADRACE_COMPILER_CODEGEN_GPU_GPUEMITTERS_H

#include "compiler/codegen/gpu/GpuTarget.h"
#include "compiler/codegen/gpu/KernelBuilder.h"
#include <optional>

namespace headrace {

/// A class of steps; each has kernels of its own.
enum class StepSize {
  few, ///< At most kFewTokens tokens: one block of tokens for tensor cores.
  many,
  every,         ///< Any number of tokens: kernels that all classes share.
  manyWarpgroups ///< The same with warpgroups' instructions, which only sm_90a
                 ///< has; where it differs, `many` is for portable code only.
};
constexpr int64_t kFewTokens = 8;
/// Steps of more tokens than this leave dense products to the driver's library,
/// where they may: a class with any is not captured, so it has to be worth it.
constexpr int64_t kLibraryTokens = 256;

/// Which code sections have a kernel or run a schedule, on `gpu.module` and
/// `flow.schedule`; all of them where absent.
constexpr const char *kSectionAttr = "headrace.section", *kCubin = "cubin",
                     *kPtx = "ptx";

llvm::StringRef stepSizeName(StepSize size);

/// Whether a kernel or a schedule belongs to code section kCubin or kPtx.
bool isInSection(mlir::Operation *op, llvm::StringRef section);

/// On a `gpu.module` without a function: the product that the driver's library
/// runs in its place. A dictionary of what the manifest's Matmul holds.
constexpr const char *kProductAttr = "headrace.product";

/// On the module, where large dense products are the library's.
constexpr const char *kLibraryAttr = "headrace.library";

/// Arguments of a flow.kernel that the driver's library reads.
struct LibraryOperands {
  std::optional<unsigned> x; ///< Absent: the workspace.
  unsigned weight = 0;
  std::optional<unsigned> bias;
};

/// One kernel that a flow.kernel became.
struct DeviceKernel {
  std::string name;
  llvm::SmallVector<ExtraBuffer> extras;
  std::optional<LibraryOperands> library; ///< Absent: code of our own.
};

/// What a flow.kernel becomes for one class of steps: kernels launched in
/// order, and what they need besides its operands and results.
struct Expansion {
  llvm::SmallVector<DeviceKernel> kernels;
  int64_t workspaceBytes = 0, partialBytes = 0;
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
HEADRACE_GPU_EMITTER(emitGpuEmbed);
HEADRACE_GPU_EMITTER(emitGpuLinear);
HEADRACE_GPU_EMITTER(emitGpuLoops);
HEADRACE_GPU_EMITTER(emitGpuRoutedDown);
HEADRACE_GPU_EMITTER(emitGpuRoutedUp);
HEADRACE_GPU_EMITTER(emitGpuRouter);
#undef HEADRACE_GPU_EMITTER

/// Makes a `gpu.module` with kProductAttr behind `kernel`, where the driver's
/// library can run its product as it is; rows that are not ready are those that
/// a kernel of the step left in the workspace.
std::optional<DeviceKernel> libraryProduct(flow::KernelOp kernel,
                                           const StepLimits &limits);

/// Buffers that kernels have besides their operands, see ExtraBuffer. Launches
/// of different layers share them.
constexpr const char *kWorkspace = "gpu.workspace", *kPartials = "gpu.partials",
                     *kTickets = "gpu.tickets";

/// How large they must be, in whole cache lines.
struct GpuWorkspace {
  uint64_t workspaceBytes = 0, partialBytes = 0, ticketBytes = 0;
};
/// Makes the kernels of `module` to find out, and leaves it half rewritten.
mlir::FailureOr<GpuWorkspace> measureGpuWorkspace(mlir::ModuleOp module,
                                                  const GpuTarget &target);

/// Replaces every `flow.kernel` of a placed module by `gpu.module`s with a
/// kernel each, and every schedule by one a class of steps. A kernel that
/// cannot be made is an error at its op.
mlir::LogicalResult emitGpuKernels(mlir::ModuleOp module,
                                   const GpuTarget &target);

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_GPU_GPUEMITTERS_H
