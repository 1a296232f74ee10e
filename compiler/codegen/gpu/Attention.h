// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the kernels of attention know of the op and of the step.
#ifndef HEADRACE_COMPILER_CODEGEN_GPU_ATTENTION_H
#define HEADRACE_COMPILER_CODEGEN_GPU_ATTENTION_H

#include "compiler/codegen/gpu/KernelBuilder.h"
#include "dialects/nn/IR/Nn.h"
#include "runtime/abi/kernel_abi.h"

namespace headrace {

constexpr int64_t kPositions = HEADRACE_KV_PAGE_POSITIONS;
/// Below every score; finite, so that differences of it are numbers.
constexpr double kMasked = -1e30;

class Attention {
public:
  static constexpr int64_t kWarps = 4, kThreads = kWarps * kWarp;

  Attention(nn::AttentionOp op, const StepLimits &limits);

  mutable nn::AttentionOp op; ///< Its accessors are not const.
  nn::KvCacheType cache;
  KvLayout layout;
  const StepLimits &limits;
  const int64_t dim, padded, kvHeads, heads, shared, maxPages, window;

  /// The slot of the sequence that row `row` belongs to.
  mlir::Value sequenceOf(KernelBuilder &k, mlir::Value row) const;
  mlir::Value firstRow(KernelBuilder &k, mlir::Value sequence) const;
  mlir::Value position(KernelBuilder &k, mlir::Value row) const;
  /// The address of a head's block of page `page` of a sequence.
  mlir::Value headBlock(KernelBuilder &k, mlir::Value sequence,
                        mlir::Value page, mlir::Value head) const;
  /// Where finished queries are, row by row.
  RowsInMemory queries(KernelBuilder &k) const;
  int64_t queryBytes() const { return limits.maxTokens * heads * dim * 4; }

  /// Whether a row at `position` sees position `at`.
  mlir::Value sees(KernelBuilder &k, mlir::Value position,
                   mlir::Value at) const;
  /// Stores channel `c` of the result of a row and a head whose weighted sum
  /// and mass count from the largest score `top`. A sink is one more score,
  /// which only the mass knows.
  void store(KernelBuilder &k, mlir::Value row, mlir::Value head, mlir::Value c,
             mlir::Value total, mlir::Value mass, mlir::Value top) const;
};

/// Emits attention over a cache of float32, with multiply-adds.
void emitPlainAttention(KernelBuilder &k, const Attention &a);

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_GPU_ATTENTION_H
