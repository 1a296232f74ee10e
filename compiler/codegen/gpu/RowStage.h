// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reads rows of activations, normalised where the kernel asks for it, a chunk
// of eight values a lane.
#ifndef HEADRACE_COMPILER_CODEGEN_GPU_ROWSTAGE_H
#define HEADRACE_COMPILER_CODEGEN_GPU_ROWSTAGE_H

#include "compiler/codegen/KernelMatch.h"
#include "compiler/codegen/gpu/KernelBuilder.h"

namespace headrace {

/// Whether the rows of `source` lie in memory as a product of `element` takes
/// them.
bool isReady(const RowSource &source, mlir::Type element);

/// Values that one lane has of a row at once.
constexpr int64_t kChunk = 8;

/// Reads rows of `width` values, one row a warp.
class RowStage {
public:
  /// `norm` may be null; its weight and bias are arguments of the kernel.
  RowStage(KernelBuilder &k, const RowsInMemory &source, nn::NormOp norm)
      : k(k), source(source), norm(norm) {}

  /// Hands chunk after chunk of row `row`, normalised, to
  /// `sink(column, values)`: lane by lane, from column 0 to `padded`, a
  /// multiple of kChunk. Values past the row's width are zero. All lanes of a
  /// warp call this with one row.
  void read(mlir::Value row, int64_t padded,
            llvm::function_ref<void(mlir::Value, mlir::ValueRange)> sink);

  /// Chunk from `column` on of row `row`, as it is in memory.
  llvm::SmallVector<mlir::Value> chunk(mlir::Value row, mlir::Value column,
                                       bool constant) {
    return chunk(source, row, column, constant);
  }

private:
  llvm::SmallVector<mlir::Value> chunk(const RowsInMemory &rows,
                                       mlir::Value row, mlir::Value column,
                                       bool constant);
  /// Sum over the row of `body(x)`, in all lanes.
  mlir::Value sum(mlir::Value row,
                  llvm::function_ref<mlir::Value(mlir::Value)> body);

  KernelBuilder &k;
  RowsInMemory source;
  nn::NormOp norm;
};

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_GPU_ROWSTAGE_H
