//===- pattern.cc - The split regexes of tokenizer.json -------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/tokenizers/pattern.h"

#include "tools/tokenizers/utf8.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstring>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace headrace::tokenizers {

namespace {

constexpr size_t kMaxPatternBytes = 16 * 1024;

// PCRE2's own \s also takes in U+180E, which left White_Space in Unicode 6.3.
constexpr const char *kSpaceSet =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029})"
    R"(\x{202f}\x{205f}\x{3000})";
constexpr const char *kNotSpaceSet =
    R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f})"
    R"(\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e}\x{2030}-\x{205e})"
    R"(\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";

/// Rewrites an Oniguruma (Ruby syntax) regex for PCRE2. It goes by an allow
/// list: a construct is either known to mean the same, rewritten, or refused.
class Translator {
public:
  explicit Translator(std::string_view in) : in(in) {}

  Status run(std::string &result) {
    while (pos < in.size()) {
      Status status = item();
      if (!status.ok())
        return status;
    }
    result = std::move(out);
    return {};
  }

private:
  bool startsWith(std::string_view prefix) const {
    return in.substr(pos, prefix.size()) == prefix;
  }

  Status refuse(std::string_view what) const {
    return Status::error("uses " + std::string(what) + " at byte " +
                         std::to_string(pos) + ", which is not supported");
  }

  void copyCharacter() {
    unsigned length = readUtf8(in.substr(pos)).length;
    out.append(in.substr(pos, length));
    pos += length;
  }

  Status item() {
    char c = in[pos];
    switch (c) {
    case '\\':
      return escape(/*inClass=*/false);
    case '[':
      return characterClass();
    case '(':
      return openGroup();
    case '{':
      return interval();
    case '^':
      // Lines, not the whole text; and no line begins at the very end.
      out += R"((?:\A|(?<=\n)(?!\z)))";
      ++pos;
      return {};
    case '$':
      out += R"((?=\n|\z))";
      ++pos;
      return {};
    case '*':
    case '+':
    case '?':
      out += c;
      ++pos;
      // Lazy and possessive forms mean the same in both engines.
      if (pos < in.size() && (in[pos] == '?' || in[pos] == '+'))
        out += in[pos++];
      if (pos < in.size() && std::strchr("*+?{", in[pos]))
        return refuse("a repeated quantifier");
      return {};
    default:
      copyCharacter();
      return {};
    }
  }

  Status openGroup() {
    // A bare group would capture, which splitting never looks at.
    for (std::string_view known :
         {"(?:", "(?i:", "(?=", "(?!", "(?>", "(?<=", "(?<!"}) {
      if (startsWith(known)) {
        out += known;
        pos += known.size();
        return {};
      }
    }
    if (startsWith("(?") || startsWith("(*"))
      return refuse("the group '" + std::string(in.substr(pos, 4)) + "'");
    out += "(?:";
    ++pos;
    return {};
  }

  Status interval() {
    size_t end = pos + 1;
    size_t digits = 0;
    while (end < in.size() && std::isdigit(uint8_t(in[end]))) {
      ++end;
      ++digits;
    }
    if (digits == 0)
      return refuse("a brace that is not {n}, {n,} or {n,m}");
    if (end < in.size() && in[end] == ',') {
      ++end;
      while (end < in.size() && std::isdigit(uint8_t(in[end])))
        ++end;
    }
    if (end == in.size() || in[end] != '}')
      return refuse("a brace that is not {n}, {n,} or {n,m}");
    ++end;
    // '{n,m}+' is possessive in PCRE2 and a second repeat in Oniguruma.
    if (end < in.size() && std::strchr("*+?{", in[end]))
      return refuse("a repeated quantifier");
    out += in.substr(pos, end - pos);
    pos = end;
    return {};
  }

  Status characterClass() {
    out += '[';
    ++pos;
    if (pos < in.size() && in[pos] == '^') {
      out += '^';
      ++pos;
    }
    if (pos < in.size() && in[pos] == ']')
      return refuse("a ']' first in a class");
    while (pos < in.size()) {
      char c = in[pos];
      if (c == ']') {
        out += ']';
        ++pos;
        return {};
      }
      if (c == '[')
        return refuse("a nested class");
      if (startsWith("&&"))
        return refuse("a class intersection");
      if (c == '\\') {
        Status status = escape(/*inClass=*/true);
        if (!status.ok())
          return status;
        continue;
      }
      copyCharacter();
    }
    return refuse("an unterminated class");
  }

  Status escape(bool inClass) {
    if (pos + 1 >= in.size())
      return refuse("a lone backslash");
    char c = in[pos + 1];
    auto set = [&](const char *members) {
      if (!inClass)
        out += '[';
      out += members;
      if (!inClass)
        out += ']';
      pos += 2;
      return Status();
    };
    switch (c) {
    case 's':
      return set(kSpaceSet);
    case 'S':
      return set(kNotSpaceSet);
    case 'd':
      return set("\\p{Nd}");
    case 'D':
      return set("\\P{Nd}");
    case 'r':
    case 'n':
    case 't':
    case 'f':
      out += '\\';
      out += c;
      pos += 2;
      return {};
    case 'p':
    case 'P':
      return property();
    case 'x':
    case 'u':
      return codePoint();
    default:
      if (uint8_t(c) < 0x80 && std::ispunct(uint8_t(c))) {
        out += '\\';
        out += c;
        pos += 2;
        return {};
      }
      return refuse("the escape '\\" + std::string(1, c) + "'");
    }
  }

  Status property() {
    bool negative = in[pos + 1] == 'P';
    size_t open = pos + 2;
    size_t close = in.find('}', pos);
    if (open >= in.size() || in[open] != '{' || close == std::string_view::npos)
      return refuse("a property that is not \\p{...}");
    std::string_view name = in.substr(open + 1, close - open - 1);
    if (!name.empty() && name.front() == '^') {
      negative = !negative;
      name.remove_prefix(1);
    }
    bool plain = !name.empty() && name.size() <= 32 &&
                 std::all_of(name.begin(), name.end(), [](char c) {
                   return std::isalpha(uint8_t(c)) || c == '_';
                 });
    if (!plain)
      return refuse("the property '" + std::string(name.substr(0, 32)) + "'");
    out += negative ? "\\P{" : "\\p{";
    // Short names are general categories. A long one is a script, and PCRE2
    // must be told that it is not script extensions that are meant.
    if (name.size() > 2)
      out += "sc:";
    out += name;
    out += '}';
    pos = close + 1;
    return {};
  }

  Status codePoint() {
    bool braces = startsWith("\\x{");
    size_t begin = pos + (braces ? 3 : 2);
    size_t width = in[pos + 1] == 'u' ? 4 : 2;
    size_t end = begin;
    while (end < in.size() && std::isxdigit(uint8_t(in[end])) &&
           end - begin < (braces ? 6 : width))
      ++end;
    std::string digits(in.substr(begin, end - begin));
    bool good = braces ? !digits.empty() && end < in.size() && in[end] == '}'
                       : digits.size() == width;
    // A bare \x80 or above is a raw byte to Oniguruma.
    if (good && !braces && width == 2 && digits[0] >= '8')
      good = false;
    if (!good)
      return refuse("a malformed code point escape");
    out += "\\x{" + digits + "}";
    pos = end + (braces ? 1 : 0);
    return {};
  }

  std::string_view in;
  size_t pos = 0;
  std::string out;
};

struct CodeDeleter {
  void operator()(pcre2_code *code) const { pcre2_code_free(code); }
};
struct CompileContextDeleter {
  void operator()(pcre2_compile_context *context) const {
    pcre2_compile_context_free(context);
  }
};
struct MatchContextDeleter {
  void operator()(pcre2_match_context *context) const {
    pcre2_match_context_free(context);
  }
};
struct MatchDataDeleter {
  void operator()(pcre2_match_data *data) const { pcre2_match_data_free(data); }
};
struct JitStackDeleter {
  void operator()(pcre2_jit_stack *stack) const { pcre2_jit_stack_free(stack); }
};

std::string pcreMessage(int code) {
  PCRE2_UCHAR buffer[256];
  if (pcre2_get_error_message(code, buffer, sizeof(buffer)) < 0)
    return "PCRE2 error " + std::to_string(code);
  return reinterpret_cast<const char *>(buffer);
}

struct Span {
  size_t begin;
  size_t end;
  bool match;
};

} // namespace

Deadline::Deadline(size_t textBytes)
    : end(Clock::now() + std::chrono::seconds(20) +
          std::chrono::milliseconds(textBytes / 256)) {}

struct Splitter::Impl {
  std::string regex;
  SplitBehavior behavior;
  bool invert;
  std::unique_ptr<pcre2_code, CodeDeleter> code;
  bool jit = false;

  Status findSpans(std::string_view text, const Deadline &deadline,
                   std::vector<Span> &spans) const;
};

Splitter::Splitter() : impl(std::make_unique<Impl>()) {}
Splitter::Splitter(Splitter &&) noexcept = default;
Splitter &Splitter::operator=(Splitter &&) noexcept = default;
Splitter::~Splitter() = default;

Status Splitter::create(std::string_view regex, SplitBehavior behavior,
                        bool invert, std::unique_ptr<Splitter> &splitter) {
  if (regex.empty() || regex.size() > kMaxPatternBytes)
    return Status::error("expected a regex of 1 to " +
                         std::to_string(kMaxPatternBytes) + " bytes, but got " +
                         std::to_string(regex.size()));
  std::string quoted = "regex '" + std::string(regex.substr(0, 200)) +
                       (regex.size() > 200 ? "...' " : "' ");
  if (findMalformedUtf8(regex) != std::string_view::npos)
    return Status::error(quoted + "is not UTF-8");
  std::string translated;
  Status status = Translator(regex).run(translated);
  if (!status.ok())
    return Status::error(quoted + status.message());

  std::unique_ptr<pcre2_compile_context, CompileContextDeleter> context(
      pcre2_compile_context_create(nullptr));
  if (!context)
    return Status::error("out of memory for a regex");
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE errorOffset = 0;
  std::unique_ptr<Splitter> made(new Splitter());
  made->impl->code.reset(pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &errorOffset,
      context.get()));
  if (!made->impl->code)
    return Status::error(quoted + "does not compile: " + pcreMessage(error));
  // Without JIT support the interpreter does the same, slower.
  made->impl->jit =
      pcre2_jit_compile(made->impl->code.get(), PCRE2_JIT_COMPLETE) == 0;
  made->impl->regex = regex;
  made->impl->behavior = behavior;
  made->impl->invert = invert;
  splitter = std::move(made);
  return {};
}

Status Splitter::Impl::findSpans(std::string_view text,
                                 const Deadline &deadline,
                                 std::vector<Span> &spans) const {
  std::unique_ptr<pcre2_match_data, MatchDataDeleter> data(
      pcre2_match_data_create(1, nullptr));
  std::unique_ptr<pcre2_match_context, MatchContextDeleter> context(
      pcre2_match_context_create(nullptr));
  if (!data || !context)
    return Status::error("out of memory for a regex match");
  // Backing off over a run as long as the text is honest work; much more is
  // not.
  size_t limit = 200000 + 64 * text.size();
  pcre2_set_match_limit(
      context.get(), static_cast<uint32_t>(std::min<size_t>(limit, 1u << 30)));
  pcre2_set_heap_limit(context.get(), 256 * 1024);

  auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  size_t previous = 0;
  size_t start = 0;
  bool haveMatch = false;
  for (unsigned count = 0; start <= text.size(); ++count) {
    if ((count & 0xFF) == 0 && deadline.passed())
      return Status::error("regex '" + regex.substr(0, 200) +
                           "' takes too long on the text");
    int rc = pcre2_match(code.get(), subject, text.size(), start,
                         PCRE2_NO_UTF_CHECK, data.get(), context.get());
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
      rc = pcre2_match(code.get(), subject, text.size(), start,
                       PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data.get(),
                       context.get());
    if (rc == PCRE2_ERROR_NOMATCH)
      break;
    if (rc < 0)
      return Status::error("regex '" + regex.substr(0, 200) +
                           "' fails on the text: " + pcreMessage(rc));
    const PCRE2_SIZE *bounds = pcre2_get_ovector_pointer(data.get());
    size_t begin = bounds[0];
    size_t end = bounds[1];
    if (begin == end && haveMatch && previous == end) {
      // An empty match right behind the last one is not taken; the search goes
      // on one character later.
      if (start >= text.size())
        break;
      start += readUtf8(text.substr(start)).length;
      continue;
    }
    if (previous < begin)
      spans.push_back({previous, begin, false});
    spans.push_back({begin, end, true});
    previous = end;
    start = end;
    haveMatch = true;
  }
  if (previous < text.size())
    spans.push_back({previous, text.size(), false});
  return {};
}

Status Splitter::split(std::string_view text, const Deadline &deadline,
                       std::vector<std::string_view> &pieces) const {
  if (text.empty())
    return {};
  std::vector<Span> spans;
  Status status = impl->findSpans(text, deadline, spans);
  if (!status.ok())
    return status;
  if (impl->invert)
    for (Span &span : spans)
      span.match = !span.match;

  auto emit = [&](size_t begin, size_t end) {
    if (begin != end)
      pieces.push_back(text.substr(begin, end - begin));
  };
  size_t count = spans.size();
  switch (impl->behavior) {
  case SplitBehavior::Isolated:
    for (const Span &span : spans)
      emit(span.begin, span.end);
    break;
  case SplitBehavior::Removed:
    for (const Span &span : spans)
      if (!span.match)
        emit(span.begin, span.end);
    break;
  case SplitBehavior::Contiguous:
    for (size_t i = 0, next; i < count; i = next) {
      next = i + 1;
      while (next < count && spans[next].match == spans[i].match)
        ++next;
      emit(spans[i].begin, spans[next - 1].end);
    }
    break;
  case SplitBehavior::MergedWithPrevious:
    // A match joins what stands before it, unless that is a match too.
    for (size_t i = 0; i < count; ++i) {
      bool joins = !spans[i].match && i + 1 < count && spans[i + 1].match;
      emit(spans[i].begin, spans[joins ? i + 1 : i].end);
      if (joins)
        ++i;
    }
    break;
  case SplitBehavior::MergedWithNext: {
    // The same seen from the end: of several matches in a row the last joins.
    for (size_t i = 0; i < count; ++i) {
      bool joins = spans[i].match && i + 1 < count && !spans[i + 1].match;
      emit(spans[i].begin, spans[joins ? i + 1 : i].end);
      if (joins)
        ++i;
    }
    break;
  }
  }
  return {};
}

std::string escapeRegex(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (uint8_t(c) < 0x80 && std::ispunct(uint8_t(c)))
      out += '\\';
    out += c;
  }
  return out;
}

} // namespace headrace::tokenizers
