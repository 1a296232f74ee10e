// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Lowers one tile program. Its members are defined by job: structure
// (LowerTiles.cpp), control flow, rows, products, encoded products, and maps.
#ifndef HEADRACE_COMPILER_CODEGEN_CPU_PROGRAMLOWERING_H
#define HEADRACE_COMPILER_CODEGEN_CPU_PROGRAMLOWERING_H

#include "compiler/codegen/cpu/CpuTarget.h"
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
#include <cstddef>

namespace headrace {

/// Lowers one program. Values are either scalars (in `map`; a memref maps to
/// the address of its first element) or register tiles (in `tiles`: vectors row
/// by row; scalars row by row where the width is 1).
class ProgramLowering {
public:
  ProgramLowering(flow::ProgramOp program, const CpuTarget &target)
      : program(program), target(target), lanes(target.vectorFloats),
        b(program.getContext()), loc(program.getLoc()) {}

  mlir::LogicalResult run();

private:
  //===--------------------------------------------------------------------===//
  // Small builders
  //===--------------------------------------------------------------------===//
  mlir::Value index(int64_t value) {
    return mlir::arith::ConstantIndexOp::create(b, loc, value);
  }
  mlir::Value i64(int64_t value) {
    return mlir::arith::ConstantIntOp::create(b, loc, b.getI64Type(), value);
  }
  mlir::Value toI64(mlir::Value value) {
    return mlir::arith::IndexCastOp::create(b, loc, b.getI64Type(), value);
  }
  mlir::Type ptr() { return mlir::LLVM::LLVMPointerType::get(b.getContext()); }
  mlir::VectorType vec(mlir::Type element, int64_t n = 0) {
    return mlir::VectorType::get({n ? n : lanes}, element);
  }
  mlir::Value splat(mlir::Value scalar) {
    return mlir::vector::BroadcastOp::create(b, loc, vec(scalar.getType()),
                                             scalar);
  }
  mlir::Value zeros(mlir::Type type) {
    return mlir::arith::ConstantOp::create(b, loc, type, b.getZeroAttr(type));
  }
  /// `base` plus `bytes`, a dynamic number of bytes.
  mlir::Value offset(mlir::Value base, mlir::Value bytes) {
    return mlir::LLVM::GEPOp::create(b, loc, ptr(), b.getI8Type(), base,
                                     llvm::ArrayRef<mlir::LLVM::GEPArg>{bytes});
  }
  mlir::Value offset(mlir::Value base, int64_t bytes) {
    if (bytes == 0)
      return base;
    return mlir::LLVM::GEPOp::create(
        b, loc, ptr(), b.getI8Type(), base,
        llvm::ArrayRef<mlir::LLVM::GEPArg>{i64(bytes)});
  }
  /// `base` plus `number` times `bytes`.
  mlir::Value at(mlir::Value base, mlir::Value number, int64_t bytes) {
    return offset(
        base, toI64(mlir::arith::MulIOp::create(b, loc, number, index(bytes))));
  }
  mlir::Value load(mlir::Type type, mlir::Value address,
                   unsigned alignment = 0) {
    return mlir::LLVM::LoadOp::create(b, loc, type, address, alignment);
  }
  mlir::Value field(mlir::Value call, size_t at) {
    return load(ptr(), offset(call, int64_t(at)));
  }
  static int64_t bytesOf(mlir::Type type) {
    return type.getIntOrFloatBitWidth() / 8;
  }

  //===--------------------------------------------------------------------===//
  // Memory
  //===--------------------------------------------------------------------===//
  static llvm::SmallVector<int64_t> stridesOf(mlir::MemRefType type) {
    llvm::SmallVector<int64_t> strides;
    int64_t first = 0;
    (void)type.getStridesAndOffset(strides, first);
    return strides;
  }
  /// Address of `memref[indices]`; missing trailing indices are zero.
  mlir::Value address(mlir::Value memref, mlir::ValueRange indices) {
    auto type = llvm::cast<mlir::MemRefType>(memref.getType());
    llvm::SmallVector<int64_t> strides = stridesOf(type);
    mlir::Value base = map.lookup(memref);
    mlir::Value bytes;
    for (auto [position, value] : llvm::enumerate(indices)) {
      int64_t scale = strides[position] * bytesOf(type.getElementType());
      mlir::Value term =
          mlir::arith::MulIOp::create(b, loc, value, index(scale));
      bytes = bytes
                  ? mlir::arith::AddIOp::create(b, loc, bytes, term).getResult()
                  : term;
    }
    return bytes ? offset(base, toI64(bytes)) : base;
  }
  /// Row of `memref` that logical row `row` stands for.
  mlir::Value mapRow(mlir::Value indices, mlir::Value row) {
    if (!indices)
      return row;
    mlir::Value loaded = load(b.getI32Type(), address(indices, row), 4);
    return mlir::arith::IndexCastOp::create(b, loc, b.getIndexType(), loaded);
  }
  /// Lanes of a vector at dynamic `column` that lie below `width`, or null when
  /// all of them do because `width` is a multiple of `step`.
  mlir::Value columnMask(mlir::Value column, int64_t lane, int64_t width,
                         int64_t step) {
    if (width % step == 0)
      return {};
    mlir::Value left =
        mlir::arith::SubIOp::create(b, loc, index(width - lane), column);
    mlir::Value none = mlir::arith::MaxSIOp::create(b, loc, left, index(0));
    return mlir::vector::CreateMaskOp::create(b, loc, vec(b.getI1Type()), none);
  }
  /// Loads `lanes` elements as float32 (or i32), masked lanes zero.
  mlir::Value loadVector(mlir::Type element, mlir::Value at, mlir::Value mask,
                         unsigned alignment = 0) {
    mlir::VectorType type = vec(element);
    if (!alignment)
      alignment = unsigned(bytesOf(element));
    if (!mask)
      return widen(load(type, at, alignment));
    mlir::VectorType stored = storedType(type);
    mlir::Value raw = mlir::LLVM::MaskedLoadOp::create(
        b, loc, stored, at, mask, zeros(stored), alignment);
    if (stored != type)
      raw = mlir::arith::BitcastOp::create(b, loc, type, raw);
    return widen(raw);
  }
  /// The type in which a masked access moves a vector: 16-bit floats go as
  /// integers, because a target without masks takes the vector apart, and
  /// without 16-bit arithmetic it would convert each part by a call.
  mlir::VectorType storedType(mlir::VectorType type) {
    if (bytesOf(type.getElementType()) != 2)
      return type;
    return mlir::VectorType::get(type.getShape(), b.getI16Type());
  }
  /// A 16-bit float as float32; other values as they are.
  mlir::Value widen(mlir::Value value) {
    mlir::Type element = mlir::getElementTypeOrSelf(value.getType());
    if (!element.isBF16() && !element.isF16())
      return value;
    mlir::Type wide = b.getF32Type();
    if (auto type = llvm::dyn_cast<mlir::VectorType>(value.getType()))
      wide = mlir::VectorType::get(type.getShape(), wide);
    return mlir::arith::ExtFOp::create(b, loc, wide, value);
  }
  mlir::Value narrow(mlir::Value value, mlir::Type element) {
    if (mlir::getElementTypeOrSelf(value.getType()) == element)
      return value;
    mlir::Type type = element;
    if (auto vector = llvm::dyn_cast<mlir::VectorType>(value.getType()))
      type = mlir::VectorType::get(vector.getShape(), element);
    // What was only loaded and is stored again is a copy.
    if (auto wide = value.getDefiningOp<mlir::arith::ExtFOp>();
        wide && wide.getIn().getType() == type)
      return wide.getIn();
    return mlir::arith::TruncFOp::create(b, loc, type, value);
  }
  void storeVector(mlir::Value value, mlir::Type element, mlir::Value at,
                   mlir::Value mask) {
    mlir::Value out = narrow(value, element);
    unsigned alignment = unsigned(bytesOf(element));
    if (mask) {
      auto type = llvm::cast<mlir::VectorType>(out.getType());
      if (mlir::VectorType stored = storedType(type); stored != type)
        out = mlir::arith::BitcastOp::create(b, loc, stored, out);
      mlir::LLVM::MaskedStoreOp::create(b, loc, out, at, mask, alignment);
    } else {
      mlir::LLVM::StoreOp::create(b, loc, out, at, alignment);
    }
  }

  //===--------------------------------------------------------------------===//
  // Control flow
  //===--------------------------------------------------------------------===//
  mlir::scf::ForOp
  loop(mlir::Value from, mlir::Value to, int64_t step, mlir::ValueRange inits,
       llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::Value,
                                                         mlir::ValueRange)>
           body) {
    auto op = mlir::scf::ForOp::create(b, loc, from, to, index(step), inits);
    mlir::OpBuilder::InsertionGuard guard(b);
    mlir::Block *block = op.getBody();
    if (inits.empty())
      block->getTerminator()->erase();
    b.setInsertionPointToEnd(block);
    llvm::SmallVector<mlir::Value> results =
        body(op.getInductionVar(), op.getRegionIterArgs());
    mlir::scf::YieldOp::create(b, loc, results);
    return op;
  }
  mlir::LogicalResult lowerBlock(mlir::Block &block);
  mlir::LogicalResult lowerOp(mlir::Operation *op);
  mlir::LogicalResult lowerFor(mlir::scf::ForOp op);
  mlir::LogicalResult lowerIf(mlir::scf::IfOp op);
  mlir::LogicalResult lowerRows(flow::RowsOp op);
  /// Lowers the tiles of `op`, each of `smallest` to `limit` rows.
  mlir::LogicalResult lowerRowTiles(flow::RowsOp op, int64_t smallest,
                                    int64_t limit);
  mlir::LogicalResult cloneOp(mlir::Operation *op);

  /// The lowered values of `value`: one for a scalar, several for a tile.
  llvm::SmallVector<mlir::Value> expand(mlir::Value value) {
    if (auto it = tiles.find(value); it != tiles.end())
      return it->second;
    return {map.lookup(value)};
  }
  llvm::SmallVector<mlir::Value> expand(mlir::ValueRange values) {
    llvm::SmallVector<mlir::Value> out;
    for (mlir::Value value : values)
      llvm::append_range(out, expand(value));
    return out;
  }
  /// Binds `values` to the next lowered values of `from`.
  void bind(mlir::ValueRange values, mlir::ValueRange from) {
    size_t next = 0;
    for (mlir::Value value : values) {
      auto type = llvm::dyn_cast<flow::AccType>(value.getType());
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
  mlir::LogicalResult lowerLoad(flow::LoadOp op);
  mlir::LogicalResult lowerMma(flow::MmaOp op);
  mlir::LogicalResult lowerEncodedMma(flow::MmaOp op);
  /// Writes the pairs of the panel that `op` reads to `decoded`.
  void decodePanel(flow::MmaOp op);
  mlir::LogicalResult lowerMap(flow::MapOp op);
  mlir::LogicalResult lowerReduce(flow::ReduceOp op);
  mlir::LogicalResult lowerRead(flow::ReadOp op);
  mlir::LogicalResult lowerStore(flow::StoreOp op);
  mlir::LogicalResult lowerIota(flow::IotaOp op);
  mlir::Value reduceVector(mlir::Value vector, bool sum);
  /// Every two of `vectors`, as columns, in the order that `order` has for
  /// both; as they are where there is none.
  llvm::SmallVector<mlir::Value> reordered(mlir::ValueRange vectors,
                                           llvm::ArrayRef<int32_t> order);
  /// Adds to `sums`, row by row, what two input channels give: `pairs` of
  /// weights, a vector for each of the sums of a row, times the rows' pairs of
  /// bfloat16, the first at `x`, the others `stride` bytes apart.
  void addDotProducts(llvm::ArrayRef<mlir::Value> pairs, mlir::Value x,
                      int64_t stride, llvm::MutableArrayRef<mlir::Value> sums);
  /// Clones an elementwise op of a map region onto `operands`, vectors or
  /// scalars.
  mlir::Value cloneElementwise(mlir::Operation *op, mlir::ValueRange operands,
                               bool scalar);
  /// Runs `body(offset, mask)` over `width` columns, `lanes` at a time.
  llvm::SmallVector<mlir::Value>
  overColumns(int64_t width, mlir::ValueRange inits,
              llvm::function_ref<llvm::SmallVector<mlir::Value>(
                  mlir::Value, mlir::Value, mlir::ValueRange)>
                  body);

  /// The sum, over all lanes, of what `body(column, mask, total)` adds up over
  /// `width` columns.
  mlir::Value sumOverColumns(
      int64_t width,
      llvm::function_ref<mlir::Value(mlir::Value, mlir::Value, mlir::Value)>
          body);

  struct Tile {
    mlir::Value base; ///< Address of row 0.
    int64_t stride;   ///< Bytes from row to row.
    mlir::Type element;
  };

  flow::ProgramOp program;
  const CpuTarget &target;
  int64_t lanes;
  mlir::OpBuilder b;
  mlir::Location loc;
  mlir::IRMapping map;
  llvm::DenseMap<mlir::Value, llvm::SmallVector<mlir::Value>> tiles;
  llvm::DenseMap<mlir::Value, Tile> staged;
  int64_t rows = 0; ///< Rows of the register tile being lowered.
  mlir::Value
      decoded; ///< The pairs of the panel being read, if they are decoded.
  mlir::Value call;
};

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_CPU_PROGRAMLOWERING_H
