//===- tokenizer_json.cc - Reading tokenizer.json -------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/tokenizers/tokenizer_json.h"

#include "tools/tokenizers/added_token_json.h"
#include "tools/tokenizers/json_util.h"
#include "tools/tokenizers/utf8.h"

#include <algorithm>
#include <optional>

namespace headrace::tokenizers {

namespace {

constexpr size_t kMaxMerges = size_t(1) << 23;
constexpr size_t kMaxAddedBytes = size_t(1) << 20;
constexpr size_t kMaxSteps = 64;

// The regex of GPT-2, which the ByteLevel pre-tokenizer has built in.
constexpr const char *kByteLevelRegex =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// Byte-level vocabularies spell each byte as a printable character.
class ByteAlphabet {
public:
  ByteAlphabet() {
    char32_t spare = 256;
    for (int byte = 0; byte < 256; ++byte) {
      bool printable = (byte >= 33 && byte <= 126) ||
                       (byte >= 161 && byte <= 172) || byte >= 174;
      bytes[printable ? static_cast<char32_t>(byte) : spare++] = byte;
    }
  }

  /// The bytes that `spelling` stands for, or nothing if some character of it
  /// stands for none.
  std::optional<std::string> read(std::string_view spelling) const {
    std::string result;
    while (!spelling.empty()) {
      Utf8Char next = readUtf8(spelling);
      if (next.kind != Utf8Char::Valid || next.code >= bytes.size() ||
          bytes[next.code] < 0)
        return std::nullopt;
      result += static_cast<char>(bytes[next.code]);
      spelling.remove_prefix(next.length);
    }
    return result;
  }

private:
  std::array<int, 324> bytes = [] {
    std::array<int, 324> none;
    none.fill(-1);
    return none;
  }();
};

/// For messages: a token or name from the file, cut to a sensible length.
std::string quote(std::string_view text) {
  size_t end = std::min<size_t>(text.size(), 64);
  while (end < text.size() && end > 0 &&
         (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80)
    --end;
  return "'" + std::string(text.substr(0, end)) +
         (end < text.size() ? "...'" : "'");
}

class Reader {
public:
  Reader(const Json &root, const TokenizerConfig &config, ByteLevelModel &model)
      : root(root), config(config), model(model) {}

  bool unsupported = false;

  Status run() {
    if (!root.is_object())
      return Status::error(std::string("expected an object, but got ") +
                           root.type_name());
    if (const Json *version = findMember(root, "version")) {
      const std::string *text = asString(version);
      if (!text || *text != "1.0")
        return refuse("version " + (text ? quote(*text) : "that is no string"));
    }
    // 'truncation' and 'padding' are left alone: whoever calls a tokenizer
    // sets them, and Hugging Face's package resets them on each call too.
    for (auto read : {&Reader::readModelKind, &Reader::readNormalizer,
                      &Reader::readPreTokenizer, &Reader::readDecoder,
                      &Reader::readVocabulary, &Reader::readAddedTokens,
                      &Reader::readMerges, &Reader::readPostProcessor,
                      &Reader::applyConfig}) {
      Status status = (this->*read)();
      if (!status.ok())
        return status;
    }
    return {};
  }

private:
  Status refuse(const std::string &what) {
    unsupported = true;
    return Status::error(what + " is not supported");
  }

  static Status expected(const char *what, const char *kind,
                         const Json *value) {
    return Status::error(std::string("expected '") + what + "' to be " + kind +
                         ", but got " + (value ? value->type_name() : "none"));
  }

  /// Spreads a component and the Sequences in it into a list of leaves with
  /// their types. An absent component gives an empty list.
  struct Leaf {
    std::string type;
    const Json *json;
  };
  Status flatten(const char *key, const char *listKey,
                 std::vector<Leaf> &leaves) {
    const Json *component = findMember(root, key);
    if (!component)
      return {};
    std::vector<const Json *> open = {component};
    size_t visited = 0;
    while (!open.empty()) {
      const Json *json = open.back();
      open.pop_back();
      const std::string *type = asString(findMember(*json, "type"));
      if (!type)
        return expected((std::string(key) + ".type").c_str(), "a string",
                        findMember(*json, "type"));
      if (++visited > kMaxSteps)
        return refuse(std::string("a ") + key + " of more than " +
                      std::to_string(kMaxSteps) + " steps");
      if (*type != "Sequence") {
        leaves.push_back({*type, json});
        continue;
      }
      const Json *list = findMember(*json, listKey);
      if (!list || !list->is_array())
        return expected((std::string(key) + "." + listKey).c_str(), "an array",
                        list);
      if (list->size() > kMaxSteps)
        return refuse(std::string("a ") + key + " of more than " +
                      std::to_string(kMaxSteps) + " steps");
      for (auto it = list->rbegin(); it != list->rend(); ++it)
        open.push_back(&*it);
    }
    return {};
  }

  Status readModelKind() {
    const Json *json = findMember(root, "model");
    if (!json || !json->is_object())
      return expected("model", "an object", json);
    const std::string *type = asString(findMember(*json, "type"));
    if (!type)
      return expected("model.type", "a string", findMember(*json, "type"));
    if (*type != "BPE")
      return refuse("model type " + quote(*type));
    modelJson = json;

    bool byteFallback = false;
    Status status = readBool(*json, "byte_fallback", byteFallback);
    if (status.ok())
      status = readBool(*json, "ignore_merges", bpeOptions.ignoreMerges);
    if (status.ok())
      status = readBool(*json, "fuse_unk", bpeOptions.fuseUnknown);
    if (!status.ok())
      return status;
    if (byteFallback)
      return refuse("a BPE model with byte_fallback");
    for (const char *key : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (const Json *value = findMember(*json, key)) {
        if (!value->is_string())
          return expected(key, "a string", value);
        if (!value->get_ref<const std::string &>().empty())
          return refuse(std::string("a BPE model with ") + key);
      }
    if (const Json *dropout = findMember(*json, "dropout")) {
      if (!dropout->is_number())
        return expected("model.dropout", "a number", dropout);
      if (dropout->get<double>() != 0.0)
        return refuse("a BPE model with dropout");
    }
    return {};
  }

  Status readNormalizer() {
    std::vector<Leaf> leaves;
    Status status = flatten("normalizer", "normalizers", leaves);
    for (const Leaf &leaf : leaves) {
      if (!status.ok())
        break;
      if (leaf.type != "NFC")
        return refuse("normalizer " + quote(leaf.type));
      model.nfc = true;
    }
    return status;
  }

  Status addSplitter(std::string_view regex, SplitBehavior behavior,
                     bool invert) {
    std::unique_ptr<Splitter> splitter;
    Status status = Splitter::create(regex, behavior, invert, splitter);
    if (!status.ok()) {
      unsupported = true;
      return Status::error("pre_tokenizer: " + status.message());
    }
    model.splitters.push_back(std::move(splitter));
    return {};
  }

  Status readSplit(const Json &json) {
    const Json *pattern = findMember(json, "pattern");
    const std::string *regex =
        pattern ? asString(findMember(*pattern, "Regex")) : nullptr;
    const std::string *plain =
        pattern ? asString(findMember(*pattern, "String")) : nullptr;
    if (!regex == !plain)
      return Status::error("expected 'pattern' of the pre_tokenizer Split to "
                           "have a string named 'Regex' or 'String'");
    const std::string *name = asString(findMember(json, "behavior"));
    if (!name)
      return expected("behavior", "a string", findMember(json, "behavior"));
    constexpr std::pair<const char *, SplitBehavior> known[] = {
        {"Isolated", SplitBehavior::Isolated},
        {"Removed", SplitBehavior::Removed},
        {"MergedWithPrevious", SplitBehavior::MergedWithPrevious},
        {"MergedWithNext", SplitBehavior::MergedWithNext},
        {"Contiguous", SplitBehavior::Contiguous}};
    auto behavior =
        std::find_if(std::begin(known), std::end(known),
                     [&](const auto &entry) { return *name == entry.first; });
    if (behavior == std::end(known))
      return refuse("split behavior " + quote(*name));
    bool invert = false;
    Status status = readBool(json, "invert", invert);
    if (!status.ok())
      return status;
    return addSplitter(regex ? *regex : escapeRegex(*plain), behavior->second,
                       invert);
  }

  Status readPreTokenizer() {
    std::vector<Leaf> leaves;
    Status status = flatten("pre_tokenizer", "pretokenizers", leaves);
    bool byteLevel = false;
    for (const Leaf &leaf : leaves) {
      if (!status.ok())
        return status;
      // What follows ByteLevel would see its alphabet instead of the text.
      if (byteLevel)
        return refuse("a pre_tokenizer with " + quote(leaf.type) +
                      " after 'ByteLevel'");
      if (leaf.type == "ByteLevel") {
        byteLevel = true;
        bool prefixSpace = true;
        bool useRegex = true;
        status = readBool(*leaf.json, "add_prefix_space", prefixSpace);
        if (status.ok())
          status = readBool(*leaf.json, "use_regex", useRegex);
        if (status.ok() && prefixSpace)
          model.prefixSpaceStep = static_cast<int>(model.splitters.size());
        if (status.ok() && useRegex)
          status = addSplitter(kByteLevelRegex, SplitBehavior::Isolated,
                               /*invert=*/false);
      } else if (leaf.type == "Split") {
        status = readSplit(*leaf.json);
      } else if (leaf.type == "Digits") {
        bool individual = false;
        status = readBool(*leaf.json, "individual_digits", individual);
        if (status.ok())
          status = addSplitter("\\p{N}",
                               individual ? SplitBehavior::Isolated
                                          : SplitBehavior::Contiguous,
                               /*invert=*/false);
      } else {
        return refuse("pre_tokenizer " + quote(leaf.type));
      }
    }
    if (!status.ok())
      return status;
    if (!byteLevel)
      return refuse("a pre_tokenizer without 'ByteLevel'");
    return {};
  }

  Status readDecoder() {
    std::vector<Leaf> leaves;
    Status status = flatten("decoder", "decoders", leaves);
    if (!status.ok())
      return status;
    for (const Leaf &leaf : leaves)
      if (leaf.type != "ByteLevel")
        return refuse("decoder " + quote(leaf.type));
    if (leaves.size() != 1)
      return refuse("a decoder other than one 'ByteLevel'");
    return {};
  }

  /// Gives `id` its spelling; false if it is taken.
  bool setToken(int32_t id, const std::string &spelling,
                ByteLevelModel::Token::Kind kind) {
    if (model.tokens.size() <= static_cast<size_t>(id))
      model.tokens.resize(static_cast<size_t>(id) + 1);
    ByteLevelModel::Token &token = model.tokens[id];
    if (token.kind != ByteLevelModel::Token::Absent)
      return false;
    token.kind = kind;
    std::optional<std::string> bytes = alphabet.read(spelling);
    token.bytes = bytes ? *bytes : spelling;
    model.names.emplace_back(spelling, id);
    return true;
  }

  Status readVocabulary() {
    vocabulary = findMember(*modelJson, "vocab");
    if (!vocabulary || !vocabulary->is_object())
      return expected("model.vocab", "an object", vocabulary);
    if (vocabulary->empty() ||
        vocabulary->size() > static_cast<size_t>(kMaxTokens))
      return Status::error("expected 'model.vocab' to have 1 to " +
                           std::to_string(kMaxTokens) + " tokens, but got " +
                           std::to_string(vocabulary->size()));
    byteIds.fill(-1);
    for (const auto &[spelling, value] : vocabulary->items()) {
      int32_t id;
      if (!readIndex(&value, kMaxTokens, id))
        return Status::error("expected the id of token " + quote(spelling) +
                             " to be a number from 0 to " +
                             std::to_string(kMaxTokens - 1));
      if (!setToken(id, spelling, ByteLevelModel::Token::Ordinary))
        return Status::error("two tokens have id " + std::to_string(id) +
                             ", one of them " + quote(spelling));
      if (std::optional<std::string> bytes = alphabet.read(spelling)) {
        if (bytes->size() == 1)
          byteIds[static_cast<unsigned char>(bytes->front())] = id;
        if (bpeOptions.ignoreMerges)
          words.emplace_back(std::move(*bytes), id);
      }
    }
    if (const Json *unknown = findMember(*modelJson, "unk_token")) {
      if (!unknown->is_string())
        return expected("model.unk_token", "a string", unknown);
      bpeOptions.unknownId =
          vocabularyId(unknown->get_ref<const std::string &>());
    }
    return {};
  }

  int32_t vocabularyId(const std::string &spelling) const {
    auto it = vocabulary->find(spelling);
    return it == vocabulary->end() ? -1 : it->get<int32_t>();
  }

  Status readAddedTokens() {
    const Json *list = findMember(root, "added_tokens");
    if (!list)
      return finishNames();
    if (!list->is_array() || list->size() > kMaxAddedTokens)
      return expected("added_tokens", "an array of sensible size", list);
    std::vector<AddedToken> added;
    size_t bytes = 0;
    for (const Json &json : *list) {
      AddedToken token;
      Status status = readAddedToken(json, token);
      if (!status.ok())
        return Status::error("added_tokens: " + status.message());
      bytes += token.content.size();
      if (bytes > kMaxAddedBytes)
        return refuse("'added_tokens' of more than " +
                      std::to_string(kMaxAddedBytes) + " bytes in all");
      if (!readIndex(findMember(json, "id"), kMaxTokens, token.id))
        return Status::error(
            "expected the id of added token " + quote(token.content) +
            " to be a number from 0 to " + std::to_string(kMaxTokens - 1));
      int32_t id = vocabularyId(token.content);
      if (id >= 0 && id != token.id)
        return Status::error("added token " + quote(token.content) +
                             " has id " + std::to_string(token.id) +
                             " but the vocabulary gives it " +
                             std::to_string(id));
      auto kind = token.special ? ByteLevelModel::Token::Special
                                : ByteLevelModel::Token::Ordinary;
      if (id >= 0)
        model.tokens[id].kind = kind;
      else if (!setToken(token.id, token.content, kind))
        return Status::error("added token " + quote(token.content) +
                             " has the id of another token, " +
                             std::to_string(token.id));
      added.push_back(std::move(token));
    }
    for (const AddedToken &token : added) {
      if (!token.normalized)
        model.rawTokens.add(token, token.content);
      else
        model.normalizedTokens.add(
            token, model.nfc ? normalizeNfc(token.content) : token.content);
    }
    return finishNames();
  }

  Status finishNames() {
    std::sort(model.names.begin(), model.names.end());
    return {};
  }

  int32_t findName(const std::string &spelling) const {
    auto it =
        std::lower_bound(model.names.begin(), model.names.end(), spelling,
                         [](const auto &entry, const std::string &spelling) {
                           return entry.first < spelling;
                         });
    return it != model.names.end() && it->first == spelling ? it->second : -1;
  }

  Status readMerges() {
    const Json *list = findMember(*modelJson, "merges");
    if (!list || !list->is_array())
      return expected("model.merges", "an array", list);
    if (list->size() > kMaxMerges)
      return Status::error("expected 'model.merges' to have at most " +
                           std::to_string(kMaxMerges) + " entries, but got " +
                           std::to_string(list->size()));
    std::vector<Merge> merges;
    merges.reserve(list->size());
    for (size_t index = 0; index < list->size(); ++index) {
      const Json &json = (*list)[index];
      std::string left;
      std::string right;
      if (const std::string *text = asString(&json)) {
        // Files converted from merges.txt can still have its first line.
        if (text->rfind("#version", 0) == 0)
          continue;
        size_t space = text->find(' ');
        if (space == std::string::npos ||
            text->find(' ', space + 1) != std::string::npos)
          return Status::error("merge #" + std::to_string(index) +
                               ": expected two tokens with a space between, "
                               "but got " +
                               quote(*text));
        left = text->substr(0, space);
        right = text->substr(space + 1);
      } else if (json.is_array() && json.size() == 2 && json[0].is_string() &&
                 json[1].is_string()) {
        left = json[0].get_ref<const std::string &>();
        right = json[1].get_ref<const std::string &>();
      } else {
        return Status::error("merge #" + std::to_string(index) +
                             ": expected a string or a pair of strings");
      }
      Merge merge;
      merge.left = vocabularyId(left);
      merge.right = vocabularyId(right);
      merge.rank = static_cast<int32_t>(merges.size());
      merge.result = vocabularyId(left + right);
      if (merge.left < 0 || merge.right < 0 || merge.result < 0)
        return Status::error("merge #" + std::to_string(index) + ": token " +
                             quote(merge.left < 0    ? left
                                   : merge.right < 0 ? right
                                                     : left + right) +
                             " is not in the vocabulary");
      merges.push_back(merge);
    }
    model.bpe.init(bpeOptions, byteIds, std::move(merges), std::move(words),
                   static_cast<int32_t>(model.tokens.size()));
    return {};
  }

  Status readPostProcessor() {
    std::vector<Leaf> leaves;
    Status status = flatten("post_processor", "processors", leaves);
    for (const Leaf &leaf : leaves) {
      if (!status.ok())
        break;
      // ByteLevel as a post-processor moves offsets, which we do not report.
      if (leaf.type == "ByteLevel")
        continue;
      if (leaf.type != "TemplateProcessing")
        return refuse("post_processor " + quote(leaf.type));
      status = readTemplate(*leaf.json);
    }
    return status;
  }

  Status readTemplate(const Json &json) {
    const Json *single = findMember(json, "single");
    if (!single || !single->is_array())
      return expected("post_processor.single", "an array", single);
    if (single->size() > kMaxSteps)
      return refuse("a post_processor of more than " +
                    std::to_string(kMaxSteps) + " tokens");
    const Json *known = findMember(json, "special_tokens");
    std::vector<int32_t> before;
    std::vector<int32_t> after;
    bool seenText = false;
    for (const Json &item : *single) {
      if (const Json *sequence = findMember(item, "Sequence")) {
        const std::string *id = asString(findMember(*sequence, "id"));
        if (!id || *id != "A" || seenText)
          return refuse("a post_processor whose 'single' has another text "
                        "than one 'A'");
        seenText = true;
        continue;
      }
      const Json *special = findMember(item, "SpecialToken");
      const std::string *name =
          special ? asString(findMember(*special, "id")) : nullptr;
      if (!name)
        return Status::error("expected the items of 'post_processor.single' "
                             "to be a 'Sequence' or a 'SpecialToken'");
      const Json *entry = known ? findMember(*known, name->c_str()) : nullptr;
      const Json *ids = entry ? findMember(*entry, "ids") : nullptr;
      if (!ids || !ids->is_array() || ids->size() > kMaxSteps)
        return Status::error("post_processor: token " + quote(*name) +
                             " has no ids");
      for (const Json &value : *ids) {
        int32_t id;
        if (!readIndex(&value, static_cast<int64_t>(model.tokens.size()), id) ||
            model.tokens[id].kind == ByteLevelModel::Token::Absent)
          return Status::error("post_processor: token " + quote(*name) +
                               " has an id outside the vocabulary");
        (seenText ? after : before).push_back(id);
      }
    }
    if (!seenText)
      return refuse("a post_processor whose 'single' has no text");
    // The later of two templates goes around what the earlier one made.
    model.prefixIds.insert(model.prefixIds.begin(), before.begin(),
                           before.end());
    model.suffixIds.insert(model.suffixIds.end(), after.begin(), after.end());
    return {};
  }

  /// tokenizer_config.json names BOS and EOS. Whether they are added is up to
  /// the post_processor, except for the classes that Hugging Face's package
  /// builds anew from the flags.
  Status applyConfig() {
    auto resolve = [&](const std::optional<std::string> &name, int32_t &id) {
      id = name ? findName(*name) : -1;
    };
    resolve(config.bosToken, model.bosId);
    resolve(config.eosToken, model.eosId);

    std::string_view name = config.tokenizerClass;
    constexpr std::string_view fast = "Fast";
    if (name.size() > fast.size() &&
        name.substr(name.size() - fast.size()) == fast)
      name.remove_suffix(fast.size());
    std::optional<bool> addBos;
    std::optional<bool> addEos;
    if (name == "GPTNeoXTokenizer") {
      addBos = config.addBos.value_or(false);
      addEos = config.addEos.value_or(false);
    } else if (name == "LlamaTokenizer" || name == "CodeLlamaTokenizer" ||
               name == "CohereTokenizer" || name == "GemmaTokenizer") {
      addBos = config.addBos;
      addEos = config.addEos;
    }
    struct {
      std::optional<bool> add;
      int32_t id;
      std::vector<int32_t> &ids;
      const char *key;
    } sides[] = {{addBos, model.bosId, model.prefixIds, "bos_token"},
                 {addEos, model.eosId, model.suffixIds, "eos_token"}};
    for (auto &side : sides) {
      if (!side.add)
        continue;
      side.ids.clear();
      if (!*side.add)
        continue;
      if (side.id < 0)
        return Status::error(std::string("tokenizer_config.json asks for '") +
                             side.key +
                             "' around the text but names no such token of "
                             "the vocabulary");
      side.ids.push_back(side.id);
    }
    return {};
  }

  const Json &root;
  const TokenizerConfig &config;
  ByteLevelModel &model;
  ByteAlphabet alphabet;
  const Json *modelJson = nullptr;
  const Json *vocabulary = nullptr;
  Bpe::Options bpeOptions;
  std::array<int32_t, 256> byteIds;
  std::vector<std::pair<std::string, int32_t>> words;
};

} // namespace

Status parseTokenizerJson(std::string_view text, const TokenizerConfig &config,
                          ByteLevelModel &model, bool &unsupported) {
  unsupported = false;
  Json root = Json::parse(text.begin(), text.end(), nullptr,
                          /*allow_exceptions=*/false);
  if (root.is_discarded())
    return Status::error("not well-formed JSON");
  Reader reader(root, config, model);
  Status status = reader.run();
  unsupported = reader.unsupported;
  return status;
}

} // namespace headrace::tokenizers
