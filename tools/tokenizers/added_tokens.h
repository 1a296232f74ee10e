//===- added_tokens.h - Tokens found in the text before the model runs ----===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef HEADRACE_TOOLS_TOKENIZERS_ADDED_TOKENS_H
#define HEADRACE_TOOLS_TOKENIZERS_ADDED_TOKENS_H

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace headrace::tokenizers {

inline constexpr size_t kMaxAddedTokens = 1 << 17;
inline constexpr size_t kMaxAddedTokenBytes = 1024;

/// An entry of `added_tokens`, with Hugging Face's names for the flags.
struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool special = false;
  bool singleWord = false;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = false;
};

/// A stretch of text: an added token, or plain text where `id` is -1.
struct TextPart {
  std::string_view text;
  int32_t id;
};

/// Finds added tokens in text: leftmost first, longest of those that start
/// there.
class AddedTokenFinder {
public:
  /// `content` may differ from the token's own when it is matched normalized.
  void add(const AddedToken &token, std::string_view content);

  bool empty() const { return tokens.empty(); }

  /// Appends the parts of well-formed `text` in order.
  void split(std::string_view text, std::vector<TextPart> &parts) const;

private:
  struct Node {
    std::map<unsigned char, uint32_t> next;
    int32_t token = -1;
  };
  std::vector<Node> nodes = std::vector<Node>(1);
  std::vector<AddedToken> tokens;
};

} // namespace headrace::tokenizers

#endif // HEADRACE_TOOLS_TOKENIZERS_ADDED_TOKENS_H
