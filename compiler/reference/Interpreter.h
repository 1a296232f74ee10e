// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs a program of the `model` (or `specialized`) phase with the reference
// ops: slow, readable, and what every fast path is compared with.
#ifndef HEADRACE_COMPILER_REFERENCE_INTERPRETER_H
#define HEADRACE_COMPILER_REFERENCE_INTERPRETER_H

#include "compiler/reference/ops/Attention.h"
#include "compiler/reference/ops/Routing.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Location.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace headrace {

/// A float tensor of any rank, row major; of rank 0, a float. Values of bf16
/// and f16 are held as the float each equals, those of i1 as 0 and 1. Copies
/// and slices share the values.
struct FloatTensor {
  /// The scales of an encoded weight, matrix by matrix; see #tier.scaled.
  struct Scales {
    std::shared_ptr<const float> values;
    int64_t rows = 0, columns = 0; ///< Of a block.
    int64_t perMatrix = 0;
  };

  std::vector<int64_t> shape;
  std::shared_ptr<const float> values;
  /// Absent where `values` are the tensor's values and not its elements.
  std::optional<Scales> scales;

  FloatTensor() = default;
  FloatTensor(std::vector<int64_t> shape, std::vector<float> values);
  FloatTensor(reference::Rows rows);

  int64_t size() const;
  /// A tensor of rank 2, without a copy.
  reference::Matrix matrix() const;
  /// Entry `index` of the first dimension, without a copy.
  FloatTensor slice(int64_t index) const;
};

/// A tensor<?xi32>.
using IdTensor = std::vector<int32_t>;

/// What an SSA value is while the program runs. A cache is shared: attention
/// ops write it in place, which the linear use of cache values permits.
/// An int64_t is an index or an integer.
using RuntimeValue =
    std::variant<std::monostate, FloatTensor, IdTensor, int64_t,
                 std::shared_ptr<reference::KvCache>, reference::Selection,
                 reference::Routing, std::shared_ptr<reference::Buckets>>;

/// The tokens of one sequence in one step.
struct StepItem {
  int64_t sequence = 0;
  std::vector<int32_t> tokens;
};

/// Which rows of logits a step returns: the last of each item, or all.
enum class StepRows { Last, All };

class Interpreter {
public:
  /// Called at every router with the rows' margins: the k-th largest score
  /// minus the next one, of the scores before `moe.squash` where the choice
  /// comes from one directly.
  using RouterTrace =
      std::function<void(mlir::Location, llvm::ArrayRef<float> margins)>;

  /// An interpreter of a verified module, which must outlive it. Weights are
  /// read at their first use from `checkpointDir` or, where that is empty, the
  /// directory that the module's attribute `headrace.checkpoint` names.
  static llvm::Expected<Interpreter> create(mlir::ModuleOp module,
                                            llvm::StringRef checkpointDir = "");
  Interpreter(Interpreter &&);
  Interpreter &operator=(Interpreter &&);
  ~Interpreter();

  /// Runs function `name`. The arguments must have the kinds, static dimensions
  /// and cache sizes of the function's type.
  llvm::Expected<llvm::SmallVector<RuntimeValue>>
  runFunction(llvm::StringRef name, llvm::ArrayRef<RuntimeValue> arguments);

  /// Feeds each item's tokens to its sequence, which starts with its first
  /// item, through @forward, whose arguments say by `headrace.role` what they
  /// are: tokens, positions, sequences, output_rows; a cache says it by its
  /// type. Returns the rows of logits item by item. A step that fails leaves
  /// the sequences as they were.
  llvm::Expected<reference::Rows> step(llvm::ArrayRef<StepItem> items,
                                       StepRows rows = StepRows::Last);

  /// Ends a sequence: its cache is gone and its number is free.
  void forget(int64_t sequence);

  void setRouterTrace(RouterTrace trace);

private:
  friend class Frame;
  struct State;
  explicit Interpreter(std::unique_ptr<State> state);

  std::unique_ptr<State> state;
};

} // namespace headrace

#endif // HEADRACE_COMPILER_REFERENCE_INTERPRETER_H
