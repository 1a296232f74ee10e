//===- sentencepiece.h - A SentencePiece tokenizer ------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef HEADRACE_TOOLS_TOKENIZERS_SENTENCEPIECE_H
#define HEADRACE_TOOLS_TOKENIZERS_SENTENCEPIECE_H

#include "tools/tokenizers/tokenizer_config.h"

namespace headrace::tokenizers {

Status makeSentencePieceTokenizer(std::string_view bytes,
                                  const TokenizerConfig &config,
                                  std::unique_ptr<Tokenizer> &tokenizer);

} // namespace headrace::tokenizers

#endif // HEADRACE_TOOLS_TOKENIZERS_SENTENCEPIECE_H
