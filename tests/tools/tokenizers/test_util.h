//===- test_util.h - Shared by the tokenizer tests ------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef HEADRACE_TESTS_TOOLS_TOKENIZERS_TEST_UTIL_H
#define HEADRACE_TESTS_TOOLS_TOKENIZERS_TEST_UTIL_H

#include "tools/tokenizers/tokenizer.h"

#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <nlohmann/json.hpp>

namespace headrace::tokenizers {

using Json = nlohmann::json;

inline std::string dataPath(const std::string &name) {
  return std::string(HEADRACE_TOKENIZER_DATA) + "/" + name;
}

inline std::string readData(const std::string &name) {
  std::ifstream file(dataPath(name), std::ios::binary);
  EXPECT_TRUE(file) << name;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

inline Json readJson(const std::string &name) {
  Json json = Json::parse(readData(name), nullptr, false);
  EXPECT_FALSE(json.is_discarded()) << name;
  return json;
}

inline std::vector<int32_t> encode(const Tokenizer &tokenizer,
                                   std::string_view text,
                                   bool addSpecial = false) {
  std::vector<int32_t> ids;
  Status status = tokenizer.encode(text, ids, addSpecial);
  EXPECT_TRUE(status.ok()) << status.message();
  return ids;
}

inline std::string decode(const Tokenizer &tokenizer,
                          const std::vector<int32_t> &ids,
                          DecodeOptions options = {}) {
  std::string text;
  Status status = tokenizer.decode(ids, text, options);
  EXPECT_TRUE(status.ok()) << status.message();
  return text;
}

/// A directory of its own, removed with what is in it.
class ScratchDirectory {
public:
  ScratchDirectory();
  ~ScratchDirectory();
  void write(const std::string &name, std::string_view bytes) const;
  const std::string &path() const { return root; }

private:
  std::string root;
};

} // namespace headrace::tokenizers

#endif // HEADRACE_TESTS_TOOLS_TOKENIZERS_TEST_UTIL_H
