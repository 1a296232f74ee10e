// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The named phases of a compilation.
#include "compiler/pipelines/Phases.h"

#include "compiler/codegen/Emitters.h"
#include "compiler/codegen/cpu/EmitImage.h"
#include "compiler/codegen/cpu/LowerTiles.h"
#include "compiler/codegen/gpu/EmitPtx.h"
#include "compiler/codegen/gpu/GpuEmitters.h"
#include "compiler/support/OutputFile.h"
#include "compiler/transforms/Passes.h"
#include "dialects/flow/IR/Flow.h"
#include "dialects/tier/IR/Tier.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace headrace;

static constexpr const char *kNames[] = {"model",  "specialized", "dataflow",
                                         "tiered", "kernels",     "package"};

llvm::StringRef headrace::phaseName(Phase phase) {
  return kNames[size_t(phase)];
}

llvm::Expected<Phase> headrace::parsePhase(llvm::StringRef name) {
  for (auto [i, known] : llvm::enumerate(kNames))
    if (name == known)
      return Phase(i);
  return llvm::createStringError(
      "unknown phase '%s'; expected model, specialized, dataflow, tiered, "
      "kernels or package",
      name.str().c_str());
}

llvm::Error headrace::verifyPhase(ModuleOp module, Phase phase) {
  llvm::StringSet<> legal{"builtin", "tier"};
  auto allow = [&](std::initializer_list<const char *> names) {
    for (const char *name : names)
      legal.insert(name);
  };
  switch (phase) {
  case Phase::model:
  case Phase::specialized:
    allow({"func", "nn", "moe", "arith", "linalg", "math", "tensor"});
    break;
  case Phase::dataflow:
  case Phase::tiered:
    allow({"func", "flow", "nn", "moe", "arith", "linalg", "math", "tensor"});
    break;
  case Phase::kernels:
  case Phase::package:
    allow({"flow", "llvm"});
    if (module->hasAttr("headrace.target")) // GPU kernels stay structured.
      allow({"gpu", "nvvm", "arith", "math", "scf"});
    break;
  }
  Operation *wrong = nullptr;
  const char *why = "";
  module.walk([&](Operation *op) {
    if (!op->getDialect() ||
        !legal.contains(op->getDialect()->getNamespace())) {
      wrong = op;
      why = "may not exist after phase";
    } else if (phase == Phase::dataflow && isa<func::FuncOp>(op)) {
      return WalkResult::advance();
    } else if (phase == Phase::dataflow &&
               isa_and_nonnull<func::FuncOp>(op->getParentOp()) &&
               !isa<flow::CallOp, tier::UseOp, func::ReturnOp>(op)) {
      wrong = op;
      why = "is outside of every kernel after phase";
    } else if (phase < Phase::tiered &&
               isa<flow::ScheduleOp, tier::BufferOp>(op)) {
      wrong = op;
      why = "may not exist after phase";
    } else if (phase == Phase::tiered && isa<func::FuncOp, flow::CallOp>(op)) {
      wrong = op;
      why = "is not placed after phase";
    }
    return wrong ? WalkResult::interrupt() : WalkResult::advance();
  });
  if (!wrong)
    return llvm::Error::success();
  wrong->emitOpError(why) << " '" << phaseName(phase) << "'";
  return llvm::createStringError("%s %s '%s'",
                                 wrong->getName().getStringRef().str().c_str(),
                                 why, phaseName(phase).str().c_str());
}

EmitOptions headrace::emitOptionsFor(const CpuTarget &target) {
  EmitOptions emit;
  emit.rowLimit = target.rowLimit(32);
  emit.attentionRowLimit = std::min<int64_t>(emit.rowLimit, 4);
  if (target.bf16Dot) // A quarter of the smallest second-level cache.
    emit.decodedPanelBytes = 256 << 10;
  return emit;
}

/// Finds out what kernels need besides their operands: known when their code is
/// made, from a copy of the placed module.
static LogicalResult measureKernels(ModuleOp module,
                                    const PhaseOptions &options,
                                    MemoryPlanOptions &memory) {
  OwningOpRef<ModuleOp> copy = module.clone();
  if (auto chip = module->getAttrOfType<StringAttr>("headrace.target")) {
    auto target = resolveGpuTarget(chip.getValue());
    if (!target)
      return module.emitError(llvm::toString(target.takeError()));
    auto need = measureGpuWorkspace(*copy, *target);
    if (failed(need))
      return failure();
    auto add = [&](const char *name, uint64_t bytes, Type element, bool kept) {
      auto count = int64_t(bytes / (element.getIntOrFloatBitWidth() / 8));
      if (bytes)
        memory.buffers.push_back(
            {name, RankedTensorType::get({count}, element), bytes, kept});
    };
    Builder b(module.getContext());
    add(kTickets, need->ticketBytes, b.getI32Type(), /*kept=*/true);
    add(kWorkspace, need->workspaceBytes, b.getI8Type(), /*kept=*/false);
    add(kPartials, need->partialBytes, b.getI8Type(), /*kept=*/false);
    return success();
  }
  if (failed(emitTilePrograms(*copy, emitOptionsFor(options.target))))
    return failure();
  for (auto program : copy->getOps<flow::ProgramOp>())
    memory.scratchBytes =
        std::max<uint64_t>(memory.scratchBytes, program.getScratch());
  return success();
}

/// Places buffers and plans fast memory, with routers that run ahead or
/// without. What kernels need besides is the same for both.
static FailureOr<MemoryPlanSummary> placeAndPlan(ModuleOp module,
                                                 const PhaseOptions &options,
                                                 MemoryPlanOptions &memory,
                                                 bool predict) {
  PassManager pm(module.getContext());
  pm.addPass(createJoinRoutedPass());
  if (predict)
    pm.addPass(createPredictRoutingPass());
  pm.addPass(createPlaceBuffersPass(/*planned=*/true));
  if (failed(pm.run(module)))
    return failure();
  if (memory.scratchBytes == 0 && memory.buffers.empty() &&
      failed(measureKernels(module, options, memory)))
    return failure();
  return planMemory(module, memory);
}

/// Plans without routers that run ahead, which every program has a plan for if
/// any; then, where experts move, there are slots for those of two layers, and
/// guesses pay, with them.
static LogicalResult plan(ModuleOp module, const PhaseOptions &options) {
  MemoryPlanOptions memory = *options.plan;
  OwningOpRef<ModuleOp> ahead = module.clone();
  auto without = placeAndPlan(module, options, memory, /*predict=*/false);
  if (failed(without) || memory.predict == Predict::off ||
      without->cacheSlots == 0)
    return success(succeeded(without));
  const bool wanted = memory.predict == Predict::on;
  auto isEnough = [&](const MemoryPlanSummary &plan) {
    return plan.cacheSlots > 0 &&
           (wanted ||
            (plan.guessesPay && int64_t(plan.cacheSlots) >= 2 * plan.picks));
  };
  if (!isEnough(*without))
    return success();
  FailureOr<MemoryPlanSummary> with;
  {
    // What has no room for them is no error, unless they were asked for.
    ScopedDiagnosticHandler quiet(module.getContext(), [&](Diagnostic &) {
      return failure(/*isFailure=*/wanted);
    });
    with = placeAndPlan(*ahead, options, memory, /*predict=*/true);
  }
  if (failed(with) || !isEnough(*with))
    return success(!wanted || succeeded(with));
  for (auto op : ahead->getOps<tier::PlanOp>())
    op.setMinimum(without->minimum);
  module->setAttrs((*ahead)->getAttrDictionary());
  module.getBodyRegion().takeBody(ahead->getBodyRegion());
  return success();
}

/// Runs the step that leads into `phase`.
static LogicalResult enter(ModuleOp module, Phase phase,
                           const PhaseOptions &options) {
  PassManager pm(module.getContext());
  switch (phase) {
  case Phase::specialized:
    options.limits.set(module);
    // What follows reads the target here, so that a dump knows its own.
    if (!options.gpu.empty())
      module->setAttr("headrace.target",
                      StringAttr::get(module.getContext(), options.gpu));
    if (options.library)
      module->setAttr(kLibraryAttr, UnitAttr::get(module.getContext()));
    pm.addPass(createSplitRopePass());
    pm.addPass(createMergeLinearsPass());
    pm.addPass(createSplitExpertsPass());
    pm.addPass(createRoundAtProducerPass());
    pm.addPass(createPackWeightsPass());
    return pm.run(module);
  case Phase::dataflow:
    pm.addPass(createFormKernelsPass());
    pm.addPass(createCutTasksPass());
    return pm.run(module);
  case Phase::tiered:
    if (options.plan)
      return plan(module, options);
    pm.addPass(createPlaceBuffersPass());
    return pm.run(module);
  case Phase::kernels: {
    if (auto chip = module->getAttrOfType<StringAttr>("headrace.target")) {
      auto target = resolveGpuTarget(chip.getValue());
      if (!target)
        return module.emitError(llvm::toString(target.takeError()));
      if (failed(emitGpuKernels(module, *target)))
        return failure();
      PassManager tidy(module.getContext());
      tidy.addPass(createCSEPass());
      return tidy.run(module);
    }
    if (failed(emitTilePrograms(module, emitOptionsFor(options.target))) ||
        failed(verify(module)) ||
        failed(lowerTilesToVectors(module, options.target)))
      return failure();
    return lowerVectorsToLLVM(module, options.target);
  }
  case Phase::model:
  case Phase::package:
    return success();
  }
  return failure();
}

static llvm::Error dump(ModuleOp module, Phase phase,
                        const PhaseOptions &options) {
  if (options.dumpDirectory.empty())
    return llvm::Error::success();
  if (auto code = llvm::sys::fs::create_directories(options.dumpDirectory))
    return llvm::createStringError("%s: cannot be made: %s",
                                   options.dumpDirectory.c_str(),
                                   code.message().c_str());
  llvm::SmallString<128> path(options.dumpDirectory);
  llvm::sys::path::append(path, std::to_string(int(phase)) + "-" +
                                    phaseName(phase).str() + ".mlir");
  if (llvm::Error error =
          writeText(path, [&](llvm::raw_ostream &os) { module.print(os); }))
    return error;
  auto target = module->getAttrOfType<StringAttr>("headrace.target");
  if (phase != Phase::kernels || !target)
    return llvm::Error::success();
  // A GPU's kernels also as what an assembler gets.
  llvm::sys::path::replace_extension(path, "");
  for (const char *section : {kCubin, kPtx}) {
    StringRef chip = section == kCubin ? target.getValue() : kPortableChip;
    auto ptx = emitPtx(module, chip, section);
    if (!ptx)
      return ptx.takeError();
    llvm::SmallString<128> name(path);
    name += "." + (section == kCubin ? chip.str() : "portable") + ".ptx";
    if (llvm::Error error =
            writeText(name, [&](llvm::raw_ostream &os) { os << *ptx; }))
      return error;
  }
  return llvm::Error::success();
}

llvm::Error headrace::runPhases(ModuleOp module, const PhaseOptions &options) {
  if (options.from == Phase::package)
    return llvm::createStringError("phase 'package' is a file and no module; "
                                   "expected a phase ahead of it");
  if (options.to < options.from)
    return llvm::createStringError(
        "the module is in phase '%s', which lies behind '%s'",
        phaseName(options.from).str().c_str(),
        phaseName(options.to).str().c_str());
  if (options.plan &&
      (options.from >= Phase::tiered || options.to < Phase::tiered))
    return llvm::createStringError(
        "fast memory is planned in phase 'tiered', which is not between '%s' "
        "and '%s'",
        phaseName(options.from).str().c_str(),
        phaseName(options.to).str().c_str());
  for (int i = int(options.from); i <= int(options.to); ++i) {
    Phase phase = Phase(i);
    if (phase == Phase::package)
      break;
    if (i > int(options.from)) {
      if (options.progress)
        options.progress(phaseName(phase));
      if (failed(enter(module, phase, options)))
        return llvm::createStringError("phase '%s' failed",
                                       phaseName(phase).str().c_str());
    }
    if (options.verify)
      if (llvm::Error error = verifyPhase(module, phase))
        return error;
    if (llvm::Error error = dump(module, phase, options))
      return error;
  }
  return llvm::Error::success();
}
