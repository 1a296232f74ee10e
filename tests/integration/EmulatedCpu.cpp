// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs the tile programs of a model compiled for a CPU.
#include "tests/integration/EmulatedCpu.h"

#include "compiler/codegen/Emitters.h"
#include "compiler/pipelines/Phases.h"
#include "compiler/reference/tiles/Tiles.h"
#include "mlir/IR/SymbolTable.h"
#include "runtime/abi/kernel_abi.h"

using namespace headrace;
using namespace headrace::testing;
using namespace mlir;

void EmulatedCpu::prepare(tools::CompileRequest &request) const {
  request.cpu = cpu;
  request.to = "tiered";
}

llvm::Error EmulatedCpu::complete() {
  context.loadAllAvailableDialects();
  auto target = resolveCpuTarget(cpu);
  if (!target)
    return target.takeError();
  if (failed(emitTilePrograms(*module, emitOptionsFor(*target))))
    return llvm::createStringError("the tile programs cannot be written");
  return llvm::Error::success();
}

flow::ScheduleOp EmulatedCpu::choose(llvm::StringRef entry,
                                     const Counts &counts) {
  for (auto schedule : module->getOps<flow::ScheduleOp>())
    if (schedule.getSymName() == entry)
      return schedule;
  return {};
}

llvm::Error EmulatedCpu::launch(flow::ScheduleOp schedule, flow::LaunchOp op,
                                const Counts &sizes) {
  tiles::Launch launch;
  auto program = cast<flow::ProgramOp>(
      SymbolTable::lookupNearestSymbolFrom(op, op.getKernelAttr()));
  launch.program = program;
  launch.tasks = programsOf(program.getGrid(), sizes);
  launch.counts = {sizes.tokens, sizes.sequences, sizes.outputs, 0,
                   HEADRACE_ALL_ACTIVE};
  auto place = [&](FlatSymbolRefAttr symbol) {
    const Place &at = buffers.at(symbol.getValue().str());
    launch.buffers.push_back({at.address, at.bytes});
  };
  for (auto symbol : op.getInputs().getAsRange<FlatSymbolRefAttr>()) {
    auto weight = weights.find(symbol.getValue().str());
    if (weight == weights.end()) {
      place(symbol);
      continue;
    }
    auto first = slots.begin() + int64_t(weight->second.first);
    launch.weights.emplace_back(first, first + int64_t(weight->second.count));
  }
  for (auto symbol : op.getResults().getAsRange<FlatSymbolRefAttr>())
    place(symbol);
  return tiles::run(memory, launch, backwards);
}
