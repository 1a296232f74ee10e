// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs a compiled model launch by launch on a machine that checks every access:
// what the emulated targets have in common.
#ifndef HEADRACE_TESTS_INTEGRATION_EMULATEDMODEL_H
#define HEADRACE_TESTS_INTEGRATION_EMULATEDMODEL_H

#include "compiler/codegen/BufferLayout.h"
#include "compiler/reference/simt/Simt.h"
#include "dialects/flow/IR/Flow.h"
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

class EmulatedModel {
public:
  /// Sizes of a running step.
  struct Counts {
    int64_t tokens, sequences, outputs;
  };

  virtual ~EmulatedModel() = default;

  /// Compiles the checkpoint as far as its launches are known, and binds its
  /// packed weights.
  llvm::Error open(const std::string &checkpoint, int64_t maxTokens);

  /// The same for a module's text; `weights` is the directory of its files.
  llvm::Error openText(const std::string &text, const std::string &weights,
                       int64_t maxTokens);

  /// One run of an entry of rows: `x` is its only input, rows of float32, and
  /// as wide as its only output, which is returned.
  llvm::Expected<std::vector<float>>
  invoke(llvm::StringRef entry, const std::vector<float> &x, int64_t width);

  /// One step; returns the rows of logits of all its tokens.
  llvm::Expected<std::vector<float>>
  step(const std::vector<EmulatedItem> &items);

  /// All `tokens` of a new sequence, in steps of the sizes given, over and
  /// over; returns the logits of each. With `company` another sequence has two
  /// tokens in each step, ahead of it every other time.
  llvm::Expected<std::vector<float>> feed(const std::vector<int32_t> &tokens,
                                          const std::vector<size_t> &sizes,
                                          bool company);

  void forgetSequences();

  /// The code, which a test may change between steps.
  mlir::ModuleOp program() { return *module; }

  int64_t vocabulary = 0;
  /// Parts of a launch run from the last to the first.
  bool backwards = false;

protected:
  /// Sets target and phase.
  virtual void prepare(tools::CompileRequest &request) const = 0;
  /// Completes the module that compilation left.
  virtual llvm::Error complete() { return llvm::Error::success(); }
  /// Whether caches lie as kernels for GPUs have them.
  virtual bool isGpu() const = 0;
  /// The launches of a step, or null where nothing admits it.
  virtual flow::ScheduleOp choose(llvm::StringRef entry,
                                  const Counts &counts) = 0;
  /// Runs one launch of `schedule` on the memory of the step.
  virtual llvm::Error launch(flow::ScheduleOp schedule, flow::LaunchOp op,
                             const Counts &counts) = 0;

  /// Programs of a launch on such a step.
  static uint64_t programsOf(flow::GridAttr grid, const Counts &counts);

  mlir::MLIRContext context;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  simt::Memory memory;
  struct Place {
    uint64_t address, bytes;
  };
  std::map<std::string, Place> buffers;
  struct Slots {
    uint64_t first, count;
  };
  std::map<std::string, Slots> weights;
  std::vector<uint64_t> slots;    ///< The binding table.
  uint64_t table = 0, counts = 0; ///< Their places in memory.

private:
  llvm::Error compile(tools::CompileRequest &request, int64_t maxTokens,
                      const std::string &weights);
  llvm::Error bindWeights(const std::string &directory);
  llvm::Error placeBuffers();
  /// Runs the launches of `entry`.
  llvm::Error run(llvm::StringRef entry, int64_t rows, int64_t sequences);
  std::vector<int32_t> pagesOf(int64_t sequence, int64_t positions);

  StepLimits limits;
  uint64_t arena = 0, arenaBytes = 0, tickets = 0, ticketBytes = 0;
  uint64_t pool = 0, pageBytes = 0;
  int64_t maxPages = 0;
  std::map<int64_t, std::vector<int32_t>> pages; ///< Of each sequence.
  std::map<int64_t, int64_t> lengths;
  int64_t fed = 0; ///< Sequences that `feed` has made, from -1 down.
  int32_t nextPage = 0;
};

} // namespace headrace::testing

#endif // HEADRACE_TESTS_INTEGRATION_EMULATEDMODEL_H
