// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Builds the frame of a tile program: its arguments as memory, and the few
// constructs that every emitter writes.
#ifndef HEADRACE_COMPILER_CODEGEN_PROGRAMBUILDER_H
#define HEADRACE_COMPILER_CODEGEN_PROGRAMBUILDER_H

#include "compiler/codegen/BufferLayout.h"
#include "compiler/codegen/ScalarBuilder.h"
#include "dialects/flow/IR/Flow.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

namespace headrace {

/// On a kernel whose rows are those that the host asked logits of, and not all
/// of the step.
constexpr llvm::StringLiteral kOutputRowsAttr = "headrace.output_rows";

/// On a loop of a tile program: how many loops, it and those right inside one
/// another in it, have iterations that do not depend on each other.
constexpr llvm::StringLiteral kParallelAttr = "headrace.parallel";

/// The launch operands of a kernel in the order of the kernel ABI. A key-value
/// cache is two buffers: its pages and its table.
struct LaunchOperands {
  mlir::SmallVector<mlir::Value> buffers; ///< Kernel arguments, activations.
  mlir::SmallVector<mlir::Value> weights; ///< Kernel arguments, weights.
  explicit LaunchOperands(flow::KernelOp kernel);
};

class ProgramBuilder : public ScalarBuilder {
public:
  /// Creates an empty program behind `kernel`. Results that are a key-value
  /// cache are the cache argument, updated in place, and have no buffer.
  ProgramBuilder(flow::KernelOp kernel, const StepLimits &limits);

  /// Sets the scratch size and erases the kernel.
  mlir::LogicalResult finish();

  flow::KernelOp kernel;
  flow::ProgramOp program;
  const StepLimits &limits;

  mlir::Value task() { return program.getBody().getArgument(0); }
  /// Memory of a kernel argument.
  mlir::Value memory(mlir::Value argument) { return memories.lookup(argument); }
  /// Memory of expert `expert` of a kernel argument that is a stacked weight.
  mlir::Value expert(mlir::Value argument, mlir::Value expert);
  /// Table of pages of a key-value cache argument.
  mlir::Value pageTable(mlir::Value cache) { return tables.lookup(cache); }
  /// Memory of the kernel's result number `i`, not counting caches.
  mlir::Value result(unsigned i) { return results[i]; }

  mlir::Value index(int64_t value) { return number(value, b.getIndexType()); }
  mlir::Value count(flow::Count what) {
    return flow::CountOp::create(b, b.getIndexType(), what);
  }
  /// How many rows the kernel's activations have.
  mlir::Value rowCount() {
    return count(kernel->hasAttr(kOutputRowsAttr) ? flow::Count::outputs
                                                  : flow::Count::tokens);
  }
  mlir::Value min(mlir::Value x, mlir::Value y) {
    return mlir::arith::MinUIOp::create(b, x, y);
  }
  mlir::Value less(mlir::Value x, mlir::Value y) {
    return mlir::arith::CmpIOp::create(b, mlir::arith::CmpIPredicate::ult, x,
                                       y);
  }
  mlir::Value toIndex(mlir::Value x) {
    return mlir::arith::IndexCastOp::create(b, b.getIndexType(), x);
  }
  mlir::Value toI32(mlir::Value x) {
    return mlir::arith::IndexCastOp::create(b, b.getI32Type(), x);
  }
  mlir::Value load(mlir::Value memory, mlir::ValueRange at) {
    return mlir::memref::LoadOp::create(b, memory, at);
  }
  mlir::Value loadIndex(mlir::Value memory, mlir::ValueRange at) {
    return toIndex(load(memory, at));
  }
  void store(mlir::Value value, mlir::Value memory, mlir::ValueRange at) {
    mlir::memref::StoreOp::create(b, value, memory, at);
  }
  /// `for (i = from; i < to; i += step) body(i)`.
  mlir::scf::ForOp loop(mlir::Value from, mlir::Value to, int64_t step,
                        llvm::function_ref<void(mlir::Value)> body);
  void loop(mlir::Value to, llvm::function_ref<void(mlir::Value)> body) {
    loop(index(0), to, 1, body);
  }
  /// The same for iterations that do not depend on each other; see
  /// kParallelAttr.
  void parallel(mlir::Value to, int64_t nest,
                llvm::function_ref<void(mlir::Value)> body) {
    loop(index(0), to, 1, body)
        ->setAttr(kParallelAttr, b.getI64IntegerAttr(nest));
  }
  /// The same with carried values.
  mlir::ValueRange
  fold(mlir::Value from, mlir::Value to, mlir::ValueRange inits,
       llvm::function_ref<mlir::SmallVector<mlir::Value>(mlir::Value,
                                                         mlir::ValueRange)>
           body);
  void when(mlir::Value condition, llvm::function_ref<void()> body);
  flow::RowsOp rows(mlir::Value count, int64_t limit,
                    llvm::function_ref<void(mlir::Value)> body);
  flow::AccType acc(int64_t width) {
    return flow::AccType::get(b.getContext(), width, b.getF32Type());
  }
  flow::AccType accI32(int64_t width) {
    return flow::AccType::get(b.getContext(), width, b.getI32Type());
  }
  mlir::Value
  map(mlir::ValueRange inputs, flow::AccType type,
      llvm::function_ref<mlir::Value(mlir::OpBuilder &, mlir::Location,
                                     mlir::ValueRange)>
          body);
  /// A new piece of the worker's fast memory.
  mlir::Value scratch(mlir::MemRefType type);
  /// The same as bytes, which only lowered code uses: their offset.
  int64_t reserve(int64_t bytes);
  mlir::Value view(mlir::Value bytes, int64_t offset, int64_t size,
                   mlir::Type element);

private:
  mlir::DenseMap<mlir::Value, mlir::Value> memories, tables;
  mlir::SmallVector<mlir::Value> results;
  int64_t scratchBytes = 0;
};

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_PROGRAMBUILDER_H
