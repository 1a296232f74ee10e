// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// LLVM's optimisations of generated code.
#ifndef HEADRACE_COMPILER_CODEGEN_OPTIMISECODE_H
#define HEADRACE_COMPILER_CODEGEN_OPTIMISECODE_H

namespace llvm {
class Module;
class TargetMachine;
} // namespace llvm

namespace headrace {

/// Runs the pipeline of -O2 but for vectorisers: the emitters have made the
/// vectors, and to make them again costs time and registers. They have also
/// unrolled what is worth it; small loops are unrolled further where `unroll`.
void optimiseCode(llvm::Module &module, llvm::TargetMachine &machine,
                  bool unroll);

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_OPTIMISECODE_H
