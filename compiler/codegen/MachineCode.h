// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// From LLVM IR to the code of a target, by LLVM's back ends.
#ifndef HEADRACE_COMPILER_CODEGEN_MACHINECODE_H
#define HEADRACE_COMPILER_CODEGEN_MACHINECODE_H

#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/CodeGen.h"
#include "llvm/Support/Error.h"
#include "llvm/Target/TargetMachine.h"
#include <memory>

namespace headrace {

/// The back end for `cpu` of `triple`, which must have been initialised.
/// Multiplications and additions are joined only where the code says fma.
llvm::Expected<std::unique_ptr<llvm::TargetMachine>>
createTargetMachine(llvm::StringRef triple, llvm::StringRef cpu,
                    llvm::StringRef features,
                    std::optional<llvm::CodeModel::Model> model = {});

/// What a module's triple and data layout have to say before it is optimised.
void setTarget(llvm::Module &module, const llvm::TargetMachine &machine);

/// Optimises `module` and returns its code as an object file or as text.
///
/// The pipeline is that of -O2 but for vectorisers: the emitters have made the
/// vectors, and to make them again costs time and registers. They have also
/// unrolled what is worth it; small loops are unrolled further where `unroll`.
llvm::Expected<llvm::SmallVector<char, 0>>
generateCode(llvm::Module &module, llvm::TargetMachine &machine, bool unroll,
             llvm::CodeGenFileType type);

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_MACHINECODE_H
