// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Places of a plan as ops: pins, pools, bundles, and the plan itself.
#include "compiler/codegen/BufferLayout.h"
#include "compiler/transforms/MemoryPlan.h"

using namespace mlir;
using namespace headrace;
using tiering::alignToPage;

namespace {

class PlaceEmitter {
public:
  PlaceEmitter(MemoryUse &program, const MemoryPlanOptions &options,
               MemoryPlan &plan)
      : program(program), options(options), plan(plan),
        b(program.module.getContext()) {}

  void emit() {
    b.setInsertionPoint(program.entries.front());
    for (auto [buffer, offset] : plan.kernelBuffers) {
      auto op = tier::BufferOp::create(
          b, program.module.getLoc(), b.getStringAttr(buffer->name),
          TypeAttr::get(buffer->type), b.getStringAttr(plan.level),
          i64(buffer->bytes), i64(offset), StringAttr(), UnitAttr());
      if (buffer->kept)
        op->setAttr(kKept, b.getUnitAttr());
    }
    const uint64_t kvOffset = plan.end;
    plan.end = alignToPage(plan.end + plan.residentPageBytes());
    for (auto [buffer, offset] : plan.hostBuffers)
      pin(buffer.getSymName(), {int64_t(offset)});
    for (WeightUse *use : program.fixed)
      pin(use);
    for (auto [i, bundle] : llvm::enumerate(program.bundles))
      if (plan.stays(i))
        for (WeightUse *use : bundle.weights)
          pin(use);
    if (!plan.isCached)
      for (Group &group : program.groups)
        for (WeightUse *use : group.weights)
          pin(use);
    for (int ring : {0, 1}) {
      uint64_t bytes = plan.placement.ringBytes[ring];
      if (!bytes)
        continue;
      tier::PoolOp::create(
          b, program.module.getLoc(), MemoryPlan::nameOfRing(ring),
          tier::PoolKind::ring, nullptr, plan.level, plan.end,
          plan.placement.ringSlots, bytes, plan.placement.ringSlots);
      plan.end += bytes * plan.placement.ringSlots;
    }
    for (auto [i, bundle] : llvm::enumerate(program.bundles))
      if (!plan.stays(i))
        emitBundle(MemoryPlan::nameOfBundle(i),
                   MemoryPlan::nameOfRing(plan.ringOf(bundle)), bundle.weights,
                   bundle.bytes, IntegerAttr(), bundle.home);
    if (plan.pageSlots) {
      tier::PoolOp::create(b, program.module.getLoc(), "pages",
                           tier::PoolKind::ring, nullptr, plan.level, plan.end,
                           plan.pageSlots, plan.layerBytes, plan.pageSlots);
      plan.end += plan.pageSlots * plan.layerBytes;
    }
    for (auto [i, one] : llvm::enumerate(plan.cacheLayers))
      tier::PagesOp::create(b, program.module.getLoc(), MemoryPlan::nameOf(one),
                            "pages", one.layer, plan.layerBytes,
                            plan.homeOfPages, i * plan.layerBytes);
    // The cache comes last: with more memory it may grow.
    if (plan.isCached && !program.groups.empty()) {
      // Layers follow each other in a cycle, which age alone would go round
      // without a hit.
      bool predicts = llvm::any_of(
          program.weights, [](const auto &use) { return use->predicts; });
      auto policy = tier::CachePolicyAttr::get(
          b.getContext(),
          predicts ? tier::CachePolicy::predict : tier::CachePolicy::lfu);
      tier::PoolOp::create(b, program.module.getLoc(), "experts",
                           tier::PoolKind::cache, policy, plan.level, plan.end,
                           plan.placement.cacheSlots, plan.slotBytes, 1);
      plan.end += plan.placement.cacheSlots * plan.slotBytes;
      for (auto [i, group] : llvm::enumerate(program.groups))
        emitBundle(MemoryPlan::nameOfExperts(i), "experts", group.weights,
                   group.bytes, i64(uint64_t(group.experts)), group.home);
    }
    b.setInsertionPoint(program.entries.front());
    tier::PlanOp::create(
        b, program.module.getLoc(),
        b.getStringAttr(strategyName(options.strategy)),
        b.getStringAttr(plan.level), i64(plan.end), i64(options.fastMemory),
        i64(plan.minimum), i64(plan.workers), i64(plan.workerBytes),
        i64(plan.scratchOffset), i64(plan.kvPages), i64(kvOffset),
        plan.homeEnd ? b.getStringAttr(plan.homeLevel) : StringAttr(),
        plan.homeEnd ? i64(plan.homeEnd) : IntegerAttr(),
        plan.homeEnd ? i64(options.hostMemory) : IntegerAttr(),
        plan.homeEnd ? i64(plan.homeStaging) : IntegerAttr());
  }

private:
  IntegerAttr i64(uint64_t value) {
    return b.getI64IntegerAttr(int64_t(value));
  }

  void pin(StringRef name, ArrayRef<int64_t> offsets) {
    tier::PinOp::create(b, program.module.getLoc(), name, plan.level, offsets);
  }
  void pin(WeightUse *use) {
    SmallVector<int64_t> offsets;
    for (int64_t i = 0; i < use->slots; ++i) {
      offsets.push_back(int64_t(plan.end));
      plan.end += use->bytes;
    }
    pin(use->op.getSymName(), offsets);
  }

  void emitBundle(const std::string &name, StringRef pool,
                  ArrayRef<WeightUse *> weights, uint64_t bytes,
                  IntegerAttr experts, uint64_t home) {
    SmallVector<Attribute> symbols;
    SmallVector<int64_t> offsets;
    uint64_t at = 0;
    for (WeightUse *use : weights) {
      symbols.push_back(
          FlatSymbolRefAttr::get(b.getContext(), use->op.getSymName()));
      offsets.push_back(int64_t(at));
      at += use->bytes;
    }
    tier::BundleOp::create(b, program.module.getLoc(), b.getStringAttr(name),
                           FlatSymbolRefAttr::get(b.getContext(), pool),
                           b.getArrayAttr(symbols),
                           b.getDenseI64ArrayAttr(offsets), i64(bytes), experts,
                           home == kNowhere ? IntegerAttr() : i64(home));
  }

  MemoryUse &program;
  const MemoryPlanOptions &options;
  MemoryPlan &plan;
  OpBuilder b;
};

} // namespace

void headrace::emitPlaces(MemoryUse &program, const MemoryPlanOptions &options,
                          MemoryPlan &plan) {
  PlaceEmitter(program, options, plan).emit();
}
