// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The token ids of a command line.
#include "tools/headrace/Tokens.h"

#include "compiler/import/Config.h"
#include "compiler/import/Json.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include <cstdio>

using namespace headrace;
using namespace headrace::tools;

int tools::readPrompt(CommandLine &line, const std::string &directory,
                      Prompt &prompt) {
  if (line.has("--prompt") == line.has("--tokens"))
    return line.usageError("expected either --prompt or --tokens");
  for (int64_t id : line.numbers("--tokens", 0, INT32_MAX))
    prompt.ids.push_back(int32_t(id));
  if (line.failed)
    return kUsage;
  if (line.has("--tokens"))
    return -1;
  if (directory.empty())
    return fail("--prompt needs a tokenizer: give --tokenizer=DIR, or use "
                "--tokens");
  auto loaded = tokenizers::loadTokenizer(directory);
  if (!loaded)
    return fail(loaded.error + "; without a tokenizer use --tokens");
  auto status = loaded.tokenizer->encode(line.text("--prompt", ""), prompt.ids,
                                         /*addSpecial=*/true);
  if (!status.ok())
    return fail("--prompt: " + status.message());
  if (prompt.ids.empty())
    return fail("--prompt: the text is empty");
  prompt.tokenizer = std::move(loaded.tokenizer);
  return -1;
}

llvm::Expected<std::vector<int32_t>>
tools::readEndTokens(const std::string &directory) {
  std::vector<int64_t> ids;
  std::string generation = directory + "/generation_config.json";
  if (llvm::sys::fs::exists(directory + "/config.json")) {
    auto config = readModelConfig(directory);
    if (!config)
      return inDirectory(directory, config.takeError());
    ids = config->eos;
  } else if (auto file = llvm::MemoryBuffer::getFile(generation)) {
    auto config = parseGenerationConfig((*file)->getBuffer(), generation);
    if (!config)
      return config.takeError();
    ids = config->eos;
  }
  return std::vector<int32_t>(ids.begin(), ids.end());
}

TokenPrinter::TokenPrinter(const tokenizers::Tokenizer *tokenizer) {
  tokenizers::DecodeOptions options;
  options.textStart = false;
  if (tokenizer)
    decoder = tokenizer->makeDecoder(options);
}

bool TokenPrinter::write(const std::string &text) {
  fwrite(text.data(), 1, text.size(), stdout);
  return fflush(stdout) == 0 && !ferror(stdout);
}

bool TokenPrinter::print(int32_t id) {
  std::string text;
  if (!decoder)
    text = (begun ? "," : "") + std::to_string(id);
  else if (!decoder->push(id, text).ok())
    // Vocabularies are padded with ids that no tokenizer knows.
    text = "\xEF\xBF\xBD";
  begun = true;
  return write(text);
}

bool TokenPrinter::finish() {
  if (!begun)
    return true;
  begun = false;
  std::string text;
  if (decoder)
    decoder->finish(text);
  return write(text + "\n");
}
