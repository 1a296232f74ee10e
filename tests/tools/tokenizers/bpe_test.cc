//===- bpe_test.cc - Byte-level BPE beyond the goldens --------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/tools/tokenizers/test_util.h"

#include <chrono>
#include <random>
#include <thread>

namespace headrace::tokenizers {
namespace {

std::unique_ptr<Tokenizer> load(const std::string &name,
                                std::string_view config = {}) {
  LoadResult result =
      loadTokenizerJson(readData(name + "/tokenizer.json"), config);
  EXPECT_TRUE(result) << result.error;
  return std::move(result.tokenizer);
}

TEST(Bpe, NamesItsSpecialTokens) {
  LoadResult loaded = loadTokenizer(dataPath("qwen2"));
  ASSERT_TRUE(loaded) << loaded.error;
  const Tokenizer &tokenizer = *loaded.tokenizer;
  int32_t end = tokenizer.findToken("<|im_end|>");
  ASSERT_GE(end, 0);
  EXPECT_EQ(tokenizer.eosId(), end);
  EXPECT_EQ(tokenizer.bosId(), -1);
  EXPECT_TRUE(tokenizer.isSpecial(end));
  EXPECT_FALSE(tokenizer.isSpecial(tokenizer.findToken("a")));
  EXPECT_FALSE(tokenizer.isSpecial(-1));
  EXPECT_FALSE(tokenizer.isSpecial(tokenizer.vocabSize()));
  EXPECT_EQ(tokenizer.findToken("no such token"), -1);
}

TEST(Bpe, ConfigDecidesAboutBosOfTheClassesBuiltFromIt) {
  auto plain = encode(*load("neox"), "a");
  auto tokenizer = load("neox", R"({"tokenizer_class": "GPTNeoXTokenizerFast",
      "add_bos_token": true, "bos_token": "<|endoftext|>",
      "add_eos_token": true, "eos_token": {"content": "<|padding|>"}})");
  ASSERT_TRUE(tokenizer);
  std::vector<int32_t> framed = {tokenizer->bosId(), plain[0],
                                 tokenizer->eosId()};
  EXPECT_EQ(encode(*tokenizer, "a", true), framed);

  // Elsewhere the post_processor decides.
  tokenizer = load("llama3", R"({"tokenizer_class": "PreTrainedTokenizerFast",
      "add_bos_token": false, "bos_token": "<|begin_of_text|>"})");
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(encode(*tokenizer, "", true),
            std::vector<int32_t>{tokenizer->bosId()});
  tokenizer = load("llama3", R"({"tokenizer_class": "LlamaTokenizerFast",
      "add_bos_token": false, "bos_token": "<|begin_of_text|>"})");
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(encode(*tokenizer, "", true), std::vector<int32_t>{});
}

TEST(Bpe, AppendsAndLeavesIdsAloneOnError) {
  auto tokenizer = load("qwen2");
  std::vector<int32_t> ids = {7};
  EXPECT_FALSE(tokenizer->encode("ab\xFF", ids, false).ok());
  EXPECT_EQ(ids, std::vector<int32_t>{7});
  ASSERT_TRUE(tokenizer->encode("", ids, false).ok());
  EXPECT_EQ(ids, std::vector<int32_t>{7});
  ASSERT_TRUE(tokenizer->encode("a", ids, false).ok());
  EXPECT_EQ(ids.size(), 2u);
  EXPECT_EQ(ids[0], 7);
}

TEST(Bpe, RefusesTextThatIsTooLong) {
  auto tokenizer = load("qwen2");
  std::vector<int32_t> ids;
  Status status =
      tokenizer->encode(std::string(kMaxTextBytes + 1, 'a'), ids, false);
  EXPECT_EQ(status.message(),
            "expected a text of at most 16777216 bytes, but got 16777217");
}

TEST(Bpe, DecodeRefusesUnknownIds) {
  auto tokenizer = load("qwen2");
  std::string text = "kept";
  int32_t size = tokenizer->vocabSize();
  for (int32_t id : {-1, size, INT32_MAX, INT32_MIN}) {
    Status status = tokenizer->decode({0, id}, text);
    EXPECT_EQ(status.message(), "token id " + std::to_string(id) +
                                    " is not in the vocabulary of " +
                                    std::to_string(size) + " ids");
  }
  EXPECT_EQ(text, "kept");
}

TEST(Bpe, DecoderHoldsBytesBackAndStartsOver) {
  auto tokenizer = load("qwen2");
  // The three bytes of U+20AC in the byte-level alphabet.
  int32_t first = tokenizer->findToken("\u00e2");
  int32_t second = tokenizer->findToken("\u0124");
  int32_t third = tokenizer->findToken("\u00ac");
  ASSERT_TRUE(first >= 0 && second >= 0 && third >= 0);
  auto decoder = tokenizer->makeDecoder();
  std::string text;
  ASSERT_TRUE(decoder->push(first, text).ok());
  ASSERT_TRUE(decoder->push(second, text).ok());
  EXPECT_EQ(text, "");
  EXPECT_FALSE(decoder->push(-5, text).ok());
  ASSERT_TRUE(decoder->push(third, text).ok());
  EXPECT_EQ(text, "\u20ac");
  ASSERT_TRUE(decoder->push(first, text).ok());
  decoder->finish(text);
  EXPECT_EQ(text, "\u20ac\ufffd");
  decoder->finish(text);
  EXPECT_EQ(text, "\u20ac\ufffd");
}

TEST(Bpe, LongWordsTakeNoQuadraticTime) {
  auto tokenizer = load("llama3");
  std::mt19937 random(1);
  std::string text(1 << 20, 'a');
  for (char &c : text)
    c = "etaoinshr"[random() % 9];
  auto begin = std::chrono::steady_clock::now();
  std::vector<int32_t> ids = encode(*tokenizer, text);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(60));
  EXPECT_EQ(decode(*tokenizer, ids), text);
}

TEST(Bpe, MergesAsStringsAndAsPairsAreTheSame) {
  Json json = readJson("qwen2/tokenizer.json");
  Json &merges = json["model"]["merges"];
  ASSERT_TRUE(merges[0].is_array());
  for (Json &merge : merges)
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  merges.insert(merges.begin(), "#version: 0.2");
  LoadResult strings = loadTokenizerJson(json.dump());
  ASSERT_TRUE(strings) << strings.error;
  auto pairs = load("qwen2");
  std::string text = "All human beings are born free and equal";
  EXPECT_EQ(encode(*strings.tokenizer, text), encode(*pairs, text));
}

TEST(Bpe, UnknownTokenStandsForMissingBytes) {
  std::string json = R"({"model": {"type": "BPE", "unk_token": "?", FUSE
      "vocab": {"a": 0, "b": 1, "ab": 2, "?": 3}, "merges": ["a b"]},
      "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false,
                        "use_regex": false},
      "decoder": {"type": "ByteLevel"}})";
  auto with = [&](std::string_view text) {
    std::string copy = json;
    return copy.replace(copy.find("FUSE"), 4, text);
  };
  LoadResult apart = loadTokenizerJson(with(""));
  ASSERT_TRUE(apart) << apart.error;
  EXPECT_EQ(encode(*apart.tokenizer, "abxyab"),
            (std::vector<int32_t>{2, 3, 3, 2}));
  LoadResult fused = loadTokenizerJson(with("\"fuse_unk\": true,"));
  ASSERT_TRUE(fused) << fused.error;
  EXPECT_EQ(encode(*fused.tokenizer, "abxyab"),
            (std::vector<int32_t>{2, 3, 2}));
}

TEST(Bpe, OneTokenizerServesManyThreads) {
  auto tokenizer = load("neox");
  std::string text = readData("texts.json");
  std::vector<int32_t> expected = encode(*tokenizer, text);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int round = 0; round < 3; ++round) {
        std::vector<int32_t> ids;
        EXPECT_TRUE(tokenizer->encode(text, ids, false).ok());
        EXPECT_EQ(ids, expected);
      }
    });
  for (std::thread &thread : threads)
    thread.join();
}

} // namespace
} // namespace headrace::tokenizers
