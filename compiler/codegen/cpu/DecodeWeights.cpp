// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Elements and scales of encoded weights as vectors of float32.
//
// Shifted into place, sign, exponent and fraction of an element are a binary16
// of a smaller exponent bias, whose subnormals are those of the element; every
// processor that code is made for widens binary16 by one instruction. A dot
// instruction takes bfloat16, which has the elements in a table, or but for the
// subnormals by another bias: it would take a subnormal bfloat16 for zero.
#include "compiler/codegen/cpu/DecodeWeights.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/ADT/bit.h"
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

/// `table[index]` for the lowest five bits of each index.
static Value lookUp(OpBuilder &b, Location loc, ArrayRef<uint16_t> table,
                    Value indices) {
  auto type = VectorType::get({2 * kDotPairs}, b.getI16Type());
  SmallVector<APInt> entries;
  for (uint16_t entry : table)
    entries.push_back(APInt(16, entry));
  Value constant =
      arith::ConstantOp::create(b, loc, DenseElementsAttr::get(type, entries));
  return LLVM::CallIntrinsicOp::create(
             b, loc, type, b.getStringAttr("llvm.x86.avx512.permvar.hi.512"),
             ValueRange{constant, indices})
      .getResult(0);
}

/// The bits of a bfloat16 that has this value.
static uint16_t bfloatOf(float value) {
  return uint16_t(llvm::bit_cast<uint32_t>(value) >> 16);
}

Value headrace::loadDotPairs(OpBuilder &b, Location loc, Type elementType,
                             Value address) {
  Integers ints{b, loc};
  auto words = VectorType::get({2 * kDotPairs}, b.getI16Type());
  uint16_t table[2 * kDotPairs] = {};
  Value bits;
  if (elementType.getIntOrFloatBitWidth() == 4) {
    // A byte is a pair. The index's fifth bit is the other element's, so the
    // table repeats itself.
    const float values[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    for (unsigned i = 0; i < 2 * kDotPairs; ++i)
      table[i] = uint16_t(bfloatOf(values[i % 8]) | (i & 8 ? 0x8000 : 0));
    auto bytes = VectorType::get({kDotPairs}, b.getI8Type());
    auto wide = VectorType::get({kDotPairs}, b.getI32Type());
    Value raw = LLVM::LoadOp::create(b, loc, bytes, address, kDotPairs);
    raw = arith::ExtUIOp::create(b, loc, wide, raw);
    Value second = arith::ShLIOp::create(b, loc, raw, ints.constant(raw, 12));
    Value both =
        LLVM::BitcastOp::create(b, loc, words, ints.either(raw, second));
    bits = lookUp(b, loc, table, both);
  } else {
    // Exponents from 1 on differ by their bias alone; those of 0 are few.
    for (unsigned i = 0; i < 8; ++i)
      table[i] = bfloatOf(std::ldexp(float(i), -9));
    auto bytes = VectorType::get({2 * kDotPairs}, b.getI8Type());
    Value raw = LLVM::LoadOp::create(b, loc, bytes, address, 2 * kDotPairs);
    raw = arith::ExtUIOp::create(b, loc, words, raw);
    Value magnitude = ints.place(raw, 0, 0x7f);
    Value small = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult,
                                        magnitude, ints.constant(magnitude, 8));
    bits =
        arith::ShLIOp::create(b, loc, magnitude, ints.constant(magnitude, 4));
    bits = arith::AddIOp::create(b, loc, bits,
                                 ints.constant(bits, (127 - 7) << 7));
    bits = arith::SelectOp::create(b, loc, small,
                                   lookUp(b, loc, table, magnitude), bits);
    bits = ints.either(bits, ints.place(raw, 8, 0x8000));
  }
  return LLVM::BitcastOp::create(
      b, loc, VectorType::get({2 * kDotPairs}, b.getBF16Type()), bits);
}

Value headrace::loadScales(OpBuilder &b, Location loc, Type elementType,
                           Type scale, int64_t lanes, Value address,
                           bool exact) {
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
  if (exact)
    return scales;
  // The bias of binary16 is 15.
  float factor = std::ldexp(1.0f, int(15 - Element(elementType).bias));
  Value constant =
      arith::ConstantOp::create(b, loc, DenseElementsAttr::get(floats, factor));
  return arith::MulFOp::create(b, loc, scales, constant);
}
