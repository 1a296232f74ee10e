// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs a schedule: what is in which slot when.
#include "tools/plan-check/Checker.h"

#include <algorithm>
#include <map>

using namespace headrace;
using namespace headrace::plancheck;

/// The slots of all rings, step by step.
class Checker::Walk {
public:
  Walk(Checker &checker, const Schedule &schedule)
      : check(checker), schedule(schedule), flights(check.bundleCount()) {}

  void run() {
    if (!schedule.steps) {
      for (at = 0; at < schedule.launches.size(); ++at)
        launch(at);
      return;
    }
    for (at = 0; at < schedule.steps->size(); ++at) {
      const abi::Step &step = *schedule.steps->Get(at);
      switch (step.kind()) {
      case abi::StepKind::launch:
        inOrder(step.launch(), 1);
        launch(step.launch());
        break;
      case abi::StepKind::fetch:
        fetch(step.bundle(), step.slot());
        break;
      case abi::StepKind::wait:
        wait(step.bundle());
        break;
      case abi::StepKind::release:
        release(step.bundle());
        break;
      case abi::StepKind::routed:
        inOrder(step.launch(), step.launch_count());
        routed(step);
        break;
      }
    }
    if (due != schedule.launches.size())
      fail(Rule::order, "the steps run ", due, " of ", schedule.launches.size(),
           " launches");
    for (uint32_t i = 0; i < flights.size(); ++i)
      if (flights[i].state != Flight::absent)
        fail(Rule::ends, "bundle #", i, " is ",
             flights[i].state == Flight::loading ? "under way" : "held",
             " when it ends");
  }

private:
  /// Where a bundle of a ring is.
  struct Flight {
    enum State { absent, loading, present } state = absent;
    uint32_t slot = kNone;
    bool released = false; ///< Was here before.
  };

  template <typename... Parts> void fail(Rule rule, const Parts &...parts) {
    check.fail(rule, schedule.name, ", step #", at, ": ", parts...);
  }

  void inOrder(uint32_t first, uint32_t count) {
    if (first != due)
      fail(Rule::order, "runs launch #", first, ", expected #", due);
    due = first + count;
  }

  void launch(uint32_t index) {
    const abi::Launch &one = *schedule.launches.Get(index);
    for (uint32_t i = 0; i < one.weights()->size(); ++i)
      for (uint32_t j = 0; j < check.slotsOf(one, i); ++j)
        use(one.weights()->Get(i) + j);
  }

  /// A launch reads `weight`, which no wave brings.
  void use(uint32_t weight) {
    const abi::Residency residency = check.weight(weight).residency();
    if (residency == abi::Residency::routed)
      fail(Rule::waves, "reads weight #", weight,
           ", which only its routed step brings");
    const uint32_t bundle = check.bundleOf[weight];
    if (residency != abi::Residency::streamed || bundle == kNone)
      return;
    const Flight &flight = flights[bundle];
    if (flight.state == Flight::present)
      return;
    if (flight.state == Flight::loading)
      fail(Rule::waits, "reads weight #", weight, " of bundle #", bundle,
           ", which nobody waited for");
    else if (flight.released)
      fail(Rule::releases, "reads weight #", weight, " of bundle #", bundle,
           ", which was released");
    else
      fail(Rule::arrival, "reads weight #", weight, " of bundle #", bundle,
           ", which was not fetched");
  }

  void fetch(uint32_t bundle, uint32_t slot) {
    const uint32_t pool = check.bundle(bundle).pool();
    if (check.pool(pool).kind() != abi::PoolKind::ring) {
      fail(Rule::slots, "fetches bundle #", bundle, " into pool #", pool,
           ", which is no ring");
      return;
    }
    // A session may have no more slots than the least.
    if (slot >= check.pool(pool).min_slots()) {
      fail(Rule::slots, "fetches bundle #", bundle, " into slot #", slot,
           " of ", check.pool(pool).min_slots());
      return;
    }
    Flight &flight = flights[bundle];
    if (flight.state != Flight::absent)
      fail(Rule::slots, "fetches bundle #", bundle, ", which is in slot #",
           flight.slot, " already");
    auto [holder, isFree] = holders.try_emplace({pool, slot}, bundle);
    if (!isFree)
      fail(Rule::slots, "fetches bundle #", bundle, " into slot #", slot,
           ", which bundle #", holder->second, " has");
    holder->second = bundle;
    flight.state = Flight::loading;
    flight.slot = slot;
  }

  void wait(uint32_t bundle) {
    if (flights[bundle].state != Flight::loading)
      fail(Rule::waits, "waits for bundle #", bundle,
           ", which is not under way");
    else
      flights[bundle].state = Flight::present;
  }

  void release(uint32_t bundle) {
    Flight &flight = flights[bundle];
    if (flight.state != Flight::present) {
      fail(Rule::releases, "releases bundle #", bundle, ", which is ",
           flight.state == Flight::loading ? "under way" : "in no slot");
      return;
    }
    auto holder = holders.find({check.bundle(bundle).pool(), flight.slot});
    if (holder != holders.end() && holder->second == bundle)
      holders.erase(holder);
    flight.state = Flight::absent;
    flight.released = true;
  }

  void routed(const abi::Step &step) {
    const uint32_t first = step.bundle();
    const uint32_t pool = check.bundle(first).pool();
    if (check.pool(pool).kind() != abi::PoolKind::cache)
      fail(Rule::waves, "runs in waves over pool #", pool,
           ", which is no cache");
    const abi::Routing &routing = *check.plan->routings()->Get(step.routing());
    const uint32_t experts = routing.experts();
    const uint64_t list = check.buffer(routing.buffer()).bytes();
    if (!Range{routing.active_offset(), uint64_t(experts) * 4}.isIn(list) ||
        !Range{routing.active_count_offset(), 4}.isIn(list))
      fail(Rule::waves, "the list of ", experts,
           " experts ends beyond the routing's ", list, " bytes");
    if (experts == 0 || experts > check.bundleCount() - first) {
      fail(Rule::waves, "needs ", experts, " bundles from #", first, " on of ",
           check.bundleCount());
      return;
    }
    for (uint32_t e = 0; e < experts; ++e)
      if (check.bundle(first + e).pool() != pool)
        fail(Rule::waves, "bundle #", first + e, " is of pool #",
             check.bundle(first + e).pool(), ", expected #", pool);
    bool reads = false; // The launches follow the list that the host reads.
    for (uint32_t i = 0; i < step.launch_count(); ++i) {
      const abi::Launch &one = *schedule.launches.Get(step.launch() + i);
      for (uint32_t which : *one.buffers())
        reads |= which == routing.buffer();
      for (uint32_t j = 0; j < one.weights()->size(); ++j)
        routedOperand(one.weights()->Get(j), check.slotsOf(one, j), first,
                      experts);
    }
    if (!reads)
      fail(Rule::waves, "no launch reads routing #", step.routing());
  }

  void routedOperand(uint32_t weight, uint32_t slots, uint32_t bundle,
                     uint32_t experts) {
    if (check.weight(weight).residency() != abi::Residency::routed) {
      for (uint32_t e = 0; e < slots; ++e)
        use(weight + e);
      return;
    }
    if (slots != experts)
      fail(Rule::waves, "weights of ", slots, " experts, but a routing over ",
           experts);
    for (uint32_t e = 0; e < std::min(slots, experts); ++e)
      if (check.bundleOf[weight + e] != bundle + e)
        fail(Rule::waves, "reads weight #", weight + e, " of expert ", e,
             ", which bundle #", bundle + e, " does not bring");
  }

  Checker &check;
  const Schedule &schedule;
  uint32_t at = 0;             ///< The step.
  uint32_t due = 0;            ///< The launch that is next.
  std::vector<Flight> flights; ///< By bundle.
  std::map<std::pair<uint32_t, uint32_t>, uint32_t>
      holders; ///< By pool and slot: the bundle.
};

void Checker::checkSchedule(const Schedule &schedule) {
  Walk(*this, schedule).run();
}
