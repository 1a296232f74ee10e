// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Builds the frame of a tile program.
#include "compiler/codegen/ProgramBuilder.h"

#include "dialects/nn/IR/Nn.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace headrace;

LaunchOperands::LaunchOperands(flow::KernelOp kernel) {
  for (BlockArgument argument : kernel.getBody().getArguments())
    (isWeightType(argument.getType()) ? weights : buffers).push_back(argument);
}

ProgramBuilder::ProgramBuilder(flow::KernelOp kernel, const StepLimits &limits)
    : ScalarBuilder(kernel), kernel(kernel), limits(limits) {
  b.setInsertionPointAfter(kernel);
  LaunchOperands operands(kernel);
  SmallVector<Type> types{b.getIndexType()};
  for (Value argument : operands.buffers) {
    types.push_back(memoryType(argument.getType(), limits));
    if (isa<nn::KvCacheType>(argument.getType()))
      types.push_back(MemRefType::get({ShapedType::kDynamic}, b.getI32Type()));
  }
  for (Type type : kernel.getType().getResults())
    if (!isa<nn::KvCacheType>(type))
      types.push_back(memoryType(type, limits));
  int64_t buffers = int64_t(types.size()) - 1;
  for (Value argument : operands.weights)
    types.push_back(memoryType(argument.getType(), limits));

  auto grid =
      kernel.getTasks()
          ? *kernel.getTasks()
          : flow::GridAttr::get(b.getContext(), flow::GridKind::fixed, 1, 1, 1);
  program = flow::ProgramOp::create(b, kernel.getSymName(), kernel.getFamily(),
                                    buffers, 0, grid);
  Block &block = program.getBody().emplaceBlock();
  block.addArguments(types, SmallVector<Location>(types.size(), b.getLoc()));
  unsigned next = 1;
  for (Value argument : operands.buffers) {
    memories[argument] = block.getArgument(next++);
    if (isa<nn::KvCacheType>(argument.getType()))
      tables[argument] = block.getArgument(next++);
  }
  for (Type type : kernel.getType().getResults())
    if (!isa<nn::KvCacheType>(type))
      results.push_back(block.getArgument(next++));
  for (Value argument : operands.weights)
    memories[argument] = block.getArgument(next++);
  b.setInsertionPointToEnd(&block);
}

LogicalResult ProgramBuilder::finish() {
  program.setScratch(scratchBytes);
  kernel.erase();
  return success();
}

Value ProgramBuilder::expert(Value argument, Value expert) {
  auto stacked = cast<MemRefType>(memory(argument).getType());
  auto one = MemRefType::get(stacked.getShape().drop_front(),
                             stacked.getElementType());
  return flow::ExpertOp::create(b, one, memory(argument), expert);
}

scf::ForOp ProgramBuilder::loop(Value from, Value to, int64_t step,
                                function_ref<void(Value)> body) {
  auto op = scf::ForOp::create(b, from, to, index(step));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(op.getBody());
  body(op.getInductionVar());
  return op;
}

ValueRange
ProgramBuilder::fold(Value from, Value to, ValueRange inits,
                     function_ref<SmallVector<Value>(Value, ValueRange)> body) {
  auto op = scf::ForOp::create(b, from, to, index(1), inits);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(op.getBody());
  SmallVector<Value> out = body(op.getInductionVar(), op.getRegionIterArgs());
  scf::YieldOp::create(b, out);
  return op.getResults();
}

void ProgramBuilder::when(Value condition, function_ref<void()> body) {
  auto op = scf::IfOp::create(b, condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(op.thenBlock());
  body();
}

flow::RowsOp ProgramBuilder::rows(Value count, int64_t limit,
                                  function_ref<void(Value)> body) {
  auto op = flow::RowsOp::create(b, count, limit);
  OpBuilder::InsertionGuard guard(b);
  Block &block = op.getBody().emplaceBlock();
  block.addArgument(b.getIndexType(), b.getLoc());
  b.setInsertionPointToEnd(&block);
  body(block.getArgument(0));
  flow::YieldOp::create(b, ValueRange{});
  return op;
}

Value ProgramBuilder::map(
    ValueRange inputs, flow::AccType type,
    function_ref<Value(OpBuilder &, Location, ValueRange)> body) {
  auto op = flow::MapOp::create(b, type, inputs);
  OpBuilder::InsertionGuard guard(b);
  Block &block = op.getBody().emplaceBlock();
  for (Value input : inputs)
    block.addArgument(cast<flow::AccType>(input.getType()).getElement(),
                      b.getLoc());
  b.setInsertionPointToEnd(&block);
  Value out = body(b, b.getLoc(), block.getArguments());
  flow::YieldOp::create(b, out);
  return op.getResult();
}

Value ProgramBuilder::scratch(MemRefType type) {
  SmallVector<int64_t> strides;
  int64_t offset = 0;
  (void)type.getStridesAndOffset(strides, offset);
  int64_t bytes =
      type.getDimSize(0) * strides[0] * (type.getElementTypeBitWidth() / 8);
  return flow::ScratchOp::create(b, type, reserve(bytes));
}

int64_t ProgramBuilder::reserve(int64_t bytes) {
  int64_t offset = scratchBytes;
  scratchBytes += int64_t(llvm::alignTo(uint64_t(bytes), 64));
  return offset;
}

Value ProgramBuilder::view(Value bytes, int64_t offset, int64_t size,
                           Type element) {
  return flow::ViewOp::create(b, MemRefType::get({size}, element), bytes,
                              Value(), offset);
}
