// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Descriptions of machines: those that are shipped, and files.
#ifndef HEADRACE_COMPILER_MACHINE_LOADMACHINE_H
#define HEADRACE_COMPILER_MACHINE_LOADMACHINE_H

#include "compiler/machine/Machine.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace mlir {
class MLIRContext;
} // namespace mlir

namespace headrace {
namespace tier {
class MachineAttr;
} // namespace tier

/// A description that is part of the program. The text is one #tier.machine
/// with comments that name the source of each number.
struct ShippedMachine {
  llvm::StringRef name, text;
};

/// All of them, by name.
llvm::ArrayRef<ShippedMachine> shippedMachines();

/// Reads a shipped machine or, where no machine is called so, a file with one
/// #tier.machine. `context` has the tier dialect loaded. What MLIR finds wrong
/// in the text goes to the context's diagnostics.
llvm::Expected<tier::MachineAttr> loadMachine(mlir::MLIRContext *context,
                                              llvm::StringRef nameOrFile);

/// The same as plain data. The error says what is wrong in the text.
llvm::Expected<Machine> loadMachine(llvm::StringRef nameOrFile);

} // namespace headrace

#endif // HEADRACE_COMPILER_MACHINE_LOADMACHINE_H
