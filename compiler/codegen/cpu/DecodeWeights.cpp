// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Elements and scales of encoded weights as vectors of float32.
//
// Shifted into place, sign, exponent and fraction of an element are a binary16
// of a smaller exponent bias, whose subnormals are those of the element; every
// processor that code is made for widens binary16 by one instruction.
#include "compiler/codegen/cpu/DecodeWeights.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/APFloat.h"
#include <cmath>

using namespace mlir;
using namespace headrace;

namespace {

/// Where an element's bits go in a binary16.
struct Element {
  int64_t bits;      ///< Of one element.
  int64_t fraction;  ///< Bits of fraction.
  int64_t magnitude; ///< Mask of exponent and fraction, in place.
  int64_t bias;      ///< The exponent's.

  explicit Element(Type type) : bits(type.getIntOrFloatBitWidth()) {
    const llvm::fltSemantics &format =
        cast<FloatType>(type).getFloatSemantics();
    fraction = int64_t(llvm::APFloat::semanticsPrecision(format)) - 1;
    magnitude = ((int64_t(1) << (bits - 1)) - 1) << (10 - fraction);
    bias = 1 - llvm::APFloat::semanticsMinExponent(format);
  }
};

/// Elementwise integer arithmetic on vectors.
struct Integers {
  OpBuilder &b;
  Location loc;
  Value constant(Value like, int64_t value) {
    auto type = cast<VectorType>(like.getType());
    return arith::ConstantOp::create(
        b, loc,
        DenseElementsAttr::get(
            type, b.getIntegerAttr(type.getElementType(),
                                   APInt(type.getElementTypeBitWidth(),
                                         uint64_t(value), false, true))));
  }
  /// `value` shifted left (or right, where `by` is negative), and masked.
  Value place(Value value, int64_t by, int64_t mask) {
    if (by > 0)
      value = arith::ShLIOp::create(b, loc, value, constant(value, by));
    else if (by < 0)
      value = arith::ShRUIOp::create(b, loc, value, constant(value, -by));
    return arith::AndIOp::create(b, loc, value, constant(value, mask));
  }
  Value either(Value x, Value y) { return arith::OrIOp::create(b, loc, x, y); }
};

} // namespace

int64_t headrace::pairBytes(Type element, int64_t lanes) {
  return 2 * lanes * int64_t(element.getIntOrFloatBitWidth()) / 8;
}

std::pair<Value, Value> headrace::loadPairs(OpBuilder &b, Location loc,
                                            Type type, int64_t lanes,
                                            Value address) {
  Element element(type);
  Integers ints{b, loc};
  auto words = VectorType::get({lanes}, b.getI16Type());
  auto stored = VectorType::get({lanes}, b.getIntegerType(2 * element.bits));
  Value raw = LLVM::LoadOp::create(b, loc, stored, address,
                                   unsigned(pairBytes(type, lanes)));
  if (stored != words)
    raw = arith::ExtUIOp::create(b, loc, words, raw);
  auto half = [&](int64_t from) -> Value {
    Value magnitude =
        ints.place(raw, 10 - element.fraction - from, element.magnitude);
    Value sign = ints.place(raw, 16 - element.bits - from, 0x8000);
    Value bits = ints.either(magnitude, sign);
    Value value = arith::BitcastOp::create(
        b, loc, VectorType::get({lanes}, b.getF16Type()), bits);
    return arith::ExtFOp::create(
        b, loc, VectorType::get({lanes}, b.getF32Type()), value);
  };
  Value first = half(0);
  return {first, half(element.bits)};
}

Value headrace::joinPairs(OpBuilder &b, Location loc,
                          std::pair<Value, Value> pairs) {
  Integers ints{b, loc};
  int64_t lanes = cast<VectorType>(pairs.first.getType()).getDimSize(0);
  auto words = VectorType::get({lanes}, b.getI32Type());
  Value low = arith::BitcastOp::create(b, loc, words, pairs.first);
  Value high = arith::BitcastOp::create(b, loc, words, pairs.second);
  low = arith::ShRUIOp::create(b, loc, low, ints.constant(low, 16));
  high = ints.place(high, 0, int64_t(0xffff0000));
  return LLVM::BitcastOp::create(b, loc,
                                 VectorType::get({2 * lanes}, b.getBF16Type()),
                                 ints.either(low, high));
}

Value headrace::loadScales(OpBuilder &b, Location loc, Type elementType,
                           Type scale, int64_t lanes, Value address) {
  auto floats = VectorType::get({lanes}, b.getF32Type());
  Value scales;
  if (isa<Float8E8M0FNUType>(scale)) {
    // An exponent alone: 0 is the subnormal 2^-127, 255 a NaN.
    auto bytes = VectorType::get({lanes}, b.getI8Type());
    auto words = VectorType::get({lanes}, b.getI32Type());
    Integers ints{b, loc};
    Value raw = LLVM::LoadOp::create(b, loc, bytes, address, unsigned(lanes));
    raw = arith::ExtUIOp::create(b, loc, words, raw);
    Value bits = arith::ShLIOp::create(b, loc, raw, ints.constant(raw, 23));
    bits =
        arith::MaxUIOp::create(b, loc, bits, ints.constant(bits, 0x00400000));
    Value nan = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, raw,
                                      ints.constant(raw, 255));
    bits = arith::SelectOp::create(b, loc, nan, ints.constant(bits, 0x7fc00000),
                                   bits);
    scales = arith::BitcastOp::create(b, loc, floats, bits);
  } else {
    scales = LLVM::LoadOp::create(b, loc, floats, address, unsigned(lanes * 4));
  }
  // The bias of binary16 is 15.
  float factor = std::ldexp(1.0f, int(15 - Element(elementType).bias));
  Value constant =
      arith::ConstantOp::create(b, loc, DenseElementsAttr::get(floats, factor));
  return arith::MulFOp::create(b, loc, scales, constant);
}
