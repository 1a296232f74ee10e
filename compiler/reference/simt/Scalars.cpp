// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Arithmetic of one thread on values held as bits.
#include "compiler/reference/simt/Scalars.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/ADT/bit.h"
#include <cmath>
#include <cstring>

using namespace mlir;
using namespace headrace;

float simt::floatOf(uint64_t bits) {
  return llvm::bit_cast<float>(uint32_t(bits));
}
uint64_t simt::bitsOf(float value) { return llvm::bit_cast<uint32_t>(value); }
float simt::floatOfBfloat(uint16_t bits) {
  return floatOf(uint64_t(bits) << 16);
}
float simt::floatOfHalf(uint16_t bits) {
  APFloat value(APFloat::IEEEhalf(), APInt(16, bits));
  return value.convertToFloat();
}

double simt::realOf(Type type, uint64_t bits) {
  if (type.isF64())
    return llvm::bit_cast<double>(bits);
  if (type.isBF16())
    return double(floatOfBfloat(uint16_t(bits)));
  if (type.isF16())
    return double(floatOfHalf(uint16_t(bits)));
  return double(floatOf(bits));
}

uint64_t simt::bitsOf(Type type, double value) {
  if (type.isF64())
    return llvm::bit_cast<uint64_t>(value);
  if (type.isF32())
    return bitsOf(float(value));
  APFloat x{static_cast<float>(value)};
  bool lost;
  x.convert(cast<FloatType>(type).getFloatSemantics(),
            APFloat::rmNearestTiesToEven, &lost);
  return x.bitcastToAPInt().getZExtValue();
}

namespace {

unsigned widthOf(Type type) {
  return type.isIndex() ? 64 : type.getIntOrFloatBitWidth();
}

uint64_t mask(Type type, uint64_t value) {
  unsigned width = widthOf(type);
  return width >= 64 ? value : value & ((uint64_t(1) << width) - 1);
}

int64_t asSigned(Type type, uint64_t value) {
  unsigned width = widthOf(type);
  return width >= 64 ? int64_t(value)
                     : int64_t(value << (64 - width)) >> (64 - width);
}

bool compareInts(arith::CmpIPredicate how, Type type, uint64_t x, uint64_t y) {
  unsigned width = widthOf(type);
  return arith::applyCmpPredicate(how, APInt(width, x, false, true),
                                  APInt(width, y, false, true));
}

} // namespace

std::string simt::evaluateScalar(Operation *op, ArrayRef<uint64_t> v,
                                 uint64_t &result) {
  Type type = op->getResult(0).getType();
  Type from = op->getNumOperands() ? op->getOperand(0).getType() : type;
  auto real = [&](size_t i) { return realOf(from, v[i]); };
  auto single = [&](double x) { result = bitsOf(type, x); };
  auto integer = [&](uint64_t x) { result = mask(type, x); };
  std::string wrong;
  llvm::TypeSwitch<Operation *>(op)
      .Case([&](arith::ConstantOp op) {
        if (auto number = dyn_cast<IntegerAttr>(op.getValue()))
          integer(number.getValue().getZExtValue());
        else
          single(cast<FloatAttr>(op.getValue()).getValueAsDouble());
      })
      .Case([&](arith::AddIOp) { integer(v[0] + v[1]); })
      .Case([&](arith::SubIOp) { integer(v[0] - v[1]); })
      .Case([&](arith::MulIOp) { integer(v[0] * v[1]); })
      .Case<arith::DivUIOp, arith::RemUIOp>([&](Operation *op) {
        if (v[1] == 0)
          wrong = "divides by zero";
        else if (isa<arith::DivUIOp>(op))
          integer(v[0] / v[1]);
        else
          integer(v[0] % v[1]);
      })
      .Case<arith::DivSIOp, arith::RemSIOp>([&](Operation *op) {
        int64_t x = asSigned(type, v[0]), y = asSigned(type, v[1]);
        if (y == 0)
          wrong = "divides by zero";
        else if (isa<arith::DivSIOp>(op))
          integer(y == -1 ? 0 - v[0] : uint64_t(x / y));
        else
          integer(y == -1 ? 0 : uint64_t(x % y));
      })
      .Case([&](arith::MinUIOp) { integer(std::min(v[0], v[1])); })
      .Case([&](arith::MaxUIOp) { integer(std::max(v[0], v[1])); })
      .Case([&](arith::MinSIOp) {
        integer(asSigned(type, v[0]) < asSigned(type, v[1]) ? v[0] : v[1]);
      })
      .Case([&](arith::MaxSIOp) {
        integer(asSigned(type, v[0]) > asSigned(type, v[1]) ? v[0] : v[1]);
      })
      .Case([&](arith::MinUIOp) { integer(std::min(v[0], v[1])); })
      .Case([&](arith::MaxUIOp) { integer(std::max(v[0], v[1])); })
      .Case([&](arith::AndIOp) { integer(v[0] & v[1]); })
      .Case([&](arith::OrIOp) { integer(v[0] | v[1]); })
      .Case([&](arith::XOrIOp) { integer(v[0] ^ v[1]); })
      .Case<arith::ShLIOp, arith::ShRUIOp>([&](Operation *op) {
        if (v[1] >= widthOf(type))
          wrong = "shifts by more than the width";
        else
          integer(isa<arith::ShLIOp>(op) ? v[0] << v[1] : v[0] >> v[1]);
      })
      .Case([&](arith::CmpIOp op) {
        result = compareInts(op.getPredicate(), from, v[0], v[1]);
      })
      .Case([&](arith::CmpFOp op) {
        result = arith::applyCmpPredicate(op.getPredicate(), APFloat(real(0)),
                                          APFloat(real(1)));
      })
      .Case([&](arith::SelectOp) { result = v[0] & 1 ? v[1] : v[2]; })
      .Case<arith::ExtSIOp, arith::IndexCastOp>(
          [&](Operation *) { integer(uint64_t(asSigned(from, v[0]))); })
      .Case<arith::ExtUIOp, arith::IndexCastUIOp, arith::TruncIOp,
            arith::BitcastOp>([&](Operation *) { result = mask(type, v[0]); })
      .Case([&](arith::SIToFPOp) { single(double(asSigned(from, v[0]))); })
      .Case([&](arith::FPToSIOp) { integer(uint64_t(int64_t(real(0)))); })
      .Case<arith::ExtFOp, arith::TruncFOp>(
          [&](Operation *) { single(real(0)); })
      // Sums, products and quotients of two floats are right in double, and
      // rounding them again gives the float's own result.
      .Case([&](arith::AddFOp) { single(real(0) + real(1)); })
      .Case([&](arith::SubFOp) { single(real(0) - real(1)); })
      .Case([&](arith::MulFOp) { single(real(0) * real(1)); })
      .Case([&](arith::DivFOp) { single(real(0) / real(1)); })
      .Case([&](arith::NegFOp) { single(-real(0)); })
      .Case([&](arith::MaximumFOp) { single(std::fmax(real(0), real(1))); })
      .Case([&](arith::MinimumFOp) { single(std::fmin(real(0), real(1))); })
      .Case([&](math::FmaOp) {
        auto pair = dyn_cast<VectorType>(type);
        if (!pair)
          return single(std::fma(real(0), real(1), real(2)));
        // Two 16-bit floats of a word.
        result = 0;
        for (unsigned shift : {0u, 16u}) {
          auto part = [&](size_t i) {
            return realOf(pair.getElementType(), v[i] >> shift & 0xffff);
          };
          result |=
              bitsOf(pair.getElementType(), std::fma(part(0), part(1), part(2)))
              << shift;
        }
      })
      .Case([&](math::SqrtOp) { single(std::sqrt(real(0))); })
      .Case([&](math::ExpOp) { single(std::exp(real(0))); })
      .Case([&](math::LogOp) { single(std::log(real(0))); })
      .Case([&](math::AbsFOp) { single(std::fabs(real(0))); })
      .Case([&](math::FloorOp) { single(std::floor(real(0))); })
      .Case([&](math::CeilOp) { single(std::ceil(real(0))); })
      .Case([&](math::RsqrtOp) { single(1 / std::sqrt(real(0))); })
      .Case([&](math::Exp2Op) { single(std::exp2(real(0))); })
      .Case([&](math::Log1pOp) { single(std::log1p(real(0))); })
      .Case([&](math::PowFOp) { single(std::pow(real(0), real(1))); })
      .Case([&](math::ErfOp) { single(std::erf(real(0))); })
      .Case([&](math::TanhOp) { single(std::tanh(real(0))); })
      .Case([&](math::CtPopOp) {
        integer(uint64_t(__builtin_popcountll(mask(type, v[0]))));
      })
      .Default([&](Operation *) { wrong = "is an op that is not known here"; });
  return wrong;
}
