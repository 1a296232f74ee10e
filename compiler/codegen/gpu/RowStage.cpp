// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reads rows of activations, normalised where the kernel asks for it.
#include "compiler/codegen/gpu/RowStage.h"

using namespace mlir;
using namespace headrace;

bool headrace::isReady(const RowSource &source, Type element) {
  auto type = dyn_cast<RankedTensorType>(source.argument.getType());
  return !source.norm && !source.pick && type &&
         type.getElementType() == element;
}

SmallVector<Value> RowStage::chunk(const RowsInMemory &rows, Value row,
                                   Value column, bool constant) {
  SmallVector<Value> out;
  Value zero = k.f32(0), width = k.i32(rows.width);
  int64_t bytes = rows.element.getIntOrFloatBitWidth() / 8;
  if (rows.width % kChunk == 0 && rows.stride * bytes % 16 == 0) {
    // Whole chunks: past the width the last one is read and left out.
    Value inside = k.less(column, width);
    Value address = k.at(rows, row, k.min(column, k.i32(rows.width - kChunk)));
    for (int64_t part = 0; part < bytes / 2; ++part)
      for (Value word : k.load16(k.at(address, part * 16), constant)) {
        if (bytes == 4) {
          out.push_back(arith::BitcastOp::create(k.b, k.f32Type(), word));
        } else {
          auto [low, high] = k.unpack(word, rows.element);
          out.append({low, high});
        }
      }
    for (Value &x : out)
      x = k.select(inside, x, zero);
    return out;
  }
  for (int64_t i = 0; i < kChunk; ++i) {
    Value at = k.add(column, i);
    Value address = k.at(rows, row, k.min(at, k.i32(rows.width - 1)));
    Value x = constant ? k.loadConstant(rows.element, address)
                       : k.load(rows.element, address);
    out.push_back(k.select(k.less(at, width), k.widen(x), zero));
  }
  return out;
}

Value RowStage::sum(Value row, function_ref<Value(Value)> body) {
  Value start = k.mul(k.lane(), kChunk);
  Value total =
      k.fold(start, k.i32(source.width), k.i32(kWarp * kChunk), k.f32(0),
             [&](Value column, ValueRange sums) {
               Value sum = sums[0];
               SmallVector<Value> values = chunk(source, row, column, false);
               for (int64_t i = 0; i < kChunk; ++i) {
                 Value term = body(values[size_t(i)]);
                 if (source.width % kChunk) // What stands past the row is 0,
                                            // and its term may not be.
                   term =
                       k.select(k.less(k.add(column, i), k.i32(source.width)),
                                term, k.f32(0));
                 sum = k.addF(sum, term);
               }
               return SmallVector<Value>{sum};
             })[0];
  return k.warpSum(total);
}

void RowStage::read(Value row, int64_t padded,
                    function_ref<void(Value, ValueRange)> sink) {
  Value scale, mean;
  if (norm) {
    Value n = k.f32(double(source.width));
    if (norm.getKind() == nn::NormKind::layer)
      mean = k.divF(sum(row, [](Value x) { return x; }), n);
    Value squares = sum(row, [&](Value x) {
      if (mean)
        x = k.subF(x, mean);
      return k.mulF(x, x);
    });
    if (norm.getKind() != nn::NormKind::l2)
      squares = k.divF(squares, n);
    Value root =
        k.sqrt(k.addF(squares, k.f32(norm.getEps().convertToDouble())));
    scale = k.divF(k.f32(1), root);
  }
  auto vector = [&](Value argument) {
    auto type = cast<RankedTensorType>(argument.getType());
    return RowsInMemory{k.weight(argument), 0, type.getDimSize(0),
                        type.getElementType()};
  };
  RowsInMemory weight, bias;
  if (norm && norm.getWeight())
    weight = vector(norm.getWeight());
  if (norm && norm.getBias())
    bias = vector(norm.getBias());
  Value zero = k.i32(0);
  k.loop(k.mul(k.lane(), kChunk), k.i32(padded), k.i32(kWarp * kChunk),
         [&](Value column) {
           SmallVector<Value> values = chunk(source, row, column, false);
           if (norm) {
             SmallVector<Value> weights, biases;
             if (weight.base)
               weights = chunk(weight, zero, column, true);
             if (bias.base)
               biases = chunk(bias, zero, column, true);
             for (auto [i, x] : llvm::enumerate(values)) {
               if (mean)
                 x = k.subF(x, mean);
               x = k.mulF(x, scale);
               if (weight.base)
                 x = k.mulF(x, weights[i]);
               if (bias.base)
                 x = k.addF(x, biases[i]);
               if (mean) // The only kind for which 0 does not stay 0.
                 x = k.select(
                     k.less(k.add(column, int64_t(i)), k.i32(source.width)), x,
                     k.f32(0));
             }
           }
           sink(column, values);
         });
}
