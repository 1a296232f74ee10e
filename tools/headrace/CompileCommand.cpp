// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// headrace import, synth and compile.
#include "compiler/import/Synth.h"
#include "tools/headrace/Commands.h"
#include "tools/headrace/Compile.h"
#include "tools/headrace/Flags.h"
#include "tools/headrace/Progress.h"
#include <cstdio>

using namespace headrace;
using namespace headrace::tools;

static int report(llvm::Error error) {
  return error ? fail(llvm::toString(std::move(error))) : int(kSuccess);
}

int tools::importCommand(int argc, char **argv) {
  CommandLine line(
      "headrace import DIR [-o FILE]",
      {{"-o", "FILE", "where the module goes (default: -, stdout)"}});
  if (int code = line.parse(argc, argv); code >= 0)
    return code;
  if (line.positional().size() != 1)
    return line.usageError("expected one checkpoint directory");
  return report(importModule(line.positional()[0], line.text("-o", "-")));
}

int tools::synthCommand(int argc, char **argv) {
  CommandLine line("headrace synth DIR --shape=NAME",
                   {{"--shape", "NAME", "the model's shape; --list names them"},
                    {"--dtype", "TYPE", "f32, bf16 or f16 (default: bf16)"},
                    {"--encoding", "NAME",
                     "quantize the weights of products: fp8, or for gpt-oss "
                     "mxfp4 (default: none)"},
                    {"--seed", "N", "of the weights (default: 0)"},
                    {"--layers", "N", "instead of the shape's"},
                    {"--experts", "N", "instead of the shape's"},
                    {"--list", nullptr, "print the shapes and exit"}});
  if (int code = line.parse(argc, argv); code >= 0)
    return code;
  if (line.has("--list")) {
    for (llvm::StringRef shape : synthShapes())
      printf("%s\n", shape.str().c_str());
    return kSuccess;
  }
  if (line.positional().size() != 1 || !line.has("--shape"))
    return line.usageError("expected a directory and --shape");
  SynthOptions options;
  std::string dtype = line.text("--dtype", "bf16");
  if (dtype == "f32")
    options.dtype = DType::F32;
  else if (dtype == "f16")
    options.dtype = DType::F16;
  else if (dtype != "bf16")
    return line.usageError("unknown dtype '" + dtype +
                           "'; expected f32, bf16 or f16");
  std::string encoding = line.text("--encoding", "none");
  if (encoding == "fp8")
    options.encoding = SynthEncoding::FP8;
  else if (encoding == "mxfp4")
    options.encoding = SynthEncoding::MXFP4;
  else if (encoding != "none")
    return line.usageError("unknown encoding '" + encoding +
                           "'; expected none, fp8 or mxfp4");
  options.seed = uint64_t(line.number("--seed", 0, 0, INT64_MAX));
  if (line.has("--layers"))
    options.layers = line.number("--layers", 0, 1, 4096);
  if (line.has("--experts"))
    options.experts = line.number("--experts", 0, 1, 4096);
  if (line.failed)
    return kUsage;
  Progress progress("writing weights");
  auto show = [&](uint64_t done, uint64_t total) {
    progress.update(done, total);
  };
  options.progress = show;
  return report(synthesizeCheckpoint(line.text("--shape", ""),
                                     line.positional()[0], options));
}

int tools::compileCommand(int argc, char **argv) {
  CommandLine line(
      "headrace compile MODULE.mlir|DIR -o FILE",
      {{"-o", "FILE", "the package, or the module with --to"},
       {"--target", "NAME", "cpu, or a GPU: sm_80, sm_90a (default: cpu)"},
       {"--cpu", "NAME", "native, x86-64-v3, x86-64-v4, ... (default: native)"},
       {"--cuda", "DIR", "a CUDA toolkit, for a GPU (default: the system's)"},
       {"--dense", "HOW",
        "for a GPU: dense products of many tokens by generated kernels or a "
        "library (default: generated)"},
       {"--machine", "NAME|FILE",
        "what to plan for: shipped, or a #tier.machine (default: this)"},
       {"--weights", "DIR", "the weights' files (default: as imported)"},
       {"--to", "PHASE", "stop at this phase (default: package)"},
       {"--from", "PHASE", "the phase the module is in (default: model)"},
       {"--dump-phases-to", "DIR", "print the module after each phase"},
       {"--verify-phases", "BOOL", "check each phase's rules (default: true)"},
       {"--max-tokens", "N", "rows of one step (default: 512)"},
       {"--max-sequences", "N", "sequences of one step (default: 16)"},
       {"--max-context", "N",
        "positions of a sequence (default: the model's, "
        "at most 4096)"},
       {"--fast-memory", "BYTES",
        "plan for this much memory, as in 8GiB (default: no plan)"},
       {"--host-memory", "BYTES",
        "the plan's: of the host, for what the fast memory does not hold "
        "(default: for a GPU the machine's, for a CPU none)"},
       {"--strategy", "NAME",
        "what stays in it: joint, smallest-traffic (default: joint)"},
       {"--predict", "HOW",
        "run routers ahead to fetch experts early: auto, on, off (default: "
        "auto, where it pays)"},
       {"--kv", "HOW",
        "key-value pages in it: resident, streamed (default: auto, what moves "
        "fewer bytes)"}});
  if (int code = line.parse(argc, argv); code >= 0)
    return code;
  if (line.positional().size() != 1 || !line.has("-o"))
    return line.usageError("expected one module or checkpoint, and -o");
  std::string target = line.text("--target", "cpu");
  if (!isTarget(target))
    return line.usageError("unknown target '" + target + "'; expected " +
                           kExpectedTarget);
  std::string verify = line.text("--verify-phases", "true");
  if (verify != "true" && verify != "false")
    return line.usageError("flag '--verify-phases' expects true or false");
  CompileRequest request;
  const std::string &input = line.positional()[0];
  if (input.size() > 5 && input.substr(input.size() - 5) == ".mlir")
    request.modulePath = input;
  else
    request.checkpoint = input;
  request.output = line.text("-o", "");
  request.target = target;
  std::string dense = line.text("--dense", "generated");
  if (dense != "generated" && dense != "library")
    return line.usageError("flag '--dense' expects generated or library");
  if (line.has("--dense") && target == "cpu")
    return line.usageError("'--dense' is of use for a GPU only");
  request.library = dense == "library";
  request.cudaToolkit = line.text("--cuda", "");
  request.cpu = line.text("--cpu", "native");
  request.machine = line.text("--machine", "");
  request.weights = line.text("--weights", "");
  request.to = line.text("--to", "package");
  request.from = line.text("--from", "model");
  request.dumpDirectory = line.text("--dump-phases-to", "");
  request.verifyPhases = verify == "true";
  request.maxTokens = line.number("--max-tokens", 512, 1, 1 << 16);
  request.maxSequences = line.number("--max-sequences", 16, 1, 4096);
  request.maxContext = line.number("--max-context", 0, 1, 1 << 24);
  request.fastMemory = line.bytes("--fast-memory", 0);
  request.hostMemory = line.bytes("--host-memory", 0);
  if (line.has("--host-memory") && !line.has("--fast-memory"))
    return line.usageError("'--host-memory' is of use with '--fast-memory' "
                           "only");
  request.strategy = line.text("--strategy", "joint");
  if (line.has("--strategy") && !line.has("--fast-memory"))
    return line.usageError("'--strategy' is of use with '--fast-memory' only");
  request.predict = line.text("--predict", "auto");
  if (request.predict != "auto" && request.predict != "on" &&
      request.predict != "off")
    return line.usageError("flag '--predict' expects auto, on or off");
  if (line.has("--predict") && !line.has("--fast-memory"))
    return line.usageError("'--predict' is of use with '--fast-memory' only");
  request.keyValues = line.text("--kv", "auto");
  if (request.keyValues != "auto" && request.keyValues != "resident" &&
      request.keyValues != "streamed")
    return line.usageError("flag '--kv' expects auto, resident or streamed");
  if (line.has("--kv") && !line.has("--fast-memory"))
    return line.usageError("'--kv' is of use with '--fast-memory' only");
  if (line.failed)
    return kUsage;
  return report(tools::compile(request));
}
