// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Transfers of a plan as ops: prefetches, waits, stores and evictions between
// the launches.
#include "compiler/transforms/MemoryPlan.h"
#include "compiler/transforms/PassesDetail.h"

using namespace mlir;
using namespace headrace;

namespace {

class TransferEmitter {
public:
  TransferEmitter(MemoryUse &program, MemoryPlan &plan)
      : program(program), plan(plan), b(program.module.getContext()) {}

  /// Puts the transfers between the launches. The bundles of a ring take its
  /// slots in turn: a transfer begins when the bundle that had its slot before
  /// has left, so that as many are on their way as the ring has slots.
  void emit() {
    struct Transfer {
      size_t bundle;
      Span span;
      Value token;
    };
    for (auto [e, entry] : llvm::enumerate(program.entries)) {
      std::vector<Transfer> queues[2];
      for (auto [i, bundle] : llvm::enumerate(program.bundles))
        if (!plan.stays(i))
          for (Span span : bundle.spans[e])
            queues[plan.ringOf(bundle)].push_back({i, span, Value()});
      for (auto &queue : queues)
        llvm::stable_sort(queue, [](const Transfer &x, const Transfer &y) {
          return x.span.first < y.span.first;
        });
      auto fetch = [&, loc = entry.getLoc()](std::vector<Transfer> &queue,
                                             size_t number) {
        if (number >= queue.size())
          return;
        Transfer &transfer = queue[number];
        std::string name = MemoryPlan::nameOfBundle(transfer.bundle);
        transfer.token = tier::PrefetchOp::create(
            b, loc, tier::TokenType::get(b.getContext()),
            FlatSymbolRefAttr::get(b.getContext(), name),
            i64(number % plan.placement.ringSlots));
      };
      b.setInsertionPointToStart(&entry.getBody().front());
      for (auto &queue : queues)
        for (size_t i = 0; i < plan.placement.ringSlots; ++i)
          fetch(queue, i);
      if (e == program.main)
        for (size_t i = 0; i < plan.pageSlots; ++i)
          fetchPages(i);
      for (auto [u, unit] : llvm::enumerate(program.units[e])) {
        b.setInsertionPoint(unit.launches.front());
        for (auto &queue : queues)
          for (Transfer &transfer : queue)
            if (transfer.span.first == int(u))
              tier::WaitOp::create(b, entry.getLoc(), transfer.token);
        if (e == program.main)
          pagesBefore(int(u));
        Operation *last = wrap(int(e), int(u), unit);
        b.setInsertionPointAfter(last);
        if (e == program.main)
          for (CacheLayer &one : plan.cacheLayers)
            if (one.span.last == int(u))
              tier::StoreOp::create(b, entry.getLoc(), one.token);
        for (auto &queue : queues)
          for (size_t i = 0; i < queue.size(); ++i)
            if (queue[i].span.last == int(u)) {
              tier::EvictOp::create(b, entry.getLoc(), queue[i].token);
              fetch(queue, i + plan.placement.ringSlots);
            }
      }
      b.setInsertionPointToEnd(&entry.getBody().front());
      if (e == program.main)
        pagesBefore(int(program.units[e].size()));
    }
  }

private:
  IntegerAttr i64(uint64_t value) {
    return b.getI64IntegerAttr(int64_t(value));
  }

  void fetchPages(size_t number) {
    if (number >= plan.cacheLayers.size())
      return;
    CacheLayer &one = plan.cacheLayers[number];
    one.token = tier::PrefetchOp::create(
        b, program.entries[program.main].getLoc(),
        tier::TokenType::get(b.getContext()),
        FlatSymbolRefAttr::get(b.getContext(), MemoryPlan::nameOf(one)),
        i64(number % plan.pageSlots));
  }

  /// The unit before which a layer's slot is free. It has been stored out of by
  /// then: with two slots while the rest of the layer ran, with one during the
  /// unit behind its own, so that the next layer's pages come while others run.
  int releaseOf(size_t number) {
    if (number + 1 == plan.cacheLayers.size())
      return int(program.units[program.main].size());
    int next = plan.cacheLayers[number + 1].span.first;
    return plan.pageSlots > 1
               ? next
               : std::min(plan.cacheLayers[number].span.last + 2, next);
  }

  /// What is due before unit `unit`: slots become free and are filled, and what
  /// the unit's launches use has arrived.
  void pagesBefore(int unit) {
    for (size_t i = 0; i < plan.cacheLayers.size(); ++i)
      if (releaseOf(i) == unit) {
        tier::EvictOp::create(b, program.entries[program.main].getLoc(),
                              plan.cacheLayers[i].token);
        fetchPages(i + plan.pageSlots);
      }
    for (CacheLayer &one : plan.cacheLayers)
      if (one.span.first == unit)
        tier::WaitOp::create(b, program.entries[program.main].getLoc(),
                             one.token);
  }

  /// Makes a routed layer whose experts are cached, or a router that runs ahead
  /// for one, one op; returns the last op of the unit.
  Operation *wrap(int entry, int number, Unit &unit) {
    flow::LaunchOp last = unit.launches.back();
    if (!plan.isCached)
      return last;
    if (last->hasAttr(kPredicts))
      return wrapPrediction(last);
    if (unit.routing.empty())
      return last;
    size_t group = 0;
    while (program.groups[group].entry != entry ||
           program.groups[group].unit != number)
      ++group;
    auto routed = flow::RoutedOp::create(
        b, unit.launches.front().getLoc(),
        FlatSymbolRefAttr::get(b.getContext(), unit.routing), expertsOf(group));
    Block &block = routed.getBody().emplaceBlock();
    for (flow::LaunchOp launch : unit.launches)
      launch->moveBefore(&block, block.end());
    return routed;
  }

  FlatSymbolRefAttr expertsOf(size_t group) {
    return FlatSymbolRefAttr::get(b.getContext(),
                                  MemoryPlan::nameOfExperts(group));
  }

  Operation *wrapPrediction(flow::LaunchOp launch) {
    const Prediction &prediction = program.predictions[launch];
    launch->removeAttr(kPredicts);
    auto predict = flow::PredictOp::create(
        b, launch.getLoc(), prediction.routing, expertsOf(prediction.group),
        i64(plan.mostAhead));
    Block &block = predict.getBody().emplaceBlock();
    launch->moveBefore(&block, block.end());
    return predict;
  }

  MemoryUse &program;
  MemoryPlan &plan;
  OpBuilder b;
};

} // namespace

void headrace::emitTransfers(MemoryUse &program, MemoryPlan &plan) {
  TransferEmitter(program, plan).emit();
}
