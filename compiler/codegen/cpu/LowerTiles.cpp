// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Lowers tile programs to vector code for one processor core.
//
// A register tile of R rows by C columns becomes R * C / V vectors of V floats.
// The number of rows is dynamic, so `flow.rows` is a switch over its sizes and
// the body is lowered once for each. The arithmetic of a row is the same text
// in every case; that, and loops over k that never split, make results
// independent of how rows are grouped.
#include "compiler/codegen/cpu/ProgramLowering.h"

#include "compiler/codegen/cpu/LowerTiles.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace headrace;

LogicalResult ProgramLowering::run() {
  b.setInsertionPoint(program);
  auto type = LLVM::LLVMFunctionType::get(
      LLVM::LLVMVoidType::get(b.getContext()), {ptr(), b.getI64Type()});
  auto function = LLVM::LLVMFuncOp::create(b, loc, program.getSymName(), type);
  // What a launch needs to know of the code stays with it.
  function->setAttr("headrace.family", program.getFamilyAttr());
  function->setAttr("headrace.scratch", program.getScratchAttr());
  function->setAttr("headrace.grid", program.getGridAttr());
  function->setAttr("headrace.buffers", program.getBuffersAttr());
  Block *entry = function.addEntryBlock(b);
  b.setInsertionPointToStart(entry);
  call = entry->getArgument(0);
  Block &body = program.getBody().front();
  map.map(body.getArgument(0),
          arith::IndexCastOp::create(b, loc, b.getIndexType(),
                                     entry->getArgument(1)));
  Value buffers = field(call, offsetof(headrace_call_t, buffers));
  Value weights = field(call, offsetof(headrace_call_t, weights));
  Value ids = field(call, offsetof(headrace_call_t, weight_ids));
  int64_t bufferCount = program.getBuffers();
  SmallVector<int64_t> slots;
  for (BlockArgument arg : body.getArguments().drop_front()) {
    int64_t i = arg.getArgNumber() - 1;
    Value base;
    if (i < bufferCount) {
      base = load(ptr(), offset(buffers, i * 8));
    } else {
      Value id = load(b.getI32Type(), offset(ids, (i - bufferCount) * 4));
      Value wide = LLVM::ZExtOp::create(b, loc, b.getI64Type(), id);
      base = LLVM::GEPOp::create(b, loc, ptr(), ptr(), weights,
                                 ArrayRef<LLVM::GEPArg>{wide});
      // A stacked weight stays a place in the table: flow.expert reads there.
      bool stacked =
          !arg.use_empty() &&
          llvm::all_of(arg.getUsers(), llvm::IsaPred<flow::ExpertOp>);
      slots.push_back(stacked ? cast<MemRefType>(arg.getType()).getDimSize(0)
                              : 1);
      if (!stacked)
        base = load(ptr(), base);
    }
    map.map(arg, base);
  }
  function->setAttr("headrace.weight_slots", b.getDenseI64ArrayAttr(slots));
  if (failed(lowerBlock(body)))
    return failure();
  LLVM::ReturnOp::create(b, loc, ValueRange{});
  program.erase();
  return success();
}

LogicalResult ProgramLowering::lowerBlock(Block &block) {
  for (Operation &op : block)
    if (!op.hasTrait<OpTrait::IsTerminator>() && failed(lowerOp(&op)))
      return failure();
  return success();
}

LogicalResult ProgramLowering::lowerOp(Operation *op) {
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](scf::ForOp op) { return lowerFor(op); })
      .Case([&](scf::IfOp op) { return lowerIf(op); })
      .Case([&](flow::RowsOp op) { return lowerRows(op); })
      .Case([&](flow::LoadOp op) { return lowerLoad(op); })
      .Case([&](flow::MmaOp op) { return lowerMma(op); })
      .Case([&](flow::MapOp op) { return lowerMap(op); })
      .Case([&](flow::ReduceOp op) { return lowerReduce(op); })
      .Case([&](flow::ReadOp op) { return lowerRead(op); })
      .Case([&](flow::StoreOp op) { return lowerStore(op); })
      .Case([&](flow::IotaOp op) { return lowerIota(op); })
      .Case([&](flow::CountOp op) {
        Value counts = field(call, offsetof(headrace_call_t, counts));
        Value value =
            load(b.getI64Type(), offset(counts, int64_t(op.getWhat()) * 8));
        map.map(op.getResult(),
                arith::IndexCastOp::create(b, loc, b.getIndexType(), value));
        return success();
      })
      .Case([&](flow::ScratchOp op) {
        Value scratch = field(call, offsetof(headrace_call_t, scratch));
        map.map(op.getResult(), offset(scratch, int64_t(op.getOffset())));
        return success();
      })
      .Case([&](flow::ViewOp op) {
        Value base =
            offset(map.lookup(op.getSource()), int64_t(op.getOffset()));
        if (Value start = op.getStart()) {
          auto type = cast<MemRefType>(op.getResult().getType());
          base = offset(base, toI64(arith::MulIOp::create(
                                  b, loc, map.lookup(start),
                                  index(bytesOf(type.getElementType())))));
        }
        map.map(op.getResult(), base);
        return success();
      })
      .Case([&](flow::ExpertOp op) {
        Value slot = LLVM::GEPOp::create(
            b, loc, ptr(), ptr(), map.lookup(op.getWeights()),
            ArrayRef<LLVM::GEPArg>{toI64(map.lookup(op.getIndex()))});
        map.map(op.getResult(), load(ptr(), slot));
        return success();
      })
      .Case([&](flow::SameOp op) {
        Value same = LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::eq,
                                          map.lookup(op.getFirst()),
                                          map.lookup(op.getSecond()));
        map.map(op.getResult(), same);
        return success();
      })
      .Case([&](flow::PrefetchOp op) {
        Value at = address(op.getPanel(), map.lookup(op.getIndex()));
        // Into the second level: the first is busy with the present product.
        for (int64_t line = 0; line < int64_t(op.getBytes()); line += 64)
          LLVM::Prefetch::create(b, loc, offset(at, line), /*rw=*/0,
                                 /*hint=*/2, /*cache=*/1);
        return success();
      })
      .Case([&](flow::ArriveOp op) {
        // The last of the tasks sees what all others wrote: release on each
        // arrival, acquire on the last.
        Value counter = map.lookup(op.getCounter());
        Value before = LLVM::AtomicRMWOp::create(
            b, loc, LLVM::AtomicBinOp::add, counter,
            arith::ConstantIntOp::create(b, loc, b.getI32Type(), 1),
            LLVM::AtomicOrdering::acq_rel);
        Value total = arith::IndexCastOp::create(b, loc, b.getI32Type(),
                                                 map.lookup(op.getTotal()));
        Value last = arith::SubIOp::create(
            b, loc, total,
            arith::ConstantIntOp::create(b, loc, b.getI32Type(), 1));
        map.map(op.getResult(),
                arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, before,
                                      last));
        return success();
      })
      .Case([&](flow::SplitOp op) {
        auto type = op.getInput().getType();
        int64_t all = vectorsOf(type), half = all / 2;
        SmallVector<Value> in = tiles[op.getInput()], low, high;
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t v = 0; v < all; ++v)
            (v < half ? low : high).push_back(in[r * all + v]);
        tiles[op.getLow()] = low;
        tiles[op.getHigh()] = high;
        return success();
      })
      .Case([&](flow::ConstantOp op) {
        auto type = op.getResult().getType();
        Value scalar = arith::ConstantOp::create(
            b, loc,
            FloatAttr::get(b.getF32Type(), op.getValue().convertToDouble()));
        Value value = type.getWidth() == 1 ? scalar : splat(scalar);
        tiles[op.getResult()] =
            SmallVector<Value>(size_t(rows * vectorsOf(type)), value);
        return success();
      })
      .Case([&](memref::LoadOp op) {
        Type element = op.getMemRefType().getElementType();
        SmallVector<Value> indices = expand(ValueRange(op.getIndices()));
        map.map(op.getResult(), load(element, address(op.getMemref(), indices),
                                     unsigned(bytesOf(element))));
        return success();
      })
      .Case([&](memref::StoreOp op) {
        SmallVector<Value> indices = expand(ValueRange(op.getIndices()));
        LLVM::StoreOp::create(
            b, loc, map.lookup(op.getValue()), address(op.getMemref(), indices),
            unsigned(bytesOf(op.getMemRefType().getElementType())));
        return success();
      })
      .Default([&](Operation *op) { return cloneOp(op); });
}

LogicalResult headrace::lowerTilesToVectors(ModuleOp module,
                                            const CpuTarget &target) {
  for (auto program :
       llvm::make_early_inc_range(module.getOps<flow::ProgramOp>()))
    if (failed(ProgramLowering(program, target).run()))
      return failure();
  return success();
}
