// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Writes a module of the `kernels` phase as a package file.
#ifndef HEADRACE_COMPILER_PACKAGE_WRITEPACKAGE_H
#define HEADRACE_COMPILER_PACKAGE_WRITEPACKAGE_H

#include "compiler/codegen/cpu/CpuTarget.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <functional>
#include <string>

namespace headrace {

struct PackageOptions {
  CpuTarget target; ///< Where the module is not for a GPU.
  /// Directory of a CUDA toolkit, for a GPU; where empty it is looked for.
  std::string cudaToolkit;
  /// Directory of the weights' files; the module's `headrace.checkpoint` where
  /// empty.
  std::string checkpoint;
  /// Called while weights are packed, with bytes done and bytes in all.
  std::function<void(uint64_t, uint64_t)> progress;
};

/// Emits the code of `module`, packs its weights and writes `path`. Free space
/// is checked first; the file appears under its name only when it is whole, and
/// nothing is left behind after an error. The same input gives the same bytes.
llvm::Error writePackage(mlir::ModuleOp module, llvm::StringRef path,
                         const PackageOptions &options);

} // namespace headrace

#endif // HEADRACE_COMPILER_PACKAGE_WRITEPACKAGE_H
