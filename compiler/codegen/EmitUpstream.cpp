// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Emits what no kernel family knows as loops: one tensor op, or routed experts
// with a body of any ops. Slow, right, and listed by `headrace inspect`.
#include "compiler/codegen/Emitters.h"
#include "compiler/codegen/RoutedRows.h"
#include "compiler/codegen/TensorLoops.h"
#include "dialects/moe/IR/Moe.h"
#include <tuple>

using namespace mlir;
using namespace headrace;

/// Emits `op`, whose results the kernel yields, and what it reads.
static LogicalResult emitOp(flow::KernelOp kernel, Operation *op,
                            const StepLimits &limits) {
  Block &block = kernel.getBody().front();
  ValueRange yielded = block.getTerminator()->getOperands();
  ProgramBuilder p(kernel, limits);
  TensorLoops loops(p, p.rowCount());
  for (BlockArgument argument : block.getArguments())
    loops.bind(argument, p.memory(argument));
  for (Operation &inner : block.without_terminator()) {
    if (&inner != op) {
      if (failed(loops.prepare(&inner)))
        return failure();
      continue;
    }
    SmallVector<Value> results;
    for (Value result : op->getResults()) {
      auto at = llvm::find(yielded, result);
      auto type = cast<RankedTensorType>(result.getType());
      results.push_back(at != yielded.end()
                            ? p.result(unsigned(at - yielded.begin()))
                            : loops.scratch(type));
    }
    if (failed(loops.emit(op, results)))
      return failure();
  }
  return p.finish();
}

/// Emits `combine` with all that leads from the dispatched rows to it: for each
/// expert that has rows, ascending, the bodies on these rows, which are then
/// added to the result.
static LogicalResult emitRouted(flow::KernelOp kernel, moe::CombineOp combine,
                                const StepLimits &limits) {
  SmallVector<moe::ExpertsOp> chain;
  Value buckets = combine.getBuckets();
  while (auto experts = buckets.getDefiningOp<moe::ExpertsOp>()) {
    chain.insert(chain.begin(), experts);
    buckets = experts.getBuckets();
  }
  auto dispatch = buckets.getDefiningOp<moe::DispatchOp>();
  if (!dispatch)
    return combine.emitOpError("adds up rows that no moe.dispatch of the same "
                               "function has grouped");
  ProgramBuilder p(kernel, limits);
  Value tokens = p.count(flow::Count::tokens);
  TensorLoops outer(p, tokens);
  Block &block = kernel.getBody().front();
  for (BlockArgument argument : block.getArguments())
    if (isa<RankedTensorType>(argument.getType()))
      outer.bind(argument, p.memory(argument));
  for (Operation &inner : block.without_terminator())
    if (!isa<moe::DispatchOp, moe::ExpertsOp, moe::CombineOp>(inner) &&
        failed(outer.prepare(&inner)))
      return failure();

  // The base addends come with the first wave of experts.
  Value out = p.result(0), first = p.count(flow::Count::first_active);
  bool done = true;
  p.when(p.less(first, p.index(1)), [&] {
    outer.over(combine.getType(), [&](ArrayRef<Value> at) {
      Value total = p.f32(0);
      for (auto [i, addend] : llvm::enumerate(combine.getBase())) {
        Value element = outer.read(addend, at);
        if (!element) {
          done = false;
          return;
        }
        total = i == 0 ? element
                       : arith::AddFOp::create(p.b, total, element).getResult();
      }
      outer.write(total, out, at);
    });
  });

  RoutedRows routed(p, dispatch.getRouting());
  auto tile = [&](moe::BucketsType type) {
    return RankedTensorType::get({ShapedType::kDynamic, type.getWidth()},
                                 type.getElement());
  };
  p.loop(first, routed.end(), 1, [&](Value slot) {
    Value expert = routed.expert(slot);
    Value begin, count;
    std::tie(begin, count) = routed.rowsOf(expert);
    auto tokenOf = [&](Value i) {
      return p.loadIndex(routed.tokens, p.add(begin, i));
    };
    // The expert's rows, then what each body makes of them.
    TensorLoops gather(p, count);
    auto type = tile(dispatch.getResult().getType());
    Value rows = gather.scratch(type);
    gather.over(type, [&](ArrayRef<Value> at) {
      Value element = outer.read(dispatch.getInput(), {tokenOf(at[0]), at[1]});
      if (!element) {
        done = false;
        return;
      }
      gather.write(gather.narrow(element, type.getElementType()), rows, at);
    });
    for (moe::ExpertsOp experts : chain) {
      TensorLoops loops(p, count);
      Block &body = experts.getBody().front();
      loops.bind(body.getArgument(0), rows);
      for (auto [weight, slice] :
           llvm::zip(experts.getWeights(), body.getArguments().drop_front())) {
        if (weightSlots(cast<RankedTensorType>(weight.getType())) > 1) {
          loops.bind(slice, p.expert(weight, expert));
          continue;
        }
        auto one = cast<MemRefType>(memoryType(slice.getType(), limits));
        loops.bind(slice, flow::ViewOp::create(
                              p.b, one, p.memory(weight),
                              p.mul(expert, one.getNumElements()), 0));
      }
      for (Operation &inner : body.without_terminator())
        if (failed(loops.prepare(&inner))) {
          done = false;
          return;
        }
      type = tile(experts.getResult().getType());
      rows = loops.scratch(type);
      loops.over(type, [&](ArrayRef<Value> at) {
        Value element = loops.read(body.getTerminator()->getOperand(0), at);
        if (!element) {
          done = false;
          return;
        }
        loops.write(element, rows, at);
      });
    }
    gather.over(type, [&](ArrayRef<Value> at) {
      Value row = tokenOf(at[0]);
      Value element = gather.widen(p.load(rows, at));
      Value weight = p.load(routed.weights, p.add(begin, at[0]));
      Value product = arith::MulFOp::create(p.b, weight, element);
      Value total = p.load(out, {row, at[1]});
      p.store(arith::AddFOp::create(p.b, total, product), out, {row, at[1]});
    });
  });
  return success(done && succeeded(p.finish()));
}

LogicalResult headrace::emitUpstream(flow::KernelOp kernel,
                                     const StepLimits &limits,
                                     const EmitOptions &) {
  Operation *op =
      kernel.getBody().front().getTerminator()->getOperand(0).getDefiningOp();
  if (!op)
    return kernel.emitOpError("yields what it was given");
  if (auto combine = dyn_cast<moe::CombineOp>(op))
    return emitRouted(kernel, combine, limits);
  return emitOp(kernel, op, limits);
}
