//===- pattern_test.cc - Regexes, splitting behaviors and refusals --------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/tokenizers/pattern.h"

#include <gtest/gtest.h>

namespace headrace::tokenizers {
namespace {

using Pieces = std::vector<std::string_view>;

Pieces split(std::string_view regex, std::string_view text,
             SplitBehavior behavior = SplitBehavior::Isolated,
             bool invert = false) {
  std::unique_ptr<Splitter> splitter;
  Status status = Splitter::create(regex, behavior, invert, splitter);
  EXPECT_TRUE(status.ok()) << status.message();
  Pieces pieces;
  if (!splitter)
    return pieces;
  status = splitter->split(text, Deadline(text.size()), pieces);
  EXPECT_TRUE(status.ok()) << status.message();
  return pieces;
}

std::string refusal(std::string_view regex) {
  std::unique_ptr<Splitter> splitter;
  Status status =
      Splitter::create(regex, SplitBehavior::Isolated, false, splitter);
  EXPECT_FALSE(status.ok()) << regex;
  EXPECT_EQ(splitter, nullptr);
  return status.message();
}

TEST(Pattern, Behaviors) {
  const char *text = "a--b-c";
  EXPECT_EQ(split("-", text), (Pieces{"a", "-", "-", "b", "-", "c"}));
  EXPECT_EQ(split("-", text, SplitBehavior::Removed), (Pieces{"a", "b", "c"}));
  EXPECT_EQ(split("-", text, SplitBehavior::Contiguous),
            (Pieces{"a", "--", "b", "-", "c"}));
  EXPECT_EQ(split("-", text, SplitBehavior::MergedWithPrevious),
            (Pieces{"a-", "-", "b-", "c"}));
  EXPECT_EQ(split("-", text, SplitBehavior::MergedWithNext),
            (Pieces{"a", "-", "-b", "-c"}));
  EXPECT_EQ(split("-", text, SplitBehavior::Removed, /*invert=*/true),
            (Pieces{"-", "-", "-"}));
}

TEST(Pattern, SpaceIsUnicodeWhiteSpace) {
  // PCRE2 alone counts U+180E as a space.
  EXPECT_EQ(split("\\s+", "a\u180e\u0085\u3000b"),
            (Pieces{"a\u180e", "\u0085\u3000", "b"}));
  EXPECT_EQ(split("[^\\s]+", "\u180e x"), (Pieces{"\u180e", " ", "x"}));
  EXPECT_EQ(split("[\\S]+", "\u180e x"), (Pieces{"\u180e", " ", "x"}));
}

TEST(Pattern, LineAnchorsAreRubys) {
  EXPECT_EQ(split("\\s+$", "a  \nb "), (Pieces{"a", "  ", "\nb", " "}));
  EXPECT_EQ(split("^a", "aa\naa"), (Pieces{"a", "a\n", "a", "a"}));
}

TEST(Pattern, EmptyMatchesDoNotLoop) {
  EXPECT_EQ(split("x*", "axb"), (Pieces{"a", "x", "b"}));
  EXPECT_EQ(split("(?=b)", "abab\u00e9b"), (Pieces{"a", "ba", "b\u00e9", "b"}));
}

TEST(Pattern, ScriptsAndCategories) {
  EXPECT_EQ(split("\\p{Han}+", "a\u4e00\u4e8cb"),
            (Pieces{"a", "\u4e00\u4e8c", "b"}));
  EXPECT_EQ(split("\\p{^L}+", "a1b"), (Pieces{"a", "1", "b"}));
  EXPECT_EQ(split("\\d+", "a\u0661b"), (Pieces{"a", "\u0661", "b"}));
  EXPECT_EQ(split("\\u4e00|\\x{4e01}|\\x41", "A\u4e00\u4e01"),
            (Pieces{"A", "\u4e00", "\u4e01"}));
}

TEST(Pattern, RefusesWhatMeansSomethingElse) {
  for (const char *regex : {"\\w",     "\\b",         "\\h",
                            "\\R",     "\\X",         "\\1",
                            "\\k<a>",  "\\G",         "\\K",
                            "\\C",     "[a[b]]",      "[a&&b]",
                            "[]a]",    "[[:alpha:]]", "a{,3}",
                            "a{2}+",   "a{2}?",       "a**",
                            "a+++",    "(?m:a)",      "(?i)a",
                            "(?<n>a)", "(?R)",        "(?1)",
                            "(*UTF)",  "(?#c)",       "\\p{InBasicLatin1}",
                            "\\pL",    "\\x",         "\\xff",
                            "{",       "[a"})
    EXPECT_NE(refusal(regex).find("not supported"), std::string::npos)
        << refusal(regex);
  for (const char *regex :
       {"(", ")", "*", "[z-a]", "\\p{Xx}", "\\p{Nonsense}", "(?<=a+)b", "a|*"})
    EXPECT_NE(refusal(regex).find("does not compile"), std::string::npos)
        << refusal(regex);
  EXPECT_NE(refusal("").find("expected a regex"), std::string::npos);
  EXPECT_NE(refusal(std::string(1 << 20, 'a')).find("expected a regex"),
            std::string::npos);
  EXPECT_NE(refusal("\xFF").find("not UTF-8"), std::string::npos);
  refusal(std::string(10000, '('));
}

TEST(Pattern, HostilePatternsEnd) {
  for (const char *regex :
       {"(a+)+b", "(a|aa)+b", "(a*)*b", "(?:a?){60}a{60}b"}) {
    std::unique_ptr<Splitter> splitter;
    Status status =
        Splitter::create(regex, SplitBehavior::Isolated, false, splitter);
    ASSERT_TRUE(status.ok()) << status.message();
    std::string text(3000, 'a');
    Pieces pieces;
    status = splitter->split(text, Deadline(text.size()), pieces);
    // PCRE2 sees for some of these that no 'b' is there.
    if (!status.ok())
      EXPECT_NE(status.message().find("fails on the text"), std::string::npos);
    text += "c b";
    status = splitter->split(text, Deadline(text.size()), pieces);
    EXPECT_FALSE(status.ok()) << regex;
  }
}

TEST(Pattern, LongRunsAreNoTrouble) {
  constexpr const char *llama3 =
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
      " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
  constexpr size_t n = 1 << 20;
  EXPECT_EQ(split(llama3, std::string(n, ' ') + "x").size(), 2u);
  EXPECT_EQ(split(llama3, std::string(n, '\n')).size(), 1u);
  EXPECT_EQ(split(llama3, std::string(n, 'x')).size(), 1u);
  EXPECT_EQ(split(llama3, std::string(n, '1')).size(), (n + 2) / 3);
  EXPECT_EQ(split("(?:a|b)+", std::string(100000, 'a')).size(), 1u);
}

TEST(Pattern, EscapedTextMatchesItself) {
  std::string text = "a.b*[c]\\{d}^$|(e)?+#- \u00e9\n";
  EXPECT_EQ(split(escapeRegex(text), "x" + text + "y"),
            (Pieces{"x", text, "y"}));
}

} // namespace
} // namespace headrace::tokenizers
