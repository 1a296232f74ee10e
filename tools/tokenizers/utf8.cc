//===- utf8.cc - UTF-8 in pieces, and the character classes we need -------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/tokenizers/utf8.h"

#include <algorithm>
#include <tuple>
#include <utf8proc.h>
#include <vector>

namespace headrace::tokenizers {

Utf8Char readUtf8(std::string_view text) {
  auto byteAt = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned lead = byteAt(0);
  if (lead < 0x80)
    return {Utf8Char::Valid, 1, lead};

  // The second byte's range excludes overlong forms, surrogates and values
  // above U+10FFFF; the later ones are plain continuation bytes.
  unsigned length;
  unsigned low = 0x80;
  unsigned high = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0)
      low = 0xA0;
    if (lead == 0xED)
      high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0)
      low = 0x90;
    if (lead == 0xF4)
      high = 0x8F;
  } else {
    return {Utf8Char::Malformed, 1, 0};
  }

  char32_t code = lead & (0x7Fu >> length);
  for (unsigned i = 1; i < length; ++i) {
    if (i == text.size())
      return {Utf8Char::Incomplete, i, 0};
    unsigned byte = byteAt(i);
    if (byte < low || byte > high)
      return {Utf8Char::Malformed, i, 0};
    code = (code << 6) | (byte & 0x3F);
    low = 0x80;
    high = 0xBF;
  }
  return {Utf8Char::Valid, length, code};
}

size_t findMalformedUtf8(std::string_view text) {
  size_t pos = 0;
  while (pos < text.size()) {
    Utf8Char next = readUtf8(text.substr(pos));
    if (next.kind != Utf8Char::Valid)
      return pos;
    pos += next.length;
  }
  return std::string_view::npos;
}

void appendUtf8(char32_t code, std::string &out) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | (code >> 6));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | (code >> 12));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (code >> 18));
    out += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  }
}

static constexpr std::string_view replacement = "\xEF\xBF\xBD";

void Utf8Assembler::push(std::string_view bytes, std::string &text) {
  held.append(bytes);
  std::string_view rest = held;
  while (!rest.empty()) {
    Utf8Char next = readUtf8(rest);
    if (next.kind == Utf8Char::Incomplete)
      break;
    unsigned length = next.length;
    if (next.kind == Utf8Char::Valid) {
      text.append(rest.substr(0, length));
    } else {
      if (perByte)
        length = 1;
      text.append(replacement);
    }
    rest.remove_prefix(length);
  }
  held.erase(0, held.size() - rest.size());
}

void Utf8Assembler::finish(std::string &text) {
  size_t count = perByte ? held.size() : (held.empty() ? 0 : 1);
  for (size_t i = 0; i < count; ++i)
    text.append(replacement);
  held.clear();
}

bool isWhiteSpace(char32_t code) {
  return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 ||
         code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) ||
         code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F ||
         code == 0x3000;
}

bool isWordCharacter(char32_t code) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
  case UTF8PROC_CATEGORY_LU:
  case UTF8PROC_CATEGORY_LL:
  case UTF8PROC_CATEGORY_LT:
  case UTF8PROC_CATEGORY_LM:
  case UTF8PROC_CATEGORY_LO:
  case UTF8PROC_CATEGORY_MN:
  case UTF8PROC_CATEGORY_MC:
  case UTF8PROC_CATEGORY_ME:
  case UTF8PROC_CATEGORY_ND:
  case UTF8PROC_CATEGORY_NL:
  case UTF8PROC_CATEGORY_PC:
    return true;
  default:
    // Joiners, and the enclosed letters that are Alphabetic yet symbols.
    return code == 0x200C || code == 0x200D ||
           (code >= 0x24B6 && code <= 0x24E9) ||
           (code >= 0x1F130 && code <= 0x1F149) ||
           (code >= 0x1F150 && code <= 0x1F169) ||
           (code >= 0x1F170 && code <= 0x1F189);
  }
}

std::string normalizeNfc(std::string_view text) {
  bool ascii = std::all_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x80;
  });
  if (ascii)
    return std::string(text);

  // Decompose and put combining marks in order here rather than in
  // utf8proc_map, whose insertion sort takes quadratic time on a long run of
  // marks; only the composition, which is linear, is left to utf8proc.
  constexpr auto options =
      static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_STABLE);
  std::vector<utf8proc_int32_t> codes;
  codes.reserve(text.size());
  while (!text.empty()) {
    Utf8Char next = readUtf8(text);
    text.remove_prefix(next.length);
    // No canonical decomposition is longer than four code points.
    utf8proc_int32_t parts[8];
    int lastBoundClass = 0;
    utf8proc_ssize_t count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(next.code), parts,
                                8, options, &lastBoundClass);
    if (count < 0 || count > 8) {
      codes.push_back(static_cast<utf8proc_int32_t>(next.code));
      continue;
    }
    codes.insert(codes.end(), parts, parts + count);
  }

  auto combiningClass = [](utf8proc_int32_t code) {
    return utf8proc_get_property(code)->combining_class;
  };
  for (size_t begin = 0; begin < codes.size();) {
    if (combiningClass(codes[begin]) == 0) {
      ++begin;
      continue;
    }
    size_t end = begin;
    while (end < codes.size() && combiningClass(codes[end]) != 0)
      ++end;
    // By class, and in the given order within a class.
    std::vector<std::tuple<int, size_t, utf8proc_int32_t>> marks;
    for (size_t at = begin; at < end && end - begin > 1; ++at)
      marks.emplace_back(combiningClass(codes[at]), at, codes[at]);
    std::sort(marks.begin(), marks.end());
    for (size_t at = 0; at < marks.size(); ++at)
      codes[begin + at] = std::get<2>(marks[at]);
    begin = end;
  }

  utf8proc_ssize_t count = utf8proc_normalize_utf32(
      codes.data(), static_cast<utf8proc_ssize_t>(codes.size()),
      static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  std::string out;
  out.reserve(codes.size());
  for (utf8proc_ssize_t i = 0; i < count; ++i)
    appendUtf8(static_cast<char32_t>(codes[i]), out);
  return out;
}

} // namespace headrace::tokenizers
