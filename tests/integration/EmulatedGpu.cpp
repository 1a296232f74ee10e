// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs a model compiled for a GPU without one.
#include "tests/integration/EmulatedGpu.h"

#include "mlir/IR/SymbolTable.h"

using namespace headrace;
using namespace headrace::testing;
using namespace mlir;

void EmulatedGpu::prepare(tools::CompileRequest &request) const {
  request.target = chip;
  request.to = "kernels";
}

static EmulatedGpu::Counts boundsOf(flow::ScheduleOp schedule) {
  auto bounds = schedule->getAttrOfType<DictionaryAttr>("headrace.class");
  auto bound = [&](StringRef name) {
    return bounds.getAs<IntegerAttr>(name).getInt();
  };
  return {bound("max_tokens"), bound("max_sequences"), bound("max_outputs")};
}

flow::ScheduleOp EmulatedGpu::choose(llvm::StringRef entry,
                                     const Counts &counts) {
  for (auto schedule : module->getOps<flow::ScheduleOp>()) {
    Counts bounds = boundsOf(schedule);
    auto section = schedule->getAttrOfType<StringAttr>("headrace.section");
    if (schedule->getAttrOfType<StringAttr>("headrace.entry") == entry &&
        (!section || (section.getValue() == "ptx") == portable) &&
        counts.tokens <= bounds.tokens && counts.sequences <= bounds.sequences)
      return schedule;
  }
  return {};
}

llvm::Error EmulatedGpu::launch(flow::ScheduleOp schedule, flow::LaunchOp op,
                                const Counts &sizes) {
  simt::Launch launch;
  launch.module = SymbolTable::lookupNearestSymbolFrom(op, op.getKernelAttr());
  auto number = [&](StringRef name) {
    return uint64_t(launch.module->getAttrOfType<IntegerAttr>(name).getInt());
  };
  launch.threads = number("headrace.threads");
  launch.sharedBytes = number("headrace.shared");
  launch.blocks =
      programsOf(launch.module->getAttrOfType<flow::GridAttr>("headrace.grid"),
                 captured ? boundsOf(schedule) : sizes);
  launch.parameters = {table, counts};
  std::vector<uint64_t> firstSlots;
  for (auto symbol : op.getInputs().getAsRange<FlatSymbolRefAttr>()) {
    auto weight = weights.find(symbol.getValue().str());
    if (weight != weights.end())
      firstSlots.push_back(weight->second.first);
    else
      launch.parameters.push_back(buffers.at(symbol.getValue().str()).address);
  }
  for (auto symbol : op.getResults().getAsRange<FlatSymbolRefAttr>())
    launch.parameters.push_back(buffers.at(symbol.getValue().str()).address);
  launch.parameters.insert(launch.parameters.end(), firstSlots.begin(),
                           firstSlots.end());
  return simt::run(memory, launch, backwards);
}
