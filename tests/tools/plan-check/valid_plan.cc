// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Valid plans, written down without a planner.
#include "tests/tools/plan-check/valid_plan.h"

#include "runtime/abi/kernel_abi.h"
#include "tools/plan-check/PlanChecker.h"
#include <algorithm>
#include <map>

namespace headrace::plancheck {
namespace {

constexpr uint64_t kPage = 4096;

uint64_t up(uint64_t value, uint64_t to) { return (value + to - 1) / to * to; }

class Maker {
public:
  /// With `pages` the key-value pages of some layers move.
  Maker(Random &random, bool pages) : random(random), pages(pages) {}

  abi::ManifestT make() {
    m.producer = m.model = "plan of a test";
    m.chunk_bytes = kPage;
    m.limits = std::make_unique<abi::LimitsT>();
    m.limits->max_tokens = uint32_t(draw(random, 8, 64));
    m.limits->max_sequences = uint32_t(draw(random, 2, 4));
    m.limits->max_context = 256;
    m.plan = std::make_unique<abi::PlanT>();
    m.plan->strategy = "by hand";
    layers = uint32_t(draw(random, 4, 7));
    experts = uint32_t(draw(random, 3, 6));
    for (const char *name : {"fast", "disk"}) {
      m.levels.push_back(std::make_unique<abi::LevelT>());
      m.levels.back()->name = name;
    }
    addKernels();
    addWeights();
    addBuffers();
    if (pages)
      addPages();
    addSchedule();
    place();
    certify();
    return std::move(m);
  }

private:
  enum Kernels { kDense, kRouter, kRouted };

  void addKernels() {
    for (const char *family : {"linear", "router", "routed_up"}) {
      m.kernels.push_back(std::make_unique<abi::KernelT>());
      m.kernels.back()->name = m.kernels.back()->family = family;
      m.kernels.back()->scratch_bytes = draw(random, 1, 900);
    }
    m.kernels[kRouted]->weight_slots = {experts};
  }

  uint32_t addWeight(abi::Residency residency) {
    auto blob = std::make_unique<abi::BlobT>();
    blob->bytes = draw(random, 1, 3 * kPage);
    m.blobs.push_back(std::move(blob));
    auto weight = std::make_unique<abi::WeightT>();
    weight->name = "w" + std::to_string(m.weights.size());
    weight->type = "tensor<1xf32>";
    weight->blob = uint32_t(m.blobs.size() - 1);
    weight->residency = residency;
    m.weights.push_back(std::move(weight));
    return uint32_t(m.weights.size() - 1);
  }

  uint32_t addBundle(uint32_t pool, const std::vector<uint32_t> &weights) {
    auto bundle = std::make_unique<abi::BundleT>();
    bundle->pool = pool;
    for (uint32_t weight : weights) {
      bundle->weights.push_back(weight);
      bundle->offsets.push_back(bundle->bytes);
      bundle->bytes += up(m.blobs[m.weights[weight]->blob]->bytes, kPage);
    }
    m.plan->pools[pool]->slot_bytes =
        std::max(m.plan->pools[pool]->slot_bytes, bundle->bytes);
    m.plan->bundles.push_back(std::move(bundle));
    return uint32_t(m.plan->bundles.size() - 1);
  }

  void addWeights() {
    for (abi::PoolKind kind : {abi::PoolKind::ring, abi::PoolKind::cache}) {
      auto pool = std::make_unique<abi::PoolT>();
      pool->name = kind == abi::PoolKind::ring ? "layers" : "experts";
      pool->kind = kind;
      pool->min_slots = uint32_t(draw(random, 2, 3));
      pool->slots = pool->min_slots +
                    (kind == abi::PoolKind::cache ? draw(random, 0, 4) : 0);
      m.plan->pools.push_back(std::move(pool));
    }
    for (uint32_t layer = 0; layer < layers; ++layer) {
      std::vector<uint32_t> dense;
      for (uint64_t i = draw(random, 2, 3); i > 0; --i)
        dense.push_back(addWeight(abi::Residency::streamed));
      denseOf.push_back(dense);
      ringOf.push_back(addBundle(0, dense));
      routerOf.push_back(addWeight(abi::Residency::resident));
      std::vector<uint32_t> stacked[2];
      for (auto &list : stacked)
        for (uint32_t e = 0; e < experts; ++e)
          list.push_back(addWeight(abi::Residency::routed));
      upOf.push_back(stacked[0][0]);
      downOf.push_back(stacked[1][0]);
      for (uint32_t e = 0; e < experts; ++e) {
        uint32_t bundle = addBundle(1, {stacked[0][e], stacked[1][e]});
        if (e == 0)
          cacheOf.push_back(bundle);
      }
    }
    head = addWeight(abi::Residency::resident);
  }

  uint32_t addBuffer(const char *name, abi::BufferKind kind, const char *role,
                     uint64_t bytes) {
    auto buffer = std::make_unique<abi::BufferT>();
    buffer->name = name + std::to_string(m.buffers.size());
    buffer->kind = kind;
    buffer->role = role;
    buffer->type = "tensor<?xf32>";
    buffer->bytes = bytes;
    m.buffers.push_back(std::move(buffer));
    return uint32_t(m.buffers.size() - 1);
  }

  void addBuffers() {
    const uint64_t rows = m.limits->max_tokens;
    tokens = addBuffer("tokens", abi::BufferKind::input, "tokens", 4 * rows);
    pool = addBuffer("kv_pool", abi::BufferKind::input, HEADRACE_ROLE_KV_POOL,
                     layers * kPage);
    for (uint32_t layer = 0; layer < layers; ++layer) {
      viewOf.push_back(addBuffer("view", abi::BufferKind::view, "", kPage));
      m.buffers[viewOf[layer]]->base = pool;
      m.buffers[viewOf[layer]]->offset = layer * kPage;
    }
    logits = addBuffer("logits", abi::BufferKind::output, "logits", 64 * rows);
    hidden = addBuffer("hidden", abi::BufferKind::scratch, "", 128 * rows);
    for (uint32_t layer = 0; layer < layers; ++layer) {
      routing.push_back(addBuffer("routing", abi::BufferKind::scratch, "",
                                  64 + 4 * experts + 8 * rows));
      rowsOf.push_back(
          addBuffer("rows", abi::BufferKind::scratch, "", 32 * rows));
      addRouting(routing.back());
    }
    for (uint32_t layer = 1; layer < layers; ++layer) {
      guess.push_back(addBuffer("guess", abi::BufferKind::scratch, "",
                                64 + 4 * (2 * experts + 1) + 8 * rows));
      addRouting(guess.back());
      abi::RoutingT &list = *m.plan->routings.back();
      list.picks_offset = 64 + 4 * experts;
      list.weights_offset = 64 + 4 * (2 * experts + 1);
      list.most_picks = uint32_t(2 * rows);
    }
    m.kv = std::make_unique<abi::KvCacheT>();
    m.kv->layers = layers;
    m.kv->page_bytes = layers * kPage;
    m.kv->max_pages = m.limits->max_context / HEADRACE_KV_PAGE_POSITIONS;
    m.plan->kv_pages = m.kv->max_pages * m.limits->max_sequences;
  }

  /// A ring of one or two slots, and a home behind the other for each layer but
  /// the first.
  void addPages() {
    auto ring = std::make_unique<abi::PoolT>();
    ring->name = "pages";
    ring->min_slots = ring->slots = uint32_t(draw(random, 1, 2));
    ring->slot_bytes = m.plan->kv_pages * kPage;
    m.plan->pools.push_back(std::move(ring));
    m.plan->home_level = 1;
    pagesOf.push_back(UINT32_MAX);
    for (uint32_t layer = 1; layer < layers; ++layer) {
      auto bundle = std::make_unique<abi::BundleT>();
      bundle->pool = 2;
      bundle->bytes = m.plan->kv_pages * kPage;
      bundle->layer = layer;
      bundle->home = (layer - 1) * bundle->bytes;
      pagesOf.push_back(uint32_t(m.plan->bundles.size()));
      m.plan->bundles.push_back(std::move(bundle));
    }
    m.levels[1]->arena_bytes = (layers - 1) * m.plan->kv_pages * kPage;
  }

  /// A transfer of a layer's pages, if they move.
  void movePages(abi::StepKind kind, uint32_t layer) {
    if (!pages || layer == 0 || layer >= layers)
      return;
    abi::StepT &step = addStep(kind);
    step.bundle = pagesOf[layer];
    step.slot = layer % m.plan->pools[2]->slots;
  }

  uint64_t residentPageBytes() const {
    return (pages ? 1 : layers) * m.plan->kv_pages * kPage;
  }

  void addRouting(uint32_t buffer) {
    auto list = std::make_unique<abi::RoutingT>();
    list->buffer = buffer;
    list->active_count_offset = 4;
    list->active_offset = 64;
    list->experts = experts;
    m.plan->routings.push_back(std::move(list));
  }

  uint32_t addLaunch(uint32_t kernel, std::vector<uint32_t> buffers,
                     std::vector<uint32_t> weights) {
    auto launch = std::make_unique<abi::LaunchT>();
    launch->kernel = kernel;
    launch->buffers = std::move(buffers);
    launch->weights = std::move(weights);
    if (kernel == kRouted) {
      launch->grid_kind = abi::GridKind::per_routed;
      launch->grid_base = 1;
      launch->grid_block = 2; // Picks of a row.
      launch->grid_limit = experts;
    }
    entry->launches.push_back(std::move(launch));
    return uint32_t(entry->launches.size() - 1);
  }

  abi::StepT &addStep(abi::StepKind kind) {
    entry->steps.push_back(std::make_unique<abi::StepT>());
    entry->steps.back()->kind = kind;
    return *entry->steps.back();
  }
  void run(uint32_t launch) { addStep(abi::StepKind::launch).launch = launch; }
  void fetch(uint32_t layer) {
    abi::StepT &step = addStep(abi::StepKind::fetch);
    step.bundle = ringOf[layer];
    step.slot = layer % m.plan->pools[0]->min_slots;
  }

  void predict(uint32_t layer) {
    abi::StepT &step = addStep(abi::StepKind::predict);
    step.launch =
        addLaunch(kRouter, {hidden, guess[layer - 1]}, {routerOf[layer]});
    step.launch_count = 1;
    step.bundle = cacheOf[layer];
    step.routing = layers + layer - 1;
    step.most = uint32_t(draw(random, 1, 3));
  }

  void addSchedule() {
    auto made = std::make_unique<abi::EntryT>();
    entry = made.get();
    m.entries.push_back(std::move(made));
    entry->name = "forward";
    entry->inputs = {tokens, pool};
    entry->outputs = {logits};
    const uint32_t ahead = m.plan->pools[0]->min_slots;
    for (uint32_t layer = 0; layer < std::min(ahead, layers); ++layer)
      fetch(layer);
    const bool twoSlots = pages && m.plan->pools[2]->slots == 2;
    for (uint32_t layer = 0; layer < layers; ++layer) {
      // With two slots one is filled while the layer before runs.
      movePages(abi::StepKind::fetch, twoSlots ? layer + 1 : layer);
      movePages(abi::StepKind::wait, layer);
      std::vector<uint32_t> first = {hidden, viewOf[layer]};
      if (layer == 0)
        first.push_back(tokens);
      addStep(abi::StepKind::wait).bundle = ringOf[layer];
      run(addLaunch(kDense, first, denseOf[layer]));
      addStep(abi::StepKind::release).bundle = ringOf[layer];
      if (layer + ahead < layers)
        fetch(layer + ahead);
      movePages(abi::StepKind::store, layer);
      run(addLaunch(kRouter, {hidden, routing[layer]}, {routerOf[layer]}));
      movePages(abi::StepKind::release, layer);
      if (layer + 1 < layers)
        predict(layer + 1);
      abi::StepT &step = addStep(abi::StepKind::routed);
      step.launch = addLaunch(kRouted, {hidden, routing[layer], rowsOf[layer]},
                              {upOf[layer]});
      addLaunch(kRouted, {rowsOf[layer], routing[layer], hidden},
                {downOf[layer]});
      step.launch_count = 2;
      step.bundle = cacheOf[layer];
      step.routing = layer;
    }
    run(addLaunch(kDense, {hidden, logits}, {head}));
  }

  /// Everything one behind the other, but for the layers' buffers, of which
  /// each layer's take the place of the one's before.
  void place() {
    uint64_t end = 0;
    auto take = [&](uint64_t bytes, uint64_t alignment) {
      uint64_t offset = up(end, alignment);
      end = offset + bytes;
      return offset;
    };
    for (auto &weight : m.weights)
      if (weight->residency == abi::Residency::resident)
        weight->offset = take(m.blobs[weight->blob]->bytes, kPage);
    for (uint32_t which : {tokens, logits, hidden})
      m.buffers[which]->offset = take(m.buffers[which]->bytes, 64);
    uint64_t shared = up(end, 64), most = shared;
    for (uint32_t layer = 0; layer < layers; ++layer) {
      end = shared;
      for (uint32_t which : {routing[layer], rowsOf[layer]})
        m.buffers[which]->offset = take(m.buffers[which]->bytes, 64);
      if (layer + 1 < layers)
        m.buffers[guess[layer]]->offset =
            take(m.buffers[guess[layer]]->bytes, 64);
      most = std::max(most, end);
    }
    end = most;
    m.plan->workers = uint32_t(draw(random, 1, 4));
    m.plan->worker_bytes = up(1024, 64);
    m.plan->scratch_offset = take(m.plan->workers * m.plan->worker_bytes, 64);
    m.plan->kv_offset = take(residentPageBytes(), 64);
    for (auto &one : m.plan->pools)
      one->offset = take(one->slot_bytes * one->slots, kPage);
    m.levels[0]->arena_bytes = end;
    m.levels[0]->bytes = end + draw(random, 0, 5000);
    m.levels[1]->bytes = uint64_t(1) << 40;
    m.plan->budget = draw(random, 0, 1) ? end : 0;
    m.plan->minimum_bytes = end;
  }

  void addPart(abi::PartKind kind, uint32_t index, uint64_t offset,
               uint64_t bytes, uint32_t from = 0, uint32_t to = UINT32_MAX) {
    auto part = std::make_unique<abi::PartT>();
    part->kind = kind;
    part->index = index;
    part->offset = offset;
    part->bytes = bytes;
    part->first_step = from;
    part->last_step = to;
    m.certificate.back()->parts.push_back(std::move(part));
  }

  void certify() {
    m.certificate.push_back(std::make_unique<abi::PeakT>());
    abi::PeakT &peak = *m.certificate[0];
    for (uint32_t i = 0; i < m.weights.size(); ++i)
      if (m.weights[i]->residency == abi::Residency::resident)
        addPart(abi::PartKind::weight, i, m.weights[i]->offset,
                m.blobs[m.weights[i]->blob]->bytes);
    const uint32_t steps = uint32_t(entry->steps.size());
    std::map<uint32_t, std::pair<uint32_t, uint32_t>> lives;
    for (uint32_t i = 0; i < steps; ++i) {
      const abi::StepT &step = *entry->steps[i];
      uint32_t count = step.kind == abi::StepKind::launch ? 1
                       : step.kind == abi::StepKind::routed ||
                               step.kind == abi::StepKind::predict
                           ? step.launch_count
                           : 0;
      for (uint32_t j = 0; j < count; ++j)
        for (uint32_t which : entry->launches[step.launch + j]->buffers)
          lives.try_emplace(which, i, i).first->second.second = i;
    }
    lives[tokens].first = 0;
    lives[logits].second = steps - 1;
    for (const auto &[which, life] : lives)
      if (m.buffers[which]->kind != abi::BufferKind::view && which != pool)
        addPart(abi::PartKind::buffer, which, m.buffers[which]->offset,
                m.buffers[which]->bytes, life.first, life.second);
    for (uint32_t i = 0; i < m.plan->pools.size(); ++i)
      addPart(abi::PartKind::slot, i, m.plan->pools[i]->offset,
              m.plan->pools[i]->slot_bytes * m.plan->pools[i]->slots);
    addPart(abi::PartKind::kv, 0, m.plan->kv_offset, residentPageBytes());
    addPart(abi::PartKind::scratch, 0, m.plan->scratch_offset,
            m.plan->workers * m.plan->worker_bytes);
    peak.witness = std::make_unique<abi::WitnessT>();
    peak.witness->tokens = m.limits->max_tokens;
    peak.witness->sequences = m.limits->max_sequences;
    peak.witness->outputs = m.limits->max_sequences;
    peak.witness->context = m.limits->max_context;
    peak.witness->experts = experts;
    for (uint32_t step = 0; step < steps; ++step) {
      uint64_t sum = 0;
      for (const auto &part : peak.parts)
        if (part->first_step <= step && step <= part->last_step)
          sum += part->bytes;
      if (sum > peak.bytes) {
        peak.bytes = sum;
        peak.witness->step = step;
      }
    }
    if (pages)
      certifyHomes();
    seal(m);
  }

  void certifyHomes() {
    auto peak = std::make_unique<abi::PeakT>();
    peak->level = 1;
    peak->bytes = m.levels[1]->arena_bytes;
    peak->witness = std::make_unique<abi::WitnessT>(*m.certificate[0]->witness);
    m.certificate.push_back(std::move(peak));
    for (uint32_t layer = 1; layer < layers; ++layer) {
      const abi::BundleT &bundle = *m.plan->bundles[pagesOf[layer]];
      addPart(abi::PartKind::home, pagesOf[layer], bundle.home, bundle.bytes);
    }
  }

  Random &random;
  const bool pages;
  abi::ManifestT m;
  abi::EntryT *entry = nullptr;
  uint32_t layers = 0, experts = 0, head = 0;
  uint32_t tokens = 0, pool = 0, logits = 0, hidden = 0;
  std::vector<std::vector<uint32_t>> denseOf; ///< By layer, as all below.
  std::vector<uint32_t> ringOf, cacheOf, routerOf, upOf, downOf;
  std::vector<uint32_t> routing, rowsOf, viewOf;
  std::vector<uint32_t> pagesOf; ///< The bundle of a layer's pages.
  std::vector<uint32_t> guess;   ///< For the layer behind each but the last.
};

} // namespace

abi::ManifestT validPlan(Random &random) { return Maker(random, false).make(); }

abi::ManifestT validPlanOfPages(Random &random) {
  return Maker(random, true).make();
}

/// Homes of bundles of weights, on the level of pages' homes or else a third
/// one; what has none comes through staging there, or straight from the
/// package.
static void addHomes(abi::ManifestT &m, Random &random, bool hasStaging) {
  if (m.plan->home_level == UINT32_MAX) {
    m.levels.push_back(std::make_unique<abi::LevelT>());
    m.levels.back()->name = "host";
    m.plan->home_level = uint32_t(m.levels.size() - 1);
    m.certificate.push_back(std::make_unique<abi::PeakT>());
    m.certificate.back()->level = m.plan->home_level;
  }
  abi::LevelT &level = *m.levels[m.plan->home_level];
  abi::PeakT *home = m.certificate.back().get();
  home->witness = std::make_unique<abi::WitnessT>(*m.certificate[0]->witness);
  uint64_t end = level.arena_bytes, staged = 0;
  auto take = [&](abi::PartKind kind, uint32_t index, uint64_t bytes) {
    auto part = std::make_unique<abi::PartT>();
    part->kind = kind;
    part->index = index;
    part->offset = end;
    part->bytes = bytes;
    home->parts.push_back(std::move(part));
    end += bytes;
    return end - bytes;
  };
  abi::BundleT *last = nullptr;
  for (uint32_t i = 0; i < m.plan->bundles.size(); ++i) {
    abi::BundleT &bundle = *m.plan->bundles[i];
    if (bundle.layer != UINT32_MAX)
      continue;
    last = &bundle;
    if (i && draw(random, 0, 3) == 0) // The first one has a home,
      staged = std::max(staged, bundle.bytes);
    else
      bundle.home = take(abi::PartKind::home, i, bundle.bytes);
  }
  if (staged == 0) { // and one has none.
    home->parts.pop_back();
    end = last->home;
    last->home = UINT64_MAX;
    staged = last->bytes;
  }
  if (hasStaging) {
    m.plan->staging_bytes = 2 * staged;
    m.plan->staging_offset = take(abi::PartKind::staging, 0, 2 * staged);
  }
  home->bytes = level.arena_bytes = end;
  level.bytes = end + draw(random, 0, 5000);
  // Without one a CPU's home is a file of pages.
  m.plan->home_budget = hasStaging && draw(random, 0, 1) ? 0 : end;
}

/// For a device: two classes of steps, and homes beside staging.
static abi::ManifestT onDevice(abi::ManifestT m, Random &random) {
  abi::EntryT &entry = *m.entries[0];
  for (uint32_t tokens : {m.limits->max_tokens / 2, m.limits->max_tokens}) {
    auto one = std::make_unique<abi::StepClassT>();
    one->max_tokens = one->max_outputs = tokens;
    one->max_sequences = m.limits->max_sequences;
    for (auto &launch : entry.launches)
      one->launches.push_back(std::make_unique<abi::LaunchT>(*launch));
    for (auto &step : entry.steps)
      one->steps.push_back(std::make_unique<abi::StepT>(*step));
    entry.classes.push_back(std::move(one));
  }
  entry.launches.clear();
  entry.steps.clear();
  abi::PeakT &peak = *m.certificate[0];
  std::vector<std::unique_ptr<abi::PartT>> parts;
  for (auto &part : peak.parts)
    for (uint32_t i = part->last_step == UINT32_MAX ? 1 : 0; i < 2; ++i) {
      parts.push_back(std::make_unique<abi::PartT>(*part));
      if (part->last_step != UINT32_MAX)
        parts.back()->step_class = i;
    }
  peak.parts = std::move(parts);
  peak.witness->step_class = 1;

  addHomes(m, random, /*hasStaging=*/true);
  seal(m);
  return m;
}

abi::ManifestT devicePlan(Random &random) {
  return onDevice(validPlan(random), random);
}

abi::ManifestT devicePlanOfPages(Random &random) {
  return onDevice(validPlanOfPages(random), random);
}

abi::ManifestT housedPlan(Random &random) {
  abi::ManifestT m = validPlan(random);
  addHomes(m, random, /*hasStaging=*/false);
  seal(m);
  return m;
}

std::vector<uint8_t> bytesOf(const abi::ManifestT &manifest) {
  flatbuffers::FlatBufferBuilder builder;
  abi::FinishManifestBuffer(builder, abi::CreateManifest(builder, &manifest));
  return {builder.GetBufferPointer(),
          builder.GetBufferPointer() + builder.GetSize()};
}

void seal(abi::ManifestT &manifest) {
  std::vector<uint8_t> bytes = bytesOf(manifest);
  manifest.plan->digest = scheduleDigest(*abi::GetManifest(bytes.data()));
  for (auto &peak : manifest.certificate)
    peak->digest = manifest.plan->digest;
}

} // namespace headrace::plancheck
