// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs a model compiled for a GPU without one: every launch of a step, by the
// machine of compiler/reference/simt.
#ifndef HEADRACE_TESTS_INTEGRATION_EMULATEDGPU_H
#define HEADRACE_TESTS_INTEGRATION_EMULATEDGPU_H

#include "compiler/codegen/BufferLayout.h"
#include "compiler/reference/simt/Simt.h"
#include "dialects/flow/IR/Flow.h"
#include "dialects/tier/IR/Tier.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "tools/headrace/Compile.h"
#include <map>
#include <string>
#include <vector>

namespace headrace::testing {

/// The new tokens of one sequence in a step.
struct EmulatedItem {
  int64_t sequence;
  std::vector<int32_t> tokens;
};

class EmulatedGpu {
public:
  /// Compiles the checkpoint for `chip` up to phase `kernels`, and binds its
  /// packed weights.
  llvm::Error open(const std::string &checkpoint, const std::string &chip,
                   int64_t maxTokens);

  /// The same for a module's text; `weights` is the directory of its files.
  llvm::Error openText(const std::string &text, const std::string &weights,
                       const std::string &chip, int64_t maxTokens);

  /// One run of an entry of rows: `x` is its only input, rows of float32, and
  /// as wide as its only output, which is returned.
  llvm::Expected<std::vector<float>>
  invoke(llvm::StringRef entry, const std::vector<float> &x, int64_t width);

  /// The kernels, which a test may change between steps.
  mlir::ModuleOp program() { return *module; }

  /// One step; returns the rows of logits of all its tokens. With `captured`
  /// every launch has the blocks of its class's largest step, as in a captured
  /// graph; with `backwards` the blocks of a launch run in descending order.
  llvm::Expected<std::vector<float>>
  step(const std::vector<EmulatedItem> &items, bool captured, bool backwards);

  int64_t vocabulary = 0;
  bool portable = false; ///< Runs what is in the portable PTX.

private:
  llvm::Error compile(tools::CompileRequest &request, const std::string &chip,
                      int64_t maxTokens, const std::string &weights);
  llvm::Error bindWeights(const std::string &directory);
  /// Runs the launches of `entry`.
  llvm::Error run(llvm::StringRef entry, int64_t rows, int64_t sequences,
                  bool captured, bool backwards);
  llvm::Error placeBuffers();
  std::vector<int32_t> pagesOf(int64_t sequence, int64_t positions);

  mlir::MLIRContext context;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  StepLimits limits;
  simt::Memory memory;
  std::map<std::string, uint64_t> addresses, firstSlots;
  uint64_t table = 0, counts = 0, arena = 0, arenaBytes = 0, tickets = 0,
           ticketBytes = 0;
  uint64_t pool = 0, pageBytes = 0;
  int64_t maxPages = 0;
  std::map<int64_t, std::vector<int32_t>> pages; ///< Of each sequence.
  std::map<int64_t, int64_t> lengths;
  int32_t nextPage = 0;
};

} // namespace headrace::testing

#endif // HEADRACE_TESTS_INTEGRATION_EMULATEDGPU_H
