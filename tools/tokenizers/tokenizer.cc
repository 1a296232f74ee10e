//===- tokenizer.cc - Loading a tokenizer ---------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/tokenizers/tokenizer.h"

#include "tools/tokenizers/sentencepiece.h"
#include "tools/tokenizers/tokenizer_json.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>

namespace headrace::tokenizers {

Decoder::~Decoder() = default;
Tokenizer::~Tokenizer() = default;

Status Tokenizer::decode(const std::vector<int32_t> &ids, std::string &text,
                         DecodeOptions options) const {
  std::unique_ptr<Decoder> decoder = makeDecoder(options);
  std::string result;
  for (int32_t id : ids) {
    Status status = decoder->push(id, result);
    if (!status.ok())
      return status;
  }
  decoder->finish(result);
  text += result;
  return {};
}

static constexpr size_t kMaxModelBytes = size_t(128) << 20;
static constexpr size_t kMaxConfigBytes = size_t(16) << 20;

namespace {

enum class FileState { Absent, Read, Failed };

struct FileCloser {
  void operator()(std::FILE *file) const { std::fclose(file); }
};

} // namespace

static FileState readFile(const std::string &path, size_t limit,
                          std::string &bytes, std::string &error) {
  std::unique_ptr<std::FILE, FileCloser> file(std::fopen(path.c_str(), "rb"));
  if (!file) {
    if (errno == ENOENT || errno == ENOTDIR)
      return FileState::Absent;
    error = path + ": cannot be read: " + std::strerror(errno);
    return FileState::Failed;
  }
  char buffer[1 << 16];
  while (size_t count = std::fread(buffer, 1, sizeof(buffer), file.get())) {
    if (bytes.size() + count > limit) {
      error = path + ": expected at most " + std::to_string(limit) + " bytes";
      return FileState::Failed;
    }
    bytes.append(buffer, count);
  }
  if (std::ferror(file.get())) {
    error = path + ": cannot be read: " + std::strerror(errno);
    return FileState::Failed;
  }
  return FileState::Read;
}

static LoadResult failure(std::string_view name, const std::string &cause) {
  LoadResult result;
  result.error = std::string(name) + ": " + cause;
  return result;
}

/// Runs `load`, turning exceptions of the standard library and of
/// libsentencepiece (out of memory) into errors.
template <typename Load>
static LoadResult guardLoad(std::string_view name, Load load) {
  try {
    return load();
  } catch (const std::exception &error) {
    return failure(name, error.what());
  }
}

static Status checkSize(std::string_view bytes, size_t limit) {
  if (bytes.size() <= limit)
    return {};
  return Status::error("expected at most " + std::to_string(limit) +
                       " bytes, but got " + std::to_string(bytes.size()));
}

/// Reads the configuration beside a model that is not too large.
static Status readConfig(std::string_view configJson, std::string_view model,
                         TokenizerConfig &config) {
  Status status = checkSize(configJson, kMaxConfigBytes);
  if (status.ok())
    status = parseTokenizerConfig(configJson, config);
  return status.ok() ? checkSize(model, kMaxModelBytes) : status;
}

static LoadResult loadJson(std::string_view json, std::string_view configJson,
                           std::string_view name, bool &unsupported) {
  unsupported = false;
  return guardLoad(name, [&] {
    TokenizerConfig config;
    Status status = readConfig(configJson, json, config);
    ByteLevelModel model;
    if (status.ok())
      status = parseTokenizerJson(json, config, model, unsupported);
    if (!status.ok())
      return failure(name, status.message());
    LoadResult result;
    result.tokenizer = makeByteLevelTokenizer(std::move(model));
    return result;
  });
}

LoadResult loadTokenizerJson(std::string_view json, std::string_view configJson,
                             std::string_view name) {
  bool unsupported;
  return loadJson(json, configJson, name, unsupported);
}

LoadResult loadSentencePiece(std::string_view model,
                             std::string_view configJson,
                             std::string_view name) {
  return guardLoad(name, [&] {
    TokenizerConfig config;
    Status status = readConfig(configJson, model, config);
    LoadResult result;
    if (status.ok())
      status = makeSentencePieceTokenizer(model, config, result.tokenizer);
    if (!status.ok())
      return failure(name, status.message());
    return result;
  });
}

LoadResult loadTokenizer(const std::string &directory) {
  return guardLoad(directory, [&] {
    LoadResult result;
    std::string config;
    if (readFile(directory + "/tokenizer_config.json", kMaxConfigBytes, config,
                 result.error) == FileState::Failed)
      return result;

    std::string jsonPath = directory + "/tokenizer.json";
    std::string json;
    FileState jsonState =
        readFile(jsonPath, kMaxModelBytes, json, result.error);
    if (jsonState == FileState::Failed)
      return result;
    if (jsonState == FileState::Read) {
      bool unsupported;
      result = loadJson(json, config, jsonPath, unsupported);
      // A broken file is an error even if there is another one; a file of
      // another kind is not.
      if (result || !unsupported)
        return result;
    }

    std::string modelPath = directory + "/tokenizer.model";
    std::string model;
    std::string modelError;
    switch (readFile(modelPath, kMaxModelBytes, model, modelError)) {
    case FileState::Failed:
      return failure(directory, modelError);
    case FileState::Read:
      return loadSentencePiece(model, config, modelPath);
    case FileState::Absent:
      break;
    }
    if (jsonState == FileState::Read)
      return result;
    return failure(directory,
                   "has neither a tokenizer.json nor a tokenizer.model");
  });
}

} // namespace headrace::tokenizers
