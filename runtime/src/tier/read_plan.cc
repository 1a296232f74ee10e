// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Read plan: weights to pieces, bundles, pools, steps.
#include "runtime/src/tier/read_plan.h"

#include "runtime/src/tier/byte_source.h"

#include <algorithm>

namespace headrace::runtime {
namespace {

class Reader {
public:
  Reader(const abi::Manifest &manifest, uint32_t code, TierPlan *out)
      : manifest(manifest), plan(*manifest.plan()), code(code), out(*out),
        page_numbers(out->steps.get_allocator()) {}

  void Read() {
    ReadPools();
    ReadPieces();
    for (const abi::Routing *routing : *plan.routings())
      out.routings.push_back({routing->buffer(), routing->active_count_offset(),
                              routing->active_offset(), routing->experts(),
                              routing->picks_offset(),
                              routing->weights_offset(),
                              routing->most_picks()});
    ReadSteps();
    ReadMinimum();
    out.level = manifest.levels()->Get(plan.fast_level())->name()->c_str();
    out.home_level = plan.home_level();
    out.staging_offset = plan.staging_offset();
    out.staging_bytes = plan.staging_bytes();
  }

private:
  void ReadPools() {
    for (const abi::Pool *from : *plan.pools()) {
      TierPool pool;
      pool.name = from->name()->c_str();
      pool.offset = from->offset();
      pool.slot_bytes = from->slot_bytes();
      pool.min_slots = from->min_slots();
      pool.slots = from->slots();
      pool.kind = from->kind() == abi::PoolKind::ring ? PoolKind::kRing
                                                      : PoolKind::kCache;
      switch (from->policy()) {
      case abi::CachePolicy::lru:
        pool.policy = CachePolicy::kLru;
        break;
      case abi::CachePolicy::lfu:
        pool.policy = CachePolicy::kLfu;
        break;
      case abi::CachePolicy::pinned:
        pool.policy = CachePolicy::kPinned;
        break;
      case abi::CachePolicy::predict:
        pool.policy = CachePolicy::kPredict;
        break;
      }
      out.pools.push_back(pool);
    }
  }

  void AddPiece(uint32_t slot, uint64_t target) {
    const abi::Weight &weight = *manifest.weights()->Get(slot);
    const abi::Blob &blob = *manifest.blobs()->Get(weight.blob());
    TransferPiece piece;
    piece.source = blob.offset();
    piece.target = target;
    piece.bytes = blob.bytes();
    // Whole pages are each weight's own.
    piece.room = (blob.bytes() + kDirectAlignment - 1) / kDirectAlignment *
                 kDirectAlignment;
    piece.digests = blob.chunk_xxh3()->data();
    piece.name = weight.name()->c_str();
    out.pieces.push_back(piece);
    out.piece_weights.push_back(slot);
  }

  /// What lies in `pieces` from `first` on.
  Bundle BundleFrom(size_t first) const {
    Bundle bundle;
    bundle.pieces = out.pieces.data() + first;
    bundle.piece_count = static_cast<uint32_t>(out.pieces.size() - first);
    for (uint32_t i = 0; i < bundle.piece_count; ++i)
      bundle.bytes += bundle.pieces[i].bytes;
    bundle.name = bundle.piece_count ? bundle.pieces[0].name : "nothing";
    return bundle;
  }

  void ReadPieces() {
    size_t pieces = manifest.weights()->size();
    for (const abi::Bundle *bundle : *plan.bundles())
      pieces += bundle->weights()->size();
    // Bundles point into the pieces, so they must not move.
    out.pieces.reserve(pieces);
    out.piece_weights.reserve(pieces);
    for (uint32_t i = 0; i < manifest.weights()->size(); ++i)
      if (manifest.weights()->Get(i)->residency() == abi::Residency::resident)
        AddPiece(i, manifest.weights()->Get(i)->offset());
    out.resident = BundleFrom(0);
    out.resident.name = "resident weights";
    const uint32_t count = plan.bundles()->size();
    out.bundles.reserve(count);
    out.bundle_pools.reserve(count);
    out.bundle_homes.reserve(count);
    for (const abi::Bundle *bundle : *plan.bundles()) {
      ReadPages(*bundle);
      const size_t first = out.pieces.size();
      for (uint32_t i = 0; i < bundle->weights()->size(); ++i)
        AddPiece(bundle->weights()->Get(i), bundle->offsets()->Get(i));
      out.bundles.push_back(BundleFrom(first));
      out.bundle_pools.push_back(bundle->pool());
      out.bundle_homes.push_back(bundle->layer() == kNoIndex ? bundle->home()
                                                             : UINT64_MAX);
    }
    // A pool's bundles are numbered in it as they come.
    out.bundle_numbers.reserve(count);
    for (uint32_t pool : out.bundle_pools)
      out.bundle_numbers.push_back(out.pools[pool].bundle_count++);
  }

  void ReadPages(const abi::Bundle &bundle) {
    page_numbers.push_back(static_cast<uint32_t>(out.page_layers.size()));
    if (bundle.layer() == kNoIndex)
      return;
    PageMover::Layer layer;
    layer.layer = bundle.layer();
    layer.home = bundle.home();
    out.page_layers.push_back(layer);
    out.page_pool = bundle.pool();
    out.pools[bundle.pool()].has_pages = true;
  }

  void ReadSteps() {
    for (const abi::Entry *entry : *manifest.entries()) {
      out.entry_schedules.push_back(
          static_cast<uint32_t>(out.schedule_steps.size()));
      const size_t before = out.schedule_steps.size();
      for (uint32_t i = 0; entry->classes() && i < entry->classes()->size();
           ++i)
        if (const auto &one = *entry->classes()->Get(i); one.code() == code)
          ReadSchedule(*one.launches(), one.steps());
      if (out.schedule_steps.size() == before)
        ReadSchedule(*entry->launches(), entry->steps());
    }
    out.schedule_steps.push_back(static_cast<uint32_t>(out.steps.size()));
    PlaceGroups();
  }

  void ReadSchedule(
      const flatbuffers::Vector<flatbuffers::Offset<abi::Launch>> &launches,
      const flatbuffers::Vector<flatbuffers::Offset<abi::Step>> *steps) {
    out.schedule_steps.push_back(static_cast<uint32_t>(out.steps.size()));
    for (uint32_t i = 0; steps && i < steps->size(); ++i)
      out.steps.push_back(ReadStep(*steps->Get(i)));
    for (uint32_t i = 0; !steps && i < launches.size(); ++i) {
      TierStep step;
      step.launch = i;
      out.steps.push_back(step);
    }
  }

  TierStep ReadPageStep(const abi::Step &from) {
    TierStep step;
    step.bundle = page_numbers[from.bundle()];
    step.slot = from.slot();
    switch (from.kind()) {
    case abi::StepKind::fetch:
      step.kind = TierStep::Kind::kFetchPages;
      // The manifest's checks: the same one each time.
      out.page_layers[step.bundle].slot = from.slot();
      break;
    case abi::StepKind::wait:
      step.kind = TierStep::Kind::kWaitPages;
      break;
    case abi::StepKind::store:
      step.kind = TierStep::Kind::kStorePages;
      break;
    default:
      step.kind = TierStep::Kind::kReleasePages;
      break;
    }
    return step;
  }

  TierStep ReadStep(const abi::Step &from) {
    const bool has_bundle = from.kind() != abi::StepKind::launch;
    if (has_bundle && plan.bundles()->Get(from.bundle())->layer() != kNoIndex)
      return ReadPageStep(from);
    TierStep step;
    switch (from.kind()) {
    case abi::StepKind::launch:
      step.kind = TierStep::Kind::kLaunch;
      break;
    case abi::StepKind::fetch:
      step.kind = TierStep::Kind::kFetch;
      break;
    case abi::StepKind::wait:
      step.kind = TierStep::Kind::kWait;
      break;
    case abi::StepKind::release:
      step.kind = TierStep::Kind::kRelease;
      break;
    case abi::StepKind::routed:
      step.kind = TierStep::Kind::kRouted;
      step.pool = out.bundle_pools[from.bundle()];
      break;
    case abi::StepKind::predict:
      step.kind = TierStep::Kind::kPredict;
      step.pool = out.bundle_pools[from.bundle()];
      break;
    case abi::StepKind::store: // of pages only
      break;
    }
    step.launch = from.launch();
    step.end_launch = from.launch() + from.launch_count();
    step.bundle = from.bundle();
    step.slot = from.slot();
    step.routing = from.routing();
    step.most = from.most();
    return step;
  }

  /// Numbers the routed parts of each pool in the order in which they first
  /// run. Entries that share weights share groups.
  void PlaceGroups() {
    for (uint32_t pool = 0; pool < out.pools.size(); ++pool) {
      TierPool &cache = out.pools[pool];
      if (cache.kind != PoolKind::kCache)
        continue;
      cache.first_group = static_cast<uint32_t>(out.groups.size());
      for (TierStep &step : out.steps) {
        if (step.kind != TierStep::Kind::kRouted || step.pool != pool)
          continue;
        step.group = kNoIndex;
        for (const TierStep *other = out.steps.data(); other != &step; ++other)
          if (other->kind == TierStep::Kind::kRouted &&
              other->bundle == step.bundle)
            step.group = other->group;
        const uint32_t experts = out.routings[step.routing].experts;
        if (step.group != kNoIndex) {
          uint32_t &shared = out.groups[cache.first_group + step.group].experts;
          shared = std::max(shared, experts);
          continue;
        }
        step.group = cache.group_count++;
        out.groups.push_back({step.bundle, experts});
      }
      // A prediction is for a routed part that comes later.
      for (TierStep &step : out.steps)
        if (step.kind == TierStep::Kind::kPredict && step.pool == pool)
          for (uint32_t i = 0; i < cache.group_count; ++i)
            if (out.groups[cache.first_group + i].bundle == step.bundle)
              step.group = i;
    }
  }

  /// The certified peak, less what the slots take that a session can do
  /// without.
  void ReadMinimum() {
    uint64_t bytes = 0;
    for (const abi::Peak *peak : *manifest.certificate())
      if (peak->level() == plan.fast_level())
        bytes = std::max(bytes, peak->bytes());
    for (uint32_t i = 0; i < out.pools.size(); ++i)
      if (plan.pools()->Get(i)->level() == plan.fast_level())
        bytes -= std::min(bytes, (out.pools[i].slots - out.pools[i].min_slots) *
                                     out.pools[i].slot_bytes);
    out.min_bytes = bytes;
  }

  const abi::Manifest &manifest;
  const abi::Plan &plan;
  const uint32_t code;
  TierPlan &out;
  Vector<uint32_t> page_numbers; // by bundle: in out.page_layers
};

} // namespace

void ReadTierPlan(const abi::Manifest &manifest, uint32_t code, TierPlan *out) {
  Reader(manifest, code, out).Read();
}

} // namespace headrace::runtime
