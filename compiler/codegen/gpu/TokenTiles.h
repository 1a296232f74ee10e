// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Products over the tokens of a block of threads: at most eight of them, where
// weights stream through registers, and any number, where tokens are staged in
// tiles.
#ifndef HEADRACE_COMPILER_CODEGEN_GPU_TOKENTILES_H
#define HEADRACE_COMPILER_CODEGEN_GPU_TOKENTILES_H

#include "compiler/codegen/gpu/Product.h"
#include "compiler/codegen/gpu/RowStage.h"

namespace headrace {

/// Called for each result that a thread has: token (below the block's count),
/// number of the result's column, the product, and the up half's product where
/// there are halves.
using ResultSink = llvm::function_ref<void(
    mlir::Value token, mlir::Value column, mlir::Value sum, mlir::Value up)>;

/// Up to kBlockTokens tokens: the warps of a block share the input channels of
/// some row blocks and add their sums up in one order.
class FewTokens {
public:
  /// With `inPlace` tokens are read where they are, as 16-bit rows.
  FewTokens(KernelBuilder &k, const Product &product, bool inPlace);

  int64_t threads() const { return warps * kWarp; }
  /// Blocks that the output channels are cut into.
  int64_t groups() const;
  /// Bytes of shared memory for the staged tokens.
  static int64_t stageBytes(const Product &product);

  /// Sends for the first weights of column group `group`. What comes next need
  /// not wait for them, nor they for it.
  void start(mlir::Value weights, mlir::Value group);
  /// Token t < `count` is row `rowOf(t)` of `source`. Stages all of them and
  /// ends with a barrier, unless they are read in place.
  void stage(const RowsInMemory &source, nn::NormOp norm, mlir::Value count,
             llvm::function_ref<mlir::Value(mlir::Value)> rowOf);
  /// The product of the weights that were sent for with the staged tokens.
  void run(mlir::Value count, ResultSink sink);

private:
  /// The weights of one load, and of all loads that one round of the loop
  /// takes.
  llvm::SmallVector<mlir::Value> load(mlir::Value number);
  llvm::SmallVector<mlir::Value> loadRound(mlir::Value round);
  mlir::Value loadOf(mlir::Value round, int64_t i);
  /// What the product takes of the tokens in a step of channels.
  llvm::SmallVector<mlir::Value> loadTokens(mlir::Value step);
  llvm::SmallVector<mlir::Value>
  multiply(mlir::ValueRange words, mlir::Value number, mlir::ValueRange sums);

  KernelBuilder &k;
  const Product &product;
  int64_t warps, blocks, depth;
  const bool inPlace;
  int64_t stride;     ///< Bytes from token to token in the stage.
  mlir::Value tokens; ///< The stage, or where the lane's token is.
  mlir::Value weights, group;
  llvm::SmallVector<mlir::Value> first; ///< The weights of round 0.
};

/// Any number of tokens, kTile at a time: tokens come into a ring of shared
/// memory by asynchronous copies, weights straight into registers.
class ManyTokens {
public:
  /// With `warpgroups` the four warps multiply as one (wgmma), for weights in
  /// fragments.
  ManyTokens(KernelBuilder &k, const Product &product, bool warpgroups);

  static constexpr int64_t kTile = 64;
  static constexpr int64_t kWarps = 4;
  static int64_t threads() { return kWarps * kWarp; }
  int64_t groups() const { return (product.rowBlocks + blocks - 1) / blocks; }

  /// The product of column group `group` with tokens 0 to `count`; token t is
  /// row `rowOf(t)` of `source`, whose elements are those of the product.
  void run(const RowsInMemory &source, mlir::Value weights, mlir::Value group,
           mlir::Value count,
           llvm::function_ref<mlir::Value(mlir::Value)> rowOf, ResultSink sink);

private:
  static constexpr int64_t kChannels = 64; ///< Of one slot of the ring.
  static constexpr int64_t kRowBytes = kChannels * 2, kUnit = 16;
  static constexpr int64_t kSlotBytes = kTile * kRowBytes, kSlots = 3;
  static constexpr int64_t kUnits =
      kTile * kRowBytes / kUnit / (kWarps * kWarp);
  static constexpr int64_t kStepsPerSlot = kChannels / kStep;
  /// Floats from token to token where results are exchanged.
  int64_t pitch() const { return blocks * kBlockRows + 4; }

  /// Where 16-byte unit `unit` of row `row` stands in its slot, in bytes. Rows
  /// that a load touches together fall on different banks.
  mlir::Value place(mlir::Value row, mlir::Value unit);
  llvm::SmallVector<mlir::Value> load(mlir::Value weights, mlir::Value group,
                                      mlir::Value chunk);
  /// `sums` plus the products of step `step` of a slot, whose weights `words`
  /// are.
  llvm::SmallVector<mlir::Value> multiply(mlir::ValueRange words,
                                          mlir::Value slot, int64_t step,
                                          mlir::ValueRange sums);

  llvm::SmallVector<mlir::Value> multiplyAsOne(mlir::ValueRange words,
                                               mlir::Value slot,
                                               mlir::ValueRange sums);

  KernelBuilder &k;
  const Product &product;
  const bool warpgroups;
  /// Row blocks of a warp, and of all. Decoding takes the registers of half of
  /// them.
  const int64_t perWarp, blocks;
  mlir::Value ring, exchange;
};

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_GPU_TOKENTILES_H
