//===- utf8_test.cc - Characters in pieces, classes and NFC ---------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/tokenizers/utf8.h"

#include <chrono>
#include <gtest/gtest.h>

namespace headrace::tokenizers {
namespace {

std::string assemble(std::string_view bytes, bool perByte) {
  Utf8Assembler assembler(perByte);
  std::string text;
  for (char c : bytes)
    assembler.push(std::string_view(&c, 1), text);
  assembler.finish(text);
  return text;
}

TEST(Utf8, FindsMalformedBytes) {
  EXPECT_EQ(findMalformedUtf8("plain"), std::string::npos);
  EXPECT_EQ(findMalformedUtf8("\xF4\x8F\xBF\xBF"), std::string::npos);
  EXPECT_EQ(findMalformedUtf8("a\xC0\x80"), 1u);        // overlong
  EXPECT_EQ(findMalformedUtf8("ab\xED\xA0\x80"), 2u);   // surrogate
  EXPECT_EQ(findMalformedUtf8("\xF4\x90\x80\x80"), 0u); // above U+10FFFF
  EXPECT_EQ(findMalformedUtf8("abc\xE2\x82"), 3u);      // cut off
  EXPECT_EQ(findMalformedUtf8("\xE0\x9F\xBF"), 0u);     // overlong
  EXPECT_EQ(findMalformedUtf8("a\xBF"), 1u);            // lone continuation
}

TEST(Utf8, EveryCodePointGoesThereAndBack) {
  for (char32_t code = 0; code <= 0x10FFFF; ++code) {
    if (code >= 0xD800 && code <= 0xDFFF)
      continue;
    std::string bytes;
    appendUtf8(code, bytes);
    Utf8Char read = readUtf8(bytes);
    ASSERT_EQ(read.kind, Utf8Char::Valid) << std::hex << uint32_t(code);
    ASSERT_EQ(read.length, bytes.size());
    ASSERT_EQ(read.code, code);
  }
}

TEST(Utf8, HoldsIncompleteCharactersBack) {
  Utf8Assembler assembler(/*perByte=*/false);
  std::string text;
  assembler.push("\xF0\x9F", text);
  EXPECT_EQ(text, "");
  assembler.push("\x98", text);
  EXPECT_EQ(text, "");
  assembler.push("\x80!", text);
  EXPECT_EQ(text, "\xF0\x9F\x98\x80!");
}

TEST(Utf8, ReplacesBadBytes) {
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(assemble("a\xE2\x82z", false), "a" + bad + "z");
  EXPECT_EQ(assemble("a\xE2\x82z", true), "a" + bad + bad + "z");
  EXPECT_EQ(assemble("\xFF\xFE", false), bad + bad);
  EXPECT_EQ(assemble("\xF0\x9F\x98", false), bad);
  EXPECT_EQ(assemble("\xF0\x9F\x98", true), bad + bad + bad);
  EXPECT_EQ(assemble("\xED\xA0\x80", false), bad + bad + bad);
}

TEST(Utf8, ClassifiesCharacters) {
  EXPECT_TRUE(isWhiteSpace(0x85));
  EXPECT_TRUE(isWhiteSpace(0x3000));
  EXPECT_FALSE(isWhiteSpace(0x180E));
  EXPECT_FALSE(isWhiteSpace(0x200B));
  EXPECT_TRUE(isWordCharacter('_'));
  EXPECT_TRUE(isWordCharacter(0xE9));
  EXPECT_TRUE(isWordCharacter(0x24D0));
  EXPECT_FALSE(isWordCharacter('-'));
  EXPECT_FALSE(isWordCharacter(0x1F600));
}

TEST(Utf8, NormalizesToNfc) {
  EXPECT_EQ(normalizeNfc("e\u0301"), "\u00e9");
  EXPECT_EQ(normalizeNfc("\u212b"), "\u00c5");
  EXPECT_EQ(normalizeNfc("s\u0307\u0323"), "\u1e69");
  EXPECT_EQ(normalizeNfc("\u1112\u1161\u11ab"), "\ud55c");
  EXPECT_EQ(normalizeNfc("\u0958"), "\u0915\u093c"); // composition exclusion
  EXPECT_EQ(normalizeNfc("\u0301"), "\u0301");
  EXPECT_EQ(normalizeNfc(""), "");
  EXPECT_EQ(normalizeNfc(std::string("\0a", 2)), std::string("\0a", 2));
}

TEST(Utf8, NormalizesLongRunsOfMarksInTime) {
  // In the order that costs an insertion sort most.
  std::string text = "e";
  for (int i = 0; i < 200000; ++i)
    text += i < 100000 ? "\u0301" : "\u0323";
  auto begin = std::chrono::steady_clock::now();
  std::string result = normalizeNfc(text);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
  EXPECT_EQ(result.substr(0, 5), "\u1eb9\u0323");
}

} // namespace
} // namespace headrace::tokenizers
