// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// headrace interpret.
#include "compiler/import/Import.h"
#include "compiler/reference/Interpreter.h"
#include "compiler/support/Diagnostics.h"
#include "dialects/RegisterAll.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "tools/headrace/Commands.h"
#include "tools/headrace/Flags.h"
#include "tools/headrace/Npy.h"
#include "tools/headrace/Tokens.h"
#include "llvm/Support/FileSystem.h"

using namespace mlir;
using namespace headrace;
using namespace headrace::tools;

namespace {

/// A module with the context that holds it; the first error diagnostic is kept
/// for the message.
class Program {
public:
  Program() : diagnostics(&context) {
    DialectRegistry registry;
    registerAllDialects(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
  }

  /// Imports a checkpoint's directory or parses a module's file.
  llvm::Error load(const std::string &input);
  ModuleOp get() { return *module; }

  /// What the attribute `headrace.model` says; 0 or empty where it is silent.
  int64_t number(StringRef name);
  std::vector<int32_t> endTokens();

private:
  DictionaryAttr facts() {
    return get()->getAttrOfType<DictionaryAttr>("headrace.model");
  }
  MLIRContext context;
  FirstDiagnostic diagnostics;
  OwningOpRef<ModuleOp> module;
};

llvm::Error Program::load(const std::string &input) {
  std::string message = "is no module";
  if (llvm::sys::fs::is_directory(input)) {
    auto imported = importCheckpoint(input, context);
    if (imported)
      module = std::move(*imported);
    else
      message = llvm::toString(imported.takeError());
  } else {
    module = parseSourceFile<ModuleOp>(input, ParserConfig(&context));
  }
  if (module)
    return llvm::Error::success();
  if (!diagnostics.text().empty())
    message = diagnostics.text();
  if (message.find(input) == std::string::npos)
    message = input + ": " + message;
  return llvm::createStringError(message);
}

int64_t Program::number(StringRef name) {
  auto value = facts() ? facts().getAs<IntegerAttr>(name) : IntegerAttr();
  return value ? value.getInt() : 0;
}

std::vector<int32_t> Program::endTokens() {
  std::vector<int32_t> ids;
  if (auto eos = facts() ? facts().getAs<ArrayAttr>("eos") : ArrayAttr())
    for (Attribute id : eos)
      if (auto number = dyn_cast<IntegerAttr>(id))
        ids.push_back(int32_t(number.getInt()));
  return ids;
}

/// Feeds the prompt to an interpreter and continues greedily.
llvm::Error generate(Program &program, const std::string &file,
                     const std::string &weights, const Prompt &prompt,
                     int64_t maxNewTokens, const std::string &logitsPath) {
  auto interpreter = Interpreter::create(program.get(), weights);
  if (!interpreter)
    return interpreter.takeError();
  int64_t context = program.number("max_context");
  int64_t length =
      int64_t(prompt.ids.size()) + std::max<int64_t>(maxNewTokens - 1, 0);
  if (context && length > context)
    return llvm::createStringError(
        "%s: %zu tokens and %lld new ones exceed the context of %lld",
        file.c_str(), prompt.ids.size(), (long long)maxNewTokens,
        (long long)context);

  int64_t vocabulary = program.number("vocabulary");
  for (auto [i, id] : llvm::enumerate(prompt.ids))
    if (vocabulary && id >= vocabulary)
      return llvm::createStringError(
          "%s: token #%zu is %d, but the vocabulary has %lld ids", file.c_str(),
          i, id, (long long)vocabulary);

  std::unique_ptr<NpyWriter> logits;
  if (!logitsPath.empty()) {
    auto writer = NpyWriter::create(logitsPath);
    if (!writer)
      return writer.takeError();
    logits = std::move(*writer);
  }
  std::vector<float> last;
  auto feed = [&](std::vector<int32_t> ids) -> llvm::Error {
    auto rows = interpreter->step({StepItem{0, std::move(ids)}}, StepRows::All);
    if (!rows)
      return llvm::createStringError("%s: %s", file.c_str(),
                                     llvm::toString(rows.takeError()).c_str());
    const float *end = rows->row(rows->rows - 1);
    last.assign(end, end + rows->width);
    return logits ? logits->append(rows->values.data(), rows->rows, rows->width)
                  : llvm::Error::success();
  };

  std::vector<int32_t> ends = program.endTokens();
  if (ends.empty() && prompt.tokenizer && prompt.tokenizer->eosId() >= 0)
    ends.push_back(prompt.tokenizer->eosId());
  TokenPrinter printer(prompt.tokenizer.get());
  if (auto error = feed(prompt.ids))
    return error;
  bool printed = true;
  for (int64_t i = 0; i < maxNewTokens && printed; ++i) {
    // The first of equal ones, as in the runtime.
    auto id =
        int32_t(std::max_element(last.begin(), last.end()) - last.begin());
    printed = printer.print(id);
    bool end = llvm::is_contained(ends, id) || i + 1 == maxNewTokens;
    // As in `headrace run`, the last token has a row of logits, too.
    int64_t fed = int64_t(prompt.ids.size()) + i;
    if (end && (!logits || fed == context))
      break;
    if (auto error = feed({id}))
      return error;
    if (end)
      break;
  }
  if (!printer.finish() || !printed)
    return llvm::createStringError("standard output: cannot be written");
  return logits ? logits->keep() : llvm::Error::success();
}

} // namespace

int tools::interpretCommand(int argc, char **argv) {
  CommandLine line(
      "headrace interpret DIR|MODULE.mlir --tokens=IDS|--prompt=TEXT",
      {{"--tokens", "1,2,3", "continue these token ids; prints ids"},
       {"--prompt", "TEXT", "continue this text; prints text"},
       {"--max-new-tokens", "N",
        "stop after N tokens; 0: logits only "
        "(default: 16)"},
       {"--logits", "FILE.npy",
        "write float32 [tokens, vocabulary]: row i "
        "follows token i"},
       {"--weights", "DIR", "the weights' files (default: as imported)"},
       {"--tokenizer", "DIR", "the tokenizer's files (default: DIR)"}});
  if (int code = line.parse(argc, argv); code >= 0)
    return code;
  if (line.positional().size() != 1)
    return line.usageError("expected one module or checkpoint directory");
  int64_t maxNewTokens = line.number("--max-new-tokens", 16, 0, INT32_MAX);
  if (line.failed)
    return kUsage;
  const std::string &input = line.positional()[0];
  std::string texts =
      line.text("--tokenizer", llvm::sys::fs::is_directory(input) ? input : "");
  Prompt prompt;
  if (int code = readPrompt(line, texts, prompt); code >= 0)
    return code;
  Program program;
  llvm::Error error = program.load(input);
  if (!error)
    error = generate(program, input, line.text("--weights", ""), prompt,
                     maxNewTokens, line.text("--logits", ""));
  return error ? fail(llvm::toString(std::move(error))) : int(kSuccess);
}
