//===- byte_level.h - A byte-level BPE tokenizer --------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef HEADRACE_TOOLS_TOKENIZERS_BYTE_LEVEL_H
#define HEADRACE_TOOLS_TOKENIZERS_BYTE_LEVEL_H

#include "tools/tokenizers/added_tokens.h"
#include "tools/tokenizers/bpe.h"
#include "tools/tokenizers/pattern.h"
#include "tools/tokenizers/tokenizer.h"

namespace headrace::tokenizers {

/// What tokenizer.json says, checked and ready to run.
struct ByteLevelModel {
  bool nfc = false;
  /// Splitting steps in order; the ByteLevel step's own regex is the last.
  std::vector<std::unique_ptr<Splitter>> splitters;
  /// ByteLevel puts a space before pieces without one, ahead of the splitting
  /// step with this index; -1: it does not.
  int prefixSpaceStep = -1;
  Bpe bpe;
  AddedTokenFinder rawTokens;
  AddedTokenFinder normalizedTokens;
  std::vector<int32_t> prefixIds;
  std::vector<int32_t> suffixIds;
  int32_t bosId = -1;
  int32_t eosId = -1;

  struct Token {
    enum Kind : uint8_t { Absent, Ordinary, Special };
    Kind kind = Absent;
    /// As bytes of text, not in the byte-level alphabet.
    std::string bytes;
  };
  std::vector<Token> tokens;
  /// Spellings as in the file, sorted.
  std::vector<std::pair<std::string, int32_t>> names;
};

std::unique_ptr<Tokenizer> makeByteLevelTokenizer(ByteLevelModel model);

} // namespace headrace::tokenizers

#endif // HEADRACE_TOOLS_TOKENIZERS_BYTE_LEVEL_H
