//===- text_guard.h - Checks around every encode and load -----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef HEADRACE_TOOLS_TOKENIZERS_TEXT_GUARD_H
#define HEADRACE_TOOLS_TOKENIZERS_TEXT_GUARD_H

#include "tools/tokenizers/tokenizer.h"
#include "tools/tokenizers/utf8.h"

#include <exception>

namespace headrace::tokenizers {

/// Checks `text`, runs `encode` into a copy, and lets no exception out (the
/// standard library and libsentencepiece throw when memory runs out).
template <typename Encode>
Status guardEncode(std::string_view text, std::vector<int32_t> &ids,
                   Encode encode) {
  if (text.size() > kMaxTextBytes)
    return Status::error("expected a text of at most " +
                         std::to_string(kMaxTextBytes) + " bytes, but got " +
                         std::to_string(text.size()));
  size_t malformed = findMalformedUtf8(text);
  if (malformed != std::string_view::npos)
    return Status::error("the text is not UTF-8 at byte " +
                         std::to_string(malformed));
  try {
    std::vector<int32_t> result;
    Status status = encode(result);
    if (!status.ok())
      return status;
    ids.insert(ids.end(), result.begin(), result.end());
    return {};
  } catch (const std::exception &error) {
    return Status::error(std::string("encoding failed: ") + error.what());
  }
}

inline Status unknownId(int32_t id, size_t vocabSize) {
  return Status::error("token id " + std::to_string(id) +
                       " is not in the vocabulary of " +
                       std::to_string(vocabSize) + " ids");
}

} // namespace headrace::tokenizers

#endif // HEADRACE_TOOLS_TOKENIZERS_TEXT_GUARD_H
