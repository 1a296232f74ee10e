//===- tokenizer_config.cc - What tokenizer_config.json says --------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/tokenizers/tokenizer_config.h"

#include "tools/tokenizers/added_token_json.h"

#include <cctype>

namespace headrace::tokenizers {

static Status fail(const std::string &what) {
  return Status::error("tokenizer_config.json: " + what);
}

static Status readOptionalBool(const Json &json, const char *key,
                               std::optional<bool> &value) {
  if (!findMember(json, key))
    return {};
  bool read = false;
  Status status = readBool(json, key, read);
  if (!status.ok())
    return fail(status.message());
  value = read;
  return {};
}

/// A token is written as a string or as an object with its content.
static Status readToken(const Json &json, const char *key,
                        std::optional<std::string> &value) {
  const Json *member = findMember(json, key);
  if (!member)
    return {};
  const std::string *content =
      asString(member->is_object() ? findMember(*member, "content") : member);
  if (!content)
    return fail("expected '" + std::string(key) + "' to be a token, but got " +
                member->type_name());
  value = *content;
  return {};
}

Status parseTokenizerConfig(std::string_view text, TokenizerConfig &config) {
  if (text.empty())
    return {};
  Json json = Json::parse(text.begin(), text.end(), nullptr,
                          /*allow_exceptions=*/false);
  if (json.is_discarded())
    return fail("not well-formed JSON");
  if (!json.is_object())
    return fail(std::string("expected an object, but got ") + json.type_name());

  if (const Json *name = findMember(json, "tokenizer_class")) {
    if (!name->is_string())
      return fail("expected 'tokenizer_class' to be a string, but got " +
                  std::string(name->type_name()));
    config.tokenizerClass = name->get_ref<const std::string &>();
  }
  for (Status status : {readOptionalBool(json, "add_bos_token", config.addBos),
                        readOptionalBool(json, "add_eos_token", config.addEos),
                        readOptionalBool(json, "legacy", config.legacy),
                        readToken(json, "bos_token", config.bosToken),
                        readToken(json, "eos_token", config.eosToken)})
    if (!status.ok())
      return status;

  const Json *added = findMember(json, "added_tokens_decoder");
  if (!added)
    return {};
  if (!added->is_object() || added->size() > kMaxAddedTokens)
    return fail("expected 'added_tokens_decoder' to be an object of at most " +
                std::to_string(kMaxAddedTokens) + " tokens");
  for (const auto &[key, value] : added->items()) {
    int32_t id = 0;
    bool good = !key.empty() && key.size() <= 7;
    for (char c : key) {
      good = good && std::isdigit(static_cast<unsigned char>(c));
      if (good)
        id = id * 10 + (c - '0');
    }
    if (!good || id >= kMaxTokens)
      return fail("expected the keys of 'added_tokens_decoder' to be token "
                  "ids, but got '" +
                  key.substr(0, 32) + "'");
    AddedToken token;
    token.id = id;
    Status status = readAddedToken(value, token);
    if (!status.ok())
      return fail("added token " + key + ": " + status.message());
    config.addedTokens.push_back(std::move(token));
  }
  return {};
}

} // namespace headrace::tokenizers
