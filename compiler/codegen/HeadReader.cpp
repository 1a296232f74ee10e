// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reads the finished channels of a head of attention.
#include "compiler/codegen/HeadReader.h"

#include "compiler/codegen/Elementwise.h"

using namespace mlir;
using namespace headrace;

static int64_t widthOf(Value rows) {
  return cast<RankedTensorType>(rows.getType()).getDimSize(1);
}

void HeadReader::read(Value row, Value head,
                      function_ref<void(Value, Value)> sink) {
  Value start = s.mul(head, headDim), scale = normScale(row, start);
  int64_t rotated = 0;
  if (source.rotate) {
    rotated = widthOf(source.rotate.getAngles());
    int64_t half = rotated / 2;
    overChannels(0, half, [&](Value i) {
      Value j = s.add(i, half);
      Value cosine = angle(row, i), sine = angle(row, j);
      Value x = channel(row, start, scale, i),
            y = channel(row, start, scale, j);
      sink(i, s.subF(s.mulF(x, cosine), s.mulF(y, sine)));
      sink(j, s.addF(s.mulF(y, cosine), s.mulF(x, sine)));
    });
  }
  if (rotated < headDim)
    overChannels(rotated, headDim,
                 [&](Value c) { sink(c, channel(row, start, scale, c)); });
}

/// Before its rotation.
Value HeadReader::channel(Value row, Value start, Value scale, Value c) {
  Value x = input(row, s.add(s.add(start, c), source.offset));
  if (scale) {
    x = s.mulF(x, scale);
    if (source.norm.getWeight())
      x = s.mulF(
          x, normWeight(source.norm.getGroups() == 1 ? s.add(start, c) : c));
  }
  for (Operation *op : source.elementwise)
    x = emitElementwise(s.b, s.b.getLoc(), op, x);
  return x;
}

/// 1 / sqrt(mean(x^2) + eps) over the row or over the head; null without a
/// norm.
Value HeadReader::normScale(Value row, Value start) {
  if (!source.norm)
    return {};
  bool whole = source.norm.getGroups() == 1;
  int64_t width = whole ? widthOf(source.norm.getInput()) : headDim;
  Value from = whole ? s.number(source.offset, start.getType())
                     : s.add(start, source.offset);
  Value mean = s.divF(sumOfSquares(row, from, width), s.f32(double(width)));
  Value eps = s.f32(source.norm.getEps().convertToDouble());
  return s.divF(s.f32(1), s.sqrt(s.addF(mean, eps)));
}
