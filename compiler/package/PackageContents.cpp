// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Collects what a package will hold from a module of the `kernels` phase.
#include "compiler/package/PackageContents.h"

#include "compiler/codegen/gpu/GpuEmitters.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace headrace;
namespace abi = headrace::abi;

static void addSlots(PackageContents &contents, tier::WeightOp weight) {
  contents.firstSlot[weight.getSymName()] = uint32_t(contents.slots.size());
  auto type = cast<RankedTensorType>(weight.getType());
  MemRefType memory = memoryType(type, contents.limits);
  int64_t count = weightSlots(type);
  uint64_t bytes = uint64_t(memory.getNumElements() / count) *
                   (memory.getElementTypeBitWidth() / 8);
  for (int64_t i = 0; i < count; ++i)
    contents.slots.push_back({weight, type.getRank() >= 3 ? i : -1, bytes});
}

static llvm::Error collectEndTokens(PackageContents &contents) {
  ArrayAttr ends;
  if (auto model =
          contents.module->getAttrOfType<DictionaryAttr>("headrace.model"))
    ends = model.getAs<ArrayAttr>("eos");
  if (!ends)
    return llvm::Error::success();
  int64_t vocabulary = contents.modelNumber("vocabulary");
  for (Attribute id : ends) {
    auto number = dyn_cast<IntegerAttr>(id);
    int64_t token = number ? number.getInt() : -1;
    if (token < 0 || token >= vocabulary) {
      std::string printed;
      llvm::raw_string_ostream(printed) << id;
      return llvm::createStringError(
          "the module's 'headrace.model': expected 'eos' to hold token ids "
          "below the vocabulary of %lld, but got %s",
          (long long)vocabulary, printed.c_str());
    }
    contents.endTokens.push_back(int32_t(token));
  }
  return llvm::Error::success();
}

/// A kernel reads as many slots behind an operand's first as the weight has.
static llvm::Error checkSlots(const PackageContents &contents) {
  llvm::Error error = llvm::Error::success();
  ModuleOp module = contents.module;
  module.walk([&](flow::LaunchOp launch) {
    auto kernel = contents.kernelNumber.find(launch.getKernel());
    if (kernel == contents.kernelNumber.end())
      return WalkResult::advance(); // The driver's library runs it.
    const std::vector<uint32_t> &reads =
        contents.code.kernels[kernel->second].weightSlots;
    size_t operand = 0;
    for (auto symbol : launch.getInputs().getAsRange<FlatSymbolRefAttr>()) {
      auto it = contents.firstSlot.find(symbol.getValue());
      if (it == contents.firstSlot.end())
        continue;
      tier::WeightOp weight = contents.slots[it->second].weight;
      int64_t have = weightSlots(cast<RankedTensorType>(weight.getType()));
      if (operand < reads.size() && reads[operand] == have) {
        ++operand;
        continue;
      }
      error = llvm::joinErrors(
          std::move(error),
          llvm::createStringError(
              "kernel '%s': expected weight operand #%zu to have %lld slots, "
              "but '%s' has %lld",
              launch.getKernel().str().c_str(), operand,
              operand < reads.size() ? (long long)reads[operand] : 0,
              weight.getSymName().str().c_str(), (long long)have));
      return WalkResult::interrupt();
    }
    return WalkResult::advance();
  });
  return error;
}

static void collectEntries(PackageContents &contents) {
  llvm::MapVector<StringRef, SmallVector<flow::ScheduleOp>> schedules;
  for (auto schedule : contents.module.getOps<flow::ScheduleOp>()) {
    auto entry = schedule->getAttrOfType<StringAttr>("headrace.entry");
    schedules[entry ? entry.getValue() : schedule.getSymName()].push_back(
        schedule);
  }
  ArrayRef<CodeSection> sections = contents.code.sections;
  for (auto &[name, parts] : schedules) {
    contents.entries.push_back({name, parts.front(), {}});
    for (uint32_t i = 0; contents.gpu && i < sections.size(); ++i) {
      bool cubin = sections[i].format == abi::CodeFormat::cubin;
      for (flow::ScheduleOp schedule : parts)
        if (isInSection(schedule, cubin ? kCubin : kPtx))
          contents.entries.back().classes.push_back({i, schedule});
    }
  }
}

static PlanRecord planOf(const PackageContents &contents) {
  ManifestNumbers numbers{
      contents.firstSlot, contents.bufferNumber, contents.levelNumber, {}};
  for (auto [e, entry] : llvm::enumerate(contents.entries)) {
    flow::ScheduleOp any = entry.any;
    if (!contents.gpu)
      numbers.schedules[any.getSymName()].push_back({uint32_t(e)});
    for (auto [c, part] : llvm::enumerate(entry.classes)) {
      flow::ScheduleOp schedule = part.second;
      numbers.schedules[schedule.getSymName()].push_back(
          {uint32_t(e), uint32_t(c)});
    }
  }
  SmallVector<uint64_t> slotBytes;
  for (const WeightSlot &slot : contents.slots)
    slotBytes.push_back(slot.packedBytes);
  return recordPlan(contents.module, numbers, slotBytes, contents.limits);
}

llvm::Expected<PackageContents> PackageContents::of(ModuleOp module,
                                                    CompiledCode code) {
  PackageContents contents;
  contents.module = module;
  contents.gpu = !gpuTargetOf(module).empty();
  contents.limits = StepLimits::of(module);
  contents.code = std::move(code);
  for (auto [i, kernel] : llvm::enumerate(contents.code.kernels))
    contents.kernelNumber[kernel.name] = uint32_t(i);
  auto machine = module->getAttrOfType<tier::MachineAttr>("tier.machine");
  for (auto [i, level] : llvm::enumerate(machine.getLevels()))
    contents.levelNumber[level.getName()] = uint32_t(i);
  for (Operation &op : *module.getBody()) {
    if (auto weight = dyn_cast<tier::WeightOp>(op)) {
      addSlots(contents, weight);
    } else if (auto buffer = dyn_cast<tier::BufferOp>(op)) {
      contents.bufferNumber[buffer.getSymName()] =
          uint32_t(contents.buffers.size());
      contents.buffers.push_back(buffer);
    }
  }
  if (llvm::Error error = collectEndTokens(contents))
    return error;
  if (llvm::Error error = checkSlots(contents))
    return error;
  collectEntries(contents);
  contents.plan = planOf(contents);
  return contents;
}

int64_t PackageContents::modelNumber(StringRef name) const {
  ModuleOp op = module;
  auto model = op->getAttrOfType<DictionaryAttr>("headrace.model");
  auto attr = model ? model.getAs<IntegerAttr>(name) : IntegerAttr();
  return attr ? attr.getInt() : 0;
}

uint64_t PackageContents::packedBytes() const {
  uint64_t sum = 0;
  for (const WeightSlot &slot : slots)
    sum += slot.packedBytes;
  return sum;
}

SmallVector<uint32_t, 0> PackageContents::fileOrder() const {
  llvm::SetVector<uint32_t> order;
  if (plan.plan)
    for (const auto &bundle : plan.plan->bundles)
      order.insert(bundle->weights.begin(), bundle->weights.end());
  for (uint32_t i = 0; i < slots.size(); ++i)
    order.insert(i);
  return order.takeVector();
}
