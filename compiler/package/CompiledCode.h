// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The machine code of a module's kernels, as a package has it.
#ifndef HEADRACE_COMPILER_PACKAGE_COMPILEDCODE_H
#define HEADRACE_COMPILER_PACKAGE_COMPILEDCODE_H

#include "compiler/codegen/cpu/CpuTarget.h"
#include "compiler/codegen/gpu/GpuTarget.h"
#include "dialects/flow/IR/Flow.h"
#include "mlir/IR/BuiltinOps.h"
#include "runtime/abi/package_generated.h"
#include "llvm/Support/Error.h"

namespace headrace {

/// The name of the GPU that `module` is compiled for; empty for a CPU.
llvm::StringRef gpuTargetOf(mlir::ModuleOp module);

/// One code section of a package.
struct CodeSection {
  std::string target, cpu;
  uint64_t features = 0;
  uint32_t abiVersion = 0;
  abi::CodeFormat format = abi::CodeFormat::image;
  std::vector<char> bytes;
  uint64_t offset = 1; ///< In the file; set when the package is laid out.
};

/// One kernel and what a launch needs to know of it.
struct CompiledKernel {
  std::string name, family;
  flow::GridAttr grid;
  std::vector<uint32_t> weightSlots;            ///< Of each weight operand.
  uint64_t entry = 0, scratchBytes = 0;         ///< CPU.
  std::vector<abi::KernelResourcesT> resources; ///< GPU: of each section.
};

struct CompiledCode {
  std::vector<CodeSection> sections;
  std::vector<CompiledKernel> kernels;
};

/// One image for `target`.
llvm::Expected<CompiledCode> compileForCpu(mlir::ModuleOp module,
                                           const CpuTarget &target);

/// A cubin for `target` and portable PTX; needs the assembler of a CUDA
/// toolkit, which it looks for in `toolkit` (see findPtxas). A kernel that
/// spills registers is an error.
llvm::Expected<CompiledCode> compileForGpu(mlir::ModuleOp module,
                                           const GpuTarget &target,
                                           llvm::StringRef toolkit);

} // namespace headrace

#endif // HEADRACE_COMPILER_PACKAGE_COMPILEDCODE_H
