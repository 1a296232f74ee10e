// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What several subcommands do with modules; keeps MLIR out of their sources.
#ifndef HEADRACE_TOOLS_HEADRACE_COMPILE_H
#define HEADRACE_TOOLS_HEADRACE_COMPILE_H

#include "llvm/Support/Error.h"
#include <cstdint>
#include <string>

namespace headrace::tools {

/// Whether `--target` takes `name`.
bool isTarget(const std::string &name);
constexpr const char *kExpectedTarget = "cpu, sm_80 or sm_90a";

struct CompileRequest {
  /// Exactly one of these: a module file, a checkpoint directory, or the text
  /// of a module.
  std::string modulePath, checkpoint, moduleText;
  std::string output;         ///< Package, or module when `to` is earlier.
  std::string target = "cpu"; ///< Or a GPU: sm_80, sm_90a.
  std::string cpu = "native";
  bool library = false;    ///< Runs dense products of a GPU's large steps.
  std::string cudaToolkit; ///< Its directory; empty: where it usually is.
  std::string weights;     ///< Overrides the module's checkpoint.
  std::string machine;     ///< Shipped name or file; empty: this one.
  std::string from = "model", to = "package";
  std::string dumpDirectory;
  bool verifyPhases = true;
  int64_t maxTokens = 512, maxSequences = 16;
  int64_t maxContext = 0;         ///< 0: the model's, at most 4096.
  uint64_t fastMemory = 0;        ///< Bytes to plan for; 0: no plan.
  uint64_t hostMemory = 0;        ///< Of the plan; 0: as by itself.
  std::string strategy = "joint"; ///< Of the plan.
  std::string predict = "auto";   ///< Whether it runs routers ahead.
  std::string keyValues = "auto"; ///< Where the plan keeps key-value pages.
  bool quiet = false;             ///< No progress.
};

/// Runs the phases of `request` and writes its output; "-" is stdout for a
/// module. Nothing is left behind after an error.
llvm::Error compile(const CompileRequest &request);

/// Imports a checkpoint and prints its module to `output`.
llvm::Error importModule(const std::string &directory,
                         const std::string &output);

} // namespace headrace::tools

#endif // HEADRACE_TOOLS_HEADRACE_COMPILE_H
