// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Arena loader: slots, steps, and waves of experts.
#include "runtime/src/tier/arena_loader.h"

#include "runtime/abi/kernel_abi.h"
#include "runtime/src/manifest.h"
#include "runtime/src/thread.h"

#include <algorithm>
#include <cinttypes>

namespace headrace::runtime {

using Kind = TierStep::Kind;

ArenaLoader::ArenaLoader(const Allocator &allocator, const TierPlan *plan)
    : allocator(allocator), plan(plan), queue(allocator), copies(allocator),
      either(&copies, &queue), to_device(allocator),
      bundles(StdAllocator<Bundle>(allocator)),
      home_pieces(StdAllocator<TransferPiece>(allocator)),
      pools(StdAllocator<Pool>(allocator)),
      slot_of(StdAllocator<uint32_t>(allocator)),
      deferred(StdAllocator<uint32_t>(allocator)) {}

ArenaLoader::~ArenaLoader() = default;

//===----------------------------------------------------------------------===//
// Creation
//===----------------------------------------------------------------------===//

Status ArenaLoader::CreatePool(uint32_t index, uint32_t slots) {
  const TierPool &planned = plan->pools[index];
  pools.emplace_back(allocator, FastLink(), &tracer, &waits);
  Pool &pool = pools.back();
  const uint32_t inside = std::min(slots, planned.slots);
  uint64_t beyond;
  if (__builtin_mul_overflow(uint64_t(slots - inside), planned.slot_bytes,
                             &beyond))
    beyond = UINT64_MAX;
  HEADRACE_RETURN_IF_ERROR(
      device
          ? device->Allocate(beyond, planned.name, &pool.device_extension)
          : Mapping::Arena(allocator, beyond, planned.name, &pool.extension));
  uint8_t *extension =
      device ? pool.device_extension.Data() : pool.extension.Data();
  pool.slots.Create(slots, [&](uint32_t i) {
    return i < inside ? arena + planned.offset + planned.slot_bytes * i
                      : extension + planned.slot_bytes * (i - inside);
  });
  if (planned.kind == PoolKind::kRing) {
    pool.readers.assign(slots, kNoIndex);
    pool.ahead.assign(slots, 0);
    pool.kept = slots - inside;
    return Status();
  }
  Vector<uint32_t> experts{StdAllocator<uint32_t>(allocator)};
  uint32_t most = 0;
  for (uint32_t i = 0; i < planned.group_count; ++i) {
    experts.push_back(plan->groups[planned.first_group + i].experts);
    most = std::max(most, experts.back());
  }
  ExpertCache::Options options;
  options.group_experts = experts.data();
  options.group_count = planned.group_count;
  options.slots = slots;
  options.min_slots = planned.min_slots;
  options.policy = planned.policy;
  pool.cache.Create(options);
  pool.decisions.resize(size_t(most) * 2); // and what is fetched ahead
  pool.predicted.resize(most);
  pool.scores.resize(most);
  return Status();
}

Status ArenaLoader::Create(const Options &options) {
  arena = options.arena;
  pages = options.pages;
  timeout_ns = options.timeout_ns;
  tracer = options.tracer;
  device = options.device;
  home = options.home;
  home_level = options.home_level;
  chunk_bytes = options.queue.chunk_bytes;
  const auto count = static_cast<uint32_t>(plan->pools.size());
  Vector<uint32_t> slots(count, 0, StdAllocator<uint32_t>(allocator));
  HEADRACE_RETURN_IF_ERROR(
      ChooseSlots(allocator, *plan, options.budget_bytes, slots.data()));
  // Pools are pointed to by nothing, but their slots know the queue.
  pools.reserve(count);
  for (uint32_t i = 0; i < count; ++i)
    HEADRACE_RETURN_IF_ERROR(CreatePool(i, slots[i]));
  slot_of.assign(plan->bundles.size(), kNoIndex);
  deferred.reserve(plan->bundles.size());
  bundles = plan->bundles;
  for (size_t i = 0; home && i < bundles.size(); ++i)
    if (plan->bundle_homes[i] != kNoHome)
      bundles[i].home = home + plan->bundle_homes[i];
  HEADRACE_RETURN_IF_ERROR(queue.Start(options.source, options.queue));
  if (device)
    return CreateDeviceLink(options);
  return home ? copies.Start(options.home_source, options.home_queue)
              : Status();
}

/// What fills slots.
Link *ArenaLoader::FastLink() {
  if (device)
    return &to_device;
  return home ? static_cast<Link *>(&either) : &queue;
}

/// Stages are as large as the largest bundle that needs one.
Status ArenaLoader::CreateDeviceLink(const Options &options) {
  DeviceLink::Options wanted;
  wanted.link = "pcie";
  wanted.level = plan->level;
  wanted.package = &queue;
  wanted.staging = options.home + plan->staging_offset;
  wanted.staging_bytes = plan->staging_bytes;
  for (const Bundle &bundle : bundles)
    for (uint32_t i = 0; !bundle.home && i < bundle.piece_count; ++i)
      wanted.stage_bytes = std::max(
          wanted.stage_bytes, bundle.pieces[i].target + bundle.pieces[i].room);
  HEADRACE_RETURN_IF_ERROR(
      device->CreateCopyStream(options.executor, &wanted.stream));
  to_device.Create(std::move(wanted));
  return Status();
}

uint32_t ArenaLoader::Stop(uint64_t grace_ns) {
  to_device.Stop();
  uint32_t hanging = 0;
  for (TransferQueue *one : {&queue, &copies})
    hanging += one->Stop(grace_ns) ? 0 : 1;
  return hanging;
}

Status ArenaLoader::Bind(Vector<const void *> *table) {
  weights = table;
  const Bundle &resident = plan->resident;
  const size_t first =
      static_cast<size_t>(resident.pieces - plan->pieces.data());
  for (uint32_t i = 0; i < resident.piece_count; ++i)
    SetAddress(plan->piece_weights[first + i],
               arena + resident.pieces[i].target);
  const uint64_t deadline = timeout_ns ? MonotonicNs() + timeout_ns : 0;
  HEADRACE_RETURN_IF_ERROR(LoadHomes(deadline));
  if (device)
    return to_device.Load(device, resident.pieces, resident.piece_count, arena,
                          chunk_bytes, deadline);
  resident_job.pieces = resident.pieces;
  resident_job.piece_count = resident.piece_count;
  resident_job.base = arena;
  queue.Submit(&resident_job);
  HEADRACE_RETURN_IF_ERROR(queue.Wait(&resident_job, nullptr, deadline));
  tracer.Transfer(queue.Name(), resident.name, resident.bytes,
                  resident_job.begin_ns, resident_job.end_ns);
  return Status();
}

/// Reads the bundles that have a home to it, and has them fetched from there
/// from then on: where the host copies, piece by piece.
Status ArenaLoader::LoadHomes(uint64_t deadline_ns) {
  size_t count = 0;
  for (const Bundle &bundle : bundles)
    count += bundle.home ? bundle.piece_count : 0;
  home_pieces.reserve(count);
  for (size_t i = 0; i < bundles.size(); ++i)
    for (uint32_t j = 0; bundles[i].home && j < bundles[i].piece_count; ++j) {
      home_pieces.push_back(bundles[i].pieces[j]);
      home_pieces.back().target += plan->bundle_homes[i];
    }
  if (home_pieces.empty())
    return Status();
  resident_job.pieces = home_pieces.data();
  resident_job.piece_count = static_cast<uint32_t>(home_pieces.size());
  resident_job.base = home;
  resident_job.level = home_level;
  queue.Submit(&resident_job);
  HEADRACE_RETURN_IF_ERROR(queue.Wait(&resident_job, nullptr, deadline_ns));
  resident_job.level = nullptr;
  TransferPiece *next = home_pieces.data();
  for (size_t i = 0; !device && i < bundles.size(); ++i) {
    if (!bundles[i].home)
      continue;
    bundles[i].pieces = next;
    for (const TransferPiece *end = next + bundles[i].piece_count; next != end;
         ++next) {
      next->source = next->target;
      next->target -= plan->bundle_homes[i];
      next->digests = nullptr; // were compared on the way to the home
    }
  }
  return Status();
}

void ArenaLoader::SetAddress(uint32_t weight, const uint8_t *address) {
  if ((*weights)[weight] == address)
    return;
  (*weights)[weight] = address;
  bound.first = std::min<size_t>(bound.first, weight);
  bound.second = std::max<size_t>(bound.second, weight + size_t(1));
}

uint64_t ArenaLoader::OccupiedBytes() const {
  uint64_t bytes = plan->resident.bytes;
  for (size_t i = 0; i < pools.size(); ++i)
    bytes += pools[i].slots.Occupied() * plan->pools[i].slot_bytes;
  return bytes;
}

//===----------------------------------------------------------------------===//
// Rings
//===----------------------------------------------------------------------===//

/// Points the binding table to the bundle's weights in `slot`.
void ArenaLoader::BindBundle(uint32_t index, uint32_t slot) {
  const Bundle &bundle = bundles[index];
  uint8_t *base = pools[plan->bundle_pools[index]].slots.Address(slot);
  const size_t first =
      static_cast<size_t>(plan->bundles[index].pieces - plan->pieces.data());
  for (uint32_t i = 0; i < bundle.piece_count; ++i)
    SetAddress(plan->piece_weights[first + i], base + bundle.pieces[i].target);
}

/// Sees to it that the bundle is in the slot or on its way.
Status ArenaLoader::FetchInto(uint32_t index, uint32_t slot, bool urgent,
                              const WaitLimits &limits) {
  const Bundle &bundle = bundles[index];
  SlotPool &slots = pools[plan->bundle_pools[index]].slots;
  if (!slots.Has(slot, bundle))
    HEADRACE_RETURN_IF_ERROR(slots.Fetch(slot, bundle, urgent, limits));
  BindBundle(index, slot);
  return Status();
}

/// The slot of a ring for a fetch. With as many slots as planned, slots are as
/// planned. With more, the first bundles stay for good and the others take
/// turns in the planned ones; with fewer, all take turns.
uint32_t ArenaLoader::RingSlot(const TierStep &step,
                               uint32_t *next_slot) const {
  const uint32_t index = plan->bundle_pools[step.bundle];
  const Pool &pool = pools[index];
  const uint32_t number = plan->bundle_numbers[step.bundle];
  const uint32_t ring = pool.slots.Count() - pool.kept;
  if (number < pool.kept)
    return ring + number;
  if (pool.slots.Count() == plan->pools[index].slots)
    return step.slot;
  const uint32_t slot = *next_slot;
  *next_slot = (slot + 1) % ring;
  return slot;
}

/// Gives the bundle its slot, and fetches it when the slot is free: a bundle
/// whose slot is in use waits for its release.
Status ArenaLoader::FetchStep(const TierStep &step, const WaitLimits &limits) {
  Pool &pool = pools[plan->bundle_pools[step.bundle]];
  slot_of[step.bundle] = RingSlot(step, &pool.next_slot);
  deferred.push_back(step.bundle);
  return FetchDeferred(limits);
}

/// Starts what the next run of the entry fetches first, in slots that this run
/// does not need any more: a link that waited for the next run to begin would
/// make it wait in turn. The schedule does not say this, as it does not know
/// which entry runs next; where it is another one, only bytes were wasted.
Status ArenaLoader::FetchAhead(uint32_t schedule, const WaitLimits &limits) {
  for (; ahead_step < plan->schedule_steps[schedule + 1]; ++ahead_step) {
    const TierStep &step = plan->steps[ahead_step];
    if (step.kind != Kind::kFetch)
      continue;
    Pool &pool = pools[plan->bundle_pools[step.bundle]];
    uint32_t next = pool.next_ahead;
    const uint32_t slot = RingSlot(step, &next);
    if (pool.ahead[slot] || pool.readers[slot] != kNoIndex)
      return Status();
    pool.next_ahead = next;
    pool.ahead[slot] = 1;
    // The binding table stays: this run may still read the bundle elsewhere.
    const Bundle &bundle = bundles[step.bundle];
    if (!pool.slots.Has(slot, bundle))
      HEADRACE_RETURN_IF_ERROR(
          pool.slots.Fetch(slot, bundle, /*urgent=*/false, limits));
  }
  return Status();
}

/// Fetches what waits for a slot, in order, as far as slots are free.
Status ArenaLoader::FetchDeferred(const WaitLimits &limits) {
  size_t fetched = 0;
  Status status;
  for (; fetched < deferred.size(); ++fetched) {
    const uint32_t bundle = deferred[fetched];
    Pool &pool = pools[plan->bundle_pools[bundle]];
    const uint32_t slot = slot_of[bundle];
    if (pool.readers[slot] != kNoIndex && pool.readers[slot] != bundle)
      break;
    status = FetchInto(bundle, slot, /*urgent=*/false, limits);
    if (!status.IsOk())
      break;
    pool.readers[slot] = bundle;
  }
  deferred.erase(deferred.begin(),
                 deferred.begin() + static_cast<ptrdiff_t>(fetched));
  return status;
}

/// The launches that read the bundle have ended, or are `part` and before.
void ArenaLoader::ReleaseStep(const TierStep &step, uint64_t part) {
  Pool &pool = pools[plan->bundle_pools[step.bundle]];
  const uint32_t slot = slot_of[step.bundle];
  uint32_t &reader = pool.readers[slot];
  if (reader != step.bundle)
    return;
  reader = kNoIndex;
  pool.slots.SetReader(slot, part);
}

bool ArenaLoader::HasArrived(uint32_t bundle) {
  SlotPool &slots = pools[plan->bundle_pools[bundle]].slots;
  const uint32_t slot = slot_of[bundle];
  return slot != kNoIndex && slots.Has(slot, bundles[bundle]) &&
         slots.HasArrived(slot);
}

Status ArenaLoader::WaitStep(const TierStep &step, const WaitLimits &limits) {
  Pool &pool = pools[plan->bundle_pools[step.bundle]];
  const uint32_t slot = slot_of[step.bundle];
  const Bundle &bundle = bundles[step.bundle];
  if (slot == kNoIndex || pool.readers[slot] != step.bundle)
    return MakeStatus(allocator, HEADRACE_STATUS_INTERNAL,
                      "schedule: '%.200s' is waited for, but no slot of level "
                      "'%s' is free for it",
                      bundle.name, plan->level);
  // It was in the slot when it was asked for and may have failed since.
  HEADRACE_RETURN_IF_ERROR(FetchInto(step.bundle, slot, true, limits));
  return pool.slots.Hold(slot, limits);
}

//===----------------------------------------------------------------------===//
// Waves
//===----------------------------------------------------------------------===//

/// Takes what a router run ahead says. It is acted upon in the next routed
/// step, whose own experts go first.
Status ArenaLoader::PredictStep(const TierStep &step, LaunchRunner *runner) {
  Pool &pool = pools[step.pool];
  HEADRACE_RETURN_IF_ERROR(
      runner->ReadPrediction(plan->routings[step.routing], pool.scores.data(),
                             pool.predicted.data(), &pool.predicted_count));
  pool.prediction = &step;
  tracer.Predicted(plan->pools[step.pool].name, step.group,
                   pool.predicted.data(), pool.predicted_count);
  return Status();
}

/// Runs the launches over the active experts in waves: each takes those that
/// have arrived, in ascending order, while the next ones arrive.
Status ArenaLoader::RoutedStep(const TierStep &step, LaunchRunner *runner,
                               const WaitLimits &limits) {
  Pool &pool = pools[step.pool];
  const TierPool &planned = plan->pools[step.pool];
  const int32_t *active;
  uint32_t count;
  HEADRACE_RETURN_IF_ERROR(
      runner->ReadRouting(plan->routings[step.routing], &active, &count));
  tracer.Routed(planned.name, step.group, active, count);
  ExpertCache::Decision *decisions = pool.decisions.data();
  pool.cache.Plan(step.group, active, count, decisions);
  uint32_t ahead = 0, next = 0;
  if (const TierStep *prediction = pool.prediction) {
    pool.prediction = nullptr;
    next = prediction->group;
    ahead = pool.cache.PlanPrefetch(next, pool.predicted.data(),
                                    pool.predicted_count, prediction->most,
                                    decisions + count);
  }

  auto fetch = [&](uint32_t index, uint32_t group, bool urgent) -> Status {
    const ExpertCache::Decision &decision = decisions[index];
    const uint32_t bundle = plan->groups[planned.first_group + group].bundle +
                            decision.bundle - pool.cache.FirstBundle(group);
    return FetchInto(bundle, decision.slot, urgent, limits);
  };
  uint32_t issued = 0, computed = 0;
  auto issue = [&]() -> Status {
    for (; issued < count; ++issued) {
      const ExpertCache::Decision &decision = decisions[issued];
      if (decision.after != ExpertCache::kNone && decision.after >= computed)
        return Status();
      HEADRACE_RETURN_IF_ERROR(fetch(issued, step.group, true));
    }
    for (; issued < count + ahead; ++issued)
      HEADRACE_RETURN_IF_ERROR(fetch(issued, next, false));
    return Status();
  };
  // With nothing active the launches still run once: they write the base.
  do {
    HEADRACE_RETURN_IF_ERROR(issue());
    uint32_t end = computed;
    if (computed < count) {
      // Again, if it was seen to have failed.
      HEADRACE_RETURN_IF_ERROR(fetch(computed, step.group, true));
      HEADRACE_RETURN_IF_ERROR(
          pool.slots.Wait(decisions[computed].slot, limits));
      for (end = computed + 1; end < std::min(issued, count) &&
                               pool.slots.HasArrived(decisions[end].slot);)
        ++end;
    }
    HEADRACE_RETURN_IF_ERROR(
        runner->RunLaunches(step.launch, step.end_launch, computed,
                            end == count ? HEADRACE_ALL_ACTIVE : end));
    for (; computed < end; ++computed)
      pool.slots.SetReader(decisions[computed].slot, runner->LastPart());
  } while (computed < count);
  return Status();
}

//===----------------------------------------------------------------------===//
// Schedules
//===----------------------------------------------------------------------===//

/// The launches so far have ended, or are `part` and before.
Status ArenaLoader::PageStep(const TierStep &step, uint64_t part,
                             const WaitLimits &limits) {
  switch (step.kind) {
  case Kind::kFetchPages:
    pages->Fetch(step.bundle);
    return Status();
  case Kind::kStorePages:
    pages->Store(step.bundle, part);
    return Status();
  case Kind::kReleasePages:
    return pages->Release(step.bundle, limits);
  default:
    return pages->Wait(step.bundle, limits);
  }
}

Status ArenaLoader::AwaitHeld(const HeldCopies &copies,
                              const WaitLimits &limits) {
  HEADRACE_RETURN_IF_ERROR(
      to_device.AwaitHeld(copies.weights, limits.cancel, limits.deadline_ns));
  return pages ? pages->AwaitHeld(copies.pages, limits) : Status();
}

void ArenaLoader::AwaitRest(const WaitLimits &limits) {
  if (pages && !pages->Settle(limits).IsOk())
    return;
  for (Pool &pool : pools)
    for (uint32_t i = 0; i < pool.slots.Count(); ++i)
      if (pool.decisions.size() && !pool.slots.AwaitEnd(i, limits).IsOk())
        return;
}

Status ArenaLoader::RunEntry(uint32_t entry, uint32_t step_class,
                             LaunchRunner *runner, const WaitLimits &limits) {
  Status status =
      RunSteps(plan->entry_schedules[entry] + step_class, runner, limits);
  // What is still under way may fail for the same reason. The next run begins
  // with what has arrived.
  if (!status.IsOk())
    for (Pool &pool : pools)
      pool.slots.Abandon();
  if (!status.IsOk() && pages)
    pages->Abandon();
  return status;
}

Status ArenaLoader::RunSteps(uint32_t schedule, LaunchRunner *runner,
                             const WaitLimits &limits) {
  if (pages)
    HEADRACE_RETURN_IF_ERROR(pages->Settle(limits));
  deferred.clear();
  for (Pool &pool : pools) {
    std::fill(pool.readers.begin(), pool.readers.end(), kNoIndex);
    std::fill(pool.ahead.begin(), pool.ahead.end(), uint8_t(0));
    pool.next_slot = pool.next_ahead = 0;
    pool.prediction = nullptr;
  }
  ahead_step = plan->schedule_steps[schedule];
  uint32_t fetches = 0; // of this run that are still to come
  for (uint32_t i = plan->schedule_steps[schedule];
       i < plan->schedule_steps[schedule + 1]; ++i)
    fetches += plan->steps[i].kind == Kind::kFetch;
  uint32_t begin = 0, end = 0; // launches that may run, but do not yet
  auto flush = [&]() -> Status {
    const uint32_t from = begin, to = end;
    begin = end;
    return from == to ? Status()
                      : runner->RunLaunches(from, to, 0, HEADRACE_ALL_ACTIVE);
  };
  auto add = [&](uint32_t launch) -> Status {
    if (begin == end)
      begin = end = launch;
    if (launch != end) {
      HEADRACE_RETURN_IF_ERROR(flush());
      begin = launch;
    }
    end = launch + 1;
    return Status();
  };
  for (uint32_t i = plan->schedule_steps[schedule];
       i < plan->schedule_steps[schedule + 1]; ++i) {
    const TierStep &step = plan->steps[i];
    switch (step.kind) {
    case Kind::kLaunch:
      HEADRACE_RETURN_IF_ERROR(add(step.launch));
      break;
    case Kind::kPredict:
      if (!pools[step.pool].cache.WantsPrediction(step.group))
        break;
      HEADRACE_RETURN_IF_ERROR(add(step.launch));
      HEADRACE_RETURN_IF_ERROR(flush());
      HEADRACE_RETURN_IF_ERROR(PredictStep(step, runner));
      break;
    case Kind::kFetch:
      HEADRACE_RETURN_IF_ERROR(FetchStep(step, limits));
      --fetches;
      break;
    case Kind::kWait:
      // While the weights are on their way, what does not need them runs.
      if (!HasArrived(step.bundle))
        HEADRACE_RETURN_IF_ERROR(flush());
      HEADRACE_RETURN_IF_ERROR(WaitStep(step, limits));
      break;
    case Kind::kRelease:
      HEADRACE_RETURN_IF_ERROR(flush());
      ReleaseStep(step, runner->LastPart());
      HEADRACE_RETURN_IF_ERROR(FetchDeferred(limits));
      if (fetches == 0 && deferred.empty())
        HEADRACE_RETURN_IF_ERROR(FetchAhead(schedule, limits));
      break;
    case Kind::kRouted:
      HEADRACE_RETURN_IF_ERROR(flush());
      HEADRACE_RETURN_IF_ERROR(RoutedStep(step, runner, limits));
      break;
    case Kind::kWaitPages:
      if (pages->HasArrived(step.bundle)) {
        HEADRACE_RETURN_IF_ERROR(pages->Wait(step.bundle, limits));
        break;
      }
      [[fallthrough]];
    case Kind::kFetchPages:
    case Kind::kStorePages:
    case Kind::kReleasePages:
      // What was to run writes what is stored, or reads what is fetched over.
      HEADRACE_RETURN_IF_ERROR(flush());
      HEADRACE_RETURN_IF_ERROR(PageStep(step, runner->LastPart(), limits));
      break;
    }
  }
  return flush();
}

} // namespace headrace::runtime
