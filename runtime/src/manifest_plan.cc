// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Manifest, plan part: checks of where bytes live and when they move.
#include "runtime/src/manifest_plan.h"

#include "runtime/abi/package_format.h"
#include "runtime/abi/schedule_digest.h"
#include "runtime/src/digest.h"
#include "runtime/src/sizes.h"

#include <algorithm>
#include <cinttypes>

namespace headrace::runtime {
namespace {

constexpr uint64_t kPage = HEADRACE_PACKAGE_ALIGNMENT;
constexpr uint32_t kMaxWorkers = 1u << 16;

/// A macro, so that the compiler checks the format.
#define DAMAGED(...)                                                           \
  MakeStatus(allocator, HEADRACE_STATUS_DATA_LOSS, __VA_ARGS__)

bool FitsProduct(uint64_t offset, uint64_t a, uint64_t b, uint64_t end) {
  uint64_t bytes;
  return !__builtin_mul_overflow(a, b, &bytes) && Fits(offset, bytes, end);
}

/// Bytes of one level's arena that something takes.
struct Range {
  uint32_t level;
  uint64_t offset;
  uint64_t bytes;
  bool buffer; // may share bytes with other buffers
  const char *what;
  uint32_t index;
};

using Launches = flatbuffers::Vector<flatbuffers::Offset<abi::Launch>>;
using Steps = flatbuffers::Vector<flatbuffers::Offset<abi::Step>>;

class PlanChecker {
public:
  PlanChecker(const Allocator &allocator, const abi::Manifest &manifest,
              uint64_t manifest_bytes, ManifestSummary *summary)
      : allocator(allocator), manifest(manifest), plan(*manifest.plan()),
        manifest_bytes(manifest_bytes), summary(summary),
        ranges(StdAllocator<Range>(allocator)),
        bundle_of(manifest.weights()->size(), kNoIndex,
                  StdAllocator<uint32_t>(allocator)),
        states(plan.bundles()->size(), State::absent,
               StdAllocator<State>(allocator)),
        slots(StdAllocator<uint32_t>(allocator)),
        first_slot(StdAllocator<uint32_t>(allocator)),
        pages_of(StdAllocator<uint32_t>(allocator)),
        page_slots(plan.bundles()->size(), kNoIndex,
                   StdAllocator<uint32_t>(allocator)),
        written(plan.bundles()->size(), 0, StdAllocator<uint8_t>(allocator)) {}

  Status Run() {
    HEADRACE_RETURN_IF_ERROR(CheckLevels());
    HEADRACE_RETURN_IF_ERROR(CheckPools());
    HEADRACE_RETURN_IF_ERROR(CheckBundles());
    HEADRACE_RETURN_IF_ERROR(CheckHomes());
    HEADRACE_RETURN_IF_ERROR(CheckKv());
    HEADRACE_RETURN_IF_ERROR(CheckWeights());
    HEADRACE_RETURN_IF_ERROR(CheckRoutings());
    HEADRACE_RETURN_IF_ERROR(CheckRanges());
    for (uint32_t i = 0; i < manifest.entries()->size(); ++i) {
      const abi::Entry &entry = *manifest.entries()->Get(i);
      HEADRACE_RETURN_IF_ERROR(CheckSteps(i, *entry.launches(), entry.steps()));
      for (uint32_t j = 0; entry.classes() && j < entry.classes()->size(); ++j)
        HEADRACE_RETURN_IF_ERROR(
            CheckSteps(i, *entry.classes()->Get(j)->launches(),
                       entry.classes()->Get(j)->steps()));
    }
    return CheckCertificate();
  }

private:
  enum class State : uint8_t { absent, fetched, arrived };

  /// As in manifest.cc: shared vectors must not multiply work.
  Status Spend(uint64_t bytes) {
    spent += bytes;
    if (spent > manifest_bytes)
      return DAMAGED("manifest: plan: describes more than its %" PRIu64
                     " bytes can hold",
                     manifest_bytes);
    return Status();
  }

  uint64_t ArenaBytes(uint32_t level) const {
    return manifest.levels()->Get(level)->arena_bytes();
  }

  Status CheckLevels() {
    const uint32_t levels = manifest.levels()->size();
    for (uint32_t i = 0; i < levels; ++i) {
      const abi::Level &level = *manifest.levels()->Get(i);
      if (level.arena_bytes() > level.bytes())
        return DAMAGED("manifest: level #%u: an arena of %" PRIu64
                       " bytes in %" PRIu64,
                       i, level.arena_bytes(), level.bytes());
      summary->arena_bytes[i] = level.arena_bytes();
    }
    if (plan.fast_level() >= levels || plan.kv_level() >= levels)
      return DAMAGED("manifest: plan: level %u or %u of %u", plan.fast_level(),
                     plan.kv_level(), levels);
    const uint64_t arena = ArenaBytes(plan.fast_level());
    if (plan.budget() && arena > plan.budget())
      return DAMAGED("manifest: plan: an arena of %" PRIu64
                     " bytes for a budget of %" PRIu64,
                     arena, plan.budget());
    if (plan.minimum_bytes() > arena)
      return DAMAGED("manifest: plan: a minimum of %" PRIu64
                     " bytes in an arena of %" PRIu64,
                     plan.minimum_bytes(), arena);
    if (plan.workers() == 0 || plan.workers() > kMaxWorkers ||
        plan.worker_bytes() < summary->max_scratch_bytes ||
        plan.worker_bytes() % kPage || plan.scratch_offset() % kPage ||
        !FitsProduct(plan.scratch_offset(), plan.workers(), plan.worker_bytes(),
                     arena))
      return DAMAGED("manifest: plan: scratch of %u workers of %" PRIu64
                     " bytes at %" PRIu64 " in an arena of %" PRIu64,
                     plan.workers(), plan.worker_bytes(), plan.scratch_offset(),
                     arena);
    Take(plan.fast_level(), plan.scratch_offset(),
         plan.workers() * plan.worker_bytes(), "scratch of worker", 0);
    return Status();
  }

  uint64_t LayerPageBytes() const {
    return manifest.kv()->page_bytes() / manifest.kv()->layers();
  }

  /// Pages of layers that no bundle has.
  Status CheckKv() {
    if (!manifest.kv())
      return Status();
    uint64_t resident = 0;
    for (uint32_t bundle : pages_of)
      resident += bundle == kNoIndex;
    const uint64_t page = resident * LayerPageBytes();
    if (plan.kv_pages() == 0 || plan.kv_pages() > INT32_MAX ||
        plan.kv_offset() % kPage ||
        !FitsProduct(plan.kv_offset(), plan.kv_pages(), page,
                     ArenaBytes(plan.kv_level())))
      return DAMAGED("manifest: plan: %u pages of %" PRIu64 " bytes at %" PRIu64
                     " in an arena of %" PRIu64,
                     plan.kv_pages(), page, plan.kv_offset(),
                     ArenaBytes(plan.kv_level()));
    Take(plan.kv_level(), plan.kv_offset(), plan.kv_pages() * page,
         "key-value pool", 0);
    return Status();
  }

  /// A bundle of a layer's pages: home and slots of one ring have all of them.
  Status CheckPages(uint32_t index, const abi::Bundle &bundle) {
    const abi::Pool &pool = *plan.pools()->Get(bundle.pool());
    const bool known = bundle.layer() < pages_of.size();
    uint64_t bytes = 0;
    if (!known || pages_of[bundle.layer()] != kNoIndex ||
        __builtin_mul_overflow(LayerPageBytes(), uint64_t(plan.kv_pages()),
                               &bytes))
      return DAMAGED(
          "manifest: bundle #%u: pages of layer %u of %zu, which has "
          "none or others",
          index, bundle.layer(), pages_of.size());
    pages_of[bundle.layer()] = index;
    if (bundle.weights()->size() || bundle.offsets()->size() ||
        pool.kind() != abi::PoolKind::ring ||
        pool.min_slots() != pool.slots() || pool.level() != plan.fast_level() ||
        bundle.bytes() < bytes)
      return DAMAGED("manifest: bundle #%u: %" PRIu64
                     " bytes of pages in a pool of another kind, or too few "
                     "for %" PRIu64,
                     index, bundle.bytes(), bytes);
    if (plan.home_level() == kNoIndex || bundle.home() == UINT64_MAX)
      return DAMAGED("manifest: bundle #%u: pages without a home", index);
    if (page_pool != kNoIndex && page_pool != bundle.pool())
      return DAMAGED("manifest: bundle #%u: pages in pools %u and %u", index,
                     page_pool, bundle.pool());
    page_pool = bundle.pool();
    return Status();
  }

  void Take(uint32_t level, uint64_t offset, uint64_t bytes, const char *what,
            uint32_t index, bool buffer = false) {
    if (bytes)
      ranges.push_back({level, offset, bytes, buffer, what, index});
  }

  Status CheckPools() {
    for (uint32_t i = 0; i < plan.pools()->size(); ++i) {
      const abi::Pool &pool = *plan.pools()->Get(i);
      if (pool.kind() > abi::PoolKind::MAX ||
          pool.policy() > abi::CachePolicy::MAX)
        return MakeStatus(allocator, HEADRACE_STATUS_UNIMPLEMENTED,
                          "manifest: pool #%u: kind %u or policy %u is of a "
                          "newer version",
                          i, static_cast<unsigned>(pool.kind()),
                          static_cast<unsigned>(pool.policy()));
      if (pool.level() >= manifest.levels()->size())
        return DAMAGED("manifest: pool #%u: level %u of %u", i, pool.level(),
                       manifest.levels()->size());
      if (pool.min_slots() == 0 || pool.slots() < pool.min_slots() ||
          pool.slot_bytes() == 0 || pool.slot_bytes() % kPage ||
          pool.offset() % kPage ||
          !FitsProduct(pool.offset(), pool.slots(), pool.slot_bytes(),
                       ArenaBytes(pool.level())))
        return DAMAGED("manifest: pool #%u: %u slots (at least %u) of %" PRIu64
                       " bytes at %" PRIu64 " in an arena of %" PRIu64,
                       i, pool.slots(), pool.min_slots(), pool.slot_bytes(),
                       pool.offset(), ArenaBytes(pool.level()));
      // What a slot holds is looked up, so slots are few enough to list.
      if (pool.slots() > kMaxSlots - slots.size())
        return DAMAGED("manifest: pool #%u: %u slots", i, pool.slots());
      Take(pool.level(), pool.offset(), pool.slots() * pool.slot_bytes(),
           "slots of pool", i);
      first_slot.push_back(static_cast<uint32_t>(slots.size()));
      if (pool.kind() == abi::PoolKind::ring)
        slots.resize(slots.size() + pool.slots(), kNoIndex);
    }
    return Status();
  }

  Status CheckBundles() {
    if (manifest.kv()) {
      HEADRACE_RETURN_IF_ERROR(Spend(manifest.kv()->layers()));
      pages_of.assign(manifest.kv()->layers(), kNoIndex);
    }
    for (uint32_t i = 0; i < plan.bundles()->size(); ++i) {
      const abi::Bundle &bundle = *plan.bundles()->Get(i);
      if (bundle.pool() >= plan.pools()->size())
        return DAMAGED("manifest: bundle #%u: pool %u of %u", i, bundle.pool(),
                       plan.pools()->size());
      const uint64_t room = plan.pools()->Get(bundle.pool())->slot_bytes();
      if (bundle.bytes() > room)
        return DAMAGED("manifest: bundle #%u: %" PRIu64
                       " bytes for slots of %" PRIu64,
                       i, bundle.bytes(), room);
      if (bundle.layer() != kNoIndex) {
        HEADRACE_RETURN_IF_ERROR(CheckPages(i, bundle));
        continue;
      }
      if (bundle.weights()->size() == 0 ||
          bundle.offsets()->size() != bundle.weights()->size())
        return DAMAGED("manifest: bundle #%u: %u weights at %u offsets", i,
                       bundle.weights()->size(), bundle.offsets()->size());
      uint64_t end = 0;
      for (uint32_t j = 0; j < bundle.weights()->size(); ++j) {
        const uint32_t weight = bundle.weights()->Get(j);
        const uint64_t offset = bundle.offsets()->Get(j);
        if (weight >= bundle_of.size() || bundle_of[weight] != kNoIndex)
          return DAMAGED("manifest: bundle #%u: weight %u of %zu is none or in "
                         "two bundles",
                         i, weight, bundle_of.size());
        bundle_of[weight] = i;
        const uint64_t bytes = PackedBytes(weight);
        if (offset < end || offset % kPage ||
            !Fits(offset, bytes, bundle.bytes()))
          return DAMAGED("manifest: bundle #%u: weight %u: bytes %" PRIu64
                         " + %" PRIu64 " behind %" PRIu64 " in %" PRIu64,
                         i, weight, offset, bytes, end, bundle.bytes());
        end = offset + bytes;
      }
    }
    for (uint32_t i = 0; i < plan.bundles()->size(); ++i)
      if (plan.bundles()->Get(i)->pool() == page_pool &&
          plan.bundles()->Get(i)->layer() == kNoIndex)
        return DAMAGED("manifest: bundle #%u: weights in a pool of pages", i);
    return Status();
  }

  /// Where bundles are while they are in no slot, of a plan that says it.
  Status CheckHomes() {
    const uint32_t level = plan.home_level();
    if (level != kNoIndex &&
        (level >= manifest.levels()->size() || level == plan.fast_level()))
      return DAMAGED("manifest: plan: home level %u of %u", level,
                     manifest.levels()->size());
    const uint64_t arena = level == kNoIndex ? 0 : ArenaBytes(level);
    if (plan.home_budget() && arena > plan.home_budget())
      return DAMAGED("manifest: plan: a home arena of %" PRIu64
                     " bytes for a budget of %" PRIu64,
                     arena, plan.home_budget());
    if (plan.staging_offset() % kPage || plan.staging_bytes() % kPage ||
        !Fits(plan.staging_offset(), plan.staging_bytes(), arena))
      return DAMAGED("manifest: plan: staging of %" PRIu64 " bytes at %" PRIu64
                     " in an arena of %" PRIu64,
                     plan.staging_bytes(), plan.staging_offset(), arena);
    Take(level, plan.staging_offset(), plan.staging_bytes(), "staging", 0);
    // Kernels of a CPU reach what comes straight from the package.
    bool staged = false;
    for (const abi::Entry *entry : *manifest.entries())
      staged |=
          level != kNoIndex && entry->classes() && entry->classes()->size();
    for (uint32_t i = 0; i < plan.bundles()->size(); ++i) {
      const abi::Bundle &bundle = *plan.bundles()->Get(i);
      if (bundle.home() == UINT64_MAX) {
        if (staged && bundle.bytes() > plan.staging_bytes())
          return DAMAGED("manifest: bundle #%u: %" PRIu64
                         " bytes through staging of %" PRIu64,
                         i, bundle.bytes(), plan.staging_bytes());
        continue;
      }
      if (bundle.home() % kPage || !Fits(bundle.home(), bundle.bytes(), arena))
        return DAMAGED("manifest: bundle #%u: a home of %" PRIu64
                       " bytes at %" PRIu64 " in an arena of %" PRIu64,
                       i, bundle.bytes(), bundle.home(), arena);
      Take(level, bundle.home(), bundle.bytes(), "home of bundle", i);
    }
    return Status();
  }

  /// Whole pages that weight `weight` takes.
  uint64_t PackedBytes(uint32_t weight) const {
    // Blobs lie inside the file, so this cannot overflow.
    const uint64_t bytes =
        manifest.blobs()->Get(manifest.weights()->Get(weight)->blob())->bytes();
    return (bytes + kPage - 1) / kPage * kPage;
  }

  Status CheckWeights() {
    for (uint32_t i = 0; i < manifest.weights()->size(); ++i) {
      const abi::Weight &weight = *manifest.weights()->Get(i);
      const bool bundled = weight.residency() == abi::Residency::streamed ||
                           weight.residency() == abi::Residency::routed;
      if (weight.residency() > abi::Residency::MAX)
        return MakeStatus(allocator, HEADRACE_STATUS_UNIMPLEMENTED,
                          "manifest: weight #%u: residency %u is of a newer "
                          "version",
                          i, static_cast<unsigned>(weight.residency()));
      if (weight.residency() == abi::Residency::mapped ||
          bundled != (bundle_of[i] != kNoIndex))
        return DAMAGED("manifest: weight #%u: the plan does not place it", i);
      if (bundled) {
        const bool ring = plan.pools()
                              ->Get(plan.bundles()->Get(bundle_of[i])->pool())
                              ->kind() == abi::PoolKind::ring;
        if (ring != (weight.residency() == abi::Residency::streamed))
          return DAMAGED("manifest: weight #%u: in a pool of another kind", i);
        continue;
      }
      if (weight.level() >= manifest.levels()->size() ||
          weight.offset() % kPage ||
          !Fits(weight.offset(), PackedBytes(i), ArenaBytes(weight.level())))
        return DAMAGED("manifest: weight #%u: bytes %" PRIu64 " + %" PRIu64
                       " of level %u",
                       i, weight.offset(), PackedBytes(i), weight.level());
      Take(weight.level(), weight.offset(), PackedBytes(i), "weight", i);
    }
    return Status();
  }

  Status CheckRoutings() {
    for (uint32_t i = 0; i < plan.routings()->size(); ++i) {
      const abi::Routing &routing = *plan.routings()->Get(i);
      if (routing.buffer() >= manifest.buffers()->size() ||
          manifest.buffers()->Get(routing.buffer())->kind() !=
              abi::BufferKind::scratch)
        return DAMAGED("manifest: routing #%u: buffer %u is not planned", i,
                       routing.buffer());
      const uint64_t bytes = manifest.buffers()->Get(routing.buffer())->bytes();
      if (routing.experts() == 0 || routing.active_count_offset() % 4 ||
          routing.active_offset() % 4 ||
          !Fits(routing.active_count_offset(), 4, bytes) ||
          !FitsProduct(routing.active_offset(), routing.experts(), 4, bytes))
        return DAMAGED("manifest: routing #%u: %u experts at %" PRIu64
                       " and their number at %" PRIu64 " of %" PRIu64 " bytes",
                       i, routing.experts(), routing.active_offset(),
                       routing.active_count_offset(), bytes);
    }
    return Status();
  }

  /// Buffers share bytes with other buffers only, all else with nothing.
  Status CheckRanges() {
    // Of what a host gives, the session keeps its own for steps only.
    Vector<bool> placed(manifest.buffers()->size(), false,
                        StdAllocator<bool>(allocator));
    if (summary->model.entry != kNoIndex) {
      const abi::Entry &steps = *manifest.entries()->Get(summary->model.entry);
      for (const auto *list : {steps.inputs(), steps.outputs()})
        for (uint32_t buffer : *list)
          placed[buffer] = buffer != summary->model.kv_pool;
    }
    for (uint32_t i = 0; i < manifest.buffers()->size(); ++i) {
      const abi::Buffer &buffer = *manifest.buffers()->Get(i);
      if (buffer.kind() != abi::BufferKind::scratch && !placed[i])
        continue;
      if (buffer.offset() % kCacheLine ||
          !Fits(buffer.offset(), buffer.bytes(), ArenaBytes(buffer.level())))
        return DAMAGED("manifest: buffer #%u: bytes %" PRIu64 " + %" PRIu64
                       " in an arena of %" PRIu64,
                       i, buffer.offset(), buffer.bytes(),
                       ArenaBytes(buffer.level()));
      Take(buffer.level(), buffer.offset(), buffer.bytes(), "buffer", i, true);
    }
    std::sort(ranges.begin(), ranges.end(), [](const Range &a, const Range &b) {
      return a.level != b.level ? a.level < b.level : a.offset < b.offset;
    });
    // The ranges that reach furthest so far, of all and of those that share
    // with nothing.
    const Range *any = nullptr, *alone = nullptr;
    auto meets = [](const Range *before, const Range &range) {
      return before && before->level == range.level &&
             before->offset + before->bytes > range.offset;
    };
    auto further = [](const Range *&last, const Range &range) {
      if (!last || last->level != range.level ||
          last->offset + last->bytes < range.offset + range.bytes)
        last = &range;
    };
    for (const Range &range : ranges) {
      const Range *before = range.buffer ? alone : any;
      if (meets(before, range))
        return DAMAGED("manifest: plan: %s #%u and %s #%u overlap",
                       before->what, before->index, range.what, range.index);
      further(any, range);
      if (!range.buffer)
        further(alone, range);
    }
    return Status();
  }

  //===--------------------------------------------------------------------===//
  // Steps
  //===--------------------------------------------------------------------===//

  Status CheckSteps(uint32_t entry, const Launches &launches,
                    const Steps *steps) {
    if (!steps) {
      for (uint32_t i = 0; i < launches.size(); ++i)
        HEADRACE_RETURN_IF_ERROR(CheckLaunch(entry, i, launches, nullptr));
      return Status();
    }
    HEADRACE_RETURN_IF_ERROR(Spend(uint64_t(steps->size()) * 4));
    uint32_t next = 0; // launch
    for (uint32_t i = 0; i < steps->size(); ++i)
      HEADRACE_RETURN_IF_ERROR(CheckStep(entry, i, launches, *steps, &next));
    if (next != launches.size())
      return DAMAGED("manifest: entry #%u: steps run %u of %u launches", entry,
                     next, launches.size());
    // An entry leaves nothing behind in the rings, as it finds nothing there.
    for (uint32_t i = 0; i < states.size(); ++i)
      if (states[i] != State::absent)
        return DAMAGED("manifest: entry #%u: bundle %u is never released",
                       entry, i);
    return Status();
  }

  Status CheckStep(uint32_t entry, uint32_t index, const Launches &launches,
                   const Steps &steps, uint32_t *next) {
    const abi::Step &step = *steps.Get(index);
    switch (step.kind()) {
    case abi::StepKind::launch:
      if (step.launch() != *next || *next >= launches.size())
        return DAMAGED("manifest: entry #%u: step #%u: launch %u, expected %u",
                       entry, index, step.launch(), *next);
      return CheckLaunch(entry, (*next)++, launches, nullptr);
    case abi::StepKind::fetch:
    case abi::StepKind::wait:
    case abi::StepKind::release:
    case abi::StepKind::store:
      return CheckTransfer(entry, index, step);
    case abi::StepKind::routed:
      return CheckRouted(entry, index, launches, step, next);
    case abi::StepKind::predict:
      return CheckPredict(entry, index, launches, steps, next);
    }
    return MakeStatus(allocator, HEADRACE_STATUS_UNIMPLEMENTED,
                      "manifest: entry #%u: step #%u: kind %u is of a newer "
                      "version",
                      entry, index, static_cast<unsigned>(step.kind()));
  }

  Status CheckTransfer(uint32_t entry, uint32_t index, const abi::Step &step) {
    const uint32_t bundle = step.bundle();
    if (bundle >= states.size())
      return DAMAGED("manifest: entry #%u: step #%u: bundle %u of %zu", entry,
                     index, bundle, states.size());
    const uint32_t number = plan.bundles()->Get(bundle)->pool();
    const abi::Pool &pool = *plan.pools()->Get(number);
    if (pool.kind() != abi::PoolKind::ring || step.slot() >= pool.slots())
      return DAMAGED("manifest: entry #%u: step #%u: bundle %u, slot %u of "
                     "pool %u",
                     entry, index, bundle, step.slot(), number);
    const bool pages = plan.bundles()->Get(bundle)->layer() != kNoIndex;
    uint32_t &page_slot = page_slots[bundle];
    if (page_slot == kNoIndex)
      page_slot = step.slot();
    if (pages && (entry != summary->model.entry || page_slot != step.slot()))
      return DAMAGED(
          "manifest: entry #%u: step #%u: pages of bundle %u in slot "
          "%u, expected slot %u and a step of 'forward'",
          entry, index, bundle, step.slot(), page_slot);
    State &state = states[bundle];
    uint32_t &held = slots[first_slot[number] + step.slot()];
    if (step.kind() == abi::StepKind::fetch) {
      if (state != State::absent || held != kNoIndex)
        return DAMAGED("manifest: entry #%u: step #%u: fetches bundle %u into "
                       "slot %u, which is taken",
                       entry, index, bundle, step.slot());
      state = State::fetched;
      held = bundle;
      return Status();
    }
    if (step.kind() == abi::StepKind::store) {
      if (!pages || held != bundle || state != State::arrived)
        return DAMAGED("manifest: entry #%u: step #%u: stores bundle %u, which "
                       "slot %u does not hold like that",
                       entry, index, bundle, step.slot());
      written[bundle] = 0;
      return Status();
    }
    const bool wait = step.kind() == abi::StepKind::wait;
    if (!wait && written[bundle])
      return DAMAGED("manifest: entry #%u: step #%u: releases bundle %u before "
                     "what was written is stored",
                     entry, index, bundle);
    if (held != bundle || state != (wait ? State::fetched : State::arrived))
      return DAMAGED("manifest: entry #%u: step #%u: %s bundle %u, which slot "
                     "%u does not hold like that",
                     entry, index, wait ? "waits for" : "releases", bundle,
                     step.slot());
    state = wait ? State::arrived : State::absent;
    if (!wait)
      held = kNoIndex;
    return Status();
  }

  Status CheckRouted(uint32_t entry, uint32_t index, const Launches &launches,
                     const abi::Step &step, uint32_t *next) {
    if (step.launch() != *next || step.launch_count() == 0 ||
        step.launch_count() > launches.size() - *next)
      return DAMAGED("manifest: entry #%u: step #%u: launches %u + %u, "
                     "expected some from %u on",
                     entry, index, step.launch(), step.launch_count(), *next);
    if (step.routing() >= plan.routings()->size())
      return DAMAGED("manifest: entry #%u: step #%u: routing %u of %u", entry,
                     index, step.routing(), plan.routings()->size());
    const uint32_t experts = plan.routings()->Get(step.routing())->experts();
    if (!Fits(step.bundle(), experts, states.size()))
      return DAMAGED("manifest: entry #%u: step #%u: bundles %u + %u of %zu",
                     entry, index, step.bundle(), experts, states.size());
    HEADRACE_RETURN_IF_ERROR(Spend(experts));
    // All experts of a wave share one pool.
    const uint32_t pool = plan.bundles()->Get(step.bundle())->pool();
    for (uint32_t e = 0; e < experts; ++e)
      if (plan.bundles()->Get(step.bundle() + e)->pool() != pool ||
          plan.pools()->Get(pool)->kind() != abi::PoolKind::cache)
        return DAMAGED("manifest: entry #%u: step #%u: bundle %u is in no "
                       "cache with the others",
                       entry, index, step.bundle() + e);
    for (uint32_t i = 0; i < step.launch_count(); ++i)
      HEADRACE_RETURN_IF_ERROR(CheckLaunch(entry, (*next)++, launches, &step));
    return Status();
  }

  /// A prediction is for a routed step of the schedule that is still to come.
  Status CheckPredict(uint32_t entry, uint32_t index, const Launches &launches,
                      const Steps &steps, uint32_t *next) {
    const abi::Step &step = *steps.Get(index);
    if (step.launch() != *next || *next >= launches.size() ||
        step.launch_count() != 1)
      return DAMAGED("manifest: entry #%u: step #%u: launches %u + %u, "
                     "expected one, %u",
                     entry, index, step.launch(), step.launch_count(), *next);
    const abi::Step *target = nullptr;
    for (uint32_t i = index + 1; i < steps.size() && !target; ++i)
      if (steps.Get(i)->kind() == abi::StepKind::routed &&
          steps.Get(i)->bundle() == step.bundle())
        target = steps.Get(i);
    HEADRACE_RETURN_IF_ERROR(Spend(steps.size() - index));
    const uint32_t routings = plan.routings()->size();
    if (!target || step.routing() >= routings || target->routing() >= routings)
      return DAMAGED("manifest: entry #%u: step #%u: predicts routing %u of %u "
                     "for bundles from %u on, which no later step runs over",
                     entry, index, step.routing(), routings, step.bundle());
    const abi::Routing &guess = *plan.routings()->Get(step.routing());
    const abi::Routing &routing = *plan.routings()->Get(target->routing());
    if (guess.experts() != routing.experts() ||
        guess.buffer() == routing.buffer() || step.most() == 0)
      return DAMAGED("manifest: entry #%u: step #%u: predicts at most %u of %u "
                     "experts for a routing over %u",
                     entry, index, step.most(), guess.experts(),
                     routing.experts());
    const uint64_t bytes = manifest.buffers()->Get(guess.buffer())->bytes();
    if (!FitsProduct(guess.picks_offset(), guess.experts() + uint64_t(1), 4,
                     bytes) ||
        !FitsProduct(guess.weights_offset(), guess.most_picks(), 4, bytes) ||
        guess.picks_offset() % 4 || guess.weights_offset() % 4)
      return DAMAGED(
          "manifest: routing #%u: picks of %u experts and %u weights "
          "end beyond buffer %u",
          step.routing(), guess.experts(), guess.most_picks(), guess.buffer());
    return CheckLaunch(entry, (*next)++, launches, nullptr);
  }

  /// A launch that names a layer of the cache reads and writes its pages.
  Status CheckLaunchPages(uint32_t entry, uint32_t index,
                          const abi::Launch &launch) {
    for (uint32_t which : *launch.buffers()) {
      const abi::Buffer &buffer = *manifest.buffers()->Get(which);
      const bool view = buffer.kind() == abi::BufferKind::view;
      if (page_pool == kNoIndex ||
          (view ? buffer.base() : which) != summary->model.kv_pool)
        continue;
      // The manifest's checks: a whole number, of a layer that is there.
      const uint64_t layer = view ? buffer.offset() / LayerPageBytes() : 0;
      const uint32_t bundle = pages_of[layer];
      if (bundle == kNoIndex)
        continue;
      if (states[bundle] != State::arrived)
        return DAMAGED(
            "manifest: entry #%u: launch #%u: pages of layer %" PRIu64
            " are read before they have arrived",
            entry, index, layer);
      written[bundle] = 1;
    }
    return Status();
  }

  /// All weights of launch `index` are where it will look for them; `routed` is
  /// the step around it, if any.
  Status CheckLaunch(uint32_t entry, uint32_t index, const Launches &launches,
                     const abi::Step *routed) {
    const abi::Launch &launch = *launches.Get(index);
    HEADRACE_RETURN_IF_ERROR(CheckLaunchPages(entry, index, launch));
    const auto *counts =
        launch.kind() == abi::LaunchKind::kernel
            ? manifest.kernels()->Get(launch.kernel())->weight_slots()
            : nullptr;
    for (uint32_t i = 0; i < launch.weights()->size(); ++i) {
      const uint32_t first = launch.weights()->Get(i);
      const uint32_t count = counts ? counts->Get(i) : 1;
      HEADRACE_RETURN_IF_ERROR(Spend(count));
      for (uint32_t j = 0; j < count; ++j) {
        bool there = true;
        switch (manifest.weights()->Get(first + j)->residency()) {
        case abi::Residency::mapped:
        case abi::Residency::resident:
          break;
        case abi::Residency::streamed:
          there = states[bundle_of[first + j]] == State::arrived;
          break;
        case abi::Residency::routed:
          there = routed && bundle_of[first + j] == routed->bundle() + j &&
                  count == plan.routings()->Get(routed->routing())->experts();
          break;
        }
        if (!there)
          return DAMAGED("manifest: entry #%u: launch #%u: weight %u is read "
                         "before it has arrived",
                         entry, index, first + j);
      }
    }
    return Status();
  }

  //===--------------------------------------------------------------------===//
  // Certificate
  //===--------------------------------------------------------------------===//

  Status CheckCertificate() {
    const uint64_t digest = ScheduleDigest(allocator, manifest);
    if (plan.digest() != digest)
      return DAMAGED("manifest: plan: the digest is of another schedule");
    for (uint32_t i = 0; i < manifest.certificate()->size(); ++i) {
      const abi::Peak &peak = *manifest.certificate()->Get(i);
      if (peak.digest() != digest)
        return DAMAGED("manifest: certificate #%u is of another schedule", i);
      const uint64_t arena = ArenaBytes(peak.level());
      if (peak.bytes() > arena)
        return DAMAGED("manifest: certificate #%u: peak of %" PRIu64
                       " bytes in an arena of %" PRIu64,
                       i, peak.bytes(), arena);
      if (peak.parts())
        HEADRACE_RETURN_IF_ERROR(Spend(uint64_t(peak.parts()->size()) * 4));
      for (uint32_t j = 0; peak.parts() && j < peak.parts()->size(); ++j) {
        const abi::Part &part = *peak.parts()->Get(j);
        if (part.kind() > abi::PartKind::MAX)
          return MakeStatus(allocator, HEADRACE_STATUS_UNIMPLEMENTED,
                            "manifest: certificate #%u: part #%u: kind %u is "
                            "of a newer version",
                            i, j, static_cast<unsigned>(part.kind()));
        if (part.index() >= PartCount(part.kind()) ||
            !HasSteps(part.entry(), part.step_class()) ||
            part.first_step() > part.last_step() ||
            !Fits(part.offset(), part.bytes(), arena))
          return DAMAGED("manifest: certificate #%u: part #%u: index %u, entry "
                         "%u, steps %u to %u, bytes %" PRIu64 " + %" PRIu64,
                         i, j, part.index(), part.entry(), part.first_step(),
                         part.last_step(), part.offset(), part.bytes());
      }
      if (const abi::Witness *witness = peak.witness()) {
        const abi::Limits &limits = *manifest.limits();
        if (!HasSteps(witness->entry(), witness->step_class()) ||
            witness->tokens() == 0 || witness->tokens() > limits.max_tokens() ||
            witness->sequences() == 0 ||
            witness->sequences() > limits.max_sequences() ||
            witness->outputs() > limits.max_tokens() ||
            witness->context() > limits.max_context())
          return DAMAGED("manifest: certificate #%u: the witness is no step of "
                         "the package",
                         i);
      }
    }
    return Status();
  }

  bool HasSteps(uint32_t entry, uint32_t step_class) const {
    if (entry >= manifest.entries()->size() || step_class == kNoIndex)
      return entry < manifest.entries()->size();
    const auto *classes = manifest.entries()->Get(entry)->classes();
    return classes && step_class < classes->size();
  }

  uint32_t PartCount(abi::PartKind kind) const {
    switch (kind) {
    case abi::PartKind::weight:
      return manifest.weights()->size();
    case abi::PartKind::buffer:
      return manifest.buffers()->size();
    case abi::PartKind::slot:
      return plan.pools()->size();
    case abi::PartKind::home:
      return plan.bundles()->size();
    case abi::PartKind::kv:
    case abi::PartKind::scratch:
    case abi::PartKind::staging:
      return 1;
    }
    return 0;
  }

  static constexpr size_t kMaxSlots = size_t(1) << 24;

  const Allocator &allocator;
  const abi::Manifest &manifest;
  const abi::Plan &plan;
  const uint64_t manifest_bytes;
  ManifestSummary *summary;
  Vector<Range> ranges;
  Vector<uint32_t> bundle_of;  // by weight
  Vector<State> states;        // by bundle
  Vector<uint32_t> slots;      // of rings: the bundle each holds
  Vector<uint32_t> first_slot; // by pool, in `slots`
  Vector<uint32_t> pages_of;   // by layer: the bundle of its pages
  Vector<uint32_t> page_slots; // by bundle: the slot of its steps
  Vector<uint8_t> written;     // by bundle: pages that are not stored
  uint32_t page_pool = kNoIndex;
  uint64_t spent = 0;
};

} // namespace

uint64_t ScheduleDigest(const Allocator &allocator,
                        const abi::Manifest &manifest) {
  Vector<uint64_t> words{StdAllocator<uint64_t>(allocator)};
  abi::ForEachScheduleWord(manifest,
                           [&](uint64_t word) { words.push_back(word); });
  return Digest(words.data(), words.size() * sizeof(uint64_t));
}

Status CheckPlan(const Allocator &allocator, const abi::Manifest &manifest,
                 uint64_t manifest_bytes, ManifestSummary *summary) {
  if (!manifest.plan())
    return Status();
  return PlanChecker(allocator, manifest, manifest_bytes, summary).Run();
}

} // namespace headrace::runtime
