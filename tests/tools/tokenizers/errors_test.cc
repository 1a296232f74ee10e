//===- errors_test.cc - Broken and unsupported files ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/tools/tokenizers/test_util.h"

#include <functional>

namespace headrace::tokenizers {
namespace {

/// A small correct file, to be spoiled.
Json smallJson() {
  return Json::parse(R"({
    "version": "1.0",
    "added_tokens": [{"id": 3, "content": "<e>", "special": true,
                      "single_word": false, "lstrip": false, "rstrip": false,
                      "normalized": false}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false,
                      "trim_offsets": true, "use_regex": true},
    "post_processor": null,
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "dropout": null, "unk_token": null,
              "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}
  })");
}

std::string errorOf(const Json &json, std::string_view config = {}) {
  LoadResult result = loadTokenizerJson(json.dump(), config);
  EXPECT_FALSE(result);
  return result.error;
}

TEST(Errors, SmallFileIsCorrect) {
  LoadResult result = loadTokenizerJson(smallJson().dump());
  ASSERT_TRUE(result) << result.error;
  EXPECT_EQ(encode(*result.tokenizer, "abba<e>b"),
            (std::vector<int32_t>{2, 1, 0, 3, 1}));
}

TEST(Errors, EveryTruncationIsAnError) {
  std::string text = smallJson().dump();
  for (size_t size = 0; size < text.size(); ++size)
    EXPECT_EQ(loadTokenizerJson(text.substr(0, size)).error,
              "tokenizer.json: not well-formed JSON");
}

struct Spoiled {
  const char *error;
  std::function<void(Json &)> spoil;
};

TEST(Errors, BrokenFilesAreNamedWithTheCause) {
  const Spoiled cases[] = {
      {"expected an object, but got array", [](Json &j) { j = Json::array(); }},
      {"expected 'model' to be an object, but got none",
       [](Json &j) { j.erase("model"); }},
      {"expected 'model.type' to be a string, but got none",
       [](Json &j) { j["model"].erase("type"); }},
      {"expected 'model.vocab' to be an object, but got array",
       [](Json &j) { j["model"]["vocab"] = Json::array({"a"}); }},
      {"expected 'model.vocab' to have 1 to 4194304 tokens, but got 0",
       [](Json &j) { j["model"]["vocab"] = Json::object(); }},
      {"expected the id of token 'a' to be a number from 0 to 4194303",
       [](Json &j) { j["model"]["vocab"]["a"] = -1; }},
      {"expected the id of token 'a' to be a number from 0 to 4194303",
       [](Json &j) { j["model"]["vocab"]["a"] = 4294967296; }},
      {"expected the id of token 'a' to be a number from 0 to 4194303",
       [](Json &j) { j["model"]["vocab"]["a"] = 0.5; }},
      {"expected the id of token 'a' to be a number from 0 to 4194303",
       [](Json &j) { j["model"]["vocab"]["a"] = "0"; }},
      {"two tokens have id 0, one of them 'b'",
       [](Json &j) { j["model"]["vocab"]["b"] = 0; }},
      {"expected 'model.merges' to be an array, but got none",
       [](Json &j) { j["model"].erase("merges"); }},
      {"merge #0: token 'x' is not in the vocabulary",
       [](Json &j) { j["model"]["merges"] = {"a x"}; }},
      {"merge #0: token 'ba' is not in the vocabulary",
       [](Json &j) { j["model"]["merges"] = {"b a"}; }},
      {"merge #0: expected two tokens with a space between, but got 'ab'",
       [](Json &j) { j["model"]["merges"] = {"ab"}; }},
      {"merge #1: expected two tokens with a space between, but got 'a b c'",
       [](Json &j) { j["model"]["merges"] = {"a b", "a b c"}; }},
      {"merge #0: expected a string or a pair of strings",
       [](Json &j) { j["model"]["merges"] = {{"a", "b", "ab"}}; }},
      {"merge #0: expected a string or a pair of strings",
       [](Json &j) { j["model"]["merges"] = {7}; }},
      {"expected 'ignore_merges' to be true or false, but got number",
       [](Json &j) { j["model"]["ignore_merges"] = 1; }},
      {"expected 'model.unk_token' to be a string, but got number",
       [](Json &j) { j["model"]["unk_token"] = 1; }},
      {"expected 'added_tokens' to be an array of sensible size, but got "
       "object",
       [](Json &j) { j["added_tokens"] = Json::object(); }},
      {"added_tokens: expected 'content' to be a string of 1 to 1024 bytes",
       [](Json &j) { j["added_tokens"][0]["content"] = ""; }},
      {"added_tokens: expected 'lstrip' to be true or false, but got string",
       [](Json &j) { j["added_tokens"][0]["lstrip"] = "no"; }},
      {"expected the id of added token '<e>' to be a number from 0 to 4194303",
       [](Json &j) { j["added_tokens"][0].erase("id"); }},
      {"added token '<e>' has the id of another token, 1",
       [](Json &j) { j["added_tokens"][0]["id"] = 1; }},
      {"added token 'ab' has id 3 but the vocabulary gives it 2",
       [](Json &j) { j["added_tokens"][0]["content"] = "ab"; }},
      {"expected 'pre_tokenizer.type' to be a string, but got none",
       [](Json &j) { j["pre_tokenizer"] = Json::array(); }},
      {"expected 'pre_tokenizer.pretokenizers' to be an array, but got none",
       [](Json &j) { j["pre_tokenizer"] = {{"type", "Sequence"}}; }},
      {"expected 'use_regex' to be true or false, but got number",
       [](Json &j) { j["pre_tokenizer"]["use_regex"] = 1; }},
      {"expected 'pattern' of the pre_tokenizer Split to have a string named "
       "'Regex' or 'String'",
       [](Json &j) {
         j["pre_tokenizer"] = {{"type", "Split"}, {"behavior", "Isolated"}};
       }},
      {"expected 'post_processor.single' to be an array, but got none",
       [](Json &j) { j["post_processor"] = {{"type", "TemplateProcessing"}}; }},
      {"post_processor: token 'x' has no ids",
       [](Json &j) {
         j["post_processor"] = {
             {"type", "TemplateProcessing"},
             {"single", {{{"SpecialToken", {{"id", "x"}}}}}}};
       }},
      {"post_processor: token 'x' has an id outside the vocabulary",
       [](Json &j) {
         j["post_processor"] = {{"type", "TemplateProcessing"},
                                {"single", {{{"SpecialToken", {{"id", "x"}}}}}},
                                {"special_tokens", {{"x", {{"ids", {4}}}}}}};
       }},
  };
  for (const Spoiled &spoiled : cases) {
    Json json = smallJson();
    spoiled.spoil(json);
    EXPECT_EQ(errorOf(json), std::string("tokenizer.json: ") + spoiled.error);
  }
}

TEST(Errors, UnsupportedPartsAreNamed) {
  auto type = [](const char *key, const char *name) {
    return [=](Json &j) { j[key] = {{"type", name}}; };
  };
  const Spoiled cases[] = {
      {"version '2.0'", [](Json &j) { j["version"] = "2.0"; }},
      {"model type 'Unigram'", [](Json &j) { j["model"]["type"] = "Unigram"; }},
      {"a BPE model with byte_fallback",
       [](Json &j) { j["model"]["byte_fallback"] = true; }},
      {"a BPE model with end_of_word_suffix",
       [](Json &j) { j["model"]["end_of_word_suffix"] = "</w>"; }},
      {"a BPE model with dropout",
       [](Json &j) { j["model"]["dropout"] = 0.1; }},
      {"normalizer 'NFKC'", type("normalizer", "NFKC")},
      {"normalizer 'Lowercase'",
       [](Json &j) {
         j["normalizer"] = {
             {"type", "Sequence"},
             {"normalizers", {{{"type", "NFC"}}, {{"type", "Lowercase"}}}}};
       }},
      {"pre_tokenizer 'Metaspace'", type("pre_tokenizer", "Metaspace")},
      {"a pre_tokenizer without 'ByteLevel'",
       [](Json &j) { j.erase("pre_tokenizer"); }},
      {"a pre_tokenizer with 'Digits' after 'ByteLevel'",
       [](Json &j) {
         j["pre_tokenizer"] = {
             {"type", "Sequence"},
             {"pretokenizers", {j["pre_tokenizer"], {{"type", "Digits"}}}}};
       }},
      {"split behavior 'Odd'",
       [](Json &j) {
         j["pre_tokenizer"] = {{"type", "Split"},
                               {"pattern", {{"String", " "}}},
                               {"behavior", "Odd"}};
       }},
      {"decoder 'WordPiece'", type("decoder", "WordPiece")},
      {"a decoder other than one 'ByteLevel'",
       [](Json &j) { j.erase("decoder"); }},
      {"post_processor 'BertProcessing'",
       type("post_processor", "BertProcessing")},
      {"a post_processor whose 'single' has no text",
       [](Json &j) {
         j["post_processor"] = {{"type", "TemplateProcessing"},
                                {"single", Json::array()}};
       }},
  };
  for (const Spoiled &spoiled : cases) {
    Json json = smallJson();
    spoiled.spoil(json);
    EXPECT_EQ(errorOf(json), std::string("tokenizer.json: ") + spoiled.error +
                                 " is not supported");
  }
}

TEST(Errors, RegexIsQuoted) {
  Json json = smallJson();
  json["pre_tokenizer"] = {{"type", "Split"},
                           {"pattern", {{"Regex", "a\\b"}}},
                           {"behavior", "Isolated"},
                           {"invert", false}};
  EXPECT_EQ(errorOf(json),
            "tokenizer.json: pre_tokenizer: regex 'a\\b' uses the escape "
            "'\\b' at byte 1, which is not supported");
}

TEST(Errors, DeepNestingIsNoRecursion) {
  std::string open;
  std::string close;
  for (int i = 0; i < 200000; ++i) {
    open += R"({"type":"Sequence","pretokenizers":[)";
    close += "]}";
  }
  Json json = smallJson();
  json["pre_tokenizer"] = "HERE";
  std::string text = json.dump();
  text.replace(text.find("\"HERE\""), 6, open + close);
  EXPECT_EQ(loadTokenizerJson(text).error,
            "tokenizer.json: a pre_tokenizer of more than 64 steps is not "
            "supported");
  EXPECT_FALSE(loadTokenizerJson(std::string(1000000, '[')));
}

TEST(Errors, ConfigIsChecked) {
  Json json = smallJson();
  const std::string start = "tokenizer.json: tokenizer_config.json";
  EXPECT_EQ(errorOf(json, "{"), start + ": not well-formed JSON");
  EXPECT_EQ(errorOf(json, "[]"), start + ": expected an object, but got array");
  EXPECT_EQ(errorOf(json, R"({"add_bos_token": "yes"})"),
            start + ": expected 'add_bos_token' to be true or false, but got "
                    "string");
  EXPECT_EQ(errorOf(json, R"({"bos_token": 1})"),
            start + ": expected 'bos_token' to be a token, but got number");
  EXPECT_EQ(errorOf(json, R"({"tokenizer_class": 1})"),
            start + ": expected 'tokenizer_class' to be a string, but got "
                    "number");
  EXPECT_EQ(errorOf(json, R"({"added_tokens_decoder": {"x": {}}})"),
            start + ": expected the keys of 'added_tokens_decoder' to be token "
                    "ids, but got 'x'");
  EXPECT_EQ(errorOf(json, R"({"tokenizer_class": "LlamaTokenizer",
                              "add_bos_token": true, "bos_token": "<x>"})"),
            start + " asks for 'bos_token' around the text but names no such "
                    "token of the vocabulary");
}

TEST(Errors, MissingByteIsAnErrorOfEncode) {
  LoadResult result = loadTokenizerJson(smallJson().dump());
  ASSERT_TRUE(result);
  std::vector<int32_t> ids;
  EXPECT_EQ(result.tokenizer->encode("abc", ids, false).message(),
            "the vocabulary has no token for byte 99 of the text and no "
            "unknown token");
  EXPECT_TRUE(ids.empty());
}

TEST(Errors, DirectoryWithoutTokenizer) {
  ScratchDirectory directory;
  EXPECT_EQ(loadTokenizer(directory.path()).error,
            directory.path() +
                ": has neither a tokenizer.json nor a tokenizer.model");
  EXPECT_EQ(loadTokenizer(directory.path() + "/none").error,
            directory.path() +
                "/none: has neither a tokenizer.json nor a tokenizer.model");
}

TEST(Errors, DirectoryFallsBackOnlyFromUnsupportedKinds) {
  ScratchDirectory directory;
  std::string jsonPath = directory.path() + "/tokenizer.json";
  Json json = smallJson();
  json["model"]["byte_fallback"] = true;
  directory.write("tokenizer.json", json.dump());
  EXPECT_EQ(loadTokenizer(directory.path()).error,
            jsonPath + ": a BPE model with byte_fallback is not supported");

  directory.write("tokenizer.model", readData("llama2/tokenizer.model"));
  LoadResult result = loadTokenizer(directory.path());
  ASSERT_TRUE(result) << result.error;
  EXPECT_GT(result.tokenizer->vocabSize(), 100);

  directory.write("tokenizer.json", "{");
  EXPECT_EQ(loadTokenizer(directory.path()).error,
            jsonPath + ": not well-formed JSON");
  directory.write("tokenizer.json", smallJson().dump());
  result = loadTokenizer(directory.path());
  ASSERT_TRUE(result) << result.error;
  EXPECT_EQ(result.tokenizer->vocabSize(), 4);
}

} // namespace
} // namespace headrace::tokenizers
