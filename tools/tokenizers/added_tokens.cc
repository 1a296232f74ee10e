//===- added_tokens.cc - Tokens found in the text before the model runs ---===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/tokenizers/added_tokens.h"

#include "tools/tokenizers/utf8.h"

#include <algorithm>

namespace headrace::tokenizers {

void AddedTokenFinder::add(const AddedToken &token, std::string_view content) {
  uint32_t node = 0;
  for (char c : content) {
    auto [it, inserted] = nodes[node].next.try_emplace(
        static_cast<unsigned char>(c), static_cast<uint32_t>(nodes.size()));
    node = it->second;
    if (inserted)
      nodes.emplace_back();
  }
  // Two tokens that normalize to the same text: the first one counts.
  if (nodes[node].token < 0)
    nodes[node].token = static_cast<int32_t>(tokens.size());
  tokens.push_back(token);
}

/// The character that ends right before `end`; `end` is not 0.
static Utf8Char readBackward(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80)
    --begin;
  return readUtf8(text.substr(begin, end - begin));
}

void AddedTokenFinder::split(std::string_view text,
                             std::vector<TextPart> &parts) const {
  size_t taken = 0;
  for (size_t pos = 0; pos < text.size();) {
    uint32_t node = 0;
    int32_t found = -1;
    size_t stop = pos;
    for (size_t i = pos; i < text.size(); ++i) {
      const auto &next = nodes[node].next;
      auto it = next.find(static_cast<unsigned char>(text[i]));
      if (it == next.end())
        break;
      node = it->second;
      if (nodes[node].token >= 0) {
        found = nodes[node].token;
        stop = i + 1;
      }
    }
    if (found < 0) {
      ++pos;
      continue;
    }
    const AddedToken &token = tokens[found];
    size_t start = pos;
    // The search resumes behind the match even when a flag rejects it, as in
    // the Hugging Face library.
    pos = stop;
    if (token.singleWord) {
      bool wordBefore =
          start > 0 && isWordCharacter(readBackward(text, start).code);
      bool wordAfter = stop < text.size() &&
                       isWordCharacter(readUtf8(text.substr(stop)).code);
      if (wordBefore || wordAfter)
        continue;
    }
    // An earlier token that strips may have taken this one's first characters.
    if (start < taken)
      continue;
    if (token.lstrip)
      while (start > taken) {
        Utf8Char before = readBackward(text, start);
        if (!isWhiteSpace(before.code))
          break;
        start -= before.length;
      }
    if (token.rstrip)
      while (stop < text.size()) {
        Utf8Char after = readUtf8(text.substr(stop));
        if (!isWhiteSpace(after.code))
          break;
        stop += after.length;
      }
    if (taken < start)
      parts.push_back({text.substr(taken, start - taken), -1});
    parts.push_back({text.substr(start, stop - start), token.id});
    taken = stop;
  }
  if (taken < text.size())
    parts.push_back({text.substr(taken), -1});
}

} // namespace headrace::tokenizers
