//===- tokenizer_json_fuzz.cc - Fuzzes the reader of tokenizer.json -------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/tokenizers/tokenizer.h"

#include <cstdlib>

using namespace headrace::tokenizers;

/// For promises of the interface that must hold whatever the bytes are.
static void require(bool condition) {
  if (!condition)
    std::abort();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string_view json(reinterpret_cast<const char *>(data), size);
  LoadResult loaded = loadTokenizerJson(json);
  require(bool(loaded) == loaded.error.empty());
  if (!loaded)
    return 0;

  static constexpr std::string_view text =
      "Hello  w\u00f6rld's 123,456\r\n\n\t<|endoftext|> e\u0301\u4f60\u597d "
      "\U0001F468\u200D\U0001F469 ab ab";
  const Tokenizer &tokenizer = *loaded.tokenizer;
  std::vector<int32_t> ids;
  if (tokenizer.encode(text, ids, /*addSpecial=*/true).ok()) {
    for (int32_t id : ids)
      require(id >= 0 && id < tokenizer.vocabSize());
    std::string decoded;
    require(tokenizer.decode(ids, decoded, {/*skipSpecial=*/false}).ok());
    // What decodes is UTF-8, so it can be encoded again.
    std::vector<int32_t> again;
    Status status = tokenizer.encode(decoded, again, /*addSpecial=*/false);
    require(status.message().find("not UTF-8") == std::string::npos);
  } else {
    require(ids.empty());
  }
  return 0;
}
