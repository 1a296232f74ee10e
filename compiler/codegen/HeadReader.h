// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reads the finished channels of a head of attention: sliced, normalised,
// clamped and rotated.
#ifndef HEADRACE_COMPILER_CODEGEN_HEADREADER_H
#define HEADRACE_COMPILER_CODEGEN_HEADREADER_H

#include "compiler/codegen/KernelMatch.h"
#include "compiler/codegen/ScalarBuilder.h"

namespace headrace {

/// Of one source and one kind of device, which says how it reads and loops.
class HeadReader {
public:
  HeadReader(ScalarBuilder &s, const HeadSource &source, int64_t headDim)
      : source(source), headDim(headDim), s(s) {}
  virtual ~HeadReader() = default;

  /// Hands channel c of head `head` of row `row` to `sink(c, value)`: all of
  /// them, or those of this thread.
  void read(mlir::Value row, mlir::Value head,
            llvm::function_ref<void(mlir::Value, mlir::Value)> sink);

protected:
  /// Column `column` of the source's row `row`, float32.
  virtual mlir::Value input(mlir::Value row, mlir::Value column) = 0;
  /// Element `at` of the norm's weight, float32.
  virtual mlir::Value normWeight(mlir::Value at) = 0;
  /// Column `column` of the rotation's angles of row `row`.
  virtual mlir::Value angle(mlir::Value row, mlir::Value column) = 0;
  /// The sum of x^2 over `width` columns from `from` on.
  virtual mlir::Value sumOfSquares(mlir::Value row, mlir::Value from,
                                   int64_t width) = 0;
  virtual void overChannels(int64_t from, int64_t to,
                            llvm::function_ref<void(mlir::Value)> body) = 0;

  HeadSource source;
  int64_t headDim;

private:
  mlir::Value normScale(mlir::Value row, mlir::Value start);
  mlir::Value channel(mlir::Value row, mlir::Value start, mlir::Value scale,
                      mlir::Value c);

  ScalarBuilder &s;
};

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_HEADREADER_H
