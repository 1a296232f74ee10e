//===- byte_level.cc - A byte-level BPE tokenizer -------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/tokenizers/byte_level.h"

#include "tools/tokenizers/text_guard.h"
#include "tools/tokenizers/utf8.h"

#include <algorithm>

namespace headrace::tokenizers {

namespace {

class ByteLevelDecoder final : public Decoder {
public:
  ByteLevelDecoder(const ByteLevelModel &model, DecodeOptions options)
      : model(model), options(options), assembler(/*perByte=*/false) {}

  Status push(int32_t id, std::string &text) override {
    if (id < 0 || static_cast<size_t>(id) >= model.tokens.size() ||
        model.tokens[id].kind == ByteLevelModel::Token::Absent)
      return unknownId(id, model.tokens.size());
    const ByteLevelModel::Token &token = model.tokens[id];
    if (options.skipSpecial && token.kind == ByteLevelModel::Token::Special)
      return {};
    assembler.push(token.bytes, text);
    return {};
  }

  void finish(std::string &text) override { assembler.finish(text); }

private:
  const ByteLevelModel &model;
  DecodeOptions options;
  Utf8Assembler assembler;
};

class ByteLevelTokenizer final : public Tokenizer {
public:
  explicit ByteLevelTokenizer(ByteLevelModel model) : model(std::move(model)) {}

  Status encode(std::string_view text, std::vector<int32_t> &ids,
                bool addSpecial) const override {
    return guardEncode(text, ids, [&](std::vector<int32_t> &result) {
      return encodeChecked(text, result, addSpecial);
    });
  }

  std::unique_ptr<Decoder> makeDecoder(DecodeOptions options) const override {
    return std::make_unique<ByteLevelDecoder>(model, options);
  }

  int32_t vocabSize() const override {
    return static_cast<int32_t>(model.tokens.size());
  }

  int32_t findToken(std::string_view token) const override {
    auto it = std::lower_bound(model.names.begin(), model.names.end(), token,
                               [](const auto &entry, std::string_view token) {
                                 return std::string_view(entry.first) < token;
                               });
    return it != model.names.end() && it->first == token ? it->second : -1;
  }

  bool isSpecial(int32_t id) const override {
    return id >= 0 && static_cast<size_t>(id) < model.tokens.size() &&
           model.tokens[id].kind == ByteLevelModel::Token::Special;
  }

  int32_t bosId() const override { return model.bosId; }
  int32_t eosId() const override { return model.eosId; }

private:
  struct Work {
    explicit Work(size_t textBytes) : deadline(textBytes) {}
    Deadline deadline;
    Bpe::Scratch scratch;
  };

  Status encodeChecked(std::string_view text, std::vector<int32_t> &ids,
                       bool addSpecial) const {
    Work work(text.size());
    if (addSpecial)
      ids.insert(ids.end(), model.prefixIds.begin(), model.prefixIds.end());
    std::vector<TextPart> parts;
    model.rawTokens.split(text, parts);
    for (const TextPart &part : parts) {
      if (part.id >= 0) {
        ids.push_back(part.id);
        continue;
      }
      Status status = encodeNormalized(model.nfc ? normalizeNfc(part.text)
                                                 : std::string(part.text),
                                       work, ids);
      if (!status.ok())
        return status;
    }
    if (addSpecial)
      ids.insert(ids.end(), model.suffixIds.begin(), model.suffixIds.end());
    return {};
  }

  Status encodeNormalized(const std::string &text, Work &work,
                          std::vector<int32_t> &ids) const {
    std::vector<TextPart> parts;
    model.normalizedTokens.split(text, parts);
    for (const TextPart &part : parts) {
      if (part.id >= 0) {
        ids.push_back(part.id);
        continue;
      }
      Status status = encodePiece(part.text, work, ids);
      if (!status.ok())
        return status;
    }
    return {};
  }

  Status encodePiece(std::string_view text, Work &work,
                     std::vector<int32_t> &ids) const {
    int prefixStep = model.prefixSpaceStep;
    size_t end = prefixStep < 0 ? model.splitters.size() : size_t(prefixStep);
    std::vector<std::string_view> pieces = {text};
    Status status = runSteps(0, end, work, pieces);
    if (!status.ok())
      return status;
    if (prefixStep < 0)
      return encodeWords(pieces, work, ids);

    for (std::string_view piece : pieces) {
      std::string spaced;
      if (piece.front() != ' ') {
        spaced.reserve(piece.size() + 1);
        spaced += ' ';
        spaced += piece;
        piece = spaced;
      }
      std::vector<std::string_view> words = {piece};
      status = runSteps(end, model.splitters.size(), work, words);
      if (status.ok())
        status = encodeWords(words, work, ids);
      if (!status.ok())
        return status;
    }
    return {};
  }

  Status runSteps(size_t begin, size_t end, const Work &work,
                  std::vector<std::string_view> &pieces) const {
    std::vector<std::string_view> next;
    for (size_t step = begin; step < end; ++step) {
      next.clear();
      for (std::string_view piece : pieces) {
        Status status =
            model.splitters[step]->split(piece, work.deadline, next);
        if (!status.ok())
          return status;
      }
      pieces.swap(next);
    }
    return {};
  }

  Status encodeWords(const std::vector<std::string_view> &words, Work &work,
                     std::vector<int32_t> &ids) const {
    for (std::string_view word : words) {
      Status status = model.bpe.encodeWord(word, work.scratch, ids);
      if (!status.ok())
        return status;
    }
    return {};
  }

  ByteLevelModel model;
};

} // namespace

std::unique_ptr<Tokenizer> makeByteLevelTokenizer(ByteLevelModel model) {
  return std::make_unique<ByteLevelTokenizer>(std::move(model));
}

} // namespace headrace::tokenizers
