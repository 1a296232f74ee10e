// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The token ids of a command line: where they come from, where they end, and
// how those that follow are printed.
#ifndef HEADRACE_TOOLS_HEADRACE_TOKENS_H
#define HEADRACE_TOOLS_HEADRACE_TOKENS_H

#include "tools/headrace/Flags.h"
#include "tools/tokenizers/tokenizer.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace headrace::tools {

/// What a command continues.
struct Prompt {
  std::vector<int32_t> ids;
  /// Null where the ids were given as such; then ids are printed, too.
  std::unique_ptr<tokenizers::Tokenizer> tokenizer;
};

/// Reads `--tokens`, or `--prompt` with the tokenizer in `directory`. Returns
/// -1 to go on, or the exit code after an `error:` line.
int readPrompt(CommandLine &line, const std::string &directory, Prompt &prompt);

/// The end tokens that generation_config.json or else config.json in
/// `directory` names. Files that are not there name none.
llvm::Expected<std::vector<int32_t>>
readEndTokens(const std::string &directory);

/// Prints new tokens on stdout as they come: as text with a tokenizer, as ids
/// with commas between without one.
class TokenPrinter {
public:
  explicit TokenPrinter(const tokenizers::Tokenizer *tokenizer);
  /// Ends the line if there is one.
  ~TokenPrinter() { finish(); }

  /// False when stdout takes no more.
  bool print(int32_t id);
  /// Completes the output; false when stdout did not take all of it.
  bool finish();

private:
  bool write(const std::string &text);
  std::unique_ptr<tokenizers::Decoder> decoder;
  bool begun = false;
};

} // namespace headrace::tools

#endif // HEADRACE_TOOLS_HEADRACE_TOKENS_H
