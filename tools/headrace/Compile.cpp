// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What several subcommands do with modules.
#include "tools/headrace/Compile.h"

#include "compiler/codegen/gpu/GpuTarget.h"
#include "compiler/import/Import.h"
#include "compiler/machine/LoadMachine.h"
#include "compiler/package/CompiledCode.h"
#include "compiler/package/WritePackage.h"
#include "compiler/pipelines/Phases.h"
#include "compiler/support/Diagnostics.h"
#include "compiler/support/OutputFile.h"
#include "dialects/RegisterAll.h"
#include "dialects/tier/IR/Tier.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "tools/headrace/Progress.h"
#include "llvm/Support/MemoryBuffer.h"
#include <sys/statvfs.h>
#include <unistd.h>

using namespace mlir;
using namespace headrace;

namespace {

/// A context whose diagnostics are kept: the first error becomes the message.
class Session {
public:
  Session() : diagnostics(&context) {
    DialectRegistry registry;
    registerAllDialects(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
  }
  llvm::Error explain(llvm::Error error) {
    return diagnostics.explain(std::move(error));
  }
  MLIRContext context;

private:
  FirstDiagnostic diagnostics;
};

/// Of the file system where sessions keep what leaves memory.
uint64_t diskBytes() {
  struct statvfs disk = {};
  return statvfs("/var/tmp", &disk) == 0
             ? uint64_t(disk.f_blocks) * uint64_t(disk.f_frsize)
             : 0;
}

tier::MachineAttr hostMachine(MLIRContext *context) {
  int64_t cores = std::max<int64_t>(sysconf(_SC_NPROCESSORS_ONLN), 1);
  int64_t l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
  uint64_t dram =
      uint64_t(sysconf(_SC_PHYS_PAGES)) * uint64_t(sysconf(_SC_PAGESIZE));
  return tier::MachineAttr::get(
      context, "host",
      {tier::LevelAttr::get(context, "sram",
                            l2 > 0 ? uint64_t(l2) : uint64_t(1) << 20,
                            uint64_t(cores), 64),
       tier::LevelAttr::get(context, "dram", dram, 1, 64),
       tier::LevelAttr::get(context, "disk", diskBytes(), 1, 4096)},
      {}, {}, 0);
}

llvm::Error print(ModuleOp module, const std::string &path) {
  return writeText(path, [&](llvm::raw_ostream &os) {
    module.print(os);
    os << "\n";
  });
}

} // namespace

bool tools::isTarget(const std::string &name) {
  if (name == "cpu")
    return true;
  auto gpu = resolveGpuTarget(name);
  if (gpu)
    return true;
  llvm::consumeError(gpu.takeError());
  return false;
}

llvm::Error tools::importModule(const std::string &directory,
                                const std::string &output) {
  Session session;
  auto module = importCheckpoint(directory, session.context);
  if (!module)
    return session.explain(module.takeError());
  return print(**module, output);
}

llvm::Error tools::compile(const CompileRequest &request) {
  PhaseOptions options;
  auto from = parsePhase(request.from);
  if (!from)
    return from.takeError();
  auto to = parsePhase(request.to);
  if (!to)
    return to.takeError();
  auto target = resolveCpuTarget(request.cpu);
  if (!target)
    return target.takeError();
  options.from = *from;
  options.to = *to;
  options.target = *target;
  options.verify = request.verifyPhases;
  options.dumpDirectory = request.dumpDirectory;
  if (request.fastMemory) {
    auto strategy = tiering::parseStrategy(request.strategy);
    if (!strategy)
      return llvm::createStringError(
          "unknown strategy '%s'; expected joint or smallest-traffic",
          request.strategy.c_str());
    options.plan.emplace();
    options.plan->fastMemory = request.fastMemory;
    options.plan->hostMemory = request.hostMemory;
    options.plan->strategy = *strategy;
    if (request.predict != "auto")
      options.plan->predict =
          request.predict == "on" ? Predict::on : Predict::off;
    if (request.keyValues != "auto")
      options.plan->keyValues = request.keyValues == "resident"
                                    ? KeyValues::resident
                                    : KeyValues::streamed;
  }
  if (request.target != "cpu") {
    auto gpu = resolveGpuTarget(request.target);
    if (!gpu)
      return gpu.takeError();
    options.gpu = gpu->chip;
    options.library = request.library;
  }

  Session session;
  OwningOpRef<ModuleOp> module;
  if (!request.checkpoint.empty()) {
    auto imported = importCheckpoint(request.checkpoint, session.context);
    if (!imported)
      return session.explain(imported.takeError());
    module = std::move(*imported);
  } else {
    ParserConfig config(&session.context);
    module = request.moduleText.empty()
                 ? parseSourceFile<ModuleOp>(request.modulePath, config)
                 : parseSourceString<ModuleOp>(request.moduleText, config);
    if (!module)
      return session.explain(llvm::createStringError(
          "%s: is no module", request.modulePath.c_str()));
  }

  // A dump knows its target; another one is another compilation.
  if (options.from != Phase::model && request.target != "cpu" &&
      gpuTargetOf(*module) != options.gpu)
    return llvm::createStringError("the module was compiled for target '%s' up "
                                   "to phase '%s', so it cannot "
                                   "go on for '%s'",
                                   gpuTargetOf(*module).empty()
                                       ? "cpu"
                                       : gpuTargetOf(*module).str().c_str(),
                                   request.from.c_str(), options.gpu.c_str());
  if (!(*module)->hasAttr("tier.machine") || !request.machine.empty()) {
    std::string name = request.machine;
    if (name.empty() && !options.gpu.empty())
      name = options.gpu == "sm_80" ? "a100" : "h100-sxm";
    tier::MachineAttr machine = hostMachine(&session.context);
    if (!name.empty()) {
      auto read = loadMachine(&session.context, name);
      if (!read)
        return session.explain(read.takeError());
      machine = *read;
    }
    (*module)->setAttr("tier.machine", machine);
  }
  if (options.from == Phase::model) {
    options.limits.maxTokens = request.maxTokens;
    options.limits.maxSequences = request.maxSequences;
    int64_t context = 4096;
    if (auto model = (*module)->getAttrOfType<DictionaryAttr>("headrace.model"))
      if (auto most = model.getAs<IntegerAttr>("max_context")) {
        if (request.maxContext > most.getInt())
          return llvm::createStringError(
              "a context of %lld was asked for, but the model admits %lld",
              (long long)request.maxContext, (long long)most.getInt());
        context = std::min<int64_t>(context, most.getInt());
      }
    if (request.maxContext)
      context = request.maxContext;
    options.limits.maxContext = context;
    // No step of a language model has more rows than its sequences positions.
    if ((*module)->hasAttr("headrace.model"))
      options.limits.maxTokens =
          std::min(options.limits.maxTokens, request.maxSequences * context);
  }
  if (llvm::Error error = runPhases(*module, options))
    return session.explain(std::move(error));
  if (options.to != Phase::package)
    return print(*module, request.output);

  PackageOptions package;
  package.target = options.target;
  package.cudaToolkit = request.cudaToolkit;
  package.checkpoint = request.weights;
  Progress progress("packing weights");
  if (!request.quiet)
    package.progress = [&](uint64_t done, uint64_t total) {
      progress.update(done, total);
    };
  return session.explain(writePackage(*module, request.output, package));
}
