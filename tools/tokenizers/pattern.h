//===- pattern.h - The split regexes of tokenizer.json --------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef HEADRACE_TOOLS_TOKENIZERS_PATTERN_H
#define HEADRACE_TOOLS_TOKENIZERS_PATTERN_H

#include "tools/tokenizers/tokenizer.h"

#include <chrono>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

namespace headrace::tokenizers {

/// What a pattern's matches do to the text, with Hugging Face's names.
enum class SplitBehavior {
  Isolated,
  Removed,
  MergedWithPrevious,
  MergedWithNext,
  Contiguous,
};

/// The point in time by which an encode call must be done, so that a hostile
/// pattern cannot hold it for ever. Far beyond what honest patterns need.
class Deadline {
public:
  explicit Deadline(size_t textBytes);
  bool passed() const { return Clock::now() > end; }

private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point end;
};

/// One splitting step: a regex in the syntax that tokenizer.json uses
/// (Oniguruma's), run by PCRE2.
class Splitter {
public:
  Splitter(Splitter &&) noexcept;
  Splitter &operator=(Splitter &&) noexcept;
  ~Splitter();

  /// Compiles `regex`. Constructs that mean something else in PCRE2, or that
  /// we do not know, are an error.
  static Status create(std::string_view regex, SplitBehavior behavior,
                       bool invert, std::unique_ptr<Splitter> &splitter);

  /// Appends the non-empty pieces of well-formed `text` in order.
  Status split(std::string_view text, const Deadline &deadline,
               std::vector<std::string_view> &pieces) const;

private:
  Splitter();
  struct Impl;
  std::unique_ptr<Impl> impl;
};

/// Escapes `text` so that as a regex it matches itself.
std::string escapeRegex(std::string_view text);

} // namespace headrace::tokenizers

#endif // HEADRACE_TOOLS_TOKENIZERS_PATTERN_H
