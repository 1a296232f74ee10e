//===- bpe.cc - Byte pair merging of one word -----------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/tokenizers/bpe.h"

#include <algorithm>
#include <tuple>

namespace headrace::tokenizers {

void Bpe::init(const Options &newOptions,
               const std::array<int32_t, 256> &newByteIds,
               std::vector<Merge> newMerges,
               std::vector<std::pair<std::string, int32_t>> newWords,
               int32_t tokenCount) {
  options = newOptions;
  byteIds = newByteIds;
  merges = std::move(newMerges);
  words = std::move(newWords);

  std::sort(merges.begin(), merges.end(), [](const Merge &a, const Merge &b) {
    return std::tie(a.left, a.right, b.rank) <
           std::tie(b.left, b.right, a.rank);
  });
  merges.erase(std::unique(merges.begin(), merges.end(),
                           [](const Merge &a, const Merge &b) {
                             return a.left == b.left && a.right == b.right;
                           }),
               merges.end());
  firstMerge.assign(static_cast<size_t>(tokenCount) + 1, 0);
  for (const Merge &merge : merges)
    ++firstMerge[merge.left + 1];
  for (int32_t id = 0; id < tokenCount; ++id)
    firstMerge[id + 1] += firstMerge[id];
  std::sort(words.begin(), words.end());
}

const Merge *Bpe::findMerge(int32_t left, int32_t right) const {
  auto begin = merges.begin() + firstMerge[left];
  auto end = merges.begin() + firstMerge[left + 1];
  auto it = std::lower_bound(
      begin, end, right,
      [](const Merge &merge, int32_t right) { return merge.right < right; });
  return it != end && it->right == right ? &*it : nullptr;
}

Status Bpe::encodeWord(std::string_view word, Scratch &scratch,
                       std::vector<int32_t> &ids) const {
  if (options.ignoreMerges) {
    auto it = std::lower_bound(words.begin(), words.end(), word,
                               [](const auto &entry, std::string_view word) {
                                 return std::string_view(entry.first) < word;
                               });
    if (it != words.end() && it->first == word) {
      ids.push_back(it->second);
      return {};
    }
  }

  auto &symbols = scratch.symbols;
  auto &heap = scratch.heap;
  symbols.clear();
  heap.clear();
  bool afterUnknown = false;
  for (char c : word) {
    unsigned byte = static_cast<unsigned char>(c);
    int32_t id = byteIds[byte];
    bool unknown = id < 0;
    if (unknown) {
      if (options.unknownId < 0)
        return Status::error("the vocabulary has no token for byte " +
                             std::to_string(byte) +
                             " of the text and no unknown token");
      if (afterUnknown && options.fuseUnknown)
        continue;
      id = options.unknownId;
    }
    afterUnknown = unknown;
    int32_t index = static_cast<int32_t>(symbols.size());
    symbols.push_back({id, index - 1, index + 1});
  }
  if (symbols.empty())
    return {};
  symbols.back().next = -1;

  // Lowest rank first, and the leftmost of equal ones.
  auto later = [](const Scratch::Candidate &a, const Scratch::Candidate &b) {
    return std::tie(a.rank, a.position) > std::tie(b.rank, b.position);
  };
  auto candidateAt = [&](int32_t position, Scratch::Candidate &candidate) {
    const Merge *merge =
        findMerge(symbols[position].id, symbols[symbols[position].next].id);
    if (!merge)
      return false;
    candidate = {merge->rank, position, merge->result};
    return true;
  };
  Scratch::Candidate candidate;
  for (int32_t i = 0; symbols[i].next >= 0; ++i)
    if (candidateAt(i, candidate))
      heap.push_back(candidate);
  std::make_heap(heap.begin(), heap.end(), later);

  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    Scratch::Candidate top = heap.back();
    heap.pop_back();
    // The symbols may have been merged away or changed since.
    Scratch::Symbol &left = symbols[top.position];
    if (left.id < 0 || left.next < 0)
      continue;
    Scratch::Symbol &right = symbols[left.next];
    const Merge *merge = findMerge(left.id, right.id);
    if (!merge || merge->result != top.result)
      continue;

    left.id = top.result;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) {
      symbols[left.next].previous = top.position;
      if (candidateAt(top.position, candidate)) {
        heap.push_back(candidate);
        std::push_heap(heap.begin(), heap.end(), later);
      }
    }
    if (left.previous >= 0 && candidateAt(left.previous, candidate)) {
      heap.push_back(candidate);
      std::push_heap(heap.begin(), heap.end(), later);
    }
  }

  for (int32_t i = 0; i >= 0; i = symbols[i].next)
    ids.push_back(symbols[i].id);
  return {};
}

} // namespace headrace::tokenizers
