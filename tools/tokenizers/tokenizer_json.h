//===- tokenizer_json.h - Reading tokenizer.json --------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef HEADRACE_TOOLS_TOKENIZERS_TOKENIZER_JSON_H
#define HEADRACE_TOOLS_TOKENIZERS_TOKENIZER_JSON_H

#include "tools/tokenizers/byte_level.h"
#include "tools/tokenizers/tokenizer_config.h"

namespace headrace::tokenizers {

/// Reads and checks tokenizer.json. On error, `unsupported` tells a well-formed
/// file of a kind that we do not run from a broken one.
Status parseTokenizerJson(std::string_view text, const TokenizerConfig &config,
                          ByteLevelModel &model, bool &unsupported);

} // namespace headrace::tokenizers

#endif // HEADRACE_TOOLS_TOKENIZERS_TOKENIZER_JSON_H
