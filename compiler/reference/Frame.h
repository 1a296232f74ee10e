// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Internal: what an op's handler sees of the running program.
#ifndef HEADRACE_COMPILER_REFERENCE_FRAME_H
#define HEADRACE_COMPILER_REFERENCE_FRAME_H

#include "compiler/reference/Interpreter.h"
#include "mlir/IR/Operation.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/Twine.h"

namespace headrace {

/// The values of one block that runs. Kinds of values follow from the types of
/// a verified program, so that `get` does not check them again.
class Frame {
public:
  using Results = llvm::SmallVector<RuntimeValue>;

  Frame(Interpreter::State &state, int64_t depth)
      : state(state), depth(depth) {}

  const RuntimeValue &getAny(mlir::Value value) const {
    return values.find(value)->second;
  }
  template <typename T> const T &get(mlir::Value value) const {
    return std::get<T>(getAny(value));
  }
  reference::Matrix matrix(mlir::Value value) const {
    return get<FloatTensor>(value).matrix();
  }
  /// The values of a vector operand, or null where it is absent.
  const float *optional(mlir::Value value) const {
    return value ? get<FloatTensor>(value).values.get() : nullptr;
  }

  /// Gives `value` its runtime value, after a check against its type.
  llvm::Error set(mlir::Value value, RuntimeValue runtime);

  /// Runs a block of one region in a frame of its own; gives what it yields.
  llvm::Expected<Results> call(mlir::Operation *caller, mlir::Block &block,
                               llvm::ArrayRef<RuntimeValue> arguments);

  /// The tensor of the `tier.weight` that `user` names.
  llvm::Expected<FloatTensor> weight(mlir::Operation *user,
                                     mlir::StringAttr name);

  /// The symbol of the module, or null.
  mlir::Operation *lookup(llvm::StringRef name) const;

  const Interpreter::RouterTrace &routerTrace() const;

  /// Runs `block` in this frame.
  llvm::Expected<Results> run(mlir::Block &block,
                              llvm::ArrayRef<RuntimeValue> arguments);

private:
  Interpreter::State &state;
  int64_t depth;
  llvm::DenseMap<mlir::Value, RuntimeValue> values;
};

/// Computes an op's results from its operands.
using Handler = llvm::Error (*)(Frame &, mlir::Operation *);

/// The handler of `op`; null where the interpreter does not know it.
Handler handlerOf(mlir::Operation *op);
/// The same, for ops of upstream's dialects.
Handler upstreamHandler(mlir::Operation *op);

/// `message` after the place and name of `op`.
llvm::Error errorAt(mlir::Operation *op, const llvm::Twine &message);

/// The element of a float type; an error for other types.
llvm::Expected<reference::Element> elementOf(mlir::Operation *op,
                                             mlir::Type type);

} // namespace headrace

#endif // HEADRACE_COMPILER_REFERENCE_FRAME_H
