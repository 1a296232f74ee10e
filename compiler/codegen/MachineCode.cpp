// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// From LLVM IR to the code of a target, by LLVM's back ends.
#include "compiler/codegen/MachineCode.h"

#include "llvm/Analysis/CGSCCPassManager.h"
#include "llvm/Analysis/LoopAnalysisManager.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Target/TargetOptions.h"
#include "llvm/TargetParser/Triple.h"

llvm::Expected<std::unique_ptr<llvm::TargetMachine>>
headrace::createTargetMachine(llvm::StringRef triple, llvm::StringRef cpu,
                              llvm::StringRef features,
                              std::optional<llvm::CodeModel::Model> model) {
  std::string message;
  llvm::Triple parsed(triple);
  const llvm::Target *target =
      llvm::TargetRegistry::lookupTarget(parsed, message);
  if (!target)
    return llvm::createStringError("this LLVM has no back end for '%s'",
                                   triple.str().c_str());
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;
  return std::unique_ptr<llvm::TargetMachine>(target->createTargetMachine(
      parsed, cpu, features, options, llvm::Reloc::PIC_, model,
      llvm::CodeGenOptLevel::Aggressive));
}

void headrace::setTarget(llvm::Module &module,
                         const llvm::TargetMachine &machine) {
  module.setTargetTriple(machine.getTargetTriple());
  module.setDataLayout(machine.createDataLayout());
}

static void optimise(llvm::Module &module, llvm::TargetMachine &machine,
                     bool unroll) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager graphs;
  llvm::ModuleAnalysisManager modules;
  llvm::PipelineTuningOptions tuning;
  if (!unroll)
    tuning.LoopUnrolling = false;
  tuning.LoopVectorization = false;
  tuning.SLPVectorization = false;
  llvm::PassBuilder builder(&machine, tuning);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(graphs);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, graphs, modules);
  builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O2)
      .run(module, modules);
}

llvm::Expected<llvm::SmallVector<char, 0>>
headrace::generateCode(llvm::Module &module, llvm::TargetMachine &machine,
                       bool unroll, llvm::CodeGenFileType type) {
  optimise(module, machine, unroll);
  llvm::SmallVector<char, 0> code;
  llvm::raw_svector_ostream stream(code);
  llvm::legacy::PassManager passes;
  if (machine.addPassesToEmitFile(passes, stream, nullptr, type))
    return llvm::createStringError("the back end of '%s' cannot write its code",
                                   machine.getTargetTriple().str().c_str());
  passes.run(module);
  return code;
}
