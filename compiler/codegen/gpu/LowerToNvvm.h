// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Lowers GPU kernels to the LLVM and NVVM dialects.
#ifndef HEADRACE_COMPILER_CODEGEN_GPU_LOWERTONVVM_H
#define HEADRACE_COMPILER_CODEGEN_GPU_LOWERTONVVM_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringRef.h"

namespace headrace {

/// One module of the LLVM dialect with the kernels of those `gpu.module`s of
/// `module` that are in code section `section` (see kSectionAttr); `module` is
/// left as it is. Null after a diagnostic. Mathematical
/// functions are polynomials then: nothing of a toolkit is linked.
mlir::OwningOpRef<mlir::ModuleOp> lowerToNvvm(mlir::ModuleOp module,
                                              llvm::StringRef section);

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_GPU_LOWERTONVVM_H
