// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Lowers tile programs to vector code for one processor core.
//
// A register tile of R rows by C columns becomes R * C / V vectors of V floats.
// The number of rows is dynamic, so `flow.rows` is a switch over its sizes and
// the body is lowered once for each. The arithmetic of a row is the same text
// in every case; that, and loops over k that never split, make results
// independent of how rows are grouped.
#include "compiler/codegen/cpu/LowerTiles.h"

#include "compiler/codegen/Emitters.h"
#include "compiler/codegen/cpu/DecodeWeights.h"
#include "dialects/flow/IR/Flow.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"
#include "runtime/abi/kernel_abi.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cstddef>

using namespace mlir;
using namespace headrace;

namespace {

/// Lowers one program. Values are either scalars (in `map`; a memref maps to
/// the address of its first element) or register tiles (in `tiles`: vectors row
/// by row; scalars row by row where the width is 1).
class ProgramLowering {
public:
  ProgramLowering(flow::ProgramOp program, const CpuTarget &target)
      : program(program), target(target), lanes(target.vectorFloats),
        b(program.getContext()), loc(program.getLoc()) {}

  LogicalResult run();

private:
  //===--------------------------------------------------------------------===//
  // Small builders
  //===--------------------------------------------------------------------===//
  Value index(int64_t value) {
    return arith::ConstantIndexOp::create(b, loc, value);
  }
  Value i64(int64_t value) {
    return arith::ConstantIntOp::create(b, loc, b.getI64Type(), value);
  }
  Value toI64(Value value) {
    return arith::IndexCastOp::create(b, loc, b.getI64Type(), value);
  }
  Type ptr() { return LLVM::LLVMPointerType::get(b.getContext()); }
  VectorType vec(Type element, int64_t n = 0) {
    return VectorType::get({n ? n : lanes}, element);
  }
  Value splat(Value scalar) {
    return vector::BroadcastOp::create(b, loc, vec(scalar.getType()), scalar);
  }
  Value zeros(Type type) {
    return arith::ConstantOp::create(b, loc, type, b.getZeroAttr(type));
  }
  /// `base` plus `bytes`, a dynamic number of bytes.
  Value offset(Value base, Value bytes) {
    return LLVM::GEPOp::create(b, loc, ptr(), b.getI8Type(), base,
                               ArrayRef<LLVM::GEPArg>{bytes});
  }
  Value offset(Value base, int64_t bytes) {
    if (bytes == 0)
      return base;
    return LLVM::GEPOp::create(b, loc, ptr(), b.getI8Type(), base,
                               ArrayRef<LLVM::GEPArg>{i64(bytes)});
  }
  /// `base` plus `number` times `bytes`.
  Value at(Value base, Value number, int64_t bytes) {
    return offset(base,
                  toI64(arith::MulIOp::create(b, loc, number, index(bytes))));
  }
  Value load(Type type, Value address, unsigned alignment = 0) {
    return LLVM::LoadOp::create(b, loc, type, address, alignment);
  }
  Value field(Value call, size_t at) {
    return load(ptr(), offset(call, int64_t(at)));
  }
  static int64_t bytesOf(Type type) { return type.getIntOrFloatBitWidth() / 8; }

  //===--------------------------------------------------------------------===//
  // Memory
  //===--------------------------------------------------------------------===//
  static SmallVector<int64_t> stridesOf(MemRefType type) {
    SmallVector<int64_t> strides;
    int64_t first = 0;
    (void)type.getStridesAndOffset(strides, first);
    return strides;
  }
  /// Address of `memref[indices]`; missing trailing indices are zero.
  Value address(Value memref, ValueRange indices) {
    auto type = cast<MemRefType>(memref.getType());
    SmallVector<int64_t> strides = stridesOf(type);
    Value base = map.lookup(memref);
    Value bytes;
    for (auto [position, value] : llvm::enumerate(indices)) {
      int64_t scale = strides[position] * bytesOf(type.getElementType());
      Value term = arith::MulIOp::create(b, loc, value, index(scale));
      bytes =
          bytes ? arith::AddIOp::create(b, loc, bytes, term).getResult() : term;
    }
    return bytes ? offset(base, toI64(bytes)) : base;
  }
  /// Row of `memref` that logical row `row` stands for.
  Value mapRow(Value indices, Value row) {
    if (!indices)
      return row;
    Value loaded = load(b.getI32Type(), address(indices, row), 4);
    return arith::IndexCastOp::create(b, loc, b.getIndexType(), loaded);
  }
  /// Lanes of a vector at dynamic `column` that lie below `width`, or null when
  /// all of them do because `width` is a multiple of `step`.
  Value columnMask(Value column, int64_t lane, int64_t width, int64_t step) {
    if (width % step == 0)
      return {};
    Value left = arith::SubIOp::create(b, loc, index(width - lane), column);
    Value none = arith::MaxSIOp::create(b, loc, left, index(0));
    return vector::CreateMaskOp::create(b, loc, vec(b.getI1Type()), none);
  }
  /// Loads `lanes` elements as float32 (or i32), masked lanes zero.
  Value loadVector(Type element, Value at, Value mask, unsigned alignment = 0) {
    VectorType type = vec(element);
    if (!alignment)
      alignment = unsigned(bytesOf(element));
    if (!mask)
      return widen(load(type, at, alignment));
    VectorType stored = storedType(type);
    Value raw = LLVM::MaskedLoadOp::create(b, loc, stored, at, mask,
                                           zeros(stored), alignment);
    if (stored != type)
      raw = arith::BitcastOp::create(b, loc, type, raw);
    return widen(raw);
  }
  /// The type in which a masked access moves a vector: 16-bit floats go as
  /// integers, because a target without masks takes the vector apart, and
  /// without 16-bit arithmetic it would convert each part by a call.
  VectorType storedType(VectorType type) {
    if (bytesOf(type.getElementType()) != 2)
      return type;
    return VectorType::get(type.getShape(), b.getI16Type());
  }
  /// A 16-bit float as float32; other values as they are.
  Value widen(Value value) {
    Type element = getElementTypeOrSelf(value.getType());
    if (!element.isBF16() && !element.isF16())
      return value;
    Type wide = b.getF32Type();
    if (auto type = dyn_cast<VectorType>(value.getType()))
      wide = VectorType::get(type.getShape(), wide);
    return arith::ExtFOp::create(b, loc, wide, value);
  }
  Value narrow(Value value, Type element) {
    if (getElementTypeOrSelf(value.getType()) == element)
      return value;
    Type type = element;
    if (auto vector = dyn_cast<VectorType>(value.getType()))
      type = VectorType::get(vector.getShape(), element);
    // What was only loaded and is stored again is a copy.
    if (auto wide = value.getDefiningOp<arith::ExtFOp>();
        wide && wide.getIn().getType() == type)
      return wide.getIn();
    return arith::TruncFOp::create(b, loc, type, value);
  }
  void storeVector(Value value, Type element, Value at, Value mask) {
    Value out = narrow(value, element);
    unsigned alignment = unsigned(bytesOf(element));
    if (mask) {
      auto type = cast<VectorType>(out.getType());
      if (VectorType stored = storedType(type); stored != type)
        out = arith::BitcastOp::create(b, loc, stored, out);
      LLVM::MaskedStoreOp::create(b, loc, out, at, mask, alignment);
    } else {
      LLVM::StoreOp::create(b, loc, out, at, alignment);
    }
  }

  //===--------------------------------------------------------------------===//
  // Control flow
  //===--------------------------------------------------------------------===//
  scf::ForOp loop(Value from, Value to, int64_t step, ValueRange inits,
                  function_ref<SmallVector<Value>(Value, ValueRange)> body) {
    auto op = scf::ForOp::create(b, loc, from, to, index(step), inits);
    OpBuilder::InsertionGuard guard(b);
    Block *block = op.getBody();
    if (inits.empty())
      block->getTerminator()->erase();
    b.setInsertionPointToEnd(block);
    SmallVector<Value> results =
        body(op.getInductionVar(), op.getRegionIterArgs());
    scf::YieldOp::create(b, loc, results);
    return op;
  }
  LogicalResult lowerBlock(Block &block);
  LogicalResult lowerOp(Operation *op);
  LogicalResult lowerFor(scf::ForOp op);
  LogicalResult lowerIf(scf::IfOp op);
  LogicalResult lowerRows(flow::RowsOp op);
  /// Lowers the tiles of `op`, each of `smallest` to `limit` rows.
  LogicalResult lowerRowTiles(flow::RowsOp op, int64_t smallest, int64_t limit);
  LogicalResult cloneOp(Operation *op);

  /// The lowered values of `value`: one for a scalar, several for a tile.
  SmallVector<Value> expand(Value value) {
    if (auto it = tiles.find(value); it != tiles.end())
      return it->second;
    return {map.lookup(value)};
  }
  SmallVector<Value> expand(ValueRange values) {
    SmallVector<Value> out;
    for (Value value : values)
      llvm::append_range(out, expand(value));
    return out;
  }
  /// Binds `values` to the next lowered values of `from`.
  void bind(ValueRange values, ValueRange from) {
    size_t next = 0;
    for (Value value : values) {
      auto type = dyn_cast<flow::AccType>(value.getType());
      if (!type) {
        map.map(value, from[next++]);
        continue;
      }
      size_t count = size_t(rows) * size_t(vectorsOf(type));
      tiles[value] = llvm::to_vector(from.slice(next, count));
      next += count;
    }
  }

  //===--------------------------------------------------------------------===//
  // Tile ops
  //===--------------------------------------------------------------------===//
  int64_t vectorsOf(flow::AccType type) {
    return type.getWidth() == 1 ? 1 : type.getWidth() / lanes;
  }
  LogicalResult lowerLoad(flow::LoadOp op);
  LogicalResult lowerMma(flow::MmaOp op);
  LogicalResult lowerEncodedMma(flow::MmaOp op);
  /// Writes the pairs of the panel that `op` reads to `decoded`.
  void decodePanel(flow::MmaOp op);
  LogicalResult lowerMap(flow::MapOp op);
  LogicalResult lowerReduce(flow::ReduceOp op);
  LogicalResult lowerRead(flow::ReadOp op);
  LogicalResult lowerStore(flow::StoreOp op);
  LogicalResult lowerIota(flow::IotaOp op);
  Value reduceVector(Value vector, bool sum);
  /// Every two of `vectors`, as columns, in the order that `order` has for
  /// both; as they are where there is none.
  SmallVector<Value> reordered(ValueRange vectors, ArrayRef<int32_t> order);
  /// `sums` plus the products of pairs of bfloat16.
  Value dotProduct(Value sums, Value x, Value y) {
    return LLVM::CallIntrinsicOp::create(
               b, loc, sums.getType(),
               b.getStringAttr("llvm.x86.avx512bf16.dpbf16ps.512"),
               ValueRange{sums, x, y})
        .getResult(0);
  }
  /// Clones an elementwise op of a map region onto `operands`, vectors or
  /// scalars.
  Value cloneElementwise(Operation *op, ValueRange operands, bool scalar);
  /// Runs `body(offset, mask)` over `width` columns, `lanes` at a time.
  SmallVector<Value>
  overColumns(int64_t width, ValueRange inits,
              function_ref<SmallVector<Value>(Value, Value, ValueRange)> body);

  /// The sum, over all lanes, of what `body(column, mask, total)` adds up over
  /// `width` columns.
  Value sumOverColumns(int64_t width,
                       function_ref<Value(Value, Value, Value)> body);

  struct Tile {
    Value base;     ///< Address of row 0.
    int64_t stride; ///< Bytes from row to row.
    Type element;
  };

  flow::ProgramOp program;
  const CpuTarget &target;
  int64_t lanes;
  OpBuilder b;
  Location loc;
  IRMapping map;
  DenseMap<Value, SmallVector<Value>> tiles;
  DenseMap<Value, Tile> staged;
  int64_t rows = 0; ///< Rows of the register tile being lowered.
  Value decoded;    ///< The pairs of the panel being read, if they are decoded.
  Value call;
};

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

LogicalResult ProgramLowering::cloneOp(Operation *op) {
  StringRef dialect = op->getDialect()->getNamespace();
  bool known = dialect == "arith" || dialect == "math";
  if (!known || op->getNumRegions())
    return op->emitOpError("is not known to the CPU lowering of tile programs");
  b.clone(*op, map);
  return success();
}

LogicalResult ProgramLowering::lowerFor(scf::ForOp op) {
  SmallVector<Value> inits = expand(op.getInitArgs());
  auto lowered = scf::ForOp::create(b, loc, map.lookup(op.getLowerBound()),
                                    map.lookup(op.getUpperBound()),
                                    map.lookup(op.getStep()), inits);
  OpBuilder::InsertionGuard guard(b);
  if (inits.empty())
    lowered.getBody()->getTerminator()->erase();
  b.setInsertionPointToEnd(lowered.getBody());
  map.map(op.getInductionVar(), lowered.getInductionVar());
  bind(op.getRegionIterArgs(), lowered.getRegionIterArgs());
  if (failed(lowerBlock(*op.getBody())))
    return failure();
  scf::YieldOp::create(b, loc,
                       expand(op.getBody()->getTerminator()->getOperands()));
  bind(op.getResults(), lowered.getResults());
  return success();
}

LogicalResult ProgramLowering::lowerIf(scf::IfOp op) {
  SmallVector<Type> types;
  for (Type type : op.getResultTypes()) {
    if (isa<flow::AccType>(type))
      return op.emitOpError("gives a register tile, which the CPU lowering "
                            "does not know");
    types.push_back(type);
  }
  bool hasElse = !op.getElseRegion().empty();
  auto lowered = scf::IfOp::create(b, loc, types, map.lookup(op.getCondition()),
                                   /*addThenBlock=*/true,
                                   /*addElseBlock=*/hasElse);
  auto side = [&](Region &from, Region &to) -> LogicalResult {
    OpBuilder::InsertionGuard guard(b);
    Block &block = to.front();
    block.clear();
    b.setInsertionPointToEnd(&block);
    if (failed(lowerBlock(from.front())))
      return failure();
    scf::YieldOp::create(b, loc,
                         expand(from.front().getTerminator()->getOperands()));
    return success();
  };
  if (failed(side(op.getThenRegion(), lowered.getThenRegion())) ||
      (hasElse && failed(side(op.getElseRegion(), lowered.getElseRegion()))))
    return failure();
  for (auto [from, to] : llvm::zip(op.getResults(), lowered.getResults()))
    map.map(from, to);
  return success();
}

LogicalResult ProgramLowering::lowerRows(flow::RowsOp op) {
  int64_t limit = op.getLimit();
  auto decodedAt = op->getAttrOfType<IntegerAttr>(kDecodedAt);
  if (!decodedAt)
    return lowerRowTiles(op, 1, limit);
  // Several tiles share what one decoding makes. They are small enough for the
  // registers to hold a block's sums beside those of the blocks before: to keep
  // these in memory costs a quarter of the time where blocks have 32 channels.
  int64_t columns = 2 * kDotPairs / lanes;
  int64_t most =
      std::min(limit, (target.vectors - 2 * columns) / (2 * columns));
  int64_t fewest = (limit + most) / most; // Tiles of limit + 1 rows.
  flow::MmaOp mma;
  op.getBody().walk([&](flow::MmaOp found) { mma = found; });
  if (!mma || !mma.getWeight())
    return op.emitOpError("has no product with encoded weights to decode");
  Value several =
      arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ugt,
                            map.lookup(op.getCount()), index(limit));
  auto choice = scf::IfOp::create(b, loc, TypeRange{}, several, true, true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToEnd(choice.thenBlock());
  decoded = offset(field(call, offsetof(headrace_call_t, scratch)),
                   decodedAt.getInt());
  decodePanel(mma);
  LogicalResult result =
      lowerRowTiles(op, ((fewest - 1) * most + 1) / fewest, most);
  decoded = {};
  scf::YieldOp::create(b, loc);
  b.setInsertionPointToEnd(choice.elseBlock());
  if (failed(result) || failed(lowerRowTiles(op, 1, limit)))
    return failure();
  scf::YieldOp::create(b, loc);
  return success();
}

LogicalResult ProgramLowering::lowerRowTiles(flow::RowsOp op, int64_t smallest,
                                             int64_t limit) {
  Value count = map.lookup(op.getCount());
  Value tileCount = arith::CeilDivUIOp::create(b, loc, count, index(limit));
  Value divisor = arith::MaxUIOp::create(b, loc, tileCount, index(1));
  Value base = arith::DivUIOp::create(b, loc, count, divisor);
  Value rest = arith::RemUIOp::create(b, loc, count, divisor);
  LogicalResult result = success();
  loop(index(0), tileCount, 1, {}, [&](Value tile, ValueRange) {
    Value extra =
        arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, tile, rest);
    Value more = arith::IndexCastUIOp::create(b, loc, b.getIndexType(), extra);
    Value size = arith::AddIOp::create(b, loc, base, more);
    Value first =
        arith::AddIOp::create(b, loc, arith::MulIOp::create(b, loc, tile, base),
                              arith::MinUIOp::create(b, loc, tile, rest));
    SmallVector<int64_t> cases;
    for (int64_t r = smallest; r <= limit; ++r)
      cases.push_back(r);
    auto choice = scf::IndexSwitchOp::create(b, loc, TypeRange{}, size, cases,
                                             unsigned(cases.size()));
    OpBuilder::InsertionGuard guard(b);
    for (int64_t r = smallest; r <= limit; ++r) {
      Block &block =
          choice.getCaseRegions()[size_t(r - smallest)].emplaceBlock();
      b.setInsertionPointToEnd(&block);
      rows = r;
      map.map(op.getBody().getArgument(0), first);
      if (failed(lowerBlock(op.getBody().front())))
        result = failure();
      scf::YieldOp::create(b, loc);
    }
    Block &otherwise = choice.getDefaultRegion().emplaceBlock();
    b.setInsertionPointToEnd(&otherwise);
    scf::YieldOp::create(b, loc);
    return SmallVector<Value>{};
  });
  rows = 0;
  return result;
}

SmallVector<Value> ProgramLowering::overColumns(
    int64_t width, ValueRange inits,
    function_ref<SmallVector<Value>(Value, Value, ValueRange)> body) {
  int64_t whole = width / lanes * lanes;
  SmallVector<Value> values(inits);
  if (whole) {
    auto op = loop(index(0), index(whole), lanes, values,
                   [&](Value column, ValueRange carried) {
                     return body(column, Value(), carried);
                   });
    values = SmallVector<Value>(op.getResults());
  }
  if (width % lanes) {
    Value mask = vector::CreateMaskOp::create(b, loc, vec(b.getI1Type()),
                                              index(width % lanes));
    values = body(index(whole), mask, values);
  }
  return values;
}

Value ProgramLowering::sumOverColumns(
    int64_t width, function_ref<Value(Value, Value, Value)> body) {
  // Four running sums: one alone would wait for each addition to end.
  constexpr int64_t kSums = 4;
  int64_t whole = width / (kSums * lanes) * kSums * lanes;
  SmallVector<Value> sums(kSums, zeros(vec(b.getF32Type())));
  if (whole) {
    auto op = loop(index(0), index(whole), kSums * lanes, sums,
                   [&](Value column, ValueRange carried) {
                     SmallVector<Value> out;
                     for (int64_t i = 0; i < kSums; ++i)
                       out.push_back(body(arith::AddIOp::create(
                                              b, loc, column, index(i * lanes)),
                                          Value(), carried[size_t(i)]));
                     return out;
                   });
    sums = SmallVector<Value>(op.getResults());
  }
  for (int64_t at = whole, i = 0; at < width; at += lanes, ++i) {
    Value mask;
    if (width - at < lanes)
      mask = vector::CreateMaskOp::create(b, loc, vec(b.getI1Type()),
                                          index(width - at));
    Value &sum = sums[size_t(i % kSums)];
    sum = body(index(at), mask, sum);
  }
  for (int64_t n = kSums / 2; n; n /= 2)
    for (int64_t i = 0; i < n; ++i)
      sums[size_t(i)] =
          arith::AddFOp::create(b, loc, sums[size_t(i)], sums[size_t(i + n)]);
  return reduceVector(sums[0], true);
}

LogicalResult ProgramLowering::lowerLoad(flow::LoadOp op) {
  auto source = cast<MemRefType>(op.getSource().getType());
  flow::TileType tile = op.getResult().getType();
  Value first = map.lookup(op.getFirst());
  if (op.getInPlace()) {
    staged[op.getResult()] = {address(op.getSource(), first),
                              stridesOf(source)[0] *
                                  bytesOf(source.getElementType()),
                              tile.getElement()};
    return success();
  }
  auto stage = cast<MemRefType>(op.getStage().getType());
  int64_t width = tile.getWidth();
  Type element = tile.getElement(), from = source.getElementType();
  Value indices = op.getIndices();
  Value stageBase = map.lookup(op.getStage());
  int64_t stageStride = stridesOf(stage)[0] * bytesOf(element);
  staged[op.getResult()] = {stageBase, stageStride, element};
  Type f32 = b.getF32Type();

  loop(index(0), map.lookup(op.getCount()), 1, {}, [&](Value i, ValueRange) {
    Value logical = arith::AddIOp::create(b, loc, first, i);
    Value row = address(op.getSource(), mapRow(indices, logical));
    Value out = address(op.getStage(), i);
    auto at = [&](Value base, Value column, Type type) {
      return offset(base, toI64(arith::MulIOp::create(b, loc, column,
                                                      index(bytesOf(type)))));
    };
    Value scale, mean;
    if (op.getNorm()) {
      bool layer = *op.getNorm() == flow::RowNorm::layer;
      bool l2 = *op.getNorm() == flow::RowNorm::l2;
      Value n =
          arith::ConstantOp::create(b, loc, FloatAttr::get(f32, double(width)));
      if (layer) {
        Value sum = sumOverColumns(
            width, [&](Value column, Value mask, Value total) -> Value {
              Value x = loadVector(from, at(row, column, from), mask);
              return arith::AddFOp::create(b, loc, total, x);
            });
        mean = arith::DivFOp::create(b, loc, sum, n);
      }
      Value sum = sumOverColumns(
          width, [&](Value column, Value mask, Value total) -> Value {
            Value x = loadVector(from, at(row, column, from), mask);
            if (layer) {
              x = arith::SubFOp::create(b, loc, x, splat(mean));
              if (mask)
                x = arith::SelectOp::create(b, loc, mask, x, zeros(vec(f32)));
            }
            return math::FmaOp::create(b, loc, x, x, total);
          });
      if (!l2)
        sum = arith::DivFOp::create(b, loc, sum, n);
      Value eps = arith::ConstantOp::create(
          b, loc, FloatAttr::get(f32, op.getEps().convertToDouble()));
      Value root =
          math::SqrtOp::create(b, loc, arith::AddFOp::create(b, loc, sum, eps));
      Value one = arith::ConstantOp::create(b, loc, FloatAttr::get(f32, 1.0));
      scale = splat(arith::DivFOp::create(b, loc, one, root));
    }
    overColumns(width, {}, [&](Value column, Value mask, ValueRange) {
      Value x = loadVector(from, at(row, column, from), mask);
      if (mean)
        x = arith::SubFOp::create(b, loc, x, splat(mean));
      if (scale)
        x = arith::MulFOp::create(b, loc, x, scale);
      if (Value weight = op.getWeight()) {
        Type type = cast<MemRefType>(weight.getType()).getElementType();
        Value w = loadVector(type, at(map.lookup(weight), column, type), mask);
        x = arith::MulFOp::create(b, loc, x, w);
      }
      if (Value bias = op.getBias()) {
        Type type = cast<MemRefType>(bias.getType()).getElementType();
        Value w = loadVector(type, at(map.lookup(bias), column, type), mask);
        x = arith::AddFOp::create(b, loc, x, w);
      }
      storeVector(x, element, at(out, column, element), mask);
      return SmallVector<Value>{};
    });
    // The product reads whole pairs: the half pair behind an odd width is zero.
    if (width % 2 && bytesOf(element) == 2) {
      Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(element));
      LLVM::StoreOp::create(b, loc, zero, offset(out, width * 2), 2);
    }
    return SmallVector<Value>{};
  });
  return success();
}

LogicalResult ProgramLowering::lowerMma(flow::MmaOp op) {
  auto panel = cast<MemRefType>(op.getPanel().getType());
  Tile tile = staged.lookup(op.getRows());
  if (!tile.base)
    return op.emitOpError("reads a tile that no flow.load made");
  if (op.getWeight())
    return lowerEncodedMma(op);
  int64_t depth = panel.getDimSize(1), columns = panel.getDimSize(2),
          pack = panel.getDimSize(3);
  Type weight = panel.getElementType();
  int64_t stepBytes = columns * pack * bytesOf(weight);
  int64_t width = vectorsOf(op.getResult().getType());
  Type f32 = b.getF32Type();
  Value panelBase = address(op.getPanel(), map.lookup(op.getIndex()));
  Value rowBase = offset(
      tile.base, toI64(arith::MulIOp::create(b, loc, map.lookup(op.getFirst()),
                                             index(tile.stride))));
  SmallVector<Value> init;
  if (Value from = op.getInit())
    init = tiles[from];
  else
    init.assign(size_t(rows * width), zeros(vec(f32)));
  bool dot = target.bf16Dot && weight.isBF16() && tile.element.isBF16();
  // Where the prefetches of step 0 begin, and the level they fill.
  SmallVector<std::pair<Value, int32_t>> prefetches;
  if (Value ahead = op.getAhead()) // The first level is busy with this panel.
    prefetches.push_back({address(ahead, map.lookup(op.getAheadIndex())), 2});
  else if (op.getPrefetch() && rows >= target.prefetchRows)
    for (CpuTarget::Prefetch prefetch : target.prefetches)
      prefetches.push_back({offset(panelBase, prefetch.bytes), prefetch.hint});
  int64_t xStep = pack * bytesOf(tile.element);

  // One group of `pack` input channels: width vectors of weights against one
  // broadcast a row.
  auto step = [&](Value k, ValueRange acc) {
    Value w = offset(panelBase,
                     toI64(arith::MulIOp::create(b, loc, k, index(stepBytes))));
    Value x =
        offset(rowBase, toI64(arith::MulIOp::create(b, loc, k, index(xStep))));
    for (auto [base, hint] : prefetches) {
      Value at = offset(
          base, toI64(arith::MulIOp::create(b, loc, k, index(stepBytes))));
      for (int64_t line = 0; line < stepBytes; line += 64)
        LLVM::Prefetch::create(b, loc, offset(at, line), /*rw=*/0, hint,
                               /*cache=*/1);
    }
    SmallVector<Value> out(acc);
    int64_t vectorBytes = lanes * pack * bytesOf(weight);
    if (dot) {
      SmallVector<Value> ws;
      Type pairs = vec(weight, 2 * lanes);
      for (int64_t v = 0; v < width; ++v)
        ws.push_back(load(pairs, offset(w, v * vectorBytes), 64));
      for (int64_t r = 0; r < rows; ++r) {
        Value pair = load(b.getI32Type(), offset(x, r * tile.stride), 4);
        Value xs = LLVM::BitcastOp::create(b, loc, pairs, splat(pair));
        for (int64_t v = 0; v < width; ++v) {
          Value &a = out[size_t(r * width + v)];
          a = dotProduct(a, ws[size_t(v)], xs);
        }
      }
      return out;
    }
    // Without a dot instruction each channel of the group is a multiply-add.
    for (int64_t p = 0; p < pack; ++p) {
      SmallVector<Value> ws;
      for (int64_t v = 0; v < width; ++v) {
        Value at = offset(w, v * vectorBytes);
        if (pack == 1) {
          ws.push_back(loadVector(weight, at, {}, unsigned(vectorBytes)));
          continue;
        }
        // A pair of bf16 is one 32-bit lane: low half first.
        Value word = load(vec(b.getI32Type()), at, 32);
        Value bits =
            p == 0 ? arith::ShLIOp::create(b, loc, word,
                                           splat(arith::ConstantIntOp::create(
                                               b, loc, b.getI32Type(), 16)))
                         .getResult()
                   : arith::AndIOp::create(
                         b, loc, word,
                         splat(arith::ConstantIntOp::create(
                             b, loc, b.getI32Type(), int32_t(0xffff0000u))))
                         .getResult();
        ws.push_back(arith::BitcastOp::create(b, loc, vec(f32), bits));
      }
      for (int64_t r = 0; r < rows; ++r) {
        Value at = offset(x, r * tile.stride + p * bytesOf(tile.element));
        Value scalar = load(tile.element, at, unsigned(bytesOf(tile.element)));
        Value xs = splat(widen(scalar));
        for (int64_t v = 0; v < width; ++v) {
          Value &a = out[size_t(r * width + v)];
          a = math::FmaOp::create(b, loc, ws[size_t(v)], xs, a);
        }
      }
    }
    return out;
  };
  auto op2 = loop(index(0), index(depth), 1, init,
                  [&](Value k, ValueRange acc) { return step(k, acc); });
  tiles[op.getResult()] = SmallVector<Value>(op2.getResults());
  return success();
}

/// How the bytes of a panel of encoded weights lie: runs of 128 channels, each
/// of scales and then groups of two channels.
struct EncodedPanel {
  explicit EncodedPanel(flow::MmaOp op)
      : type(cast<RankedTensorType>(*op.getWeight())),
        scaled(tier::scaledOf(type)),
        panels(cast<flow::PanelsAttr>(scaled.getPacking())),
        element(type.getElementType()), in(type.getShape().back()),
        columns(panels.getColumns()), block(scaled.getColumns()),
        groupBytes(pairBytes(element, columns)),
        scaleBytes(panels.getRunScaleBytes(scaled)),
        runBytes(scaleBytes + kRun / 2 * groupBytes) {}

  static constexpr int64_t kRun = flow::PanelsAttr::kRun;
  RankedTensorType type;
  tier::ScaledAttr scaled;
  flow::PanelsAttr panels;
  Type element;
  int64_t in, columns;
  int64_t block; ///< Channels that share a scale.
  int64_t groupBytes, scaleBytes, runBytes;

  int64_t bytes() const { return panels.getPanelBytes(type); }
  /// Groups whose bytes are a cache line, at least one.
  int64_t groupsOfLine() const { return std::max<int64_t>(64 / groupBytes, 1); }
};

/// Bytes of a decoded group: two vectors of pairs.
constexpr int64_t kDecodedGroup = 2 * kDotPairs * 4;

void ProgramLowering::decodePanel(flow::MmaOp op) {
  EncodedPanel panel(op);
  Value from = address(op.getPanel(), map.lookup(op.getIndex()));
  auto run = [&](Value number, int64_t channels) {
    Value groups = offset(at(from, number, panel.runBytes), panel.scaleBytes);
    Value to = at(decoded, number, panel.kRun / 2 * kDecodedGroup);
    int64_t count = (channels + 1) / 2, step = panel.groupsOfLine();
    if (count % step)
      step = 1;
    loop(index(0), index(count), step, {}, [&](Value group, ValueRange) {
      Value source = at(groups, group, panel.groupBytes);
      Value target = at(to, group, kDecodedGroup);
      for (int64_t i = 0; i < step; ++i)
        for (auto [v, pairs] : llvm::enumerate(loadDotPairs(
                 b, loc, panel.element, offset(source, i * panel.groupBytes))))
          LLVM::StoreOp::create(
              b, loc, pairs,
              offset(target, i * kDecodedGroup + int64_t(v) * 64), 64);
      return SmallVector<Value>{};
    });
  };
  loop(index(0), index(panel.in / panel.kRun), 1, {},
       [&](Value number, ValueRange) {
         run(number, panel.kRun);
         return SmallVector<Value>{};
       });
  if (int64_t rest = panel.in % panel.kRun)
    run(index(panel.in / panel.kRun), rest);
}

LogicalResult ProgramLowering::lowerEncodedMma(flow::MmaOp op) {
  EncodedPanel panel(op);
  Tile tile = staged.lookup(op.getRows());
  Type f32 = b.getF32Type();
  constexpr int64_t kRun = EncodedPanel::kRun;
  int64_t width = panel.columns / lanes, xBytes = bytesOf(tile.element);
  if (panel.in % 2 && xBytes != 2) // Nothing pads such rows to pairs.
    return op.emitOpError("has an encoded weight of ")
           << panel.in << " input channels for rows of " << tile.element
           << "; expected an even number";
  bool dot = target.bf16Dot && tile.element.isBF16();
  // Where the pairs are, and what they take.
  Value panelBase = address(op.getPanel(), map.lookup(op.getIndex()));
  int64_t groupBytes = decoded ? kDecodedGroup : panel.groupBytes;
  Value rowBase = offset(
      tile.base, toI64(arith::MulIOp::create(b, loc, map.lookup(op.getFirst()),
                                             index(tile.stride))));
  // While decoded pairs are read, the next panel comes into the second level.
  SmallVector<CpuTarget::Prefetch, 2> prefetches;
  if (decoded)
    prefetches.push_back({panel.bytes(), 2});
  else if (op.getPrefetch() && rows >= target.prefetchRows)
    prefetches = target.prefetches;
  // Which column each lane stands for while the panel is read.
  SmallVector<int32_t> order, back;
  if (dot)
    order = dotColumns(panel.element);
  back.resize(order.size());
  for (auto [lane, column] : llvm::enumerate(order))
    back[size_t(column)] = int32_t(lane);

  // Two input channels: the panel's pairs against one of each row.
  auto pair = [&](Value weights, Value x, ArrayRef<Value> sums) {
    SmallVector<Value> out(sums);
    if (dot) {
      Type type = vec(b.getBF16Type(), 2 * lanes);
      std::array<Value, 2> pairs;
      if (decoded)
        pairs = {load(type, weights, 64), load(type, offset(weights, 64), 64)};
      else
        pairs = loadDotPairs(b, loc, panel.element, weights);
      for (int64_t r = 0; r < rows; ++r) {
        Value both = load(b.getI32Type(), offset(x, r * tile.stride), 4);
        Value xs = LLVM::BitcastOp::create(b, loc, type, splat(both));
        for (int64_t v = 0; v < width; ++v) {
          Value &sum = out[size_t(r * width + v)];
          sum = dotProduct(sum, pairs[size_t(v)], xs);
        }
      }
      return out;
    }
    SmallVector<std::pair<Value, Value>> floats;
    for (int64_t v = 0; v < width; ++v)
      floats.push_back(
          loadPairs(b, loc, panel.element, lanes,
                    offset(weights, v * pairBytes(panel.element, lanes))));
    for (int64_t p = 0; p < 2; ++p)
      for (int64_t r = 0; r < rows; ++r) {
        Value scalar =
            load(tile.element, offset(x, r * tile.stride + p * xBytes),
                 unsigned(xBytes));
        Value xs = splat(widen(scalar));
        for (int64_t v = 0; v < width; ++v) {
          Value &sum = out[size_t(r * width + v)];
          auto [first, second] = floats[size_t(v)];
          sum = math::FmaOp::create(b, loc, p ? second : first, xs, sum);
        }
      }
    return out;
  };

  // One block: `channels` of it from `pairs` and `x` on; `stored` is where its
  // encoded groups are.
  auto sumBlock = [&](Value pairs, Value stored, Value x, Value scales,
                      int64_t channels, ValueRange totals) {
    int64_t groups = (channels + 1) / 2, step = panel.groupsOfLine();
    if (groups % step)
      step = 1;
    SmallVector<Value> zero(totals.size(), zeros(vec(f32)));
    auto sums = loop(
        index(0), index(groups), step, zero, [&](Value group, ValueRange now) {
          Value from = at(pairs, group, groupBytes);
          Value rowsFrom = at(x, group, 2 * xBytes);
          if (!prefetches.empty()) {
            Value line = at(stored, group, panel.groupBytes);
            for (CpuTarget::Prefetch ahead : prefetches)
              for (int64_t i = 0; i < step * panel.groupBytes; i += 64)
                LLVM::Prefetch::create(b, loc, offset(line, ahead.bytes + i),
                                       /*rw=*/0, ahead.hint, /*cache=*/1);
          }
          SmallVector<Value> out(now);
          for (int64_t i = 0; i < step; ++i)
            out = pair(offset(from, i * groupBytes),
                       offset(rowsFrom, i * 2 * xBytes), out);
          return out;
        });
    SmallVector<Value> scale, out;
    int64_t scaleBytes = panel.scaled.getPackedScaleBytes();
    for (int64_t v = 0; v < width; ++v)
      scale.push_back(loadScales(b, loc, panel.element, panel.scaled.getScale(),
                                 lanes, offset(scales, v * lanes * scaleBytes),
                                 /*exact=*/dot));
    scale = reordered(scale, order);
    for (auto [i, total] : llvm::enumerate(totals))
      out.push_back(math::FmaOp::create(b, loc, sums.getResult(unsigned(i)),
                                        scale[i % size_t(width)], total));
    return out;
  };

  // `channels` of one run: whole blocks, and what is left of one.
  auto sumRun = [&](Value run, int64_t channels, ValueRange totals) {
    Value scales = at(panelBase, run, panel.runBytes);
    Value stored = offset(scales, panel.scaleBytes);
    Value pairs = decoded ? at(decoded, run, kRun / 2 * kDecodedGroup) : stored;
    Value x = at(rowBase, run, kRun * xBytes);
    SmallVector<Value> out(totals);
    int64_t block = panel.block, whole = channels / block;
    auto one = [&](Value number, int64_t channels, ValueRange now) {
      return sumBlock(at(pairs, number, block / 2 * groupBytes),
                      at(stored, number, block / 2 * panel.groupBytes),
                      at(x, number, block * xBytes),
                      at(scales, number,
                         panel.columns * panel.scaled.getPackedScaleBytes()),
                      channels, now);
    };
    if (whole == 1)
      out = one(index(0), block, out);
    else if (whole)
      out = SmallVector<Value>(loop(index(0), index(whole), 1, out,
                                    [&](Value number, ValueRange now) {
                                      return one(number, block, now);
                                    })
                                   .getResults());
    if (channels % block)
      out = one(index(whole), channels % block, out);
    return out;
  };

  SmallVector<Value> totals;
  if (Value from = op.getInit())
    totals = reordered(tiles[from], order);
  else
    totals.assign(size_t(rows * width), zeros(vec(f32)));
  int64_t runs = panel.in / kRun;
  if (runs)
    totals = SmallVector<Value>(
        loop(index(0), index(runs), 1, totals, [&](Value run, ValueRange now) {
          return sumRun(run, kRun, now);
        }).getResults());
  if (panel.in % kRun)
    totals = sumRun(index(runs), panel.in % kRun, totals);
  tiles[op.getResult()] = reordered(totals, back);
  return success();
}

SmallVector<Value> ProgramLowering::reordered(ValueRange vectors,
                                              ArrayRef<int32_t> order) {
  SmallVector<Value> out(vectors);
  if (order.empty())
    return out;
  for (size_t i = 0; i < out.size(); i += 2)
    for (size_t v = 0; v < 2; ++v)
      out[i + v] = LLVM::ShuffleVectorOp::create(
          b, loc, vectors[i], vectors[i + 1],
          order.slice(v * order.size() / 2, order.size() / 2));
  return out;
}

Value ProgramLowering::cloneElementwise(Operation *op, ValueRange operands,
                                        bool scalar) {
  Type element = op->getResult(0).getType();
  Type type = scalar ? element : Type(vec(element));
  if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
    auto value = cast<TypedAttr>(constant.getValue());
    if (!scalar)
      value = DenseElementsAttr::get(cast<VectorType>(type), Attribute(value));
    return arith::ConstantOp::create(b, loc, value);
  }
  OperationState state(loc, op->getName(), operands, type, op->getAttrs());
  state.propertiesAttr = op->getPropertiesAsAttribute();
  return b.create(state)->getResult(0);
}

LogicalResult ProgramLowering::lowerMap(flow::MapOp op) {
  flow::AccType type = op.getResult().getType();
  bool scalar = type.getWidth() == 1;
  int64_t width = vectorsOf(type);
  Block &block = op.getBody().front();
  SmallVector<Value> out;
  // A broadcast of a row's value is made once a row, not once a vector.
  for (int64_t r = 0; r < rows; ++r) {
    SmallVector<Value> rowValues(op.getInputs().size());
    for (int64_t v = 0; v < width; ++v) {
      IRMapping local;
      for (auto [i, input] : llvm::enumerate(op.getInputs())) {
        auto inType = cast<flow::AccType>(input.getType());
        Value value;
        if (inType.getWidth() == 1) {
          if (!rowValues[i]) {
            Value one = tiles[input][size_t(r)];
            rowValues[i] = scalar ? one : splat(one);
          }
          value = rowValues[i];
        } else {
          value = tiles[input][size_t(r * width + v)];
        }
        local.map(block.getArgument(unsigned(i)), value);
      }
      for (Operation &inner : block.without_terminator()) {
        SmallVector<Value> operands;
        for (Value operand : inner.getOperands()) {
          Value mapped = local.lookupOrNull(operand);
          if (!mapped) { // A scalar from outside the region.
            mapped = map.lookup(operand);
            if (!scalar)
              mapped = splat(mapped);
          }
          operands.push_back(mapped);
        }
        if (inner.getNumResults() != 1 || inner.getNumRegions())
          return inner.emitOpError("is not elementwise");
        local.map(inner.getResult(0),
                  cloneElementwise(&inner, operands, scalar));
      }
      out.push_back(local.lookup(block.getTerminator()->getOperand(0)));
    }
  }
  tiles[op.getResult()] = out;
  return success();
}

/// Halves the vector until one lane is left: the order of a sum depends on the
/// number of lanes alone.
Value ProgramLowering::reduceVector(Value vector, bool sum) {
  int64_t n = cast<VectorType>(vector.getType()).getDimSize(0);
  while (n > 1) {
    n /= 2;
    SmallVector<int64_t> low, high;
    for (int64_t i = 0; i < n; ++i) {
      low.push_back(i);
      high.push_back(i + n);
    }
    Value a = vector::ShuffleOp::create(b, loc, vector, vector, low);
    Value c = vector::ShuffleOp::create(b, loc, vector, vector, high);
    if (sum) {
      vector = arith::AddFOp::create(b, loc, a, c);
    } else {
      Value larger =
          arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OGT, a, c);
      vector = arith::SelectOp::create(b, loc, larger, a, c);
    }
  }
  return vector::ExtractOp::create(b, loc, vector, int64_t(0));
}

LogicalResult ProgramLowering::lowerReduce(flow::ReduceOp op) {
  int64_t width = vectorsOf(op.getInput().getType());
  bool sum = op.getKind() == flow::ReduceKind::sum;
  SmallVector<Value> in = tiles[op.getInput()], out;
  for (int64_t r = 0; r < rows; ++r) {
    Value total = in[size_t(r * width)];
    for (int64_t v = 1; v < width; ++v) {
      Value next = in[size_t(r * width + v)];
      if (sum) {
        total = arith::AddFOp::create(b, loc, total, next);
      } else {
        Value larger = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OGT,
                                             total, next);
        total = arith::SelectOp::create(b, loc, larger, total, next);
      }
    }
    out.push_back(reduceVector(total, sum));
  }
  tiles[op.getResult()] = out;
  return success();
}

LogicalResult ProgramLowering::lowerRead(flow::ReadOp op) {
  auto source = cast<MemRefType>(op.getSource().getType());
  flow::AccType type = op.getResult().getType();
  Type element = source.getElementType();
  int64_t width = vectorsOf(type);
  int64_t sourceWidth = source.getShape().back();
  Value column = op.getColumn() ? map.lookup(op.getColumn()) : Value();
  SmallVector<Value> out;
  // A vector over columns is read once and shared by the rows.
  if (source.getRank() == 1 && column) {
    SmallVector<Value> shared;
    Value at = address(op.getSource(), column);
    for (int64_t v = 0; v < width; ++v) {
      Value mask = columnMask(column, v * lanes, sourceWidth, type.getWidth());
      shared.push_back(
          loadVector(element, offset(at, v * lanes * bytesOf(element)), mask));
    }
    for (int64_t r = 0; r < rows; ++r)
      llvm::append_range(out, shared);
    tiles[op.getResult()] = out;
    return success();
  }
  Value first = map.lookup(op.getFirst());
  for (int64_t r = 0; r < rows; ++r) {
    Value logical = arith::AddIOp::create(b, loc, first, index(r));
    Value row = mapRow(op.getIndices(), logical);
    if (type.getWidth() == 1) {
      SmallVector<Value> indices{row};
      if (column)
        indices.push_back(column);
      out.push_back(widen(load(element, address(op.getSource(), indices),
                               unsigned(bytesOf(element)))));
      continue;
    }
    Value at = address(op.getSource(), {row, column});
    for (int64_t v = 0; v < width; ++v) {
      Value mask = columnMask(column, v * lanes, sourceWidth, type.getWidth());
      out.push_back(
          loadVector(element, offset(at, v * lanes * bytesOf(element)), mask));
    }
  }
  tiles[op.getResult()] = out;
  return success();
}

LogicalResult ProgramLowering::lowerStore(flow::StoreOp op) {
  auto target = cast<MemRefType>(op.getTarget().getType());
  flow::AccType type = op.getValue().getType();
  Type element = target.getElementType();
  int64_t width = vectorsOf(type), targetWidth = target.getShape().back();
  Value first = map.lookup(op.getFirst()), column = map.lookup(op.getColumn());
  SmallVector<Value> values = tiles[op.getValue()];
  for (int64_t r = 0; r < rows; ++r) {
    Value logical = arith::AddIOp::create(b, loc, first, index(r));
    Value at =
        address(op.getTarget(), {mapRow(op.getIndices(), logical), column});
    for (int64_t v = 0; v < width; ++v) {
      Value value = values[size_t(r * width + v)];
      if (type.getWidth() == 1) {
        LLVM::StoreOp::create(b, loc, narrow(value, element), at,
                              unsigned(bytesOf(element)));
        continue;
      }
      Value mask = columnMask(column, v * lanes, targetWidth, type.getWidth());
      Value here = offset(at, v * lanes * bytesOf(element));
      if (op.getAccumulate())
        value = arith::AddFOp::create(b, loc, loadVector(element, here, mask),
                                      value);
      storeVector(value, element, here, mask);
    }
  }
  return success();
}

LogicalResult ProgramLowering::lowerIota(flow::IotaOp op) {
  flow::AccType type = op.getResult().getType();
  Type i32 = b.getI32Type();
  Value start =
      arith::IndexCastOp::create(b, loc, i32, map.lookup(op.getStart()));
  SmallVector<Value> out;
  int64_t width = vectorsOf(type);
  for (int64_t r = 0; r < rows; ++r) {
    if (op.getKind() == flow::IotaKind::rows) {
      Value value = arith::AddIOp::create(
          b, loc, start, arith::ConstantIntOp::create(b, loc, i32, r));
      out.append(size_t(width), type.getWidth() == 1 ? value : splat(value));
      continue;
    }
    for (int64_t v = 0; v < width; ++v) {
      SmallVector<int32_t> lane;
      for (int64_t i = 0; i < lanes; ++i)
        lane.push_back(int32_t(v * lanes + i));
      Value counts = arith::ConstantOp::create(
          b, loc, DenseElementsAttr::get(vec(i32), ArrayRef<int32_t>(lane)));
      out.push_back(arith::AddIOp::create(b, loc, counts, splat(start)));
    }
  }
  tiles[op.getResult()] = out;
  return success();
}

} // namespace

LogicalResult headrace::lowerTilesToVectors(ModuleOp module,
                                            const CpuTarget &target) {
  for (auto program :
       llvm::make_early_inc_range(module.getOps<flow::ProgramOp>()))
    if (failed(ProgramLowering(program, target).run()))
      return failure();
  return success();
}
