//===- tokenizer.h - Text to token ids and back ---------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef HEADRACE_TOOLS_TOKENIZERS_TOKENIZER_H
#define HEADRACE_TOOLS_TOKENIZERS_TOKENIZER_H

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace headrace::tokenizers {

/// Success, or one sentence that names the file or value and the cause.
class [[nodiscard]] Status {
public:
  Status() = default;
  static Status error(std::string message) {
    Status status;
    status.failed = true;
    status.text = std::move(message);
    return status;
  }
  bool ok() const { return !failed; }
  const std::string &message() const { return text; }

private:
  bool failed = false;
  std::string text;
};

struct DecodeOptions {
  /// Leave special tokens (BOS, EOS, chat markers) out of the text.
  bool skipSpecial = true;
  /// The first id begins a text. SentencePiece models then drop the space that
  /// encoding put in front; say false to continue a text, as after a prompt.
  bool textStart = true;
};

/// Turns ids into UTF-8 text as they come. The output is valid UTF-8 after
/// every call: a character whose bytes are spread over several tokens appears
/// with its last token, and bytes that form no character become U+FFFD.
/// Borrows the tokenizer that made it. For one thread at a time.
class Decoder {
public:
  virtual ~Decoder();

  /// Appends to `text` what `id` completes. An id without a token is an error
  /// and leaves the decoder as it was.
  virtual Status push(int32_t id, std::string &text) = 0;

  /// Ends the text: appends U+FFFD for bytes still held back, and starts over
  /// as freshly made.
  virtual void finish(std::string &text) = 0;
};

/// Immutable once loaded: every function may be called from any thread.
class Tokenizer {
public:
  virtual ~Tokenizer();

  /// Appends the ids of `text`, which must be valid UTF-8 of at most
  /// `kMaxTextBytes`. Special tokens written out in the text become their ids.
  /// `addSpecial` puts the tokens around it that the model's package asks for
  /// (usually BOS, or nothing). On error `ids` is unchanged.
  virtual Status encode(std::string_view text, std::vector<int32_t> &ids,
                        bool addSpecial) const = 0;

  virtual std::unique_ptr<Decoder>
  makeDecoder(DecodeOptions options = {}) const = 0;

  /// One more than the largest id. The model's own vocabulary may be padded
  /// beyond this, and ids below it may be unused.
  virtual int32_t vocabSize() const = 0;

  /// The id of a token by its exact spelling in the files, or -1.
  virtual int32_t findToken(std::string_view token) const = 0;

  /// True for ids that `DecodeOptions::skipSpecial` leaves out.
  virtual bool isSpecial(int32_t id) const = 0;

  /// The ids of the package's BOS and EOS tokens, or -1 if it names none.
  virtual int32_t bosId() const = 0;
  virtual int32_t eosId() const = 0;

  /// Appends the text of a whole sequence; `text` is unchanged on error.
  Status decode(const std::vector<int32_t> &ids, std::string &text,
                DecodeOptions options = {}) const;
};

inline constexpr size_t kMaxTextBytes = size_t(16) << 20;

/// A tokenizer, or the reason why there is none.
struct LoadResult {
  std::unique_ptr<Tokenizer> tokenizer;
  std::string error;

  explicit operator bool() const { return tokenizer != nullptr; }
};

/// Loads the tokenizer of a Hugging Face model directory: `tokenizer.json` when
/// it holds a byte-level BPE, else `tokenizer.model` (SentencePiece).
/// `tokenizer_config.json` beside it, if any, decides about BOS and EOS.
LoadResult loadTokenizer(const std::string &directory);

/// The same from bytes in memory. `name` stands for the file in errors;
/// `configJson` is the text of tokenizer_config.json, or empty for none.
LoadResult loadTokenizerJson(std::string_view json,
                             std::string_view configJson = {},
                             std::string_view name = "tokenizer.json");
LoadResult loadSentencePiece(std::string_view model,
                             std::string_view configJson = {},
                             std::string_view name = "tokenizer.model");

} // namespace headrace::tokenizers

#endif // HEADRACE_TOOLS_TOKENIZERS_TOKENIZER_H
