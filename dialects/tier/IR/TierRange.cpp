// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Values of a file that need not be neighbours: checking, cutting and reading
// them.
#include "dialects/tier/IR/Tier.h"

#include "llvm/Support/MathExtras.h"
#include <cstring>

using namespace mlir;
using namespace headrace::tier;

/// Bytes from the first value's first to the last value's last; saturates and
/// says so.
static uint64_t extentOf(uint64_t bytes, ArrayRef<uint64_t> shape,
                         ArrayRef<uint64_t> strides, bool &overflow) {
  uint64_t extent = bytes;
  for (uint64_t size : shape)
    extent /= size;
  for (auto [size, stride] : llvm::zip(shape, strides)) {
    bool here = false;
    extent = llvm::SaturatingMultiplyAdd(size - 1, stride, extent, &here);
    overflow |= here;
  }
  return extent;
}

LogicalResult RangeAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                StringRef file, uint64_t offset, uint64_t bytes,
                                ArrayRef<uint64_t> shape,
                                ArrayRef<uint64_t> strides) {
  if (shape.size() != strides.size()) // tier.range C2
    return emitError() << "expected the range of '" << file
                       << "' to have a stride for each size of its shape, but "
                       << "got " << strides.size() << " and " << shape.size();
  uint64_t each = bytes;
  for (uint64_t size : shape) {
    if (size == 0) // tier.range C2
      return emitError() << "expected the sizes of the range of '" << file
                         << "' to be positive, but got 0";
    if (each == 0 || each % size) // tier.range C3
      return emitError() << "expected the " << bytes << " bytes of the range "
                         << "of '" << file << "' to be equally many for each "
                         << "value of its shape";
    each /= size;
  }
  bool overflow = false;
  uint64_t extent = extentOf(bytes, shape, strides, overflow);
  if (overflow || offset + extent < offset) // tier.range C1
    return emitError() << "expected the range of '" << file
                       << "' to end below 2^64, but got offset " << offset
                       << " and " << extent << " bytes";
  return success();
}

uint64_t RangeAttr::getExtent() const {
  bool overflow = false; // The verifier has seen to it.
  return extentOf(getBytes(), getShape(), getStrides(), overflow);
}

/// Copies a view of `shape` and `strides`; its values have `value` bytes.
static void gatherView(const char *source, ArrayRef<uint64_t> shape,
                       ArrayRef<uint64_t> strides, uint64_t value,
                       char *target) {
  if (shape.size() > 2) {
    uint64_t inner = value;
    for (uint64_t size : shape.drop_front())
      inner *= size;
    for (uint64_t i = 0; i < shape[0]; ++i)
      gatherView(source + i * strides[0], shape.drop_front(),
                 strides.drop_front(), value, target + i * inner);
    return;
  }
  bool matrix = shape.size() == 2;
  uint64_t rows = matrix ? shape[0] : 1, columns = shape.back();
  uint64_t rowStride = matrix ? strides[0] : 0, columnStride = strides.back();
  // By square blocks: in a transposed matrix neighbours of a column share the
  // cache lines that neighbours of a row do not.
  constexpr uint64_t kBlock = 64;
  auto block = [&](uint64_t row, uint64_t column, auto size) {
    for (uint64_t r = row; r < std::min(row + kBlock, rows); ++r)
      for (uint64_t c = column; c < std::min(column + kBlock, columns); ++c)
        memcpy(target + (r * columns + c) * size,
               source + r * rowStride + c * columnStride, size);
  };
  for (uint64_t row = 0; row < rows; row += kBlock)
    for (uint64_t column = 0; column < columns; column += kBlock)
      if (value == 2)
        block(row, column, std::integral_constant<size_t, 2>());
      else if (value == 4)
        block(row, column, std::integral_constant<size_t, 4>());
      else
        block(row, column, value);
}

void RangeAttr::gather(const char *source, char *target) const {
  uint64_t value = getBytes();
  for (uint64_t size : getShape())
    value /= size;
  if (isContiguous())
    memcpy(target, source, getBytes());
  else
    gatherView(source, getShape(), getStrides(), value, target);
}

void RangeAttr::slice(uint64_t from, uint64_t count,
                      SmallVectorImpl<Attribute> &ranges) const {
  if (count == 0)
    return;
  if (isContiguous()) {
    ranges.push_back(get(getContext(), getFile(), getOffset() + from, count));
    return;
  }
  // Whole entries of the first dimension stay one range; what is cut in two is
  // sliced by itself.
  ArrayRef<uint64_t> shape = getShape(), strides = getStrides();
  uint64_t inner = getBytes() / shape[0];
  auto entries = [&](uint64_t first, uint64_t size) {
    SmallVector<uint64_t> part(shape);
    part[0] = size;
    return get(getContext(), getFile(), getOffset() + first * strides[0],
               size * inner, part, strides);
  };
  auto part = [&](uint64_t entry, uint64_t begin, uint64_t size) {
    get(getContext(), getFile(), getOffset() + entry * strides[0], inner,
        shape.drop_front(), strides.drop_front())
        .slice(begin, size, ranges);
  };
  uint64_t first = from / inner, end = from + count, last = end / inner;
  uint64_t head = from % inner, tail = end % inner;
  if (first == last)
    return part(first, head, count);
  if (head)
    part(first++, head, inner - head);
  if (first < last)
    ranges.push_back(entries(first, last - first));
  part(last, 0, tail);
}
