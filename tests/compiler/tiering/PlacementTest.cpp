// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of the choice of what stays in fast memory: properties on random
// problems, and its distance from the optimum that a solver finds.
#include "compiler/tiering/Placement.h"

#include "gtest/gtest.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>
#include <sstream>
#include <unistd.h>

using namespace headrace::tiering;

namespace {

/// A small program: a few dense bundles of few sizes, perhaps routed layers,
/// activations with lifetimes, some of which may be used where they are.
Problem randomProblem(unsigned seed) {
  std::mt19937 random(seed);
  auto pick = [&](uint64_t from, uint64_t to) {
    return std::uniform_int_distribution<uint64_t>(from, to)(random);
  };
  Problem problem;
  problem.launches = uint32_t(pick(2, 6));
  uint64_t layer = pick(4, 40) * kPage;
  for (uint64_t i = 0, n = pick(3, 10); i < n; ++i)
    problem.bundles.push_back(
        {pick(0, 2) ? layer : pick(1, 60) * kPage, uint32_t(pick(1, 2))});
  for (uint64_t i = 0, n = pick(0, 4); i < n; ++i) {
    Object object;
    object.bytes = pick(1, 20) * 64;
    object.first = uint32_t(pick(0, problem.launches - 1));
    object.last = uint32_t(pick(object.first, problem.launches - 1));
    object.traffic = object.bytes * pick(1, 4);
    object.maySpill = pick(0, 1);
    problem.objects.push_back(object);
  }
  uint64_t expert = pick(1, 16) * kPage;
  uint32_t experts = uint32_t(pick(2, 8));
  for (uint64_t i = 0, n = pick(0, 3); i < n; ++i)
    problem.groups.push_back(
        {experts, expert, double(pick(1, experts - 1)) + 0.25});
  // Pages of a key-value cache: of one size, fewer of some in use.
  uint64_t pages = pick(1, 30) * kPage;
  for (uint64_t i = 0, n = pick(0, 1) ? pick(2, 8) : 0; i < n; ++i)
    problem.cacheLayers.push_back({pages, pages / pick(1, 16)});
  problem.fixedBytes = pick(0, 8) * kPage;
  problem.capacity = UINT64_MAX;
  Placement all = *choosePlacement(problem, Strategy::joint);
  uint64_t least = smallestPlacement(problem).bytes(problem);
  uint64_t most = std::max(least, all.bytes(problem));
  problem.capacity = least + pick(0, most - least);
  return problem;
}

/// Whether every streamed bundle has a ring it fits.
void expectSound(const Problem &problem, const Placement &placement) {
  EXPECT_LE(placement.bytes(problem), problem.capacity);
  for (size_t i = 0; i < problem.bundles.size(); ++i)
    if (!placement.resident[i])
      EXPECT_LE(problem.bundles[i].bytes, placement.ringBytes[0]);
  for (size_t i = 0; i < problem.cacheLayers.size(); ++i)
    if (!placement.cached[i])
      EXPECT_LE(problem.cacheLayers[i].bytes, placement.pageRingBytes);
  for (size_t i = 0; i < problem.objects.size(); ++i)
    if (!problem.objects[i].maySpill)
      EXPECT_TRUE(placement.fast[i]);
  EXPECT_EQ(placement.cacheSlots > 0, !problem.groups.empty());
}

TEST(Placement, EverythingStaysWhereThereIsRoom) {
  Problem problem;
  problem.capacity = 100 * kPage;
  problem.bundles.assign(3, {kPage, 1});
  problem.groups.push_back({4, kPage, 2.0});
  for (Strategy strategy : {Strategy::joint, Strategy::smallestTraffic}) {
    Placement placement = *choosePlacement(problem, strategy);
    EXPECT_EQ(placement.traffic, 0);
    EXPECT_EQ(placement.cacheSlots, 4u);
    EXPECT_EQ(placement.ringBytes[0], 0u);
    EXPECT_EQ(placement.bytes(problem), 7 * kPage);
  }
}

/// A page of a dense layer is read in every run, a page of an expert in few: so
/// the experts leave first.
TEST(Placement, ExpertsLeaveBeforeDenseLayers) {
  Problem problem;
  problem.capacity = 10 * kPage;
  problem.bundles.assign(4, {kPage, 1});
  problem.groups.push_back({8, kPage, 2.0});
  Placement placement = *choosePlacement(problem, Strategy::joint);
  EXPECT_EQ(placement.resident, std::vector<bool>(4, true));
  EXPECT_EQ(placement.cacheSlots, 6u);
}

TEST(Placement, StreamedLayersLieEvenlyApart) {
  Problem problem;
  problem.bundles.assign(8, {kPage, 1});
  problem.capacity = 6 * kPage; // Two slots and four layers.
  Placement placement = *choosePlacement(problem, Strategy::joint);
  EXPECT_EQ(placement.resident, (std::vector<bool>{1, 0, 1, 0, 1, 0, 1, 0}));
  EXPECT_EQ(placement.ringSlots, 2u);
}

/// A decode step uses few of the pages that many full sequences take, so they
/// leave before weights that it reads in whole.
TEST(Placement, PagesThatFewReadLeaveBeforeWeights) {
  Problem problem;
  problem.bundles.assign(4, {4 * kPage, 1});
  problem.cacheLayers.assign(8, {4 * kPage, kPage});
  problem.capacity = 40 * kPage; // Of 48: two slots, and four layers.
  Placement placement = *choosePlacement(problem, Strategy::joint);
  EXPECT_EQ(placement.resident, std::vector<bool>(4, true));
  EXPECT_EQ(placement.cached, (std::vector<bool>{1, 0, 1, 0, 1, 0, 1, 0}));
  EXPECT_EQ(placement.pageRingBytes, 4 * kPage);
  EXPECT_EQ(placement.traffic, double(4 * kPage));
}

/// One layer's slot would be as large as its pages.
TEST(Placement, PagesOfOneLayerStay) {
  Problem problem;
  problem.cacheLayers.assign(1, {4 * kPage, kPage});
  EXPECT_EQ(smallestPlacement(problem).bytes(problem), 4 * kPage);
  EXPECT_EQ(smallestPlacement(problem).cached, std::vector<bool>{true});
  problem.cacheLayers.assign(2, {4 * kPage, kPage});
  EXPECT_EQ(smallestPlacement(problem).bytes(problem), 4 * kPage);
  EXPECT_EQ(smallestPlacement(problem).pageRingBytes, 4 * kPage);
}

TEST(Placement, TheMinimumFitsAndOneByteLessDoesNot) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    Problem problem = randomProblem(seed);
    problem.capacity = smallestPlacement(problem).bytes(problem);
    for (Strategy strategy : {Strategy::joint, Strategy::smallestTraffic}) {
      auto placement = choosePlacement(problem, strategy);
      ASSERT_TRUE(placement) << seed;
      expectSound(problem, *placement);
    }
    problem.capacity -= 1;
    for (Strategy strategy : {Strategy::joint, Strategy::smallestTraffic})
      EXPECT_FALSE(choosePlacement(problem, strategy)) << seed;
  }
}

TEST(Placement, TheDefaultNeverMovesMore) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    Problem problem = randomProblem(seed);
    auto joint = choosePlacement(problem, Strategy::joint);
    auto simple = choosePlacement(problem, Strategy::smallestTraffic);
    ASSERT_TRUE(joint && simple) << seed;
    expectSound(problem, *joint);
    expectSound(problem, *simple);
    // Double buffers may cost the default bytes that one slot would save.
    if (joint->ringSlots == simple->ringSlots)
      EXPECT_LE(joint->traffic, simple->traffic * (1 + 1e-9)) << seed;
  }
}

//===----------------------------------------------------------------------===//
// Against an exact optimum
//===----------------------------------------------------------------------===//

/// The problem as a mixed-integer program in the CPLEX LP format: x resident
/// bundles, u bundles in ring 0 or 1, a sizes of the rings, y cache layers that
/// stay, b sizes of their ring, f fast objects, c slots of the cache. The
/// constant of the objective is left out.
std::string program(const Problem &problem, uint32_t ringSlots) {
  std::ostringstream objective, rows, binaries;
  objective.precision(17);
  rows.precision(17);
  std::vector<uint64_t> sizes;
  for (const StreamedBundle &bundle : problem.bundles)
    sizes.push_back(bundle.bytes);
  double perSlot = problem.expertTraffic(0) - problem.expertTraffic(1);
  objective << "Minimize\n obj: 0 zero";
  rows << "Subject To\n";
  std::ostringstream always;
  for (size_t i = 0; i < problem.bundles.size(); ++i) {
    double traffic =
        double(problem.bundles[i].bytes) * problem.bundles[i].fetches;
    objective << "\n + " << traffic << " u" << i << "_0 + " << traffic << " u"
              << i << "_1";
    rows << " once" << i << ": x" << i << " + u" << i << "_0 + u" << i
         << "_1 = 1\n";
    always << "\n + " << problem.bundles[i].bytes << " x" << i;
    binaries << " x" << i << " u" << i << "_0 u" << i << "_1\n";
    for (int ring : {0, 1}) {
      rows << " fits" << i << "_" << ring << ": u" << i << "_" << ring;
      for (size_t s = 0; s < sizes.size(); ++s)
        if (sizes[s] >= problem.bundles[i].bytes)
          rows << " - a" << s << "_" << ring;
      rows << " <= 0\n";
    }
  }
  for (int ring : {0, 1}) {
    rows << " one" << ring << ": 0 zero";
    for (size_t s = 0; s < sizes.size(); ++s) {
      rows << " + a" << s << "_" << ring;
      always << "\n + " << ringSlots * sizes[s] << " a" << s << "_" << ring;
      binaries << " a" << s << "_" << ring << "\n";
    }
    rows << " <= 1\n";
  }
  for (size_t i = 0; i < problem.cacheLayers.size(); ++i) {
    objective << "\n - " << problem.cacheLayers[i].traffic << " y" << i;
    always << "\n + " << problem.cacheLayers[i].bytes << " y" << i;
    always << "\n + " << ringSlots * problem.cacheLayers[i].bytes << " b" << i;
    binaries << " y" << i << " b" << i << "\n";
    rows << " stays" << i << ": y" << i;
    for (size_t s = 0; s < problem.cacheLayers.size(); ++s)
      if (problem.cacheLayers[s].bytes >= problem.cacheLayers[i].bytes)
        rows << " + b" << s;
    rows << " >= 1\n";
  }
  if (!problem.groups.empty()) {
    objective << "\n - " << perSlot << " c";
    always << "\n + " << problem.slotBytes() << " c";
  }
  for (size_t i = 0; i < problem.objects.size(); ++i) {
    objective << "\n - " << problem.objects[i].traffic << " f" << i;
    binaries << " f" << i << "\n";
    if (!problem.objects[i].maySpill)
      rows << " must" << i << ": f" << i << " = 1\n";
  }
  for (uint32_t t = 0; t < problem.launches; ++t) {
    rows << " room" << t << ": 0 zero" << always.str();
    for (size_t i = 0; i < problem.objects.size(); ++i)
      if (problem.objects[i].first <= t && t <= problem.objects[i].last)
        rows << "\n + " << problem.objects[i].bytes << " f" << i;
    rows << "\n <= " << problem.capacity - problem.fixedBytes << "\n";
  }
  std::ostringstream all;
  all << objective.str() << "\n" << rows.str() << "Bounds\n zero = 0\n";
  if (!problem.groups.empty())
    all << " 1 <= c <= " << problem.expertCount() << "\n";
  all << "Binaries\n" << binaries.str();
  if (!problem.groups.empty())
    all << "Generals\n c\n";
  all << "End\n";
  return all.str();
}

/// The least traffic, or a negative number where nothing fits.
double optimum(const Problem &problem, uint32_t ringSlots,
               const std::string &base) {
  std::ofstream(base + ".lp") << program(problem, ringSlots);
  std::string command = "glpsol --lp " + base + ".lp --write " + base +
                        ".out --tmlim 60 > " + base + ".log 2>&1";
  if (std::system(command.c_str()) != 0)
    ADD_FAILURE() << "glpsol failed";
  // "s mip ROWS COLUMNS STATUS OBJECTIVE"; "o" is optimal, "n" infeasible.
  std::ifstream out(base + ".out");
  std::string line;
  while (std::getline(out, line)) {
    std::istringstream words(line);
    std::string s, mip, rows, columns, status;
    double objective;
    if (!(words >> s >> mip >> rows >> columns >> status >> objective) ||
        s != "s")
      continue;
    EXPECT_TRUE(status == "o" || status == "n") << line;
    if (status != "o")
      return -1;
    double constant = problem.expertTraffic(0);
    for (const CacheLayer &layer : problem.cacheLayers)
      constant += double(layer.traffic);
    for (const Object &object : problem.objects)
      constant += double(object.traffic);
    return std::max(0.0, objective + constant);
  }
  ADD_FAILURE() << "no solution in " << base << ".out";
  return -1;
}

TEST(Placement, IsNearTheOptimum) {
  if (std::system("command -v glpsol > /dev/null 2>&1") != 0)
    GTEST_SKIP() << "glpsol is missing: apt-get install glpk-utils";
  std::string base =
      testing::TempDir() + "headrace-placement-" + std::to_string(getpid());
  double sum = 0, most = 0;
  int exact = 0;
  constexpr unsigned kInstances = 200;
  for (unsigned seed = 0; seed < kInstances; ++seed) {
    Problem problem = randomProblem(seed);
    auto found = choosePlacement(problem, Strategy::joint);
    ASSERT_TRUE(found) << seed;
    double best = optimum(problem, 2, base);
    if (best < 0)
      best = optimum(problem, 1, base);
    ASSERT_GE(best, 0) << seed;
    // No placement is better than the optimum, but for rounding.
    EXPECT_GE(found->traffic, best * (1 - 1e-6) - 1e-3) << seed;
    double gap = best > 0 ? found->traffic / best - 1
                          : (found->traffic > 1e-3 ? HUGE_VAL : 0);
    exact += gap < 1e-6;
    sum += std::max(0.0, gap);
    most = std::max(most, gap);
  }
  for (const char *end : {".lp", ".out", ".log"})
    unlink((base + end).c_str());
  std::printf("%u instances: %d exact, mean gap %.4f %%, largest %.4f %%\n",
              kInstances, exact, 100 * sum / kInstances, 100 * most);
  EXPECT_LE(sum / kInstances, 0.05);
}

//===----------------------------------------------------------------------===//
// Large programs
//===----------------------------------------------------------------------===//

TEST(Placement, PlansManyLayersAndExperts) {
  Problem problem;
  problem.launches = 64 * 10;
  for (int layer = 0; layer < 64; ++layer) {
    problem.bundles.push_back({uint64_t(40) << 20, 1});
    problem.groups.push_back({128, uint64_t(9) << 20, 8.0});
    problem.cacheLayers.push_back({uint64_t(64) << 20, uint64_t(2) << 20});
  }
  problem.bundles.push_back({uint64_t(600) << 20, 1});
  problem.bundles.push_back({uint64_t(600) << 20, 1});
  problem.capacity = uint64_t(16) << 30;
  auto placement = choosePlacement(problem, Strategy::joint);
  ASSERT_TRUE(placement);
  expectSound(problem, *placement);
  // Dense layers are worth more than slots, byte for byte.
  EXPECT_EQ(placement->resident, std::vector<bool>(66, true));
  // Pages save less than a slot does, so they all leave.
  EXPECT_EQ(placement->cached, std::vector<bool>(64, false));
  EXPECT_EQ(placement->cacheSlots,
            (problem.capacity - (uint64_t(64 * 40 + 1200 + 2 * 64) << 20)) /
                (uint64_t(9) << 20));
}

} // namespace
