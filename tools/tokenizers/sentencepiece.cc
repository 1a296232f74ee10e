//===- sentencepiece.cc - A SentencePiece tokenizer -----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/tokenizers/sentencepiece.h"

#include "tools/tokenizers/sentencepiece_proto.h"
#include "tools/tokenizers/text_guard.h"
#include "tools/tokenizers/utf8.h"

#include <algorithm>
#include <map>
#include <sentencepiece_processor.h>

namespace headrace::tokenizers {

namespace {

constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";

struct ModelState {
  SentencePieceModel model;
  sentencepiece::SentencePieceProcessor processor;
  /// For text that does not begin the input: without the space in front. Not
  /// set where the model treats all text alike.
  std::unique_ptr<sentencepiece::SentencePieceProcessor> continuing;
  AddedTokenFinder finder;
  /// Tokens of tokenizer_config.json that are no pieces of the model, and its
  /// special tokens.
  std::map<int32_t, std::string> extraTokens;
  std::map<std::string, int32_t, std::less<>> ids;
  std::vector<bool> special;
  int32_t bosId = -1;
  int32_t eosId = -1;
  bool addBos = false;
  bool addEos = false;
};

class SentencePieceDecoder final : public Decoder {
public:
  SentencePieceDecoder(const ModelState &state, DecodeOptions options)
      : state(state), options(options), atStart(options.textStart),
        assembler(/*perByte=*/true) {}

  Status push(int32_t id, std::string &text) override {
    if (id < 0 || static_cast<size_t>(id) >= state.special.size())
      return unknownId(id, state.special.size());
    bool isPiece = static_cast<size_t>(id) < state.model.pieces.size();
    auto extra = state.extraTokens.find(id);
    if (!isPiece && extra == state.extraTokens.end())
      return unknownId(id, state.special.size());
    if (state.special[id]) {
      if (options.skipSpecial)
        return {};
      plain(isPiece ? state.model.pieces[id].text : extra->second, text);
      return {};
    }
    if (!isPiece) {
      plain(extra->second, text);
      return {};
    }
    const SentencePieceModel::Piece &piece = state.model.pieces[id];
    switch (piece.type) {
    case SentencePieceModel::Unknown:
      plain(state.model.unknownSurface, text);
      return {};
    case SentencePieceModel::Byte:
      atStart = false;
      assembler.push(
          std::string_view(reinterpret_cast<const char *>(&piece.byte), 1),
          text);
      return {};
    default:
      break;
    }

    std::string_view rest = piece.text;
    const SentencePieceModel &model = state.model;
    if (atStart && (model.addDummyPrefix || model.removeExtraWhitespaces) &&
        rest.substr(0, kSpaceSymbol.size()) == kSpaceSymbol) {
      rest.remove_prefix(kSpaceSymbol.size());
      // Only the one space that encoding adds goes, unless the model never
      // keeps leading spaces at all.
      if (!model.removeExtraWhitespaces)
        atStart = false;
    }
    std::string surface;
    while (!rest.empty()) {
      size_t space = std::min(rest.find(kSpaceSymbol), rest.size());
      surface.append(rest.substr(0, space));
      rest.remove_prefix(space);
      if (!rest.empty()) {
        surface += ' ';
        rest.remove_prefix(kSpaceSymbol.size());
      }
    }
    if (!surface.empty())
      plain(surface, text);
    return {};
  }

  void finish(std::string &text) override {
    assembler.finish(text);
    atStart = options.textStart;
  }

private:
  /// Whole characters, which end a run of byte pieces.
  void plain(std::string_view surface, std::string &text) {
    assembler.finish(text);
    text.append(surface);
    atStart = false;
  }

  const ModelState &state;
  DecodeOptions options;
  bool atStart;
  Utf8Assembler assembler;
};

class SentencePieceTokenizer final : public Tokenizer {
public:
  explicit SentencePieceTokenizer(std::unique_ptr<ModelState> state)
      : state(std::move(state)) {}

  Status encode(std::string_view text, std::vector<int32_t> &ids,
                bool addSpecial) const override {
    return guardEncode(text, ids, [&](std::vector<int32_t> &result) {
      return encodeChecked(text, result, addSpecial);
    });
  }

  std::unique_ptr<Decoder> makeDecoder(DecodeOptions options) const override {
    return std::make_unique<SentencePieceDecoder>(*state, options);
  }

  int32_t vocabSize() const override {
    return static_cast<int32_t>(state->special.size());
  }

  int32_t findToken(std::string_view token) const override {
    auto it = state->ids.find(token);
    return it == state->ids.end() ? -1 : it->second;
  }

  bool isSpecial(int32_t id) const override {
    return id >= 0 && static_cast<size_t>(id) < state->special.size() &&
           state->special[id];
  }

  int32_t bosId() const override { return state->bosId; }
  int32_t eosId() const override { return state->eosId; }

private:
  Status encodeChecked(std::string_view text, std::vector<int32_t> &ids,
                       bool addSpecial) const {
    if (addSpecial && state->addBos)
      ids.push_back(state->bosId);
    std::vector<TextPart> parts;
    state->finder.split(text, parts);
    for (size_t i = 0; i < parts.size(); ++i) {
      if (parts[i].id >= 0) {
        ids.push_back(parts[i].id);
        continue;
      }
      const sentencepiece::SentencePieceProcessor &processor =
          i > 0 && state->continuing ? *state->continuing : state->processor;
      std::vector<int> pieces;
      sentencepiece::util::Status status =
          processor.Encode(parts[i].text, &pieces);
      if (!status.ok())
        return Status::error("SentencePiece cannot encode the text: " +
                             status.ToString());
      ids.insert(ids.end(), pieces.begin(), pieces.end());
    }
    if (addSpecial && state->addEos)
      ids.push_back(state->eosId);
    return {};
  }

  std::unique_ptr<ModelState> state;
};

Status addTokens(const TokenizerConfig &config, ModelState &state) {
  const std::vector<SentencePieceModel::Piece> &pieces = state.model.pieces;
  size_t count = pieces.size();
  size_t bytes = 0;
  for (const AddedToken &token : config.addedTokens) {
    size_t id = static_cast<size_t>(token.id);
    if (id < pieces.size() && pieces[id].text != token.content)
      return Status::error("added token '" + token.content + "' has id " +
                           std::to_string(id) + ", which is piece '" +
                           pieces[id].text + "' of the model");
    bytes += token.content.size();
    if (bytes > (size_t(1) << 20))
      return Status::error("more than 1 MiB of added tokens is not supported");
    count = std::max(count, id + 1);
  }
  state.special.assign(count, false);
  for (size_t id = 0; id < pieces.size(); ++id) {
    state.ids.emplace(pieces[id].text, static_cast<int32_t>(id));
    state.special[id] = pieces[id].type == SentencePieceModel::Control;
  }
  for (const AddedToken &token : config.addedTokens) {
    auto [it, inserted] = state.ids.emplace(token.content, token.id);
    if (it->second != token.id)
      return Status::error("added token '" + token.content + "' has two ids, " +
                           std::to_string(it->second) + " and " +
                           std::to_string(token.id));
    if (static_cast<size_t>(token.id) >= pieces.size())
      state.extraTokens.emplace(token.id, token.content);
    state.special[token.id] = state.special[token.id] || token.special;
    state.finder.add(token, token.content);
  }
  return {};
}

} // namespace

Status makeSentencePieceTokenizer(std::string_view bytes,
                                  const TokenizerConfig &config,
                                  std::unique_ptr<Tokenizer> &tokenizer) {
  // Other classes around a SentencePiece model move ids or add tokens of
  // their own, which the files do not tell.
  const std::string &name = config.tokenizerClass;
  if (!name.empty() && name != "LlamaTokenizer" &&
      name != "LlamaTokenizerFast" && name != "GemmaTokenizer" &&
      name != "GemmaTokenizerFast")
    return Status::error("tokenizer_class '" + name +
                         "' in tokenizer_config.json is not supported with a "
                         "SentencePiece model");

  auto state = std::make_unique<ModelState>();
  Status status = readSentencePieceModel(bytes, state->model);
  if (status.ok())
    status = addTokens(config, *state);
  if (!status.ok())
    return status;

  sentencepiece::util::Status loaded =
      state->processor.LoadFromSerializedProto(bytes);
  if (loaded.ok() && config.legacy && !*config.legacy &&
      state->model.addDummyPrefix) {
    // A second normalizer_spec is merged into the first: set the one field,
    // add_dummy_prefix, to false.
    std::string changed(bytes);
    changed.append("\x1a\x02\x18\x00", 4);
    state->continuing =
        std::make_unique<sentencepiece::SentencePieceProcessor>();
    loaded = state->continuing->LoadFromSerializedProto(changed);
  }
  if (!loaded.ok())
    return Status::error("SentencePiece cannot load it: " + loaded.ToString());

  auto resolve = [&](const std::optional<std::string> &name, int32_t fallback) {
    if (!name)
      return fallback;
    auto it = state->ids.find(*name);
    return it == state->ids.end() ? -1 : it->second;
  };
  state->bosId = resolve(config.bosToken, state->model.bosId);
  state->eosId = resolve(config.eosToken, state->model.eosId);
  // The defaults of Hugging Face's LlamaTokenizer.
  state->addBos = config.addBos.value_or(state->bosId >= 0);
  state->addEos = config.addEos.value_or(false);
  if ((state->addBos && state->bosId < 0) ||
      (state->addEos && state->eosId < 0))
    return Status::error(
        std::string("tokenizer_config.json asks for ") +
        (state->addBos && state->bosId < 0 ? "bos_token" : "eos_token") +
        " around the text but names no such token of the model");
  tokenizer = std::make_unique<SentencePieceTokenizer>(std::move(state));
  return {};
}

} // namespace headrace::tokenizers
