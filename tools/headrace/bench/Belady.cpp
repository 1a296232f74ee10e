// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Offline-optimal replacement, from the next use of each reference.
#include "tools/headrace/bench/Belady.h"
#include <set>
#include <unordered_map>

using namespace headrace::tools;

uint64_t bench::optimalMisses(const std::vector<uint64_t> &references,
                              size_t slots, size_t from) {
  std::vector<size_t> next(references.size());
  std::unordered_map<uint64_t, size_t> later;
  for (size_t i = references.size(); i-- > 0;) {
    auto [place, isNew] = later.try_emplace(references[i], i);
    next[i] = isNew ? SIZE_MAX : place->second;
    place->second = i;
  }
  std::set<std::pair<size_t, uint64_t>> held; // by next use
  std::unordered_map<uint64_t, size_t> nextOf;
  uint64_t misses = 0;
  for (size_t i = 0; i < references.size(); ++i) {
    auto found = nextOf.find(references[i]);
    if (found != nextOf.end()) {
      held.erase({found->second, references[i]});
    } else {
      misses += i >= from;
      if (held.size() == slots) {
        auto victim = std::prev(held.end());
        nextOf.erase(victim->second);
        held.erase(victim);
      }
    }
    held.insert({next[i], references[i]});
    nextOf[references[i]] = next[i];
  }
  return misses;
}
