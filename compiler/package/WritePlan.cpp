// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Turns a plan's ops into the manifest's tables, and certifies the peak.
#include "compiler/package/WritePlan.h"

#include "dialects/flow/IR/Flow.h"
#include "dialects/moe/IR/Moe.h"
#include "dialects/nn/IR/Nn.h"
#include "dialects/tier/IR/Tier.h"
#include "runtime/abi/kernel_abi.h"
#include "runtime/abi/schedule_digest.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/xxhash.h"

using namespace mlir;
using namespace headrace;

namespace {

/// What the certificate needs to know about a schedule.
struct Schedule {
  struct {
    int64_t tokens, sequences, outputs;
  } most; ///< Of a step that it runs.
  SmallVector<ScheduleNumber, 2> numbers;
  uint32_t steps = 0;
  /// First and last step that a buffer is in use at.
  std::map<uint32_t, std::pair<uint32_t, uint32_t>> lives;
};

class PlanReader {
public:
  PlanReader(ModuleOp module, const ManifestNumbers &numbers,
             ArrayRef<uint64_t> slotBytes, const StepLimits &limits)
      : module(module), numbers(numbers), slotBytes(slotBytes), limits(limits) {
  }

  PlanRecord run() {
    record.slots.resize(slotBytes.size());
    auto plans = module.getOps<tier::PlanOp>();
    if (plans.begin() == plans.end())
      return std::move(record);
    tier::PlanOp op = *plans.begin();
    record.plan = std::make_unique<abi::PlanT>();
    abi::PlanT &plan = *record.plan;
    plan.strategy = op.getStrategy().str();
    plan.fast_level = plan.kv_level = numbers.levels.lookup(op.getLevel());
    plan.budget = op.getBudget();
    plan.minimum_bytes = op.getMinimum();
    plan.workers = uint32_t(op.getWorkers());
    plan.worker_bytes = op.getWorkerBytes();
    plan.scratch_offset = op.getScratch();
    plan.kv_offset = op.getKv();
    plan.kv_pages = uint32_t(op.getKvPages());
    record.arenas[plan.fast_level] = op.getArena();
    if (op.getHome()) {
      plan.home_level = numbers.levels.lookup(*op.getHome());
      plan.home_budget = *op.getHomeBudget();
      plan.staging_bytes = *op.getStaging();
      plan.staging_offset = *op.getHomeArena() - plan.staging_bytes;
      record.arenas[plan.home_level] = *op.getHomeArena();
    }

    for (auto pin : module.getOps<tier::PinOp>())
      readPin(pin);
    for (auto pool : module.getOps<tier::PoolOp>())
      readPool(pool);
    for (auto bundle : module.getOps<tier::BundleOp>())
      readBundle(bundle);
    for (auto pages : module.getOps<tier::PagesOp>())
      readPages(pages);
    for (auto schedule : module.getOps<flow::ScheduleOp>())
      readSchedule(schedule);
    certifyFast();
    certifyHome();
    record.setDigest(1);
    return std::move(record);
  }

private:
  void readPin(tier::PinOp pin) {
    uint32_t level = numbers.levels.lookup(pin.getLevel());
    auto weight = numbers.weights.find(pin.getWhat());
    if (weight == numbers.weights.end()) {
      record.buffers[numbers.buffers.lookup(pin.getWhat())] =
          uint64_t(pin.getOffsets()[0]);
      return;
    }
    for (auto [i, offset] : llvm::enumerate(pin.getOffsets()))
      record.slots[weight->second + i] = {abi::Residency::resident, level,
                                          uint64_t(offset)};
  }

  void readPool(tier::PoolOp op) {
    auto pool = std::make_unique<abi::PoolT>();
    poolNumber[op.getSymName()] = uint32_t(record.plan->pools.size());
    pool->name = op.getSymName().str();
    pool->kind = abi::PoolKind(op.getKind());
    if (auto policy = op.getPolicy())
      pool->policy = abi::CachePolicy(*policy);
    pool->level = numbers.levels.lookup(op.getLevel());
    pool->offset = op.getOffset();
    pool->slot_bytes = op.getSlotBytes();
    pool->min_slots = uint32_t(op.getMinSlots());
    pool->slots = uint32_t(op.getSlots());
    record.plan->pools.push_back(std::move(pool));
  }

  void readBundle(tier::BundleOp op) {
    bundleNumber[op.getSymName()] = uint32_t(record.plan->bundles.size());
    for (uint32_t e = 0; e < uint32_t(op.getExperts().value_or(1)); ++e) {
      auto bundle = std::make_unique<abi::BundleT>();
      bundle->pool = poolNumber.lookup(op.getPool());
      bundle->bytes = op.getBytes();
      for (auto symbol : op.getWeights().getAsRange<FlatSymbolRefAttr>()) {
        uint32_t slot = numbers.weights.lookup(symbol.getValue()) + e;
        bundle->weights.push_back(slot);
        record.slots[slot].residency =
            op.getExperts() ? abi::Residency::routed : abi::Residency::streamed;
      }
      for (int64_t offset : op.getOffsets())
        bundle->offsets.push_back(uint64_t(offset));
      if (op.getHome())
        bundle->home = *op.getHome() + e * op.getBytes();
      record.plan->bundles.push_back(std::move(bundle));
    }
  }

  void readPages(tier::PagesOp op) {
    bundleNumber[op.getSymName()] = uint32_t(record.plan->bundles.size());
    auto bundle = std::make_unique<abi::BundleT>();
    bundle->pool = poolNumber.lookup(op.getPool());
    bundle->bytes = op.getBytes();
    bundle->layer = uint32_t(op.getLayer());
    bundle->home = op.getOffset();
    record.plan->home_level = numbers.levels.lookup(op.getLevel());
    uint64_t &arena = record.arenas[record.plan->home_level];
    arena = std::max(arena, bundle->home + bundle->bytes);
    record.plan->bundles.push_back(std::move(bundle));
  }

  uint32_t routingNumber(StringRef name) {
    auto [it, fresh] =
        routings.try_emplace(name, uint32_t(record.plan->routings.size()));
    if (fresh) {
      auto buffer = module.lookupSymbol<tier::BufferOp>(name);
      auto type = cast<moe::RoutingType>(buffer.getType());
      RoutingLayout layout(type, limits);
      auto routing = std::make_unique<abi::RoutingT>();
      routing->buffer = numbers.buffers.lookup(name);
      routing->active_count_offset = uint64_t(layout.activeCount);
      routing->active_offset = uint64_t(layout.active);
      routing->experts = uint32_t(type.getExperts());
      routing->picks_offset = uint64_t(layout.offsets);
      routing->weights_offset = uint64_t(layout.weights);
      routing->most_picks = uint32_t(limits.maxTokens * type.getSlots());
      record.plan->routings.push_back(std::move(routing));
      activeExperts = std::max<int64_t>(
          activeExperts, std::min<int64_t>(type.getExperts(),
                                           limits.maxTokens * type.getSlots()));
    }
    return it->second;
  }

  /// Steps of an entry or a class, and at which of them its buffers are in use.
  void readSchedule(flow::ScheduleOp schedule) {
    auto &steps = record.steps[schedule.getSymName()];
    schedules.emplace_back();
    schedules.back().numbers = numbers.schedules.lookup(schedule.getSymName());
    if (auto bounds =
            schedule->getAttrOfType<DictionaryAttr>("headrace.class")) {
      auto bound = [&](StringRef name) {
        return bounds.getAs<IntegerAttr>(name).getInt();
      };
      schedules.back().most = {bound("max_tokens"), bound("max_sequences"),
                               bound("max_outputs")};
    } else {
      schedules.back().most = {limits.maxTokens, limits.maxSequences,
                               limits.maxTokens};
    }
    auto &lives = schedules.back().lives;
    uint32_t launches = 0;
    auto add = [&](abi::StepKind kind) -> abi::StepT & {
      steps.push_back(std::make_unique<abi::StepT>());
      steps.back()->kind = kind;
      return *steps.back();
    };
    auto use = [&](flow::LaunchOp launch) {
      uint32_t step = uint32_t(steps.size()) - 1;
      for (ArrayAttr list : {launch.getInputs(), launch.getResults()})
        for (auto symbol : list.getAsRange<FlatSymbolRefAttr>()) {
          auto it = numbers.buffers.find(symbol.getValue());
          if (it == numbers.buffers.end())
            continue;
          lives.try_emplace(it->second, std::pair(step, step))
              .first->second.second = step;
        }
      ++launches;
    };
    auto transfer = [&](abi::StepKind kind, Value token) {
      auto prefetch = token.getDefiningOp<tier::PrefetchOp>();
      abi::StepT &step = add(kind);
      step.bundle = bundleNumber.lookup(prefetch.getBundle());
      step.slot = uint32_t(prefetch.getSlot());
    };
    for (Operation &one : schedule.getBody().front()) {
      llvm::TypeSwitch<Operation *>(&one)
          .Case([&](tier::PrefetchOp op) {
            transfer(abi::StepKind::fetch, op.getToken());
          })
          .Case([&](tier::WaitOp op) {
            transfer(abi::StepKind::wait, op.getToken());
          })
          .Case([&](tier::EvictOp op) {
            transfer(abi::StepKind::release, op.getToken());
          })
          .Case([&](tier::StoreOp op) {
            transfer(abi::StepKind::store, op.getToken());
          })
          .Case([&](flow::LaunchOp op) {
            add(abi::StepKind::launch).launch = launches;
            use(op);
          })
          .Case([&](flow::RoutedOp op) {
            abi::StepT &step = add(abi::StepKind::routed);
            step.launch = launches;
            step.routing = routingNumber(op.getRouting());
            step.bundle = bundleNumber.lookup(op.getBundles());
            for (auto launch : op.getBody().getOps<flow::LaunchOp>())
              use(launch);
            step.launch_count = launches - step.launch;
          })
          .Case([&](flow::PredictOp op) {
            abi::StepT &step = add(abi::StepKind::predict);
            step.launch = launches;
            step.launch_count = 1;
            step.routing = routingNumber(op.getRouting());
            step.bundle = bundleNumber.lookup(op.getBundles());
            step.most = uint32_t(op.getMost());
            use(cast<flow::LaunchOp>(op.getBody().front().front()));
          });
    }
    schedules.back().steps = uint32_t(steps.size());
  }

  //===--------------------------------------------------------------------===//
  // Certificate
  //===--------------------------------------------------------------------===//

  /// Starts the certificate of a level; its parts are added to the last one.
  void certify(uint32_t level) {
    auto peak = std::make_unique<abi::PeakT>();
    peak->level = level;
    peak->witness = std::make_unique<abi::WitnessT>();
    record.certificate.push_back(std::move(peak));
  }

  abi::PartT &addPart(abi::PartKind kind, uint32_t index, uint64_t offset,
                      uint64_t bytes) {
    auto part = std::make_unique<abi::PartT>();
    part->kind = kind;
    part->index = index;
    part->offset = offset;
    part->bytes = bytes;
    auto &parts = record.certificate.back()->parts;
    parts.push_back(std::move(part));
    return *parts.back();
  }

  /// Adds what is always in use.
  void stay(abi::PartKind kind, uint32_t index, uint64_t offset,
            uint64_t bytes) {
    addPart(kind, index, offset, bytes);
    record.certificate.back()->bytes += bytes;
  }

  /// Lists what is in fast memory and when, and finds the fullest step.
  void certifyFast() {
    const abi::PlanT &plan = *record.plan;
    certify(plan.fast_level);
    stay(abi::PartKind::scratch, 0, plan.scratch_offset,
         plan.workers * plan.worker_bytes);
    if (uint64_t bytes = residentPageBytes())
      stay(abi::PartKind::kv, 0, plan.kv_offset, bytes);
    for (auto [i, place] : llvm::enumerate(record.slots))
      if (place.residency == abi::Residency::resident)
        stay(abi::PartKind::weight, uint32_t(i), place.offset, slotBytes[i]);
    for (auto [i, pool] : llvm::enumerate(plan.pools))
      stay(abi::PartKind::slot, uint32_t(i), pool->offset,
           pool->slots * pool->slot_bytes);
    std::vector<std::vector<uint64_t>> alive;
    for (const Schedule &schedule : schedules)
      alive.emplace_back(schedule.steps + 1, 0);
    for (auto buffer : module.getOps<tier::BufferOp>()) {
      uint32_t number = numbers.buffers.lookup(buffer.getSymName());
      auto host = record.buffers.find(number);
      bool isHost = host != record.buffers.end();
      if (buffer.getRole() && !isHost)
        continue; // Pages of the key-value cache, or of the host.
      const uint64_t offset = isHost ? host->second : *buffer.getOffset();
      if (buffer->hasAttr(kKept)) {
        stay(abi::PartKind::buffer, number, offset, buffer.getBytes());
        continue;
      }
      for (auto [i, schedule] : llvm::enumerate(schedules)) {
        auto it = schedule.lives.find(number);
        if (it == schedule.lives.end())
          continue;
        auto [first, last] = it->second;
        // The host writes before the first step and reads after the last.
        if (isHost && !buffer.getOutput())
          first = 0;
        if (isHost && buffer.getOutput())
          last = schedule.steps - 1;
        for (const ScheduleNumber &one : schedule.numbers) {
          abi::PartT &part =
              addPart(abi::PartKind::buffer, number, offset, buffer.getBytes());
          part.entry = one.entry;
          part.step_class = one.stepClass;
          part.first_step = first;
          part.last_step = last;
        }
        for (uint32_t s = first; s <= last; ++s)
          alive[i][s] += buffer.getBytes();
      }
    }
    abi::PeakT &peak = *record.certificate.back();
    const uint64_t always = peak.bytes;
    const Schedule *fullest = &schedules.front();
    // Of classes that are alike the one with the most rows shows it best.
    for (auto [i, schedule] : llvm::enumerate(schedules))
      for (uint32_t s = 0; s < alive[i].size(); ++s)
        if (always + alive[i][s] > peak.bytes ||
            (always + alive[i][s] == peak.bytes &&
             schedule.most.tokens > fullest->most.tokens)) {
          peak.bytes = always + alive[i][s];
          fullest = &schedule;
          peak.witness->step = s;
        }
    describeRun(*peak.witness, *fullest);
  }

  /// And what is in no slot has elsewhere: weights in the host's memory,
  /// key-value pages there or in a file.
  void certifyHome() {
    const abi::PlanT &plan = *record.plan;
    if (!record.arenas.count(plan.home_level))
      return;
    certify(plan.home_level);
    for (auto [i, bundle] : llvm::enumerate(plan.bundles))
      if (bundle->home != UINT64_MAX)
        stay(abi::PartKind::home, uint32_t(i), bundle->home, bundle->bytes);
    if (plan.staging_bytes)
      stay(abi::PartKind::staging, 0, plan.staging_offset, plan.staging_bytes);
    describeRun(*record.certificate.back()->witness, schedules.front());
  }

  /// The largest run that a schedule admits.
  void describeRun(abi::WitnessT &run, const Schedule &schedule) {
    run.entry = schedule.numbers.front().entry;
    run.step_class = schedule.numbers.front().stepClass;
    run.sequences =
        uint32_t(std::min(limits.maxSequences, schedule.most.sequences));
    run.tokens = uint32_t(
        std::min<int64_t>(std::min(limits.maxTokens, schedule.most.tokens),
                          limits.maxSequences * limits.maxContext));
    run.outputs =
        uint32_t(std::min<int64_t>(run.tokens, schedule.most.outputs));
    run.context = uint32_t(limits.maxContext);
    run.experts = uint32_t(activeExperts);
  }

  static bool isOfPages(const std::unique_ptr<abi::BundleT> &bundle) {
    return bundle->layer != UINT32_MAX;
  }

  /// Of pages that do not move.
  uint64_t residentPageBytes() {
    auto type = module->getAttrOfType<TypeAttr>("headrace.kv_cache");
    if (!type)
      return 0;
    auto cache = cast<nn::KvCacheType>(type.getValue());
    const bool gpu = module->hasAttr("headrace.target");
    auto moved = llvm::count_if(record.plan->bundles, isOfPages);
    return uint64_t(KvLayout(cache, gpu).layerElements) *
           (cache.getElement().getIntOrFloatBitWidth() / 8) *
           uint64_t(cache.getLayers() - moved) * record.plan->kv_pages;
  }

  ModuleOp module;
  const ManifestNumbers &numbers;
  ArrayRef<uint64_t> slotBytes;
  const StepLimits &limits;
  PlanRecord record;
  llvm::StringMap<uint32_t> poolNumber, bundleNumber, routings;
  std::vector<Schedule> schedules;
  int64_t activeExperts = 0;
};

} // namespace

void PlanRecord::setDigest(uint64_t digest) {
  plan->digest = digest;
  for (auto &peak : certificate)
    peak->digest = digest;
}

PlanRecord headrace::recordPlan(ModuleOp module, const ManifestNumbers &numbers,
                                ArrayRef<uint64_t> slotBytes,
                                const StepLimits &limits) {
  return PlanReader(module, numbers, slotBytes, limits).run();
}

uint64_t headrace::scheduleDigest(const uint8_t *manifest) {
  std::vector<uint64_t> words;
  abi::ForEachScheduleWord(*abi::GetManifest(manifest),
                           [&](uint64_t word) { words.push_back(word); });
  return llvm::xxh3_64bits(
      ArrayRef<uint8_t>(reinterpret_cast<const uint8_t *>(words.data()),
                        words.size() * sizeof(uint64_t)));
}
