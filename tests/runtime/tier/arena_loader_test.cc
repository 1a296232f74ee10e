// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of the arena loader: at each launch the weights it reads are in place,
// at every budget, and after every fault the next run is right again.
#include "runtime/src/tier/arena_loader.h"

#include "runtime/src/digest.h"
#include "runtime/src/manifest.h"
#include "tests/runtime/harness.h"
#include "tests/runtime/tier/faulty_source.h"

#include <cerrno>
#include <chrono>
#include <functional>
#include <random>
#include <set>
#include <thread>

namespace headrace::tests {
namespace {

using runtime::ArenaLoader;
using runtime::Bundle;
using runtime::CachePolicy;
using runtime::DefaultAllocator;
using runtime::kNoIndex;
using runtime::LaunchRunner;
using runtime::Mapping;
using runtime::PoolKind;
using runtime::Status;
using runtime::TierPlan;
using runtime::TierPool;
using runtime::TierRouting;
using runtime::TierStep;
using runtime::TransferPiece;
using runtime::WaitLimits;

constexpr uint64_t kChunk = 4096;
constexpr uint32_t kLayers = 4, kExperts = 6;
constexpr uint64_t kDenseBytes = 5000, kExpertBytes = 9000,
                   kResidentBytes = 700;
constexpr uint64_t kDenseSlot = 8192, kExpertSlot = 12288;

/// A model of four layers, each a dense bundle and six experts, with one
/// resident weight. Weight slots: 0 resident, then a layer's dense one and its
/// experts.
struct Model {
  static uint32_t Dense(uint32_t layer) { return 1 + layer * (1 + kExperts); }
  static uint32_t Expert(uint32_t layer, uint32_t e) {
    return Dense(layer) + 1 + e;
  }
  static constexpr uint32_t kWeights = 1 + kLayers * (1 + kExperts);

  Model(uint32_t ring_slots, uint32_t cache_slots, CachePolicy policy)
      : plan(DefaultAllocator()) {
    // The bytes of weight w are all w + 1.
    std::vector<uint64_t> offsets;
    for (uint32_t w = 0; w < kWeights; ++w) {
      offsets.push_back(bytes.size());
      bytes.resize(bytes.size() + BytesOf(w), uint8_t(w + 1));
      bytes.resize((bytes.size() + 4095) / 4096 * 4096);
    }
    digests.resize(kWeights);
    auto add = [&](uint32_t weight, uint64_t target, uint64_t room) {
      TransferPiece piece;
      piece.source = offsets[weight];
      piece.target = target;
      piece.bytes = BytesOf(weight);
      piece.room = room;
      for (uint64_t at = 0; at < piece.bytes; at += kChunk)
        digests[weight].push_back(
            runtime::Digest(bytes.data() + piece.source + at,
                            std::min(kChunk, piece.bytes - at)));
      piece.digests = digests[weight].data();
      names.push_back("weight " + std::to_string(weight));
      piece.name = names.back().c_str();
      plan.pieces.push_back(piece);
      plan.piece_weights.push_back(weight);
      return &plan.pieces.back();
    };
    plan.pieces.reserve(kWeights);
    names.reserve(kWeights);
    plan.resident.pieces = add(0, 0, 4096);
    plan.resident.piece_count = 1;
    plan.resident.bytes = kResidentBytes;
    plan.resident.name = "resident";
    auto bundle = [&](uint32_t pool, uint32_t weight) {
      Bundle one;
      one.pieces = add(weight, 0, BytesOf(weight));
      one.piece_count = 1;
      one.bytes = BytesOf(weight);
      one.name = names.back().c_str();
      plan.bundles.push_back(one);
      plan.bundle_pools.push_back(pool);
      plan.bundle_numbers.push_back(uint32_t(plan.bundles.size()) - 1 -
                                    (pool ? kLayers : 0));
    };
    for (uint32_t layer = 0; layer < kLayers; ++layer)
      bundle(0, Dense(layer));
    for (uint32_t layer = 0; layer < kLayers; ++layer)
      for (uint32_t e = 0; e < kExperts; ++e)
        bundle(1, Expert(layer, e));

    TierPool ring;
    ring.name = "dense";
    ring.offset = 4096;
    ring.slot_bytes = kDenseSlot;
    ring.min_slots = 1;
    ring.slots = ring_slots;
    ring.bundle_count = kLayers;
    TierPool cache;
    cache.name = "experts";
    cache.offset = ring.offset + ring.slots * ring.slot_bytes;
    cache.slot_bytes = kExpertSlot;
    cache.min_slots = 1;
    cache.slots = cache_slots;
    cache.kind = PoolKind::kCache;
    cache.policy = policy;
    cache.bundle_count = kLayers * kExperts;
    cache.group_count = kLayers;
    for (uint32_t layer = 0; layer < kLayers; ++layer)
      plan.groups.push_back({kLayers + layer * kExperts, kExperts});
    plan.pools.push_back(ring);
    plan.pools.push_back(cache);
    plan.level = "arena";
    plan.min_bytes = 4096 + kDenseSlot + kExpertSlot;
    arena_bytes = cache.offset + cache.slots * cache.slot_bytes;

    // A layer: two launches that read the dense weights, a routed one; and with
    // predictions, one for the next layer.
    plan.routings.push_back(TierRouting());
    auto step = [&](TierStep::Kind kind, uint32_t layer) -> TierStep & {
      TierStep one;
      one.kind = kind;
      one.bundle = layer;
      one.slot = layer % ring_slots;
      plan.steps.push_back(one);
      return plan.steps.back();
    };
    plan.entry_schedules.push_back(0);
    plan.schedule_steps.push_back(0);
    for (uint32_t ahead = 0; ahead < std::min(ring_slots, kLayers); ++ahead)
      step(TierStep::Kind::kFetch, ahead);
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      step(TierStep::Kind::kWait, layer);
      step(TierStep::Kind::kLaunch, 0).launch = layer * 3;
      step(TierStep::Kind::kLaunch, 0).launch = layer * 3 + 1;
      step(TierStep::Kind::kRelease, layer);
      if (layer + ring_slots < kLayers)
        step(TierStep::Kind::kFetch, layer + ring_slots);
      if (policy == CachePolicy::kPredict && layer + 1 < kLayers) {
        TierStep &predict = step(TierStep::Kind::kPredict, 0);
        predict.launch = kLayers * 3 + layer + 1;
        predict.pool = 1;
        predict.group = layer + 1;
        predict.bundle = kLayers + (layer + 1) * kExperts;
        predict.most = 2;
      }
      TierStep &routed = step(TierStep::Kind::kRouted, 0);
      routed.launch = layer * 3 + 2;
      routed.end_launch = layer * 3 + 3;
      routed.pool = 1;
      routed.group = layer;
      routed.bundle = kLayers + layer * kExperts;
    }
    plan.schedule_steps.push_back(uint32_t(plan.steps.size()));
  }

  static uint64_t BytesOf(uint32_t weight) {
    if (weight == 0)
      return kResidentBytes;
    return (weight - 1) % (1 + kExperts) ? kExpertBytes : kDenseBytes;
  }

  TierPlan plan;
  std::vector<uint8_t> bytes; // the package
  std::vector<std::vector<uint64_t>> digests;
  std::vector<std::string> names;
  uint64_t arena_bytes = 0;
};

/// Looks at the weights that each launch would read.
class Checker final : public LaunchRunner {
public:
  Checker() { weights.assign(Model::kWeights, nullptr); }

  Status RunLaunches(uint32_t begin, uint32_t end, int64_t first,
                     int64_t end_active) override {
    for (uint32_t launch = begin; launch < end; ++launch) {
      const uint32_t layer = launch / 3;
      Expect(0);
      if (layer >= kLayers) { // a router ahead
        ++predictions;
        continue;
      }
      if (launch % 3 != 2) {
        EXPECT_EQ(first, 0);
        Expect(Model::Dense(layer));
        order.push_back(launch);
        continue;
      }
      end_active = std::min<int64_t>(end_active, int64_t(active.size()));
      EXPECT_EQ(first, int64_t(next_active));
      for (int64_t i = first; i < end_active; ++i)
        Expect(Model::Expert(layer, uint32_t(active[size_t(i)])));
      next_active = size_t(end_active);
      if (next_active == active.size()) {
        order.push_back(launch);
        next_active = 0;
        if (next_routing)
          next_routing();
      }
      ++waves;
    }
    return Status();
  }
  Status ReadRouting(const TierRouting &, const int32_t **out,
                     uint32_t *count) override {
    next_active = 0;
    *out = active.data();
    *count = uint32_t(active.size());
    return Status();
  }
  Status ReadPrediction(const TierRouting &, float *, int32_t *out,
                        uint32_t *count) override {
    std::copy(guess.begin(), guess.end(), out);
    *count = uint32_t(guess.size());
    return Status();
  }
  void Expect(uint32_t weight) {
    const auto *data = static_cast<const uint8_t *>(weights[weight]);
    ASSERT_NE(data, nullptr) << "weight " << weight;
    if (blind)
      return;
    for (uint64_t i :
         {uint64_t(0), Model::BytesOf(weight) / 2, Model::BytesOf(weight) - 1})
      ASSERT_EQ(data[i], weight + 1) << "weight " << weight;
  }

  runtime::Vector<const void *> weights{
      runtime::StdAllocator<const void *>(DefaultAllocator())};
  std::vector<int32_t> active, guess = {4, 0, 2};
  uint32_t predictions = 0;
  size_t next_active = 0;
  std::vector<uint32_t> order;
  uint32_t waves = 0;
  bool blind = false; // what is in the weights does not matter
  std::function<void()> next_routing;
};

/// A model with its loader.
struct Loaded {
  explicit Loaded(uint32_t ring = 2, uint32_t cache = 4, uint64_t budget = 0,
                  CachePolicy policy = CachePolicy::kLru)
      : model(ring, cache, policy), source(model.bytes),
        loader(DefaultAllocator(), &model.plan) {
    EXPECT_TRUE(IsOk(
        Mapping::Arena(DefaultAllocator(), model.arena_bytes, "arena", &arena)
            .Release()));
    options.budget_bytes = budget;
    options.arena = arena.Data();
    options.source = &source;
    options.queue.link = "disk";
    options.queue.level = "arena";
    options.queue.chunk_bytes = kChunk;
    options.queue.threads = 2;
  }
  ~Loaded() { EXPECT_EQ(loader.Stop(uint64_t(10) << 30), 0u); }
  Status Create() {
    HEADRACE_RETURN_IF_ERROR(loader.Create(options));
    return loader.Bind(&checker.weights);
  }
  Status Run(std::vector<int32_t> active, uint64_t deadline_ns = 0) {
    checker.active = std::move(active);
    checker.order.clear();
    WaitLimits limits;
    limits.deadline_ns = deadline_ns;
    return loader.RunEntry(0, 0, &checker, limits);
  }
  /// Waits for what is fetched ahead and ends the link.
  void ExpectMoved(uint64_t bytes) {
    for (int i = 0; i < 10000 && loader.LinkAt(0).Counters().bytes < bytes; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(loader.Stop(uint64_t(10) << 30), 0u);
    EXPECT_EQ(loader.LinkAt(0).Counters().bytes, bytes);
  }
  void ExpectWholeRun() {
    std::vector<uint32_t> all;
    for (uint32_t i = 0; i < 3 * kLayers; ++i)
      all.push_back(i);
    EXPECT_EQ(checker.order, all);
  }

  Model model;
  FaultySource source;
  Mapping arena, home;
  runtime::HomeMemory home_memory;
  ArenaLoader::Options options;
  Checker checker;
  ArenaLoader loader;
};

std::vector<int32_t> SomeExperts(std::mt19937 &random) {
  std::vector<int32_t> active;
  for (int32_t e = 0; e < int32_t(kExperts); ++e)
    if (random() % 2)
      active.push_back(e);
  return active;
}

TEST(ArenaLoader, WeightsAreInPlaceAtEveryBudget) {
  const CachePolicy policies[] = {CachePolicy::kLru, CachePolicy::kLfu,
                                  CachePolicy::kPinned, CachePolicy::kPredict};
  const uint64_t least = 4096 + kDenseSlot + kExpertSlot;
  for (CachePolicy policy : policies)
    for (auto [ring, cache] : {std::pair{1u, 1u}, {2u, 3u}, {3u, 8u}})
      for (uint64_t budget :
           {uint64_t(0), least, least + kDenseSlot, least + 5 * kExpertSlot,
            least + 3 * kDenseSlot + 9 * kExpertSlot, least << 10}) {
        Loaded loaded(ring, cache, budget, policy);
        ASSERT_TRUE(IsOk(loaded.Create().Release()));
        std::mt19937 random(ring);
        loaded.checker.next_routing = [&] {
          loaded.checker.active = SomeExperts(random);
        };
        for (int run = 0; run < 10; ++run) {
          ASSERT_TRUE(IsOk(loaded.Run(SomeExperts(random)).Release()));
          loaded.ExpectWholeRun();
        }
        if (budget)
          EXPECT_LE(loaded.loader.OccupiedBytes(), budget);
      }
}

TEST(ArenaLoader, MovesNothingOnceEverythingFits) {
  Loaded loaded(2, 4, uint64_t(1) << 20);
  ASSERT_TRUE(IsOk(loaded.Create().Release()));
  ASSERT_TRUE(IsOk(loaded.Run({0, 1, 2, 3, 4, 5}).Release()));
  const uint64_t all = kResidentBytes + kLayers * kDenseBytes +
                       kLayers * kExperts * kExpertBytes;
  EXPECT_EQ(loaded.loader.LinkAt(0).Counters().bytes, all);
  for (int run = 0; run < 5; ++run)
    ASSERT_TRUE(IsOk(loaded.Run({0, 1, 2, 3, 4, 5}).Release()));
  EXPECT_EQ(loaded.loader.LinkAt(0).Counters().bytes, all);
  EXPECT_EQ(loaded.loader.CacheCounters(1).misses, kLayers * kExperts);
}

TEST(ArenaLoader, SmallBudgetIsRefusedByTheShortfall) {
  const uint64_t least = 4096 + kDenseSlot + kExpertSlot;
  Loaded loaded(2, 4, least - 77);
  EXPECT_TRUE(FailsWith(loaded.Create().Release(),
                        HEADRACE_STATUS_RESOURCE_EXHAUSTED, "77 are missing"));
}

TEST(ArenaLoader, MoreBudgetMovesLess) {
  uint64_t before = UINT64_MAX;
  for (uint64_t extra : {0, 1, 2, 3}) {
    Loaded loaded(1, 1, 4096 + kDenseSlot + kExpertSlot + extra * kDenseSlot);
    ASSERT_TRUE(IsOk(loaded.Create().Release()));
    for (int run = 0; run < 4; ++run)
      ASSERT_TRUE(IsOk(loaded.Run({1}).Release()));
    // The layers that stay are moved once, the others in each run, and the
    // first of them for the run that follows.
    const uint64_t expected =
        kResidentBytes + 4 * kLayers * kExpertBytes +
        (extra >= kLayers - 1 ? kLayers : extra + 4 * (kLayers - extra) + 1) *
            kDenseBytes;
    loaded.ExpectMoved(expected);
    EXPECT_LT(expected, before);
    before = expected;
  }
}

TEST(ArenaLoader, GuessesMoveTheBytesThatTheyAreCountedFor) {
  Loaded loaded(2, 5, 0, CachePolicy::kPredict);
  ASSERT_TRUE(IsOk(loaded.Create().Release()));
  std::mt19937 random(2);
  for (int run = 0; run < 40; ++run) {
    // Right every other time, or all wrong.
    loaded.checker.guess =
        run % 2 ? std::vector<int32_t>{1, 5} : std::vector<int32_t>{2, 3};
    ASSERT_TRUE(IsOk(loaded.Run({1, 5}).Release()));
    loaded.ExpectWholeRun();
  }
  loaded.loader.AwaitRest(WaitLimits());
  const auto counters = loaded.loader.CacheCounters(1);
  EXPECT_GT(counters.prefetches, counters.prefetches_used);
  EXPECT_GT(counters.prefetches_used, 0u);
  EXPECT_EQ(loaded.checker.predictions, 40u * (kLayers - 1));
  // The ring has fetched for the next run, too.
  loaded.ExpectMoved(kResidentBytes + (40 * kLayers + 2) * kDenseBytes +
                     (counters.misses + counters.prefetches) * kExpertBytes);
}

TEST(ArenaLoader, RoutersAreNotRunAheadOnceEverythingIsThere) {
  Loaded loaded(2, 4, uint64_t(1) << 20, CachePolicy::kPredict);
  ASSERT_TRUE(IsOk(loaded.Create().Release()));
  ASSERT_TRUE(IsOk(loaded.Run({0, 1, 2, 3, 4, 5}).Release()));
  const uint32_t before = loaded.checker.predictions;
  EXPECT_GT(before, 0u);
  ASSERT_TRUE(IsOk(loaded.Run({0, 3}).Release()));
  EXPECT_EQ(loaded.checker.predictions, before);
}

TEST(ArenaLoader, AGuessThatCannotBeReadIsNoFailure) {
  Loaded loaded(2, 5, 0, CachePolicy::kPredict);
  ASSERT_TRUE(IsOk(loaded.Create().Release()));
  const auto &pieces = loaded.model.plan.pieces;
  // Expert 2 of the second layer, which is guessed and never active.
  loaded.checker.guess = {2};
  loaded.source.FailAt(
      int64_t(pieces[1 + kLayers + kExperts + 2].source + 4200), EIO);
  for (int run = 0; run < 4; ++run) {
    ASSERT_TRUE(IsOk(loaded.Run({0, 3}).Release()));
    loaded.ExpectWholeRun();
  }
}

TEST(ArenaLoader, NoActiveExpertStillRunsTheLaunches) {
  Loaded loaded;
  ASSERT_TRUE(IsOk(loaded.Create().Release()));
  ASSERT_TRUE(IsOk(loaded.Run({}).Release()));
  loaded.ExpectWholeRun();
}

TEST(ArenaLoader, AReadErrorNamesTheWeightAndIsOver) {
  for (uint32_t weight : {Model::Dense(2), Model::Expert(1, 3)}) {
    Loaded loaded;
    ASSERT_TRUE(IsOk(loaded.Create().Release()));
    const auto &pieces = loaded.model.plan.pieces;
    const auto &ids = loaded.model.plan.piece_weights;
    uint64_t at = 0;
    for (size_t i = 0; i < ids.size(); ++i)
      if (ids[i] == weight)
        at = pieces[i].source + 4200;
    loaded.source.FailAt(int64_t(at), EIO);
    Outcome outcome(loaded.Run({3, 5}).Release());
    EXPECT_EQ(outcome.code, HEADRACE_STATUS_IO);
    EXPECT_NE(outcome.message.find("'weight " + std::to_string(weight) + "'"),
              std::string::npos)
        << outcome.message;
    EXPECT_NE(outcome.message.find("level 'arena'"), std::string::npos);
    loaded.source.FailAt(-1, 0);
    for (int run = 0; run < 3; ++run) {
      ASSERT_TRUE(IsOk(loaded.Run({0, 3, 5}).Release()));
      loaded.ExpectWholeRun();
    }
  }
}

TEST(ArenaLoader, ATruncatedPackageIsDataLossAndIsOver) {
  for (uint64_t end = 4096; end < 100000; end += 20000) {
    Loaded loaded(2, 2);
    ASSERT_TRUE(IsOk(loaded.Create().Release()));
    loaded.source.EndAt(end);
    EXPECT_TRUE(FailsWith(loaded.Run({0, 1, 2, 3, 4, 5}).Release(),
                          HEADRACE_STATUS_DATA_LOSS, "the package ended"));
    loaded.source.EndAt(UINT64_MAX);
    ASSERT_TRUE(IsOk(loaded.Run({0, 1, 2, 3, 4, 5}).Release()));
    loaded.ExpectWholeRun();
  }
}

TEST(ArenaLoader, AHangEndsAtTheDeadlineAndIsOver) {
  Loaded loaded(2, 8);
  ASSERT_TRUE(IsOk(loaded.Create().Release()));
  const auto &pieces = loaded.model.plan.pieces;
  // Expert 4 of the second layer.
  loaded.source.HangAt(int64_t(pieces[1 + kLayers + kExperts + 4].source));
  Outcome outcome(loaded.Run({4}, runtime::MonotonicNs() + 50000000).Release());
  EXPECT_EQ(outcome.code, HEADRACE_STATUS_DEADLINE_EXCEEDED);
  EXPECT_NE(outcome.message.find("'weight " +
                                 std::to_string(Model::Expert(1, 4)) + "'"),
            std::string::npos)
      << outcome.message;
  EXPECT_NE(outcome.message.find("level 'arena'"), std::string::npos);
  // Other experts still run: the slot that hangs is not needed for them.
  ASSERT_TRUE(IsOk(loaded.Run({1}).Release()));
  loaded.source.HangAt(-1);
  for (int run = 0; run < 3; ++run)
    ASSERT_TRUE(IsOk(loaded.Run({1, 4}).Release()));
  loaded.ExpectWholeRun();
}

TEST(ArenaLoader, RandomFaultsLeaveNoTrace) {
  Loaded loaded(2, 3, 0, CachePolicy::kPredict);
  ASSERT_TRUE(IsOk(loaded.Create().Release()));
  std::mt19937 random(5);
  loaded.checker.next_routing = [&] {
    loaded.checker.active = SomeExperts(random);
  };
  int failures = 0;
  for (int run = 0; run < 100; ++run) {
    const bool faulty = run % 2;
    if (faulty)
      loaded.source.FailAt(
          int64_t(4096 + random() % (loaded.model.bytes.size() - 4096)), EIO);
    Outcome outcome(loaded.Run(SomeExperts(random)).Release());
    loaded.source.FailAt(-1, 0);
    failures += outcome.code != HEADRACE_STATUS_OK;
    if (!faulty) {
      ASSERT_EQ(outcome.code, HEADRACE_STATUS_OK) << outcome.message;
      loaded.ExpectWholeRun();
    }
  }
  EXPECT_GT(failures, 5);
}

TEST(ArenaLoader, BadScheduleIsAStatus) {
  Loaded loaded;
  // Without its fetch a wait cannot end.
  for (TierStep &step : loaded.model.plan.steps)
    if (step.kind == TierStep::Kind::kFetch && step.bundle == 2)
      step.bundle = 1;
  ASSERT_TRUE(IsOk(loaded.Create().Release()));
  EXPECT_TRUE(FailsWith(loaded.Run({0}).Release(), HEADRACE_STATUS_INTERNAL,
                        "'weight 15'"));
}

/// Gives the layers `from` and behind it a home each.
void House(Loaded *loaded, uint32_t from, FaultySource *faulty = nullptr) {
  TierPlan &plan = loaded->model.plan;
  uint64_t end = 0;
  for (size_t i = 0; i < plan.bundles.size(); ++i) {
    const size_t layer = i < kLayers ? i : (i - kLayers) / kExperts;
    plan.bundle_homes.push_back(layer < from ? runtime::kNoHome : end);
    end += layer < from ? 0 : kExpertSlot;
  }
  ASSERT_TRUE(
      IsOk(Mapping::Arena(DefaultAllocator(), end, "a home", &loaded->home)
               .Release()));
  loaded->home_memory.Place(loaded->home.Data(), end);
  loaded->options.home = loaded->home.Data();
  loaded->options.home_level = "home";
  loaded->options.home_source = &loaded->home_memory;
  if (faulty)
    loaded->options.home_source = faulty;
  loaded->options.home_queue = loaded->options.queue;
  loaded->options.queue.threads = 1; // so that what fails first is known
  loaded->options.home_queue.link = "memory";
}

TEST(ArenaLoader, HomesAreReadOnceAndCopiedFrom) {
  for (uint32_t from : {0u, 2u}) {
    Loaded loaded(2, 8);
    House(&loaded, from);
    ASSERT_TRUE(IsOk(loaded.Create().Release()));
    runtime::Link &copies = loaded.loader.LinkAt(0);
    runtime::Link &package = loaded.loader.LinkAt(1);
    EXPECT_STREQ(copies.Name(), "memory");
    EXPECT_STREQ(package.Name(), "disk");
    EXPECT_EQ(copies.Counters().bytes, 0u);
    const uint64_t filled = package.Counters().bytes;
    EXPECT_EQ(filled,
              kResidentBytes +
                  (kLayers - from) * (kDenseBytes + kExperts * kExpertBytes));
    std::mt19937 random(3);
    for (int run = 0; run < 10; ++run) {
      ASSERT_TRUE(IsOk(loaded.Run(SomeExperts(random)).Release()));
      loaded.ExpectWholeRun();
    }
    EXPECT_GT(copies.Counters().bytes, 0u);
    if (from == 0) // Nothing is read any more.
      EXPECT_EQ(package.Counters().bytes, filled);
    else
      EXPECT_GT(package.Counters().bytes, filled);
  }
}

TEST(ArenaLoader, AHomeThatCannotBeFilledIsRefused) {
  // A weight of a layer with a home.
  const auto broken = [](Loaded *loaded) {
    return loaded->model.plan.pieces[1 + 1].source;
  };
  {
    Loaded loaded;
    House(&loaded, 0);
    loaded.source.EndAt(broken(&loaded));
    EXPECT_TRUE(FailsWith(loaded.Create().Release(), HEADRACE_STATUS_DATA_LOSS,
                          "'weight 8' was read to level 'home'"));
  }
  {
    Loaded loaded;
    House(&loaded, 0);
    loaded.source.FailAt(int64_t(broken(&loaded)), EIO);
    EXPECT_TRUE(FailsWith(loaded.Create().Release(), HEADRACE_STATUS_IO,
                          "'weight 8' to level 'home'"));
  }
  {
    Loaded loaded;
    House(&loaded, 0);
    loaded.model.digests[Model::Dense(1)][1] ^= 1;
    EXPECT_TRUE(FailsWith(loaded.Create().Release(), HEADRACE_STATUS_DATA_LOSS,
                          "read to level 'home' for 'weight 8'"));
  }
  {
    Loaded loaded;
    House(&loaded, 0);
    loaded.options.timeout_ns = 10000000;
    loaded.source.HangAt(int64_t(broken(&loaded)));
    EXPECT_TRUE(FailsWith(loaded.Create().Release(),
                          HEADRACE_STATUS_DEADLINE_EXCEEDED, "level 'home'"));
    loaded.source.HangAt(-1);
  }
}

TEST(ArenaLoader, ACopyThatTakesTooLongEndsAtTheDeadlineAndIsOver) {
  Loaded loaded(2, 8);
  // As large as the homes; what is copied is not looked at.
  FaultySource homes(
      std::vector<uint8_t>(kLayers * (1 + kExperts) * kExpertSlot));
  House(&loaded, 0, &homes);
  ASSERT_TRUE(IsOk(loaded.Create().Release()));
  loaded.checker.blind = true;
  homes.HangAt(int64_t(loaded.model.plan.bundle_homes[2]));
  EXPECT_TRUE(FailsWith(
      loaded.Run({4}, runtime::MonotonicNs() + 50000000).Release(),
      HEADRACE_STATUS_DEADLINE_EXCEEDED,
      "link 'memory': the deadline passed while 'weight 15' was on its way to "
      "level 'arena'"));
  homes.HangAt(-1);
  ASSERT_TRUE(IsOk(loaded.Run({4}).Release()));
  loaded.ExpectWholeRun();
}

TEST(ArenaLoader, CountsBytesHitsAndWaits) {
  Loaded loaded(2, 24);
  ASSERT_TRUE(IsOk(loaded.Create().Release()));
  ASSERT_TRUE(IsOk(loaded.Run({1, 2}).Release()));
  ASSERT_TRUE(IsOk(loaded.Run({1, 2, 3}).Release()));
  auto cache = loaded.loader.CacheCounters(1);
  EXPECT_EQ(cache.misses, 3 * kLayers);
  EXPECT_EQ(cache.hits, 2 * kLayers);
  // Both slots of the ring have what the next run begins with.
  loaded.ExpectMoved(kResidentBytes + (2 * kLayers + 2) * kDenseBytes +
                     3 * kLayers * kExpertBytes);
  EXPECT_EQ(loaded.loader.OccupiedBytes(),
            kResidentBytes + 2 * kDenseSlot + 3 * kLayers * kExpertSlot);
}

} // namespace
} // namespace headrace::tests
