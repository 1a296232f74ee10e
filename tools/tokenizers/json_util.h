//===- json_util.h - Reading JSON without exceptions ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef HEADRACE_TOOLS_TOKENIZERS_JSON_UTIL_H
#define HEADRACE_TOOLS_TOKENIZERS_JSON_UTIL_H

#include "tools/tokenizers/tokenizer.h"

#include <nlohmann/json.hpp>

namespace headrace::tokenizers {

using Json = nlohmann::json;

/// The member `key` of `object`, or null when it is absent, is null, or
/// `object` is no object.
inline const Json *findMember(const Json &object, const char *key) {
  if (!object.is_object())
    return nullptr;
  auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

inline const std::string *asString(const Json *value) {
  return value && value->is_string() ? &value->get_ref<const std::string &>()
                                     : nullptr;
}

/// Reads an optional boolean member; absent leaves `value` as it is.
inline Status readBool(const Json &object, const char *key, bool &value) {
  const Json *member = findMember(object, key);
  if (!member)
    return {};
  if (!member->is_boolean())
    return Status::error("expected '" + std::string(key) +
                         "' to be true or false, but got " +
                         member->type_name());
  value = member->get<bool>();
  return {};
}

/// True for an integer from 0 to `limit`, exclusive.
inline bool readIndex(const Json *value, int64_t limit, int32_t &result) {
  if (!value || !value->is_number_integer())
    return false;
  if (value->is_number_unsigned()) {
    if (value->get<uint64_t>() >= static_cast<uint64_t>(limit))
      return false;
  } else if (value->get<int64_t>() < 0 || value->get<int64_t>() >= limit) {
    return false;
  }
  result = static_cast<int32_t>(value->get<int64_t>());
  return true;
}

} // namespace headrace::tokenizers

#endif // HEADRACE_TOOLS_TOKENIZERS_JSON_UTIL_H
