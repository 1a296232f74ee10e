// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Schedules with transfers, on plans that the tests of the checker make.
#include "tools/simulate/PackageSimulator.h"
#include "tests/tools/plan-check/valid_plan.h"
#include "tools/plan-check/PlanChecker.h"

#include <gtest/gtest.h>
#include <map>
#include <set>

// Inside, where `abi` is ours and not that of the C++ library.
namespace headrace::simulate {
namespace {

/// The plans' levels are called `fast` and `disk`.
Machine machineWith(uint64_t diskBandwidth) {
  Machine machine;
  machine.name = "of a test";
  machine.levels = {{"sram", 1 << 20, 1},
                    {"fast", 1 << 30, 1},
                    {"disk", uint64_t(1) << 40, 1}};
  machine.links = {{"fast", "sram", 1000000000, 0, 1, ""},
                   {"disk", "fast", diskBandwidth, 0, 1, ""}};
  machine.compute = {{"f32", 1000000000, 1}};
  return machine;
}

class PlannedTest : public testing::TestWithParam<uint64_t> {
protected:
  PlannedTest() : random(GetParam()), plan(plancheck::validPlan(random)) {}

  /// Of the plan as it is when this is called first.
  const abi::Manifest &manifest() {
    if (bytes.empty())
      bytes = plancheck::bytesOf(plan);
    return *abi::GetManifest(bytes.data());
  }
  uint64_t bundleBytes(uint32_t bundle) const {
    uint64_t sum = 0;
    for (uint32_t weight : plan.plan->bundles[bundle]->weights)
      sum += plan.blobs[plan.weights[weight]->blob]->bytes;
    return sum;
  }
  /// Of all bundles that the ring brings in the first step, or in each later
  /// one: what has a slot for itself stays there.
  uint64_t ringBytes(bool first) const {
    std::map<uint32_t, std::vector<uint32_t>> bundles; // By slot.
    for (const auto &step : plan.entries[0]->steps)
      if (step->kind == abi::StepKind::fetch)
        bundles[step->slot].push_back(step->bundle);
    uint64_t sum = 0;
    for (const auto &[slot, list] : bundles)
      for (uint32_t bundle : list)
        sum += first || list.size() > 1 ? bundleBytes(bundle) : 0;
    return sum;
  }
  /// Bytes over the link from the disk.
  static double moved(const Simulation &step) {
    for (size_t i = 0; i < step.lanes.size(); ++i)
      if (step.lanes[i] == "disk to fast")
        return step.laneBytes[i];
    return 0;
  }
  /// Experts 0 and 1 of each layer, in each step.
  static std::vector<uint32_t> sameRouting(uint64_t, uint32_t, uint64_t) {
    return {0, 1};
  }

  plancheck::Random random;
  abi::ManifestT plan;
  std::vector<uint8_t> bytes;
};

TEST_P(PlannedTest, BringsEachLayerAndEachNewExpert) {
  // Slots for all: what came once stays.
  auto &cache = *plan.plan->pools[1];
  cache.slots = uint32_t(plan.plan->bundles.size());
  Machine machine = machineWith(1000000);
  PackageSimulator simulator(manifest(), machine, 0, "disk", sameRouting);
  uint64_t experts = 0, layers = 0;
  for (const auto &step : plan.entries[0]->steps)
    if (step->kind == abi::StepKind::routed) {
      experts += bundleBytes(step->bundle) + bundleBytes(step->bundle + 1);
      ++layers;
    }
  Simulation first = simulator.step({1, 1, 1, 0});
  EXPECT_DOUBLE_EQ(moved(first), double(ringBytes(true) + experts));
  EXPECT_EQ(first.misses, 2 * layers);
  EXPECT_EQ(first.hits, 0u);
  Simulation second = simulator.step({1, 1, 1, 1});
  EXPECT_EQ(second.misses, 0u);
  EXPECT_EQ(second.hits, 2 * layers);
  EXPECT_DOUBLE_EQ(moved(second), double(ringBytes(false)));
}

TEST_P(PlannedTest, TakesTheLongerOfComputingAndMoving) {
  Machine slow = machineWith(1000), fast = machineWith(1000000000000000);
  PackageSimulator onSlow(manifest(), slow, 0, "disk", sameRouting);
  PackageSimulator onFast(manifest(), fast, 0, "disk", sameRouting);
  // Not the first step, which brings what the next one begins with as well.
  onSlow.step({1, 1, 1, 0});
  onFast.step({1, 1, 1, 0});
  Simulation late = onSlow.step({1, 1, 1, 1});
  Simulation early = onFast.step({1, 1, 1, 1});
  EXPECT_DOUBLE_EQ(moved(late), moved(early));
  EXPECT_NEAR(late.seconds, moved(late) / 1000, 0.01 * late.seconds);
  EXPECT_GT(late.stalled, 0.9 * late.seconds);
  EXPECT_LT(early.stalled, 0.01 * early.seconds);
  EXPECT_LT(early.seconds, late.seconds);
  EXPECT_TRUE(late.missing.empty());
}

TEST_P(PlannedTest, UsesNoMoreThanIsCertified) {
  Machine machine = machineWith(3000000);
  PackageSimulator simulator(manifest(), machine, 0, "disk",
                             randomRouting(6, GetParam()));
  for (int i = 0; i < 10; ++i) {
    Simulation step = simulator.step({1, 1, 1, uint64_t(i)});
    ASSERT_EQ(step.occupancy.size(), 1u);
    EXPECT_EQ(step.occupancy[0].level, "fast");
    EXPECT_LE(step.occupancy[0].peak(), plan.certificate[0]->bytes);
    double last = -1;
    for (const Occupancy::Point &point : step.occupancy[0].points) {
      EXPECT_GT(point.time, last);
      last = point.time;
      EXPECT_LE(point.time, step.seconds);
    }
    for (const Bar &bar : step.bars) {
      EXPECT_GE(bar.begin, 0);
      EXPECT_LE(bar.begin, bar.end);
      EXPECT_LT(bar.lane, step.lanes.size());
    }
  }
}

TEST_P(PlannedTest, TheSameSeedGivesTheSameSteps) {
  Machine machine = machineWith(3000000);
  PackageSimulator one(manifest(), machine, 0, "disk", randomRouting(6, 1));
  PackageSimulator two(manifest(), machine, 0, "disk", randomRouting(6, 1));
  for (int i = 0; i < 5; ++i) {
    Simulation a = one.step({2, 1, 1, 0}), b = two.step({2, 1, 1, 0});
    EXPECT_EQ(a.seconds, b.seconds);
    EXPECT_EQ(a.misses, b.misses);
    EXPECT_EQ(a.bars.size(), b.bars.size());
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, PlannedTest, testing::Range<uint64_t>(1, 31));

TEST(RandomRouting, DrawsDistinctExpertsInOrder) {
  Routing routing = randomRouting(16, 3);
  std::set<std::vector<uint32_t>> all;
  for (uint64_t step = 0; step < 50; ++step) {
    std::vector<uint32_t> drawn = routing(step, 0, 4);
    ASSERT_EQ(drawn.size(), 4u);
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_LT(drawn[i], 16u);
      EXPECT_TRUE(i == 0 || drawn[i - 1] < drawn[i]);
    }
    all.insert(drawn);
  }
  EXPECT_GT(all.size(), 40u);
  EXPECT_EQ(routing(0, 0, 100).size(), 16u);
}

} // namespace
} // namespace headrace::simulate
