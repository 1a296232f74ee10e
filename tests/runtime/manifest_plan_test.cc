// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of the manifest's checks of the plan: one wrong number at a time.
#include "tests/runtime/harness.h"

#include "runtime/src/package.h"

#include <functional>

namespace headrace::tests {
namespace {

using Change = std::function<void(abi::ManifestT &)>;
using Kind = abi::StepKind;

/// The planned toy with its weights as those of two experts: both entries that
/// read weight 0 now read the two of them in waves, through a cache of one
/// slot.
void MakeRouted(abi::ManifestT &m) {
  abi::PlanT &plan = *m.plan;
  plan.pools[0]->kind = abi::PoolKind::cache;
  plan.pools[0]->min_slots = 1;
  plan.pools[0]->slots = 1;
  plan.pools[0]->slot_bytes = 8192;
  for (uint32_t e : {0, 1}) {
    m.weights[e]->residency = abi::Residency::routed;
    m.weights[e]->offset = 0;
    if (e)
      plan.bundles.push_back(std::make_unique<abi::BundleT>());
    plan.bundles[e]->bytes = 8192;
    plan.bundles[e]->weights.assign(1, e);
    plan.bundles[e]->offsets.assign(1, 0);
  }
  plan.routings.push_back(std::make_unique<abi::RoutingT>());
  plan.routings[0]->buffer = 0;
  plan.routings[0]->experts = 2;
  plan.routings[0]->active_offset = 4;
  for (uint32_t entry : {uint32_t(kForward), uint32_t(kScale)}) {
    auto &steps = m.entries[entry]->steps;
    steps.clear();
    uint32_t last = uint32_t(m.entries[entry]->launches.size()) - 1;
    for (uint32_t i = 0; i < last; ++i)
      steps.push_back(ToyStep(Kind::launch, i));
    steps.push_back(ToyStep(Kind::routed, last));
    steps.back()->launch_count = 1;
    m.kernels[m.entries[entry]->launches[last]->kernel]->weight_slots.assign(1,
                                                                             2);
  }
}

/// The same with the launch before the waves of `forward` as a router that runs
/// ahead, into a buffer of its own.
void MakePredicted(abi::ManifestT &m) {
  MakeRouted(m);
  m.buffers.push_back(std::make_unique<abi::BufferT>(*m.buffers[0]));
  m.plan->routings.push_back(
      std::make_unique<abi::RoutingT>(*m.plan->routings[0]));
  abi::RoutingT &guess = *m.plan->routings[1];
  guess.buffer = uint32_t(m.buffers.size()) - 1;
  guess.picks_offset = 12;
  guess.weights_offset = 24;
  guess.most_picks = 2;
  abi::StepT &step = *m.entries[kForward]->steps[1];
  step.kind = Kind::predict;
  step.launch_count = 1;
  step.bundle = 0;
  step.routing = 1;
  step.most = 1;
}

/// Gives the bundle a home on a level of its own, with staging behind it.
void MakeHoused(abi::ManifestT &m) {
  abi::BundleT &bundle = *m.plan->bundles[0];
  auto host = std::make_unique<abi::LevelT>();
  host->name = "host";
  host->bytes = host->arena_bytes = 3 * bundle.bytes;
  m.levels.push_back(std::move(host));
  m.plan->home_level = 1;
  m.plan->staging_offset = bundle.bytes;
  m.plan->staging_bytes = 2 * bundle.bytes;
  bundle.home = 0;
}

headrace_status_t OpenChanged(const Change &change, bool seal = true) {
  std::unique_ptr<abi::ManifestT> manifest = PlannedToyManifest();
  change(*manifest);
  if (seal && manifest->plan)
    SealPlan(manifest.get());
  std::vector<uint8_t> file = ToyFile(*manifest);
  Instance instance = MakeInstance();
  headrace_package_options_t options = {};
  options.inspect_only = true;
  headrace_package_t *package;
  headrace_status_t status =
      runtime::OpenPackageFromMemory(instance.get(), file.data(), file.size(),
                                     options, &package)
          .Release();
  headrace_package_release(package);
  return status;
}

TEST(ManifestPlan, TheToysAreFine) {
  EXPECT_TRUE(IsOk(OpenChanged([](abi::ManifestT &) {})));
  EXPECT_TRUE(IsOk(OpenChanged(MakeRouted)));
  EXPECT_TRUE(IsOk(OpenChanged(MakePredicted)));
  EXPECT_TRUE(IsOk(OpenChanged(MakeHoused)));
}

/// A CPU reads the package itself.
TEST(ManifestPlan, NeedsNoStagingWithoutAGpu) {
  EXPECT_TRUE(IsOk(OpenChanged([](abi::ManifestT &m) {
    MakeHoused(m);
    m.plan->bundles[0]->home = UINT64_MAX;
    m.plan->staging_bytes = 0;
  })));
}

/// A plan may place inputs and outputs; without one they have no place.
TEST(ManifestPlan, MayBeAbsent) {
  EXPECT_TRUE(IsOk(OpenChanged([](abi::ManifestT &m) {
    m.plan.reset();
    for (auto &entry : m.entries)
      entry->steps.clear();
  })));
}

TEST(ManifestPlan, TheDigestCoversTheSchedule) {
  auto other = [](const Change &change) {
    return OpenChanged(change, /*seal=*/false);
  };
  for (const Change &change : std::vector<Change>{
           [](abi::ManifestT &m) { m.plan->budget += 1; },
           [](abi::ManifestT &m) { m.plan->workers -= 1; },
           [](abi::ManifestT &m) { m.entries[0]->launches[0]->grid_base = 2; },
           [](abi::ManifestT &m) { m.buffers[0]->offset += 64; },
           [](abi::ManifestT &m) {
             std::swap(m.entries[0]->steps[0], m.entries[0]->steps[1]);
           }})
    EXPECT_TRUE(FailsWith(other(change), HEADRACE_STATUS_DATA_LOSS,
                          "another schedule"));
  EXPECT_TRUE(FailsWith(
      other([](abi::ManifestT &m) { m.certificate[0]->digest ^= 1; }),
      HEADRACE_STATUS_DATA_LOSS, "certificate #0 is of another schedule"));
}

struct Case {
  const char *name;
  Change change;
  const char *message;
  headrace_status_code_t code = HEADRACE_STATUS_DATA_LOSS;
};

class ManifestPlanDamage : public ::testing::TestWithParam<Case> {};

TEST_P(ManifestPlanDamage, IsRefused) {
  EXPECT_TRUE(FailsWith(OpenChanged(GetParam().change), GetParam().code,
                        GetParam().message));
}

constexpr uint64_t kHuge = ~uint64_t(0) - 4095;

#define CHANGE(Statement) [](abi::ManifestT &m) { Statement; }
#define ROUTED(Statement)                                                      \
  [](abi::ManifestT &m) {                                                      \
    MakeRouted(m);                                                             \
    Statement;                                                                 \
  }
#define PREDICTED(Statement)                                                   \
  [](abi::ManifestT &m) {                                                      \
    MakePredicted(m);                                                          \
    Statement;                                                                 \
  }
#define HOUSED(Statement)                                                      \
  [](abi::ManifestT &m) {                                                      \
    MakeHoused(m);                                                             \
    Statement;                                                                 \
  }
#define STEPS m.entries[0]->steps
/// The toy whose pages move: bundle 1, in pool 1, at home on level 1.
#define PAGED(...)                                                             \
  [](abi::ManifestT &m) {                                                      \
    m = *PagedToyManifest();                                                   \
    __VA_ARGS__;                                                               \
  }
#define PAGES m.plan->bundles[1]
#define POOL m.plan->pools[0]
#define BUNDLE m.plan->bundles[0]

INSTANTIATE_TEST_SUITE_P(
    Fields, ManifestPlanDamage,
    ::testing::Values(
        Case{"arena_of_level", CHANGE(m.levels[0]->arena_bytes = kHuge),
             "level #0"},
        Case{"fast_level", CHANGE(m.plan->fast_level = 1), "level 1"},
        Case{"kv_level", CHANGE(m.plan->kv_level = 1), "level 0 or 1"},
        Case{"budget", CHANGE(m.plan->budget -= 1), "budget"},
        Case{"minimum", CHANGE(m.plan->minimum_bytes = kHuge), "a minimum"},
        Case{"workers_zero", CHANGE(m.plan->workers = 0), "scratch of"},
        Case{"workers_many", CHANGE(m.plan->workers = ~0u), "scratch of"},
        Case{"worker_bytes", CHANGE(m.plan->worker_bytes = 0), "scratch of"},
        Case{"worker_bytes_huge", CHANGE(m.plan->worker_bytes = kHuge),
             "scratch of"},
        Case{"scratch_offset", CHANGE(m.plan->scratch_offset = kHuge),
             "scratch of"},
        Case{"scratch_alignment", CHANGE(m.plan->scratch_offset += 64),
             "scratch of"},
        Case{"kv_pages_zero", CHANGE(m.plan->kv_pages = 0), "0 pages"},
        Case{"kv_pages_many", CHANGE(m.plan->kv_pages = INT32_MAX), "pages"},
        Case{"kv_offset", CHANGE(m.plan->kv_offset = kHuge), "pages"},
        Case{"kv_overlap", CHANGE(m.plan->kv_offset = m.plan->scratch_offset),
             "overlap"},
        Case{"pool_kind", CHANGE(POOL->kind = static_cast<abi::PoolKind>(7)),
             "kind 7", HEADRACE_STATUS_UNIMPLEMENTED},
        Case{"pool_policy",
             CHANGE(POOL->policy = static_cast<abi::CachePolicy>(9)),
             "policy 9", HEADRACE_STATUS_UNIMPLEMENTED},
        Case{"pool_level", CHANGE(POOL->level = 1), "pool #0"},
        Case{"pool_offset", CHANGE(POOL->offset = kHuge), "pool #0"},
        Case{"pool_slots", CHANGE(POOL->slots = 0), "pool #0"},
        Case{"pool_many_slots", CHANGE(POOL->slots = ~0u), "pool #0"},
        Case{"pool_min_slots", CHANGE(POOL->min_slots = 3), "pool #0"},
        Case{"pool_slot_bytes", CHANGE(POOL->slot_bytes = 0), "pool #0"},
        Case{"pool_slot_alignment", CHANGE(POOL->slot_bytes -= 64), "pool #0"},
        Case{"pool_overlap", CHANGE(POOL->offset = 0), "overlap"},
        Case{"bundle_pool", CHANGE(BUNDLE->pool = 1), "bundle #0: pool"},
        Case{"bundle_bytes", CHANGE(BUNDLE->bytes += 1), "bundle #0"},
        Case{"bundle_small", CHANGE(BUNDLE->bytes = 0), "bundle #0: weight 0"},
        Case{"bundle_empty", CHANGE(BUNDLE->weights.clear()), "0 weights"},
        Case{"bundle_offsets", CHANGE(BUNDLE->offsets.clear()), "0 offsets"},
        Case{"bundle_weight", CHANGE(BUNDLE->weights[0] = 2), "weight 2"},
        Case{"bundle_offset", CHANGE(BUNDLE->offsets[0] = kHuge), "weight 0"},
        Case{"bundle_alignment", CHANGE(BUNDLE->offsets[0] = 64), "weight 0"},
        Case{"bundle_twice",
             CHANGE(m.plan->bundles.push_back(
                 std::make_unique<abi::BundleT>(*BUNDLE))),
             "in two bundles"},
        Case{"weight_unplaced",
             CHANGE(m.weights[1]->residency = abi::Residency::mapped),
             "weight #1: the plan does not place it"},
        Case{"weight_bundled",
             CHANGE(m.weights[1]->residency = abi::Residency::streamed),
             "weight #1"},
        Case{"weight_routed",
             CHANGE(m.weights[0]->residency = abi::Residency::routed),
             "another kind"},
        Case{"weight_residency",
             CHANGE(m.weights[1]->residency = static_cast<abi::Residency>(8)),
             "residency 8", HEADRACE_STATUS_UNIMPLEMENTED},
        Case{"weight_level", CHANGE(m.weights[1]->level = 1), "level 1"},
        Case{"weight_offset", CHANGE(m.weights[1]->offset = kHuge),
             "weight #1"},
        Case{"weight_alignment", CHANGE(m.weights[1]->offset += 64),
             "weight #1"},
        Case{"weight_overlap", CHANGE(m.weights[1]->offset = POOL->offset),
             "overlap"},
        Case{"buffer_overlap", CHANGE(m.buffers[1]->offset = m.plan->kv_offset),
             "overlap"},
        Case{"buffer_outside", CHANGE(m.buffers[1]->offset = kHuge),
             "buffer #1"},
        Case{"step_kind", CHANGE(STEPS[1]->kind = static_cast<Kind>(11)),
             "kind 11", HEADRACE_STATUS_UNIMPLEMENTED},
        Case{"step_launch", CHANGE(STEPS[1]->launch = 7), "expected 0"},
        Case{"step_order", CHANGE(std::swap(STEPS[1], STEPS[2])), "expected 0"},
        Case{"step_missing_launch", CHANGE(STEPS.erase(STEPS.begin() + 4)),
             "2 of 3 launches"},
        Case{"fetch_bundle", CHANGE(STEPS[0]->bundle = 1), "bundle 1 of 1"},
        Case{"fetch_slot", CHANGE(STEPS[0]->slot = 2), "slot 2"},
        Case{"fetch_twice",
             CHANGE(STEPS.insert(STEPS.begin(), ToyStep(Kind::fetch, 0))),
             "which is taken"},
        Case{"no_fetch", CHANGE(STEPS.erase(STEPS.begin())), "waits for"},
        Case{"no_wait", CHANGE(STEPS.erase(STEPS.begin() + 3)),
             "before it has arrived"},
        Case{"no_release", CHANGE(STEPS.pop_back()), "never released"},
        Case{"early_release", CHANGE(std::swap(STEPS[4], STEPS[5])),
             "before it has arrived"},
        Case{"wrong_slot", CHANGE(STEPS[3]->slot = 0), "waits for"},
        Case{"no_steps", CHANGE(STEPS.clear()), "before it has arrived"}));

INSTANTIATE_TEST_SUITE_P(
    Paged, ManifestPlanDamage,
    ::testing::Values(
        Case{"paged_layer", PAGED(PAGES->layer = 1), "layer 1 of 1"},
        Case{"paged_twice",
             PAGED(m.plan->bundles.push_back(
                 std::make_unique<abi::BundleT>(*PAGES))),
             "bundle #2: pages of layer 0"},
        Case{"paged_weights", PAGED(PAGES->weights.push_back(0)),
             "of another kind"},
        Case{"paged_cache",
             PAGED(m.plan->pools[1]->kind = abi::PoolKind::cache),
             "of another kind"},
        Case{"paged_slots", PAGED(m.plan->pools[1]->slots = 2),
             "of another kind"},
        Case{"paged_few", PAGED(PAGES->bytes -= 4096), "too few"},
        Case{"paged_homeless", PAGED(PAGES->home = UINT64_MAX),
             "without a home"},
        Case{"paged_no_level", PAGED(m.plan->home_level = ~0u),
             "without a home"},
        Case{"paged_level", PAGED(m.plan->home_level = 2), "home level 2"},
        Case{"paged_fast_level", PAGED(m.plan->home_level = 0), "home level 0"},
        Case{"paged_home", PAGED(PAGES->home = kHuge), "a home of"},
        Case{"paged_alignment", PAGED(PAGES->home = 64), "a home of"},
        Case{"paged_pool", PAGED(PAGES->pool = 0), "bundle #"},
        Case{"paged_mixed", PAGED(BUNDLE->pool = 1),
             "weights in a pool of pages"},
        Case{"paged_no_fetch", PAGED(STEPS.erase(STEPS.begin())), "waits for"},
        Case{"paged_no_wait", PAGED(STEPS.erase(STEPS.begin() + 3)),
             "pages of layer 0 are read before"},
        Case{"paged_no_store", PAGED(STEPS.erase(STEPS.begin() + 5)),
             "before what was written is stored"},
        Case{"paged_early_store", PAGED(std::swap(STEPS[4], STEPS[5])),
             "before what was written is stored"},
        Case{"paged_store_of_weights", PAGED(STEPS[5]->bundle = 0),
             "stores bundle 0"},
        Case{"paged_no_release", PAGED(STEPS.pop_back()), "never released"},
        Case{"paged_elsewhere",
             PAGED(m.entries[kScale]->steps.insert(
                 m.entries[kScale]->steps.begin(), ToyStep(Kind::fetch, 0, 1))),
             "a step of 'forward'"}));

INSTANTIATE_TEST_SUITE_P(
    Routed, ManifestPlanDamage,
    ::testing::Values(
        Case{"routing_buffer", ROUTED(m.plan->routings[0]->buffer = 1),
             "not planned"},
        Case{"routing_experts", ROUTED(m.plan->routings[0]->experts = 0),
             "routing #0"},
        Case{"routing_offset",
             ROUTED(m.plan->routings[0]->active_offset = kHuge), "routing #0"},
        Case{"routing_count",
             ROUTED(m.plan->routings[0]->active_count_offset = 2),
             "routing #0"},
        Case{"routed_launch", ROUTED(STEPS[2]->launch = 0), "expected some"},
        Case{"routed_launches", ROUTED(STEPS[2]->launch_count = 2),
             "expected some"},
        Case{"routed_none", ROUTED(STEPS[2]->launch_count = 0),
             "expected some"},
        Case{"routed_routing", ROUTED(STEPS[2]->routing = 1), "routing 1 of 1"},
        Case{"routed_bundle", ROUTED(STEPS[2]->bundle = 1), "bundles 1 + 2"},
        Case{"routed_as_launch", ROUTED(STEPS[2]->kind = Kind::launch),
             "before it has arrived"},
        Case{"routed_experts", ROUTED(m.plan->routings[0]->experts = 1),
             "before it has arrived"},
        Case{"routed_swapped",
             ROUTED(std::swap(m.plan->bundles[0], m.plan->bundles[1])),
             "before it has arrived"}));

INSTANTIATE_TEST_SUITE_P(
    Predicted, ManifestPlanDamage,
    ::testing::Values(
        Case{"predicted_launch", PREDICTED(STEPS[1]->launch = 0),
             "expected one"},
        Case{"predicted_launches", PREDICTED(STEPS[1]->launch_count = 2),
             "expected one"},
        Case{"predicted_bundle", PREDICTED(STEPS[1]->bundle = 1),
             "no later step"},
        Case{"predicted_late", PREDICTED(std::swap(STEPS[1], STEPS[2])),
             "expected some"},
        Case{"predicted_routing", PREDICTED(STEPS[1]->routing = 2),
             "no later step"},
        Case{"predicted_itself", PREDICTED(STEPS[1]->routing = 0),
             "predicts at most"},
        Case{"predicted_none", PREDICTED(STEPS[1]->most = 0),
             "predicts at most"},
        Case{"predicted_experts", PREDICTED(m.plan->routings[1]->experts = 1),
             "predicts at most"},
        Case{"predicted_picks",
             PREDICTED(m.plan->routings[1]->picks_offset = kHuge),
             "end beyond buffer"},
        Case{"predicted_odd", PREDICTED(m.plan->routings[1]->picks_offset = 2),
             "end beyond buffer"},
        Case{"predicted_weights",
             PREDICTED(m.plan->routings[1]->most_picks = ~0u),
             "end beyond buffer"}));

INSTANTIATE_TEST_SUITE_P(
    Homes, ManifestPlanDamage,
    ::testing::Values(
        Case{"home_level", HOUSED(m.plan->home_level = 2), "home level 2"},
        Case{"home_fast", HOUSED(m.plan->home_level = 0), "home level 0"},
        Case{"home_none", CHANGE(BUNDLE->home = 0), "a home of"},
        Case{"home_budget", HOUSED(m.plan->home_budget = 1), "a home arena"},
        Case{"home_offset", HOUSED(BUNDLE->home = kHuge), "a home of"},
        Case{"home_alignment", HOUSED(BUNDLE->home = 64), "a home of"},
        Case{"home_overlap", HOUSED(BUNDLE->home = m.plan->staging_offset),
             "overlap"},
        Case{"staging_offset", HOUSED(m.plan->staging_offset = kHuge),
             "staging of"},
        Case{"staging_alignment", HOUSED(m.plan->staging_offset += 64),
             "staging of"},
        Case{"staging_bytes", HOUSED(m.plan->staging_bytes = kHuge),
             "staging of"}),
    [](const ::testing::TestParamInfo<Case> &info) {
      return std::string(info.param.name);
    });

INSTANTIATE_TEST_SUITE_P(
    Certificate, ManifestPlanDamage,
    ::testing::Values(
        Case{"peak", CHANGE(m.certificate[0]->bytes += 1), "peak of"},
        Case{"part_kind",
             CHANGE(m.certificate[0]->parts[0]->kind =
                        static_cast<abi::PartKind>(9)),
             "kind 9", HEADRACE_STATUS_UNIMPLEMENTED},
        Case{"part_index", CHANGE(m.certificate[0]->parts[0]->index = 1),
             "part #0"},
        Case{"part_entry", CHANGE(m.certificate[0]->parts[0]->entry = 99),
             "part #0"},
        Case{"part_bytes", CHANGE(m.certificate[0]->parts[0]->bytes = kHuge),
             "part #0"},
        Case{"part_class", CHANGE(m.certificate[0]->parts[0]->step_class = 0),
             "part #0"},
        Case{"witness_class", CHANGE(m.certificate[0]->witness->step_class = 7),
             "witness"},
        Case{"witness_tokens", CHANGE(m.certificate[0]->witness->tokens = 0),
             "witness"},
        Case{"witness_context",
             CHANGE(m.certificate[0]->witness->context = ~0u), "witness"}),
    [](const ::testing::TestParamInfo<Case> &info) {
      return std::string(info.param.name);
    });

} // namespace
} // namespace headrace::tests
