//===- utf8.h - UTF-8 in pieces, and the character classes we need --------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef HEADRACE_TOOLS_TOKENIZERS_UTF8_H
#define HEADRACE_TOOLS_TOKENIZERS_UTF8_H

#include <cstdint>
#include <string>
#include <string_view>

namespace headrace::tokenizers {

struct Utf8Char {
  enum Kind { Valid, Malformed, Incomplete };
  Kind kind;
  /// Bytes it takes; for Malformed the longest prefix of a well-formed
  /// sequence, at least 1 (the unit that one U+FFFD replaces).
  unsigned length;
  char32_t code;
};

/// Reads the character at the front of non-empty `text`. Incomplete means that
/// more bytes could still make it valid.
Utf8Char readUtf8(std::string_view text);

/// Position of the first byte that is not part of well-formed UTF-8, or npos.
size_t findMalformedUtf8(std::string_view text);

void appendUtf8(char32_t code, std::string &out);

/// Collects bytes and lets whole characters out.
class Utf8Assembler {
public:
  /// `perByte`: each bad byte gives its own U+FFFD, as SentencePiece does;
  /// otherwise each maximal bad prefix gives one, as the Unicode standard
  /// advises and Hugging Face's byte-level decoder does.
  explicit Utf8Assembler(bool perByte) : perByte(perByte) {}

  void push(std::string_view bytes, std::string &text);
  void finish(std::string &text);

private:
  bool perByte;
  std::string held;
};

/// Unicode White_Space, which is what `\s` means to Hugging Face's regexes.
bool isWhiteSpace(char32_t code);

/// `\w` of Unicode Technical Standard 18.
bool isWordCharacter(char32_t code);

/// Canonical composition (NFC) of well-formed UTF-8.
std::string normalizeNfc(std::string_view text);

} // namespace headrace::tokenizers

#endif // HEADRACE_TOOLS_TOKENIZERS_UTF8_H
