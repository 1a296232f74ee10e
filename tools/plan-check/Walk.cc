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
    for (const abi::Launch *one : schedule.launches)
      for (uint32_t which : *one->buffers())
        ++named[which];
    for (; !schedule.steps && at < schedule.launches.size(); ++at)
      launch(at);
    for (; schedule.steps && at < schedule.steps->size(); ++at) {
      const abi::Step &step = *schedule.steps->Get(at);
      const abi::StepKind kind = step.kind();
      if (kind == abi::StepKind::fetch)
        fetch(step.bundle(), step.slot());
      else if (kind == abi::StepKind::wait)
        wait(step.bundle());
      else if (kind == abi::StepKind::store)
        store(step.bundle());
      else if (kind == abi::StepKind::release)
        release(step.bundle());
      else if (kind == abi::StepKind::routed)
        routed(step);
      else {
        inOrder(step.launch(), 1);
        launch(step.launch());
        if (kind == abi::StepKind::predict)
          predict(step);
      }
    }
    for (const auto &[bundle, experts] : guessed)
      fail(Rule::predictions, "no later step is over the ", experts,
           " experts from bundle #", bundle, " on, which were predicted");
    if (schedule.steps && due != schedule.launches.size())
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
    bool written = false;  ///< Pages: not stored since.
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
    usePages(one);
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
    if (residency == abi::Residency::streamed && bundle != kNone)
      needs(bundle, "weight", weight);
  }

  /// A launch reads and writes the pages behind its buffers.
  void usePages(const abi::Launch &one) {
    for (uint32_t which : *one.buffers())
      if (const uint32_t bundle = check.pagesBehind(which); bundle != kNone) {
        needs(bundle, "buffer", which);
        flights[bundle].written = true;
      }
  }

  /// A launch uses something of a bundle of a ring.
  void needs(uint32_t bundle, const char *what, uint32_t index) {
    const Flight &flight = flights[bundle];
    if (flight.state == Flight::present)
      return;
    const auto [rule, why] = flight.state == Flight::loading
                                 ? std::pair(Rule::waits, "nobody waited for")
                             : flight.released
                                 ? std::pair(Rule::releases, "was released")
                                 : std::pair(Rule::arrival, "was not fetched");
    fail(rule, "reads ", what, " #", index, " of bundle #", bundle, ", which ",
         why);
  }

  void fetch(uint32_t bundle, uint32_t slot) {
    const uint32_t pool = check.bundle(bundle).pool();
    // A session may have no more slots than the least.
    if (check.pool(pool).kind() != abi::PoolKind::ring ||
        slot >= check.pool(pool).min_slots()) {
      fail(Rule::slots, "fetches bundle #", bundle, " into slot #", slot,
           " of pool #", pool, ", which is no ring with so many");
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
      return fail(Rule::waits, "waits for bundle #", bundle, ", not under way");
    flights[bundle].state = Flight::present;
  }

  void store(uint32_t bundle) {
    if (check.bundle(bundle).layer() == kNone ||
        flights[bundle].state != Flight::present)
      fail(Rule::stores, "stores bundle #", bundle,
           ", which is not pages in a slot");
    flights[bundle].written = false;
  }

  void release(uint32_t bundle) {
    Flight &flight = flights[bundle];
    if (flight.written)
      fail(Rule::stores, "releases bundle #", bundle,
           ", of which pages that were written are not stored");
    if (flight.state != Flight::present) {
      fail(Rule::releases, "releases bundle #", bundle, ", which is ",
           flight.state == Flight::loading ? "under way" : "in no slot");
      return;
    }
    holders.erase({check.bundle(bundle).pool(), flight.slot});
    flight = {Flight::absent, kNone, /*released=*/true};
  }

  void routed(const abi::Step &step) {
    inOrder(step.launch(), step.launch_count());
    const uint32_t first = step.bundle();
    const uint32_t pool = check.bundle(first).pool();
    if (check.pool(pool).kind() != abi::PoolKind::cache)
      fail(Rule::waves, "runs in waves over pool #", pool,
           ", which is no cache");
    const abi::Routing &routing = *check.plan->routings()->Get(step.routing());
    const uint32_t experts = routing.experts();
    if (auto guess = guessed.find(first);
        guess != guessed.end() && guess->second == experts)
      guessed.erase(guess);
    has(Rule::waves, routing, routing.active_offset(), experts);
    has(Rule::waves, routing, routing.active_count_offset(), 1);
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
      usePages(one);
      for (uint32_t which : *one.buffers())
        reads |= which == routing.buffer();
      for (uint32_t j = 0; j < one.weights()->size(); ++j)
        routedOperand(one.weights()->Get(j), check.slotsOf(one, j), first,
                      experts);
    }
    if (!reads)
      fail(Rule::waves, "no launch reads routing #", step.routing());
  }

  /// A guess is for experts that a later step is over, and only the launch that
  /// makes it knows where it is.
  void predict(const abi::Step &step) {
    const abi::Routing &guess = *check.plan->routings()->Get(step.routing());
    guessed[step.bundle()] = guess.experts();
    const auto &buffers = *schedule.launches.Get(step.launch())->buffers();
    if (step.launch_count() != 1 || step.most() == 0 ||
        named[guess.buffer()] != 1 ||
        std::count(buffers.begin(), buffers.end(), guess.buffer()) != 1)
      fail(Rule::predictions, "guesses ", step.most(), " experts by ",
           step.launch_count(), " launches in buffer #", guess.buffer(),
           ", which is named ", named[guess.buffer()],
           " times, expected by the launch alone");
    has(Rule::predictions, guess, guess.active_offset(), guess.experts());
    has(Rule::predictions, guess, guess.active_count_offset(), 1);
    has(Rule::predictions, guess, guess.picks_offset(),
        uint64_t(guess.experts()) + 1);
    has(Rule::predictions, guess, guess.weights_offset(), guess.most_picks());
  }

  /// A routing has so many words at an offset.
  void has(Rule rule, const abi::Routing &one, uint64_t offset,
           uint64_t words) {
    if (!Range{offset, words * 4}.isIn(check.buffer(one.buffer()).bytes()))
      fail(rule, words, " words end beyond buffer #", one.buffer());
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
      holders;                          ///< By pool and slot: the bundle.
  std::map<uint32_t, uint32_t> named;   ///< By buffer: times, by launches.
  std::map<uint32_t, uint32_t> guessed; ///< By first bundle: experts.
};

void Checker::checkSchedule(const Schedule &schedule) {
  Walk(*this, schedule).run();
}
