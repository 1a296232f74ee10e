//===- sentencepiece_test.cc - SentencePiece beyond the goldens -----------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/tools/tokenizers/test_util.h"

#include <random>

namespace headrace::tokenizers {
namespace {

const std::string &llamaBytes() {
  static const std::string bytes = readData("llama2/tokenizer.model");
  return bytes;
}

std::unique_ptr<Tokenizer> load(std::string_view config = {}) {
  LoadResult result = loadSentencePiece(llamaBytes(), config);
  EXPECT_TRUE(result) << result.error;
  return std::move(result.tokenizer);
}

std::string errorOf(std::string_view bytes, std::string_view config = {}) {
  LoadResult result = loadSentencePiece(bytes, config);
  EXPECT_FALSE(result);
  return result.error;
}

/// Protobuf by hand: a length-delimited field of a message.
std::string field(unsigned number, const std::string &bytes) {
  std::string out;
  auto varint = [&](uint64_t value) {
    for (; value >= 0x80; value >>= 7)
      out += static_cast<char>(value | 0x80);
    out += static_cast<char>(value);
  };
  varint(number << 3 | 2);
  varint(bytes.size());
  return out + bytes;
}

TEST(SentencePiece, DefaultsAreThoseOfLlama) {
  auto tokenizer = load();
  EXPECT_EQ(tokenizer->bosId(), 1);
  EXPECT_EQ(tokenizer->eosId(), 2);
  EXPECT_TRUE(tokenizer->isSpecial(1));
  EXPECT_EQ(tokenizer->findToken("</s>"), 2);
  EXPECT_EQ(tokenizer->findToken("nothing of the kind"), -1);
  EXPECT_EQ(encode(*tokenizer, "", true), std::vector<int32_t>{1});
}

TEST(SentencePiece, ContinuedTextKeepsItsSpace) {
  auto tokenizer = load();
  std::vector<int32_t> ids = encode(*tokenizer, "Hello world");
  EXPECT_EQ(decode(*tokenizer, ids), "Hello world");
  EXPECT_EQ(decode(*tokenizer, ids, {true, /*textStart=*/false}),
            " Hello world");
  // BOS does not count as text.
  ids.insert(ids.begin(), tokenizer->bosId());
  EXPECT_EQ(decode(*tokenizer, ids), "Hello world");
  EXPECT_EQ(decode(*tokenizer, ids, {/*skipSpecial=*/false, false}),
            "<s> Hello world");
}

TEST(SentencePiece, BytePiecesFormCharacters) {
  auto tokenizer = load();
  auto byte = [&](const char *name) { return tokenizer->findToken(name); };
  std::vector<int32_t> euro = {byte("<0xE2>"), byte("<0x82>"), byte("<0xAC>")};
  EXPECT_EQ(decode(*tokenizer, euro), "\u20ac");
  auto decoder = tokenizer->makeDecoder();
  std::string text;
  ASSERT_TRUE(decoder->push(euro[0], text).ok());
  EXPECT_EQ(text, "");
  ASSERT_TRUE(decoder->push(byte("<0x41>"), text).ok());
  EXPECT_EQ(text, "\ufffdA");
  ASSERT_TRUE(decoder->push(euro[0], text).ok());
  ASSERT_TRUE(decoder->push(euro[1], text).ok());
  decoder->finish(text);
  EXPECT_EQ(text, "\ufffdA\ufffd\ufffd");
}

TEST(SentencePiece, DecodeRefusesUnknownIds) {
  auto tokenizer = load();
  std::string text;
  for (int32_t id : {-1, tokenizer->vocabSize(), INT32_MAX})
    EXPECT_EQ(tokenizer->decode({id}, text).message(),
              "token id " + std::to_string(id) +
                  " is not in the vocabulary of " +
                  std::to_string(tokenizer->vocabSize()) + " ids");
}

TEST(SentencePiece, RefusesTextThatIsNotUtf8) {
  auto tokenizer = load();
  std::vector<int32_t> ids;
  EXPECT_EQ(tokenizer->encode("ab\xC3", ids, false).message(),
            "the text is not UTF-8 at byte 2");
}

TEST(SentencePiece, AddedTokensOfTheConfig) {
  std::string next = std::to_string(load()->vocabSize());
  auto tokenizer = load(R"({"tokenizer_class": "LlamaTokenizer",
      "legacy": false, "added_tokens_decoder": {
        "1": {"content": "<s>", "special": true},
        ")" + next + R"(": {"content": "[TOOL]", "special": false}}})");
  ASSERT_TRUE(tokenizer);
  int32_t tool = tokenizer->findToken("[TOOL]");
  EXPECT_EQ(std::to_string(tool), next);
  EXPECT_EQ(tokenizer->vocabSize(), tool + 1);
  // Not legacy: no space in front of what follows a token.
  std::vector<int32_t> ids = encode(*tokenizer, "<s>Hello[TOOL]Hello Hello");
  EXPECT_EQ(ids.front(), 1);
  EXPECT_EQ(decode(*tokenizer, ids), "Hello[TOOL]Hello Hello");
  std::vector<int32_t> plain = encode(*tokenizer, "Hello");
  EXPECT_NE(
      std::vector<int32_t>(ids.begin() + 1, ids.begin() + 1 + plain.size()),
      plain);
}

TEST(SentencePiece, NamesWhatItRefuses) {
  const std::string name = "tokenizer.model: ";
  EXPECT_EQ(errorOf(""), name + "not a SentencePiece model");
  EXPECT_EQ(errorOf("{\"version\": \"1.0\"}"),
            name + "not a SentencePiece model");
  EXPECT_EQ(errorOf(llamaBytes(), R"({"tokenizer_class": "T5Tokenizer"})"),
            name + "tokenizer_class 'T5Tokenizer' in tokenizer_config.json is "
                   "not supported with a SentencePiece model");
  EXPECT_EQ(
      errorOf(llamaBytes(), R"({"bos_token": "<x>", "add_bos_token": true})"),
      name + "tokenizer_config.json asks for bos_token around the text "
             "but names no such token of the model");
}

TEST(SentencePiece, ChecksPiecesAndSpecs) {
  const std::string name = "tokenizer.model: ";
  std::string unknown = field(1, field(1, "<unk>") + "\x18\x02");
  std::string letter = field(1, field(1, "a"));
  std::string normalizer = field(3, field(1, "identity"));
  auto trainer = [](char type) { return field(2, std::string("\x18") + type); };
  EXPECT_EQ(errorOf(unknown + letter + trainer(3) + normalizer),
            name + "SentencePiece model type WORD is not supported");
  EXPECT_EQ(errorOf(unknown + letter + trainer(9) + normalizer),
            name + "SentencePiece model type 9 is not supported");
  EXPECT_EQ(errorOf(unknown + letter + trainer(2)),
            name + "not a SentencePiece model");
  EXPECT_EQ(errorOf(unknown + field(1, field(1, "")) + trainer(2) + normalizer),
            name + "piece #1 is not 1 to 1024 bytes of UTF-8");
  EXPECT_EQ(
      errorOf(unknown + field(1, field(1, "\xFF")) + trainer(2) + normalizer),
      name + "piece #1 is not 1 to 1024 bytes of UTF-8");
  EXPECT_EQ(errorOf(unknown + field(1, field(1, "a") + "\x18\x05") +
                    trainer(2) + normalizer),
            name + "piece #1 of type UNUSED is not supported");
  EXPECT_EQ(errorOf(unknown + field(1, field(1, "a") + "\x18\x06") +
                    trainer(2) + normalizer),
            name + "piece #1 is of type BYTE but is not like <0x0A>");
  EXPECT_EQ(
      errorOf(unknown +
              field(1, field(1, "a") + std::string("\x15\0\0\xC0\x7F", 5)) +
              trainer(2) + normalizer),
      name + "piece #1 has a score that is not finite");
  EXPECT_EQ(errorOf(unknown + letter + trainer(2) +
                    field(3, field(2, "0123456789abcdef"))),
            name + "its normalization rules are broken");
  // What the library finds: two pieces that are the same.
  std::string twice =
      errorOf(unknown + letter + letter + trainer(2) + normalizer);
  EXPECT_EQ(twice.find(name + "SentencePiece cannot load it: "), 0u) << twice;
}

TEST(SentencePiece, DamagedModelsDoNoHarm) {
  const std::string &bytes = llamaBytes();
  for (size_t size = 0; size < bytes.size(); size += 997)
    EXPECT_FALSE(loadSentencePiece(bytes.substr(0, size)));
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::string damaged = bytes;
    for (int i = 0; i < 1 + round % 2; ++i)
      damaged[random() % damaged.size()] = static_cast<char>(random());
    LoadResult result = loadSentencePiece(damaged);
    EXPECT_NE(bool(result), !result.error.empty());
    if (!result)
      continue;
    std::vector<int32_t> ids;
    if (result.tokenizer->encode("Hello \u4f60\u597d", ids, true).ok()) {
      std::string text;
      EXPECT_TRUE(result.tokenizer->decode(ids, text).ok());
    }
  }
}

} // namespace
} // namespace headrace::tokenizers
