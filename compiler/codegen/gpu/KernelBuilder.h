// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Builds the code of one thread of a GPU kernel: parameters, memory, control
// flow and the instructions that a warp executes together.
//
// Kernels are `gpu.func`s of structured control flow (scf) over scalars of
// `arith`, so that they can be read, run by the emulator of
// compiler/reference/simt, and lowered by upstream's passes.
#ifndef HEADRACE_COMPILER_CODEGEN_GPU_KERNELBUILDER_H
#define HEADRACE_COMPILER_CODEGEN_GPU_KERNELBUILDER_H

#include "compiler/codegen/BufferLayout.h"
#include "compiler/codegen/ScalarBuilder.h"
#include "dialects/flow/IR/Flow.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

namespace headrace {

/// Threads of a warp.
constexpr int64_t kWarp = 32;

/// Where the rows of a buffer are.
struct RowsInMemory {
  mlir::Value base;   ///< !llvm.ptr<1>
  int64_t stride = 0; ///< Elements from row to row.
  int64_t width = 0;
  mlir::Type element;
};

/// What a kernel reads and writes besides its own operands and results.
enum class ExtraBuffer {
  workspace, ///< Bytes whose contents nobody keeps from launch to launch.
  partials,  ///< The same, but kept through the waves of a routed layer.
  tickets    ///< i32 counters, zero before and after every launch.
};

class KernelBuilder : public ScalarBuilder {
public:
  /// Starts kernel `name` behind `kernel`, with parameters for the operands and
  /// results of `kernel` in the order of the ABI and for `extras`.
  KernelBuilder(flow::KernelOp kernel, const std::string &name,
                const StepLimits &limits, llvm::ArrayRef<ExtraBuffer> extras);

  /// Ends the function and says how it is launched.
  void finish(int64_t threads, flow::GridAttr grid);

  flow::KernelOp kernel;
  const StepLimits &limits;

  //===--------------------------------------------------------------------===//
  // Parameters
  //===--------------------------------------------------------------------===//
  /// Address of an activation: an argument of the flow.kernel.
  mlir::Value buffer(mlir::Value argument) { return buffers.lookup(argument); }
  /// Table of pages of a key-value cache argument.
  mlir::Value pageTable(mlir::Value cache) { return tables.lookup(cache); }
  /// Address of result `i` of the flow.kernel, not counting caches.
  mlir::Value result(unsigned i) { return results[i]; }
  mlir::Value extra(ExtraBuffer which);
  /// Rows of an activation argument or result of the flow.kernel.
  RowsInMemory rowsOf(mlir::Value argument);
  RowsInMemory rowsOfResult(unsigned i);
  RowsInMemory rowsAt(mlir::Value base, mlir::Type type);
  /// Address of a weight argument, of expert `expert` where it is stacked.
  mlir::Value weight(mlir::Value argument, mlir::Value expert = {});
  /// What counts the rows of the flow.kernel's results: the step's tokens, or
  /// its rows of logits.
  flow::Count rowCounter();
  /// A count of the step, i32.
  mlir::Value count(flow::Count what);

  //===--------------------------------------------------------------------===//
  // Scalars beside those of ScalarBuilder; integers are i32, signed, unless
  // said
  //===--------------------------------------------------------------------===//
  mlir::Type i32Type() { return b.getI32Type(); }
  mlir::Type f32Type() { return b.getF32Type(); }
  mlir::Value i64(int64_t value) { return number(value, b.getI64Type()); }
  mlir::Value boolean(bool value) {
    return mlir::arith::ConstantIntOp::create(b, b.getI1Type(), value);
  }
  mlir::Value min(mlir::Value x, mlir::Value y) {
    return mlir::arith::MinSIOp::create(b, x, y);
  }
  mlir::Value max(mlir::Value x, mlir::Value y) {
    return mlir::arith::MaxSIOp::create(b, x, y);
  }
  mlir::Value compare(mlir::arith::CmpIPredicate how, mlir::Value x,
                      mlir::Value y) {
    return mlir::arith::CmpIOp::create(b, how, x, y);
  }
  mlir::Value less(mlir::Value x, mlir::Value y) {
    return compare(mlir::arith::CmpIPredicate::slt, x, y);
  }
  mlir::Value equal(mlir::Value x, mlir::Value y) {
    return compare(mlir::arith::CmpIPredicate::eq, x, y);
  }
  mlir::Value both(mlir::Value x, mlir::Value y) {
    return mlir::arith::AndIOp::create(b, x, y);
  }
  mlir::Value select(mlir::Value which, mlir::Value x, mlir::Value y) {
    return mlir::arith::SelectOp::create(b, which, x, y);
  }
  mlir::Value larger(mlir::Value x, mlir::Value y);
  mlir::Value toI64(mlir::Value x) {
    return mlir::arith::ExtSIOp::create(b, b.getI64Type(), x);
  }

  //===--------------------------------------------------------------------===//
  // Places
  //===--------------------------------------------------------------------===//
  mlir::Value thread(); ///< In its block.
  mlir::Value block();
  mlir::Value lane();
  mlir::Value warp();

  //===--------------------------------------------------------------------===//
  // Memory
  //===--------------------------------------------------------------------===//
  /// Reserves shared memory of the block; returns its address, !llvm.ptr<3>,
  /// 128-byte aligned.
  mlir::Value shared(int64_t bytes);
  /// The address of a table of constants, !llvm.ptr<4>.
  mlir::Value constants(llvm::ArrayRef<float> values);
  /// `base` plus `index` (i32 or i64) elements.
  mlir::Value at(mlir::Value base, mlir::Value index, mlir::Type element);
  mlir::Value at(mlir::Value base, int64_t bytes);
  /// Element `column` of row `row`; rows times stride may exceed 31 bits.
  mlir::Value at(const RowsInMemory &rows, mlir::Value row, mlir::Value column);
  mlir::Value load(mlir::Type type, mlir::Value address);
  /// A load of bytes that no launch writes while this one runs.
  mlir::Value loadConstant(mlir::Type type, mlir::Value address,
                           unsigned alignment = 0);
  void store(mlir::Value value, mlir::Value address);
  /// Four i32 from a 16-byte aligned address.
  llvm::SmallVector<mlir::Value> load16(mlir::Value address, bool constant);
  void store16(mlir::ValueRange words, mlir::Value address);
  mlir::VectorType words() {
    return mlir::VectorType::get({4}, b.getI32Type());
  }
  /// Adds one to an i32 of global memory; what was there.
  mlir::Value increment(mlir::Value address);

  //===--------------------------------------------------------------------===//
  // Control flow
  //===--------------------------------------------------------------------===//
  /// `for (i = from; i < to; i += step) body(i)`.
  void loop(mlir::Value from, mlir::Value to, mlir::Value step,
            llvm::function_ref<void(mlir::Value)> body);
  /// The same with carried values.
  llvm::SmallVector<mlir::Value>
  fold(mlir::Value from, mlir::Value to, mlir::Value step,
       mlir::ValueRange inits,
       llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::Value,
                                                         mlir::ValueRange)>
           body);
  void when(mlir::Value condition, llvm::function_ref<void()> body);
  /// Values that differ by a condition.
  llvm::SmallVector<mlir::Value>
  choose(mlir::Value condition, mlir::TypeRange types,
         llvm::function_ref<llvm::SmallVector<mlir::Value>()> yes,
         llvm::function_ref<llvm::SmallVector<mlir::Value>()> no);
  void barrier();
  /// What this thread wrote is seen by the whole GPU before what it writes
  /// next.
  void fence();
  /// True in all threads of the block that counts `counter` (a device address)
  /// to `total` blocks; that one leaves it at zero. What the others wrote ahead
  /// of their call is visible to it.
  mlir::Value lastToArrive(mlir::Value counter, mlir::Value total);

  //===--------------------------------------------------------------------===//
  // Warps
  //===--------------------------------------------------------------------===//
  /// The value of lane `lane xor mask`.
  mlir::Value shuffle(mlir::Value value, int64_t mask);
  /// The value of lane `from`.
  mlir::Value broadcast(mlir::Value value, mlir::Value from);
  /// The value of lane `lane - distance`; the lane's own where there is none.
  mlir::Value shuffleUp(mlir::Value value, int64_t distance);
  /// A mask of the lanes that have the same value (i32).
  mlir::Value lanesWithSame(mlir::Value value);
  /// What lanes of this warp wrote to shared memory is seen by all of them.
  void warpBarrier();
  mlir::Value countBits(mlir::Value mask);
  /// The sum over the warp, the same in all lanes and in one order.
  mlir::Value warpSum(mlir::Value value);
  mlir::Value warpMax(mlir::Value value);
  /// Two 16-bit floats of a word.
  std::pair<mlir::Value, mlir::Value> unpack(mlir::Value word,
                                             mlir::Type element);
  mlir::Value pack(mlir::Value low, mlir::Value high, mlir::Type element);
  /// accumulators[4] + a[4] * b[2]: mma.sync m16n8k16, float32 sums.
  llvm::SmallVector<mlir::Value> mma(mlir::ValueRange a, mlir::ValueRange b,
                                     mlir::ValueRange accumulators,
                                     mlir::Type element);
  /// accumulators + words * tokens by a warpgroup (wgmma, sm_90a): `words` are
  /// 4 of each of `steps` times `blocks` operands, steps of 16 channels in
  /// pairs with the blocks inside, as loads of weights give them; `descriptor`
  /// names tokens by channels in shared memory. Waits for the end.
  llvm::SmallVector<mlir::Value>
  multiplyWarpgroup(mlir::ValueRange words, mlir::Value descriptor,
                    mlir::ValueRange accumulators, int64_t blocks,
                    int64_t steps, int64_t tokens, mlir::Type element);
  /// What this thread wrote to shared memory is seen by warpgroups'
  /// instructions.
  void fenceProxy();
  /// Four 8x8 matrices of 16-bit elements; each lane names one row.
  llvm::SmallVector<mlir::Value> loadMatrices(mlir::Value address);
  /// 16 bytes from global to shared memory, `valid` of them, the rest zero.
  void copyAsync(mlir::Value to, mlir::Value from, mlir::Value valid);
  void commitCopies();
  /// Waits until at most `left` of this thread's groups of copies are under
  /// way.
  void awaitCopies(int64_t left);

private:
  mlir::gpu::GPUModuleOp module;
  mlir::gpu::GPUFuncOp function;
  mlir::DenseMap<mlir::Value, mlir::Value> buffers, tables, slots;
  llvm::SmallVector<mlir::Value> results, extraValues;
  llvm::SmallVector<ExtraBuffer> extras;
  mlir::Value table, counts;
  int64_t sharedBytes = 0;
};

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_GPU_KERNELBUILDER_H
