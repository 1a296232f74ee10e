// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tensor ops as plain loops over memory: what no kernel family knows still
// runs. One element at a time, in the order of the op's iteration space; every
// sum is one float32 sum, ascending.
#ifndef HEADRACE_COMPILER_CODEGEN_TENSORLOOPS_H
#define HEADRACE_COMPILER_CODEGEN_TENSORLOOPS_H

#include "compiler/codegen/ProgramBuilder.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/IR/IRMapping.h"
#include <optional>

namespace headrace {

/// Whether loops make an element of `op`'s result where it is read, so that the
/// result needs no memory: constants, slices, reshapes, rows picked by index.
bool isMadeWhereRead(mlir::Operation *op);

/// Whether TensorLoops knows `op`, which has memory for its results.
bool hasLoops(mlir::Operation *op);

/// Whether a tensor of `type` can lie in memory between kernels: the first
/// dimension counts the rows of a step, all others are known.
bool isRows(mlir::Type type);

/// Writes the ops of one region whose dynamic sizes are all one number of rows.
class TensorLoops {
public:
  TensorLoops(ProgramBuilder &p, mlir::Value rows) : p(p), rows(rows) {}

  /// `tensor` lies in `memory`, laid out as memoryType() says.
  void bind(mlir::Value tensor, mlir::Value memory) {
    memories[tensor] = memory;
  }

  /// Emits what `op` needs ahead of its readers: loops into new scratch, or
  /// nothing for what is made where it is read.
  mlir::LogicalResult prepare(mlir::Operation *op);

  /// Emits the loops of `op` into memory for each of its results.
  mlir::LogicalResult emit(mlir::Operation *op, mlir::ValueRange results);

  /// Calls `body` with each place of a tensor of `type`, last dimension
  /// fastest. Places that differ in one of the first `independent` dimensions
  /// (absent: in any) do not depend on each other.
  void over(mlir::RankedTensorType type,
            llvm::function_ref<void(llvm::ArrayRef<mlir::Value>)> body,
            std::optional<int64_t> independent = std::nullopt);

  /// The element of `tensor` at `at`, in its own type. Null after an error.
  mlir::Value read(mlir::Value tensor, llvm::ArrayRef<mlir::Value> at);
  /// Stores an element of a tensor.
  void write(mlir::Value element, mlir::Value memory,
             llvm::ArrayRef<mlir::Value> at);
  /// Scratch for as many rows of `type` as a step may have.
  mlir::Value scratch(mlir::RankedTensorType type);

  mlir::Value widen(mlir::Value element);
  mlir::Value narrow(mlir::Value element, mlir::Type type);

private:
  /// The same as float32; takes `done` back after an error.
  mlir::Value readWide(mlir::Value tensor, llvm::ArrayRef<mlir::Value> at,
                       bool &done);
  /// Number of a block of `size` rows, and the row in it, that has row `row` of
  /// `rows`; with 2 `halves` those of the rows alternate within a block.
  std::pair<mlir::Value, mlir::Value> blockOf(mlir::Value row, int64_t rows,
                                              int64_t size, int64_t halves);
  mlir::Value readPanel(flow::PanelsAttr panels, mlir::RankedTensorType type,
                        mlir::Value memory, llvm::ArrayRef<mlir::Value> at);
  mlir::Value readFragment(flow::FragmentsAttr packing,
                           mlir::RankedTensorType type, mlir::Value memory,
                           llvm::ArrayRef<mlir::Value> at);
  mlir::Value readSlice(mlir::Operation *op, llvm::ArrayRef<mlir::Value> at);
  mlir::Value readReshaped(mlir::Value source, mlir::RankedTensorType type,
                           llvm::ArrayRef<mlir::Value> at);
  mlir::Value readElementwise(mlir::Operation *op,
                              llvm::ArrayRef<mlir::Value> at);
  mlir::Value readRotated(mlir::Operation *op, llvm::ArrayRef<mlir::Value> at);
  mlir::Value scalar(mlir::Value value);
  mlir::Value apply(mlir::Operation *op, mlir::ValueRange operands);
  mlir::LogicalResult emitNorm(mlir::Operation *op, mlir::Value out);
  mlir::LogicalResult emitLinear(mlir::Operation *op, mlir::Value out);
  mlir::LogicalResult emitSquash(mlir::Operation *op, mlir::Value out);
  mlir::LogicalResult emitLinalg(mlir::linalg::LinalgOp op,
                                 mlir::ValueRange outs);
  mlir::Value index(int64_t value) { return p.index(value); }

  ProgramBuilder &p;
  mlir::Value rows;
  llvm::DenseMap<mlir::Value, mlir::Value> memories;
  mlir::IRMapping scalars;
};

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_TENSORLOOPS_H
