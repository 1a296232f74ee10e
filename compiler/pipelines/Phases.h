// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The named phases of a compilation: what holds after each, how to stop at one
// and how to go on from one.
#ifndef HEADRACE_COMPILER_PIPELINES_PHASES_H
#define HEADRACE_COMPILER_PIPELINES_PHASES_H

#include "compiler/codegen/BufferLayout.h"
#include "compiler/codegen/cpu/CpuTarget.h"
#include "compiler/transforms/PlanMemory.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <functional>
#include <optional>
#include <string>

namespace headrace {

/// In order. `package`, the last one, is a file and no module.
enum class Phase { model, specialized, dataflow, tiered, kernels, package };

llvm::StringRef phaseName(Phase phase);
/// The phase of that name, or an error that lists the names.
llvm::Expected<Phase> parsePhase(llvm::StringRef name);

struct EmitOptions;

struct PhaseOptions {
  CpuTarget target;
  std::string gpu; ///< Name of the GPU to compile for; empty: the CPU.
  /// For a GPU: its library runs dense products of steps of many tokens.
  bool library = false;
  StepLimits limits;
  Phase from = Phase::model; ///< The phase the module is already in.
  Phase to = Phase::kernels; ///< The phase to stop at.
  bool verify = true;        ///< Check each phase's rules at its end.
  /// Phase `tiered` plans fast memory where this is given.
  std::optional<MemoryPlanOptions> plan;
  std::string dumpDirectory; ///< Where each phase is printed; empty: nowhere.
  std::function<void(llvm::StringRef)> progress; ///< Called with each name.
};

/// Takes `module` from one phase to another. Errors are also emitted as
/// diagnostics with their location.
llvm::Error runPhases(mlir::ModuleOp module, const PhaseOptions &options);

/// The sizes of tile programs for a processor.
EmitOptions emitOptionsFor(const CpuTarget &target);

/// Registers the passes that take a module from phase to phase and are no
/// passes of `compiler/transforms`.
void registerPhasePasses();

/// Which ops may exist after `phase`; an error names the first one that may
/// not.
llvm::Error verifyPhase(mlir::ModuleOp module, Phase phase);

} // namespace headrace

#endif // HEADRACE_COMPILER_PIPELINES_PHASES_H
