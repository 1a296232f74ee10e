//===- bpe.h - Byte pair merging of one word ------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef HEADRACE_TOOLS_TOKENIZERS_BPE_H
#define HEADRACE_TOOLS_TOKENIZERS_BPE_H

#include "tools/tokenizers/tokenizer.h"

#include <array>

namespace headrace::tokenizers {

struct Merge {
  int32_t left;
  int32_t right;
  int32_t rank;
  int32_t result;
};

/// The merge table, and the words that are tokens as they stand.
class Bpe {
public:
  struct Options {
    /// A word that is a token is not taken apart, whatever the merges say.
    bool ignoreMerges = false;
    /// Stands for a byte without a token; -1: such a byte is an error.
    int32_t unknownId = -1;
    /// One unknown token for several such bytes in a row.
    bool fuseUnknown = false;
  };

  /// `byteIds` has the token of each single byte, or -1. `words` maps bytes to
  /// tokens and is used with `ignoreMerges` only. Of merges with the same
  /// sides the one with the highest rank counts, as in Hugging Face's library.
  void init(const Options &options, const std::array<int32_t, 256> &byteIds,
            std::vector<Merge> merges,
            std::vector<std::pair<std::string, int32_t>> words,
            int32_t tokenCount);

  /// Memory that calls of `encodeWord` share.
  struct Scratch {
    struct Symbol {
      int32_t id;
      int32_t previous;
      int32_t next;
    };
    struct Candidate {
      int32_t rank;
      int32_t position;
      int32_t result;
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };

  /// Appends the ids of `word`, in O(n log n) for n bytes.
  Status encodeWord(std::string_view word, Scratch &scratch,
                    std::vector<int32_t> &ids) const;

private:
  const Merge *findMerge(int32_t left, int32_t right) const;

  Options options;
  std::array<int32_t, 256> byteIds;
  /// Sorted by (left, right); `firstMerge[left]` is where `left` begins. Not a
  /// hash table, so that no file can make look-ups slow.
  std::vector<Merge> merges;
  std::vector<uint32_t> firstMerge;
  std::vector<std::pair<std::string, int32_t>> words;
};

} // namespace headrace::tokenizers

#endif // HEADRACE_TOOLS_TOKENIZERS_BPE_H
