// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Emits what no family knows as loops: the tile program that such a kernel is
// on a CPU, as the code of a block of threads. Slow, right, and listed by
// `headrace inspect`.
//
// Loops whose iterations do not depend on each other are dealt out to the
// threads; they are all that writes memory, but for constants. Everything else
// is done by every thread alike, so that barriers are met by all of them. A
// program of one such loop needs no barrier and has as many blocks as rows.
#include "compiler/codegen/Emitters.h"
#include "compiler/codegen/ProgramBuilder.h"
#include "compiler/codegen/gpu/GpuEmitters.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace headrace;

namespace {

constexpr int64_t kThreads = 512, kThreadsOfMany = 128;

/// Whether `program` is one loop for all threads and what they read ahead of
/// it.
bool isOneLoop(flow::ProgramOp program) {
  int loops = 0;
  for (Operation &op : program.getBody().front()) {
    if (isa<memref::StoreOp, scf::IfOp, flow::ScratchOp>(op) ||
        (isa<scf::ForOp>(op) && !op.hasAttr(kParallelAttr)))
      return false;
    loops += isa<scf::ForOp>(op);
  }
  return loops == 1;
}

class LoopEmitter {
public:
  /// With `blocks` they share one loop.
  LoopEmitter(KernelBuilder &k, flow::ProgramOp program, bool blocks)
      : k(k), program(program), blocks(blocks) {}

  LogicalResult emit() {
    bindArguments();
    Block &body = program.getBody().front();
    if (!blocks)
      return emitBlock(body);
    // A step may have fewer rows than there are blocks.
    bool done = true;
    rows = k.count(k.rowCounter());
    k.when(k.less(k.block(), rows), [&] { done = succeeded(emitBlock(body)); });
    return success(done);
  }
  int64_t threads() const { return blocks ? kThreadsOfMany : kThreads; }

private:
  /// Addresses of the program's memory: buffers, results, then weights.
  void bindArguments() {
    LaunchOperands operands(k.kernel);
    Block &block = program.getBody().front();
    unsigned next = 0;
    map.map(block.getArgument(next++), k.i64(0)); // The only task.
    for (Value argument : operands.buffers)
      map.map(block.getArgument(next++), k.buffer(argument));
    for (unsigned i = 0; i < k.kernel.getType().getNumResults(); ++i)
      map.map(block.getArgument(next++), k.result(i));
    for (Value argument : operands.weights) {
      weights[block.getArgument(next)] = argument;
      if (weightSlots(cast<RankedTensorType>(argument.getType())) == 1)
        map.map(block.getArgument(next), k.weight(argument));
      ++next;
    }
  }

  LogicalResult emitBlock(Block &block) {
    for (Operation &op : block)
      if (!isa<scf::YieldOp>(op) && failed(emitOp(&op)))
        return failure();
    return success();
  }

  LogicalResult emitOp(Operation *op) {
    return llvm::TypeSwitch<Operation *, LogicalResult>(op)
        .Case([&](scf::ForOp loop) {
          auto nest = loop->getAttrOfType<IntegerAttr>(kParallelAttr);
          return nest && !parallel ? emitParallel(loop, nest.getInt())
                                   : emitFor(loop);
        })
        .Case([&](scf::IfOp choice) { return emitIf(choice); })
        .Case([&](memref::LoadOp load) {
          settle();
          map.map(load.getResult(),
                  k.load(load.getType(),
                         address(load.getMemref(), load.getIndices())));
          return success();
        })
        .Case([&](memref::StoreOp store) {
          Value value = map.lookup(store.getValue());
          Value to = address(store.getMemref(), store.getIndices());
          if (parallel) {
            k.store(value, to);
            return success();
          }
          k.when(k.equal(k.thread(), k.i32(0)), [&] { k.store(value, to); });
          unsettled = true;
          return success();
        })
        .Case([&](flow::CountOp count) {
          map.map(count.getResult(), k.toI64(k.count(count.getWhat())));
          return success();
        })
        .Case([&](flow::ScratchOp scratch) {
          map.map(scratch.getResult(), k.at(k.extra(ExtraBuffer::workspace),
                                            int64_t(scratch.getOffset())));
          return success();
        })
        .Case([&](flow::ViewOp view) {
          Value base =
              k.at(map.lookup(view.getSource()), int64_t(view.getOffset()));
          if (view.getStart())
            base = k.at(base, map.lookup(view.getStart()),
                        elementOf(view.getResult()));
          map.map(view.getResult(), base);
          return success();
        })
        .Case([&](flow::ExpertOp expert) {
          Value index = arith::TruncIOp::create(k.b, k.i32Type(),
                                                map.lookup(expert.getIndex()));
          map.map(expert.getResult(),
                  k.weight(weights.lookup(expert.getWeights()), index));
          return success();
        })
        .Case([&](arith::IndexCastOp cast) {
          Value x = map.lookup(cast.getIn());
          bool widens = cast.getType().isIndex();
          map.map(
              cast.getResult(),
              widens
                  ? arith::ExtSIOp::create(k.b, k.b.getI64Type(), x).getResult()
                  : arith::TruncIOp::create(k.b, cast.getType(), x)
                        .getResult());
          return success();
        })
        .Default([&](Operation *op) { return emitScalar(op); });
  }

  static Type elementOf(Value memory) {
    return cast<MemRefType>(memory.getType()).getElementType();
  }
  Value address(Value memory, ValueRange indices) {
    auto type = cast<MemRefType>(memory.getType());
    SmallVector<int64_t> strides;
    int64_t offset = 0;
    (void)type.getStridesAndOffset(strides, offset);
    Value at = k.i64(0);
    for (auto [index, stride] : llvm::zip(indices, strides))
      at = arith::AddIOp::create(
          k.b, at,
          arith::MulIOp::create(k.b, map.lookup(index), k.i64(stride)));
    return k.at(map.lookup(memory), at, type.getElementType());
  }

  /// What one thread wrote for all is there for all.
  void settle() {
    if (!unsettled || parallel)
      return;
    k.barrier();
    unsettled = false;
  }

  /// `nest` loops, one right inside the other, over one run of numbers.
  LogicalResult emitParallel(scf::ForOp loop, int64_t nest) {
    settle();
    SmallVector<scf::ForOp> loops{loop};
    while (int64_t(loops.size()) < nest)
      loops.push_back(*loops.back().getBody()->getOps<scf::ForOp>().begin());
    SmallVector<Value> sizes;
    Value total = k.i64(1);
    for (scf::ForOp one : loops) {
      // Bounds of the inner ones are constants, which stand in the outer ones.
      sizes.push_back(numberOf(one.getUpperBound()));
      total = arith::MulIOp::create(k.b, total, sizes.back());
    }
    Value first = k.toI64(k.thread()), step = k.i64(threads());
    if (blocks) {
      auto threadsOf = [&](Value count) -> Value {
        return arith::MulIOp::create(k.b, k.toI64(count), k.i64(threads()));
      };
      first = arith::AddIOp::create(k.b, first, threadsOf(k.block()));
      step = threadsOf(rows);
    }
    bool done = true;
    parallel = true;
    k.loop(first, total, step, [&](Value number) {
      for (size_t i = loops.size(); i-- > 0;) {
        Value index = number;
        if (i) {
          index = arith::RemUIOp::create(k.b, number, sizes[i]);
          number = arith::DivUIOp::create(k.b, number, sizes[i]);
        }
        map.map(loops[i].getInductionVar(), index);
      }
      for (scf::ForOp one : loops)
        for (Operation &op : one.getBody()->without_terminator())
          if (!llvm::is_contained(loops, dyn_cast<scf::ForOp>(op)))
            done &= done && succeeded(emitOp(&op));
    });
    parallel = false;
    if (!blocks)
      k.barrier();
    return success(done);
  }
  Value numberOf(Value value) {
    if (Value known = map.lookupOrNull(value))
      return known;
    return k.i64(cast<arith::ConstantIndexOp>(value.getDefiningOp()).value());
  }

  LogicalResult emitFor(scf::ForOp loop) {
    settle();
    Value from = map.lookup(loop.getLowerBound());
    Value to = map.lookup(loop.getUpperBound());
    Value step = map.lookup(loop.getStep());
    bool done = true;
    if (loop.getInitArgs().empty()) {
      k.loop(from, to, step, [&](Value index) {
        map.map(loop.getInductionVar(), index);
        done = succeeded(emitBlock(*loop.getBody()));
        settle(); // The next round may read it.
      });
      return success(done);
    }
    SmallVector<Value> inits;
    for (Value init : loop.getInitArgs())
      inits.push_back(map.lookup(init));
    SmallVector<Value> results =
        k.fold(from, to, step, inits, [&](Value index, ValueRange now) {
          map.map(loop.getInductionVar(), index);
          map.map(loop.getRegionIterArgs(), now);
          done = succeeded(emitBlock(*loop.getBody()));
          settle();
          return done ? yielded(*loop.getBody()) : SmallVector<Value>(now);
        });
    map.map(loop.getResults(), results);
    return success(done);
  }

  LogicalResult emitIf(scf::IfOp choice) {
    settle();
    bool done = true;
    auto branch = [&](Region &region) {
      SmallVector<Value> values;
      if (!region.empty() && succeeded(emitBlock(region.front()))) {
        settle();
        values = yielded(region.front());
      } else {
        done &= region.empty();
      }
      return values;
    };
    if (choice.getNumResults() == 0 && choice.getElseRegion().empty()) {
      k.when(map.lookup(choice.getCondition()),
             [&] { (void)branch(choice.getThenRegion()); });
      return success(done);
    }
    SmallVector<Type> types;
    for (Type type : choice.getResultTypes())
      types.push_back(typeOf(type));
    SmallVector<Value> results = k.choose(
        map.lookup(choice.getCondition()), types,
        [&] { return branch(choice.getThenRegion()); },
        [&] { return branch(choice.getElseRegion()); });
    map.map(choice.getResults(), results);
    return success(done);
  }
  SmallVector<Value> yielded(Block &block) {
    SmallVector<Value> values;
    for (Value value : block.getTerminator()->getOperands())
      values.push_back(map.lookup(value));
    return values;
  }

  Type typeOf(Type type) { return type.isIndex() ? k.b.getI64Type() : type; }

  /// Arithmetic, with indices as i64.
  LogicalResult emitScalar(Operation *op) {
    if (!isa<arith::ArithDialect>(op->getDialect()) &&
        op->getName().getDialectNamespace() != "math")
      return op->emitOpError("is known neither to a kernel family nor to the "
                             "GPU's fallback lowering");
    if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
      if (auto number = dyn_cast<IntegerAttr>(constant.getValue());
          number && constant.getType().isIndex()) {
        map.map(constant.getResult(), k.i64(number.getInt()));
        return success();
      }
    }
    SmallVector<Value> operands;
    for (Value operand : op->getOperands())
      operands.push_back(map.lookup(operand));
    SmallVector<Type> types;
    for (Type type : op->getResultTypes())
      types.push_back(typeOf(type));
    OperationState state(k.b.getLoc(), op->getName(), operands, types);
    state.propertiesAttr = op->getPropertiesAsAttribute();
    Operation *made = k.b.create(state);
    map.map(op->getResults(), made->getResults());
    return success();
  }

  KernelBuilder &k;
  flow::ProgramOp program;
  const bool blocks;
  Value rows; ///< Of the step, where blocks share a loop.
  IRMapping map;
  DenseMap<Value, Value> weights; ///< Of the program: the kernel's argument.
  bool parallel = false;          ///< Inside loops that threads share.
  bool unsettled = false;         ///< Thread 0 wrote what others may read.
};

} // namespace

LogicalResult headrace::emitGpuLoops(flow::KernelOp kernel,
                                     const GpuOptions &options, StepSize size,
                                     Expansion &out) {
  // The emitter replaces the kernel that it is given.
  OpBuilder b(kernel);
  auto copy = cast<flow::KernelOp>(b.clone(*kernel));
  if (failed(emitUpstream(copy, options.limits, EmitOptions())))
    return failure();
  auto program = cast<flow::ProgramOp>(kernel->getPrevNode());
  auto scratch = int64_t(program.getScratch());
  SmallVector<ExtraBuffer> extras;
  if (scratch)
    extras.push_back(ExtraBuffer::workspace);
  const DeviceKernel &made = out.add(kernel, size, "", extras);
  KernelBuilder k(kernel, made.name, options.limits, made.extras);
  bool blocks = isOneLoop(program);
  LoopEmitter loops(k, program, blocks);
  LogicalResult done = loops.emit();
  auto grid = flow::GridKind::fixed;
  if (blocks)
    grid = k.rowCounter() == flow::Count::outputs ? flow::GridKind::per_output
                                                  : flow::GridKind::per_token;
  k.finish(loops.threads(),
           flow::GridAttr::get(kernel.getContext(), grid, 1, 1, 1));
  out.workspaceBytes = std::max(out.workspaceBytes, scratch);
  program.erase();
  return done;
}
