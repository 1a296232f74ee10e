// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// headrace bench.
#include "tools/headrace/Commands.h"
#include "tools/headrace/Flags.h"
#include "tools/headrace/bench/Benches.h"

using namespace headrace::tools;
using namespace headrace::tools::bench;

int headrace::tools::benchCommand(int argc, char **argv) {
  CommandLine line(
      "headrace bench --shape=NAME|H=N,I=N,E=N,k=N | --model=DIR|PACKAGE | "
      "--tiers=PACKAGE",
      {{"--shape", "SHAPE",
        "one layer: olmoe, qwen3-30b-a3b, mixtral, "
        "gpt-oss-20b or H=..,I=..,E=..,k=.."},
       {"--encoding", "TYPE",
        "of --shape: how experts' weights are stored, bf16, fp8 or mxfp4 "
        "(default: bf16)"},
       {"--tokens", "LIST",
        "rows of a call of the layer (default: 1,8,64,512)"},
       {"--model", "PATH", "a whole model: checkpoint directory or package"},
       {"--tiers", "PACKAGE",
        "a package with a plan, at several sizes of its fast memory"},
       {"--prompt-ids", "LIST", "of --tiers: what is continued (default: 1)"},
       {"--page-cache", nullptr,
        "of --tiers: weights come out of the page cache"},
       {"--against-mmap", nullptr,
        "of --tiers: and with mapped weights in a control group"},
       {"--witness", nullptr,
        "of --tiers: run what reaches the certified peak instead"},
       {"--context", "LIST", "contexts to decode at (default: 512)"},
       {"--decode-tokens", "N",
        "steps at each context (default: 32; of --tiers: 64)"},
       {"--prefill", "N", "tokens of the prefill, 0: none (default: 512)"},
       {"--repeats", "N",
        "timed calls that count (default: 21; of a model's "
        "prefill and start: 5)"},
       {"--threads", "N", "default: one for each core"},
       {"--cpu", "NAME", "what to compile for (default: native)"},
       {"--seed", "N", "of weights, inputs and tokens (default: 0)"},
       {"--json", "FILE", "write the results here too"}});
  if (int code = line.parse(argc, argv); code >= 0)
    return code;
  if (!line.positional().empty())
    return line.usageError("unexpected '" + line.positional()[0] + "'");
  if (line.has("--shape") + line.has("--model") + line.has("--tiers") != 1)
    return line.usageError("expected one of --shape, --model and --tiers");
  for (const char *flag :
       {"--prompt-ids", "--page-cache", "--against-mmap", "--witness"})
    if (line.has(flag) && !line.has("--tiers"))
      return line.usageError("flag '" + std::string(flag) + "' needs --tiers");

  MachineInfo machine = MachineInfo::ofHost();
  auto threads =
      unsigned(line.number("--threads", int64_t(machine.cores), 1, 1024));
  auto seed = uint64_t(line.number("--seed", 0, 0, INT64_MAX));
  if (line.has("--tiers")) {
    for (const char *flag : {"--tokens", "--encoding", "--context", "--prefill",
                             "--repeats", "--cpu", "--json"})
      if (line.has(flag))
        return line.usageError("flag '" + std::string(flag) +
                               "' is of no use with --tiers");
    TierBenchOptions options;
    options.package = line.text("--tiers", "");
    if (line.has("--prompt-ids")) {
      std::vector<int64_t> ids = line.numbers("--prompt-ids", 0, INT32_MAX);
      options.prompt.assign(ids.begin(), ids.end());
    }
    options.decodeTokens = line.number("--decode-tokens", 64, 1, 1 << 16);
    options.threads = threads;
    options.pageCache = line.has("--page-cache");
    options.againstMmap = line.has("--against-mmap");
    options.seed = seed;
    if (line.failed)
      return kUsage;
    if (llvm::Error error =
            line.has("--witness") ? benchWitness(options) : benchTiers(options))
      return fail(llvm::toString(std::move(error)));
    return kSuccess;
  }
  Report report(machine, threads);
  auto finish = [&](llvm::Error error) -> int {
    if (error)
      return fail(llvm::toString(std::move(error)));
    report.print();
    if (line.has("--json"))
      if (llvm::Error failure = report.writeJson(line.text("--json", "")))
        return fail(llvm::toString(std::move(failure)));
    if (llvm::Error failure = report.checkBounds())
      return fail(llvm::toString(std::move(failure)));
    return kSuccess;
  };

  if (line.has("--shape")) {
    for (const char *flag : {"--context", "--decode-tokens", "--prefill"})
      if (line.has(flag))
        return line.usageError("flag '" + std::string(flag) +
                               "' needs --model");
    LayerBenchOptions options;
    std::string text = line.text("--shape", "");
    auto shape = LayerShape::parse(text);
    if (!shape)
      return line.usageError("unknown shape '" + text + "'; expected " +
                             LayerShape::knownNames() +
                             " or H=N,I=N,E=N,k=N with k at most E");
    options.shape = *shape;
    std::string encoding = line.text("--encoding", "bf16");
    if (encoding == "fp8")
      options.shape.encoding = LayerEncoding::FP8;
    else if (encoding == "mxfp4")
      options.shape.encoding = LayerEncoding::MXFP4;
    else if (encoding != "bf16")
      return line.usageError("unknown encoding '" + encoding +
                             "'; expected bf16, fp8 or mxfp4");
    if (encoding == "mxfp4" && (shape->hidden % 2 || shape->intermediate % 2))
      return line.usageError("mxfp4 stores two channels in a byte, so H and I "
                             "are even");
    options.tokens = line.numbers("--tokens", 1, 1 << 16);
    if (options.tokens.empty())
      options.tokens = {1, 8, 64, 512};
    options.threads = threads;
    options.repeats = int(line.number("--repeats", 21, 1, 100000));
    options.cpu = line.text("--cpu", "native");
    options.seed = seed;
    if (line.failed)
      return kUsage;
    return finish(benchLayer(options, report));
  }

  for (const char *flag : {"--tokens", "--encoding"})
    if (line.has(flag))
      return line.usageError("flag '" + std::string(flag) + "' needs --shape");
  ModelBenchOptions options;
  options.model = line.text("--model", "");
  options.contexts = line.numbers("--context", 1, 1 << 24);
  if (options.contexts.empty())
    options.contexts = {512};
  options.decodeTokens = line.number("--decode-tokens", 32, 1, 1 << 16);
  options.prefill = line.number("--prefill", 512, 0, 1 << 20);
  options.repeats = int(line.number("--repeats", 5, 1, 100000));
  options.threads = threads;
  options.cpu = line.text("--cpu", "native");
  options.seed = seed;
  if (line.failed)
    return kUsage;
  return finish(benchModel(options, report));
}
