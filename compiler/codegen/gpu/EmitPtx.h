// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Turns GPU kernels into PTX, and PTX into machine code.
#ifndef HEADRACE_COMPILER_CODEGEN_GPU_EMITPTX_H
#define HEADRACE_COMPILER_CODEGEN_GPU_EMITPTX_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <map>
#include <string>
#include <vector>

namespace headrace {

/// What the assembler says of one kernel.
struct GpuResources {
  int64_t registers = 0;   ///< Of a thread.
  int64_t localBytes = 0;  ///< Stack of a thread.
  int64_t spillBytes = 0;  ///< Stores and loads of spilled registers.
  int64_t sharedBytes = 0; ///< Static shared memory of a block.
};

struct Cubin {
  std::vector<char> bytes;
  std::map<std::string, GpuResources> kernels;
};

/// The PTX of the `gpu.module`s of `module` that are in code section `section`,
/// for `chip`. `module` is left as it is. Errors are emitted as diagnostics,
/// too.
llvm::Expected<std::string> emitPtx(mlir::ModuleOp module, llvm::StringRef chip,
                                    llvm::StringRef section);

/// Assembles `ptx` for `chip` with the program `ptxas`.
llvm::Expected<Cubin> assemble(llvm::StringRef ptx, llvm::StringRef chip,
                               const std::string &ptxas);

/// Reads what `ptxas -v` printed.
std::map<std::string, GpuResources> parseResources(llvm::StringRef text);

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_GPU_EMITPTX_H
