//===- added_token_json.h - The JSON form of an added token ---------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef HEADRACE_TOOLS_TOKENIZERS_ADDED_TOKEN_JSON_H
#define HEADRACE_TOOLS_TOKENIZERS_ADDED_TOKEN_JSON_H

#include "tools/tokenizers/added_tokens.h"
#include "tools/tokenizers/json_util.h"

namespace headrace::tokenizers {

/// Reads everything but the id, which the two files keep in different places.
inline Status readAddedToken(const Json &json, AddedToken &token) {
  const std::string *content = asString(findMember(json, "content"));
  if (!content || content->empty() || content->size() > kMaxAddedTokenBytes)
    return Status::error("expected 'content' to be a string of 1 to " +
                         std::to_string(kMaxAddedTokenBytes) + " bytes");
  token.content = *content;
  Status status = readBool(json, "special", token.special);
  token.normalized = !token.special;
  struct {
    const char *key;
    bool *value;
  } flags[] = {{"single_word", &token.singleWord},
               {"lstrip", &token.lstrip},
               {"rstrip", &token.rstrip},
               {"normalized", &token.normalized}};
  for (auto &flag : flags)
    if (status.ok())
      status = readBool(json, flag.key, *flag.value);
  return status;
}

} // namespace headrace::tokenizers

#endif // HEADRACE_TOOLS_TOKENIZERS_ADDED_TOKEN_JSON_H
