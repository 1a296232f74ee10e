// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Elements and scales of encoded weights as vectors of float32.
//
// Shifted into place, sign, exponent and fraction of an element are a binary16
// of a smaller exponent bias, whose subnormals are those of the element; every
// processor that code is made for widens binary16 by one instruction. A dot
// instruction takes bfloat16, whose subnormals it would take for zero, so it
// gets the elements from tables: by AVX-512 VBMI, as the dot instruction shares
// its execution units with few others. What they cost is counted in the
// results' order of columns, which is put right once a product.
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

/// A vector of constants.
template <typename T>
static Value constantOf(OpBuilder &b, Location loc, ArrayRef<T> values) {
  unsigned bits = 8 * sizeof(T);
  SmallVector<APInt> entries;
  for (T value : values)
    entries.push_back(APInt(bits, uint64_t(value)));
  auto type = VectorType::get({int64_t(values.size())}, b.getIntegerType(bits));
  return arith::ConstantOp::create(b, loc,
                                   DenseElementsAttr::get(type, entries));
}

static Value callIntrinsic(OpBuilder &b, Location loc, StringRef name,
                           ValueRange arguments) {
  return LLVM::CallIntrinsicOp::create(b, loc, arguments[0].getType(),
                                       b.getStringAttr(name), arguments)
      .getResult(0);
}

/// The bits of a bfloat16 that has this value.
static uint16_t bfloatOf(float value) {
  return uint16_t(llvm::bit_cast<uint32_t>(value) >> 16);
}

/// A byte is a pair of e2m1. One instruction puts each element where a word's
/// index into a table is, of five bits, the highest of which is another's; so
/// the table repeats itself. It works within 64 bits, which therefore hold the
/// pairs of neighbouring columns.
static Value load4BitDotPairs(OpBuilder &b, Location loc, Value address) {
  const float values[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  SmallVector<uint16_t> table;
  for (unsigned i = 0; i < 32; ++i)
    table.push_back(uint16_t(bfloatOf(values[i % 8]) | (i & 8 ? 0x8000 : 0)));
  SmallVector<uint8_t> shifts;
  for (unsigned byte = 0; byte < 64; ++byte)
    shifts.push_back(uint8_t(byte / 16 * 16 + byte % 8 / 2 * 4));
  SmallVector<int32_t> everyLane;
  for (int32_t byte = 0; byte < 64; ++byte)
    everyLane.push_back(byte % 16);
  auto stored = VectorType::get({kDotPairs}, b.getI8Type());
  Value raw = LLVM::LoadOp::create(b, loc, stored, address, kDotPairs);
  raw = LLVM::ShuffleVectorOp::create(b, loc, raw, raw, everyLane);
  Value indices = callIntrinsic(b, loc, "llvm.x86.avx512.pmultishift.qb.512",
                                {constantOf<uint8_t>(b, loc, shifts), raw});
  indices = LLVM::BitcastOp::create(
      b, loc, VectorType::get({2 * kDotPairs}, b.getI16Type()), indices);
  return callIntrinsic(b, loc, "llvm.x86.avx512.permvar.hi.512",
                       {constantOf<uint16_t>(b, loc, table), indices});
}

/// Tables of 128 bytes have the upper and the lower half of each magnitude.
static std::array<Value, 2> load8BitDotPairs(OpBuilder &b, Location loc,
                                             Value address) {
  auto bytes = VectorType::get({4 * kDotPairs}, b.getI8Type());
  Value raw = LLVM::LoadOp::create(b, loc, bytes, address, 2 * kDotPairs);
  SmallVector<uint8_t> lower, upper;
  for (unsigned i = 0; i < 128; ++i) {
    float fraction = float(i % 8) / 8;
    uint16_t bits = bfloatOf(i < 8 ? std::ldexp(fraction, -6)
                                   : std::ldexp(1 + fraction, int(i / 8) - 7));
    lower.push_back(uint8_t(bits));
    upper.push_back(uint8_t(bits >> 8));
  }
  auto lookUp = [&](ArrayRef<uint8_t> table) {
    return callIntrinsic(b, loc, "llvm.x86.avx512.vpermi2var.qi.512",
                         {constantOf(b, loc, table.take_front(64)), raw,
                          constantOf(b, loc, table.drop_front(64))});
  };
  Integers ints{b, loc};
  Value low = lookUp(lower);
  Value high = ints.either(lookUp(upper), ints.place(raw, 0, 0x80));
  std::array<Value, 2> out;
  for (int32_t v = 0; v < 2; ++v) {
    SmallVector<int32_t> zipped;
    for (int32_t i = 0; i < 64; ++i)
      zipped.push_back(i / 16 * 16 + v * 8 + i % 16 / 2 + i % 2 * 64);
    out[size_t(v)] = LLVM::ShuffleVectorOp::create(b, loc, low, high, zipped);
  }
  return out;
}

std::array<Value, 2> headrace::loadDotPairs(OpBuilder &b, Location loc,
                                            Type element, Value address) {
  std::array<Value, 2> words;
  if (element.getIntOrFloatBitWidth() == 4) {
    Value second =
        LLVM::GEPOp::create(b, loc, address.getType(), b.getI8Type(), address,
                            ArrayRef<LLVM::GEPArg>{int32_t(kDotPairs)});
    words = {load4BitDotPairs(b, loc, address),
             load4BitDotPairs(b, loc, second)};
  } else {
    words = load8BitDotPairs(b, loc, address);
  }
  auto pairs = VectorType::get({2 * kDotPairs}, b.getBF16Type());
  for (Value &word : words)
    word = LLVM::BitcastOp::create(b, loc, pairs, word);
  return words;
}

SmallVector<int32_t> headrace::dotColumns(Type element) {
  SmallVector<int32_t> columns;
  for (int32_t i = 0; i < 2 * kDotPairs; ++i) {
    int32_t v = i / 16, quarter = i % 16 / 4, within = i % 4;
    if (element.getIntOrFloatBitWidth() == 4) // 64 bits of each quarter.
      columns.push_back(v * 16 + within / 2 * 8 + quarter * 2 + within % 2);
    else // Half of each quarter.
      columns.push_back(quarter * 8 + v * 4 + within);
  }
  return columns;
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
