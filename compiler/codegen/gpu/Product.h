// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A product with packed or row-major weights and its epilogue, as the threads
// of a warp compute it: weights are the operand with 16 rows, tokens stand on
// the side of 8.
#ifndef HEADRACE_COMPILER_CODEGEN_GPU_PRODUCT_H
#define HEADRACE_COMPILER_CODEGEN_GPU_PRODUCT_H

#include "compiler/codegen/gpu/KernelBuilder.h"
#include "dialects/nn/IR/Nn.h"

namespace headrace {

/// What a lane holds of a 16 by 8 block of results: rows g and g + 8 (g = lane
/// / 4) of columns 2 (lane % 4) and one more, in this order: (g, c), (g, c +
/// 1), (g + 8, c), (g + 8, c + 1).
constexpr int64_t kAccumulators = 4;
/// Rows of a block of weights, and tokens of a block of results.
constexpr int64_t kBlockRows = 16, kBlockTokens = 8;
/// Input channels of a step: two instructions' worth.
constexpr int64_t kStep = 32;

class Product {
public:
  /// The shape of `linear`; fails with a diagnostic for what tensor cores do
  /// not take.
  static mlir::FailureOr<Product> match(nn::LinearOp linear);

  mutable nn::LinearOp linear; ///< Its accessors are not const.
  int64_t in = 0, out = 0;
  int64_t halves = 1; ///< 2: a block has 8 gate rows and the 8 up rows to them.
  bool fragments = false; ///< Else row-major.
  mlir::Type element;     ///< Of the operands of matrix instructions.
  /// Set where the weights are of fewer bits, with scales.
  mlir::RankedTensorType encoded;
  int64_t rowBlocks = 0; ///< Blocks of 16 rows.

  int64_t paddedIn() const { return (in + 63) / 64 * 64; }
  /// Steps whose weights a lane loads at once, 16 bytes at a time: two where
  /// they are of 4 bits.
  int64_t stepsPerLoad() const;
  int64_t loads() const { return paddedIn() / (stepsPerLoad() * kStep); }
  /// Words of weights, and scales, that a lane holds of a row block in a load.
  int64_t heldWords() const;
  /// What a lane holds of load `number` for row block `block`. `base` is the
  /// weight's address.
  llvm::SmallVector<mlir::Value> loadWeights(KernelBuilder &k, mlir::Value base,
                                             mlir::Value block,
                                             mlir::Value number) const;

  /// The operands of both instructions of a step, 8 words, and the scales of
  /// the lane's two rows; those are null where the weights have none.
  struct Operands {
    llvm::SmallVector<mlir::Value> words;
    mlir::Value low, high;
  };
  /// Those of step `step` of the load that `held` is of.
  Operands operandsOf(KernelBuilder &k, mlir::ValueRange held,
                      int64_t step) const;
  /// `sums` plus a step's product of weights and tokens (4 words). Where there
  /// are scales they apply to the sum of the step, which is part of a block.
  llvm::SmallVector<mlir::Value> multiply(KernelBuilder &k,
                                          const Operands &weights,
                                          mlir::ValueRange tokens,
                                          mlir::ValueRange sums) const;

  /// Where one lane's results are: the row of the epilogue's operands, and the
  /// number of the result's column; and the bias's address, where there is one.
  struct Place {
    mlir::Value row, column, bias;
  };
  /// The epilogue's value `value` at `place`: `sum` is the product there, or
  /// gate and `up` the products of both halves. Null after a diagnostic.
  mlir::Value evaluate(KernelBuilder &k, mlir::Value value, mlir::Value sum,
                       mlir::Value up, const Place &place) const;

private:
  llvm::SmallVector<mlir::Value> loadEncoded(KernelBuilder &k, mlir::Value base,
                                             mlir::Value block,
                                             mlir::Value number) const;
};

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_GPU_PRODUCT_H
