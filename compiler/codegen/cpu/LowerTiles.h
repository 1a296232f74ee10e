// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Lowers tile programs to vector code for one processor core.
#ifndef HEADRACE_COMPILER_CODEGEN_CPU_LOWERTILES_H
#define HEADRACE_COMPILER_CODEGEN_CPU_LOWERTILES_H

#include "compiler/codegen/cpu/CpuTarget.h"
#include "mlir/IR/BuiltinOps.h"

namespace headrace {

/// Replaces every `flow.program` of `module` by an `llvm.func` of the kernel
/// ABI (runtime/abi/kernel_abi.h). Afterwards the module's functions hold
/// `scf`, `arith`, `math`, `vector` and `llvm` ops only.
mlir::LogicalResult lowerTilesToVectors(mlir::ModuleOp module,
                                        const CpuTarget &target);

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_CPU_LOWERTILES_H
