// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Elementwise work on register tiles, reductions, and their ways from and to
// memory.
#include "compiler/codegen/cpu/ProgramLowering.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace headrace;

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
