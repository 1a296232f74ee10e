// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Rows that are gathered, normalised and rounded.
#include "compiler/codegen/cpu/ProgramLowering.h"

using namespace mlir;
using namespace headrace;

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
