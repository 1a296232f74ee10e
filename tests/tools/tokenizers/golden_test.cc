//===- golden_test.cc - Ids and texts against the Python packages ---------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/tools/tokenizers/test_util.h"
#include "tools/tokenizers/utf8.h"

namespace headrace::tokenizers {
namespace {

class Golden : public testing::TestWithParam<const char *> {};

TEST_P(Golden, EncodesAndDecodesLikePython) {
  LoadResult loaded = loadTokenizer(dataPath(GetParam()));
  ASSERT_TRUE(loaded) << loaded.error;
  const Tokenizer &tokenizer = *loaded.tokenizer;
  Json expected = readJson(std::string(GetParam()) + "/expected.json");

  EXPECT_EQ(tokenizer.vocabSize(), expected["vocabSize"].get<int32_t>());
  auto prefix = expected["prefix"].get<std::vector<int32_t>>();
  auto suffix = expected["suffix"].get<std::vector<int32_t>>();
  Json texts = readJson("texts.json");
  ASSERT_GE(expected["cases"].size(), 60u);
  for (const Json &item : expected["cases"]) {
    auto text = texts.at(item["text"].get<size_t>()).get<std::string>();
    auto ids = item["ids"].get<std::vector<int32_t>>();
    SCOPED_TRACE(Json(text).dump(-1, ' ', /*ensure_ascii=*/true));
    EXPECT_EQ(encode(tokenizer, text), ids);

    std::vector<int32_t> framed = prefix;
    framed.insert(framed.end(), ids.begin(), ids.end());
    framed.insert(framed.end(), suffix.begin(), suffix.end());
    EXPECT_EQ(encode(tokenizer, text, /*addSpecial=*/true), framed);

    std::string decoded = item.value("decoded", text);
    EXPECT_EQ(decode(tokenizer, ids), decoded);
    EXPECT_EQ(decode(tokenizer, framed), decoded);
    if (item.contains("decodedAll"))
      EXPECT_EQ(decode(tokenizer, ids, {/*skipSpecial=*/false}),
                item["decodedAll"].get<std::string>());
  }
}

TEST_P(Golden, DecoderGivesWholeCharactersAsTheyCome) {
  LoadResult loaded = loadTokenizer(dataPath(GetParam()));
  ASSERT_TRUE(loaded) << loaded.error;
  Json expected = readJson(std::string(GetParam()) + "/expected.json");
  Json texts = readJson("texts.json");
  std::unique_ptr<Decoder> decoder = loaded.tokenizer->makeDecoder();
  for (const Json &item : expected["cases"]) {
    std::string text;
    for (const Json &id : item["ids"]) {
      Status status = decoder->push(id.get<int32_t>(), text);
      ASSERT_TRUE(status.ok()) << status.message();
      ASSERT_EQ(findMalformedUtf8(text), std::string::npos);
    }
    decoder->finish(text);
    EXPECT_EQ(
        text,
        item.value("decoded",
                   texts.at(item["text"].get<size_t>()).get<std::string>()));
  }
}

INSTANTIATE_TEST_SUITE_P(
    , Golden,
    testing::Values("neox", "qwen2", "llama3", "gpt2-prefix-space",
                    "several-splits", "o200k", "split-removed",
                    "split-removed-inverted", "split-merged-with-previous",
                    "split-merged-with-next", "split-contiguous", "llama2",
                    "unigram"),
    [](const testing::TestParamInfo<const char *> &info) {
      std::string name = info.param;
      for (char &c : name)
        if (c == '-')
          c = '_';
      return name;
    });

} // namespace
} // namespace headrace::tokenizers
