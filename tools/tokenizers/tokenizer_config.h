//===- tokenizer_config.h - What tokenizer_config.json says ---------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef HEADRACE_TOOLS_TOKENIZERS_TOKENIZER_CONFIG_H
#define HEADRACE_TOOLS_TOKENIZERS_TOKENIZER_CONFIG_H

#include "tools/tokenizers/added_tokens.h"
#include "tools/tokenizers/tokenizer.h"

#include <optional>

namespace headrace::tokenizers {

/// Ids are below this in every file we read.
inline constexpr int32_t kMaxTokens = 1 << 22;

struct TokenizerConfig {
  std::string tokenizerClass;
  std::optional<bool> addBos;
  std::optional<bool> addEos;
  std::optional<bool> legacy;
  std::optional<std::string> bosToken;
  std::optional<std::string> eosToken;
  std::vector<AddedToken> addedTokens;
};

/// `json` may be empty: then nothing is set. Errors begin with the file's name.
Status parseTokenizerConfig(std::string_view json, TokenizerConfig &config);

} // namespace headrace::tokenizers

#endif // HEADRACE_TOOLS_TOKENIZERS_TOKENIZER_CONFIG_H
