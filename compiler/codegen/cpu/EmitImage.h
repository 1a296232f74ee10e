// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Turns lowered kernels into one position-independent image.
#ifndef HEADRACE_COMPILER_CODEGEN_CPU_EMITIMAGE_H
#define HEADRACE_COMPILER_CODEGEN_CPU_EMITIMAGE_H

#include "compiler/codegen/cpu/CpuTarget.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/Error.h"
#include <map>
#include <string>
#include <vector>

namespace headrace {

/// Code and constants of all kernels: bytes that run wherever they are mapped,
/// with no undefined symbol, no writable data and nothing to relocate.
struct CpuImage {
  std::vector<char> bytes;
  std::map<std::string, uint64_t> entries; ///< Kernel name to offset.
};

/// Lowers the vector code of `module` (see lowerTilesToVectors) to the LLVM
/// dialect: math is expanded to polynomials here, so that no call is left.
mlir::LogicalResult lowerVectorsToLLVM(mlir::ModuleOp module,
                                       const CpuTarget &target);

/// Translates an LLVM-dialect module, optimises it and lays its code out.
/// Errors name the symbol that stayed undefined or the relocation that could
/// not be resolved.
llvm::Expected<CpuImage> emitImage(mlir::ModuleOp module,
                                   const CpuTarget &target);

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_CPU_EMITIMAGE_H
