// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Weights encoded with scales: checking them, and how many bytes they are.
#include "dialects/tier/IR/Tier.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace headrace;
using namespace headrace::tier;

LogicalResult ScaledAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                 int64_t rows, int64_t columns, Type scale,
                                 Attribute) {
  if (rows <= 0 || columns <= 0) // tier.scaled C1
    return emitError() << "expected rows and columns of a scaled block to be "
                       << "positive, but got " << rows << " and " << columns;
  if (!isa<Float32Type, BFloat16Type, Float8E8M0FNUType>(scale))
    return emitError() << "expected the scales of a weight to be f32, bf16 or "
                       << "f8E8M0FNU, but got " << scale; // tier.scaled C2
  return success();
}

LogicalResult
ScaledAttr::verifyEncoding(ArrayRef<int64_t> shape, Type element,
                           function_ref<InFlightDiagnostic()> emitError) const {
  if (shape.size() < 2 || ShapedType::isDynamicShape(shape) ||
      !isa<Float8E4M3FNType, Float4E2M1FNType>(element)) // tier.scaled C3
    return emitError() << "expected a scaled weight to be matrices of static "
                       << "shape with elements of f8E4M3FN or f4E2M1FN, but "
                       << "got rank " << shape.size() << " and " << element;
  if (isa<Float4E2M1FNType>(element) && shape.back() % 2) // tier.scaled C4
    return emitError() << "expected rows of f4E2M1FN to be of whole bytes, but "
                       << "got " << shape.back() << " elements";
  return success();
}

int64_t ScaledAttr::getScaleBytes() const {
  return getScale().getIntOrFloatBitWidth() / 8;
}

int64_t ScaledAttr::getPackedScaleBytes() const {
  return isa<Float8E8M0FNUType>(getScale()) ? 1 : 4;
}

int64_t ScaledAttr::getElementBytes(int64_t out, int64_t in, Type element) {
  return out * (in * element.getIntOrFloatBitWidth() / 8);
}

int64_t ScaledAttr::getAllScaleBytes(int64_t out, int64_t in) const {
  return int64_t(llvm::divideCeil(uint64_t(out), uint64_t(getRows())) *
                 llvm::divideCeil(uint64_t(in), uint64_t(getColumns()))) *
         getScaleBytes();
}

ScaledAttr tier::scaledOf(RankedTensorType type) {
  return dyn_cast_or_null<ScaledAttr>(type.getEncoding());
}

Attribute tier::packingOf(RankedTensorType type) {
  ScaledAttr scaled = scaledOf(type);
  return scaled ? scaled.getPacking() : type.getEncoding();
}

RankedTensorType tier::withPacking(RankedTensorType type, Attribute packing) {
  Attribute encoding = packing;
  if (ScaledAttr scaled = scaledOf(type))
    encoding = ScaledAttr::get(type.getContext(), scaled.getRows(),
                               scaled.getColumns(), scaled.getScale(), packing);
  return RankedTensorType::get(type.getShape(), type.getElementType(),
                               encoding);
}

std::optional<uint64_t> tier::storedBytes(RankedTensorType type) {
  bool overflow = false;
  auto product = [&](ArrayRef<int64_t> sizes, uint64_t of) {
    for (int64_t size : sizes)
      if (!overflow)
        of = llvm::SaturatingMultiply<uint64_t>(of, uint64_t(size), &overflow);
    return of;
  };
  unsigned bits = type.getElementTypeBitWidth();
  ArrayRef<int64_t> shape = type.getShape();
  ScaledAttr scaled = scaledOf(type);
  if (!scaled) {
    uint64_t bytes = product(shape, bits / 8);
    return overflow || bits % 8 ? std::nullopt : std::optional<uint64_t>(bytes);
  }
  // No element takes more with a scale of its own, so nothing overflows below.
  constexpr uint64_t kMost = 8;
  product(shape, kMost);
  if (overflow)
    return std::nullopt;
  int64_t out = shape[shape.size() - 2], in = shape.back();
  return product(
      shape.drop_back(2),
      uint64_t(ScaledAttr::getElementBytes(out, in, type.getElementType()) +
               scaled.getAllScaleBytes(out, in)));
}
