// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A product and its epilogue, as the threads of a warp compute it.
#include "compiler/codegen/gpu/Product.h"

#include "compiler/codegen/Elementwise.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace headrace;

FailureOr<Product> Product::match(nn::LinearOp linear) {
  Product product;
  product.linear = linear;
  auto type = cast<RankedTensorType>(linear.getWeight().getType());
  product.out = type.getDimSize(type.getRank() - 2);
  product.in = type.getDimSize(type.getRank() - 1);
  product.element = type.getElementType();
  if (tier::scaledOf(type)) {
    product.encoded = type;
    if (!linear.getInputs() || !linear.getInputs()->isBF16())
      return linear.emitOpError("has encoded weights for rows that are not "
                                "rounded to bf16, which a GPU's products need");
    product.element = *linear.getInputs();
  }
  if (!product.element.isBF16() && !product.element.isF16())
    return linear.emitOpError("has weights of ")
           << product.element << "; a GPU's products take bf16 and f16";
  for (Operation *user : linear.getResult().getUsers())
    if (isa<tensor::ExtractSliceOp>(user))
      product.halves = 2;
  if (auto packing =
          dyn_cast_or_null<flow::FragmentsAttr>(tier::packingOf(type))) {
    product.fragments = true;
    if (packing.getHalves() != product.halves)
      return linear.emitOpError("has weights packed for another epilogue");
  } else if (type.getEncoding()) { // Panels, or what nothing has packed.
    return linear.emitOpError("has weights packed for another target");
  } else if (product.in % 64) {
    return linear.emitOpError("has row-major weights of ")
           << product.in << " input channels; expected a multiple of 64";
  }
  int64_t each = kBlockRows / product.halves;
  product.rowBlocks = (product.out / product.halves + each - 1) / each;
  return product;
}

int64_t Product::stepsPerLoad() const {
  return encoded ? flow::FragmentsAttr::getLoadChannels(encoded) / kStep : 1;
}

int64_t Product::heldWords() const {
  if (!encoded)
    return 8;
  return 4 + (flow::FragmentsAttr::getLoadScaleBytes(encoded) + 3) / 4;
}

SmallVector<Value> Product::loadEncoded(KernelBuilder &k, Value base,
                                        Value block, Value number) const {
  Value start = arith::MulIOp::create(
      k.b, k.toI64(block),
      k.i64(flow::FragmentsAttr::getRowBlockBytes(encoded)));
  Value here = k.at(base, start, k.b.getI8Type());
  Value unit = k.add(k.mul(number, kWarp), k.lane());
  SmallVector<Value> held = k.load16(k.at(here, unit, k.words()), true);
  // The scales of both of the lane's rows stand together, those of two blocks
  // of channels where a load spans them.
  int64_t loadsPerBlock =
      std::max(int64_t(1),
               tier::scaledOf(encoded).getColumns() / (stepsPerLoad() * kStep));
  int64_t bytes = flow::FragmentsAttr::getLoadScaleBytes(encoded);
  Value place = k.add(k.mul(k.div(number, loadsPerBlock), kBlockRows / 2),
                      k.div(k.lane(), 4));
  Value scales = k.at(here, flow::FragmentsAttr::getElementBytes(encoded));
  scales = k.at(scales, k.mul(place, bytes), k.b.getI8Type());
  if (bytes == 16) {
    held.append(k.load16(scales, true));
  } else if (bytes == 8) {
    Type pair = VectorType::get({2}, k.i32Type());
    Value both = k.loadConstant(pair, scales, 8);
    for (int64_t i = 0; i < 2; ++i)
      held.push_back(LLVM::ExtractElementOp::create(k.b, both, k.i32(i)));
  } else {
    Type stored = k.b.getIntegerType(unsigned(bytes * 8));
    Value word = k.loadConstant(stored, scales);
    held.push_back(
        bytes == 4
            ? word
            : arith::ExtUIOp::create(k.b, k.i32Type(), word).getResult());
  }
  return held;
}

Product::Operands Product::operandsOf(KernelBuilder &k, ValueRange held,
                                      int64_t step) const {
  if (!encoded)
    return {SmallVector<Value>(held), Value(), Value()};
  Operands out;
  // Shifted into place, an element's bits are a bf16 of the smallest exponents;
  // a multiplication by a power of two makes it the element, also where it is
  // subnormal.
  bool eight = encoded.getElementTypeBitWidth() == 8;
  int64_t bits = eight ? 8 : 4;
  int64_t magnitude = eight ? 0x07f007f0 : 0x01c001c0;
  int64_t factor = eight ? 0x7b807b80 : 0x7e807e80; // 2^120, 2^126.
  Type pair = VectorType::get({2}, element);
  auto asPair = [&](Value word) -> Value {
    return LLVM::BitcastOp::create(k.b, pair, word);
  };
  auto shifted = [&](Value word, int64_t by) -> Value {
    if (by >= 0)
      return by ? arith::ShLIOp::create(k.b, word, k.i32(by)).getResult()
                : word;
    return arith::ShRUIOp::create(k.b, word, k.i32(-by));
  };
  Value scale = asPair(k.i32(factor)),
        zero = asPair(k.i32(int32_t(0x80008000)));
  size_t each = size_t(4 / stepsPerLoad());
  for (Value word : held.slice(size_t(step) * each, each))
    for (int64_t i = 0; i < 16 / bits; ++i) {
      Value sign = k.both(shifted(word, 16 - bits - i * bits),
                          k.i32(int32_t(0x80008000)));
      Value rest =
          k.both(shifted(word, (eight ? 4 : 6) - i * bits), k.i32(magnitude));
      Value small = arith::OrIOp::create(k.b, sign, rest);
      Value exact = math::FmaOp::create(k.b, asPair(small), scale, zero);
      out.words.push_back(LLVM::BitcastOp::create(k.b, k.i32Type(), exact));
    }
  tier::ScaledAttr scaled = tier::scaledOf(encoded);
  int64_t first = step * kStep / scaled.getColumns() * 2;
  auto scaleOf = [&](int64_t number) -> Value {
    Value word = held[4];
    if (scaled.getPackedScaleBytes() == 1) {
      // An exponent alone: 0 is the subnormal 2^-127, 255 a NaN.
      word = k.both(shifted(word, 23 - number * 8), k.i32(0x7f800000));
      Value nan = k.equal(word, k.i32(0x7f800000));
      word = k.max(word, k.i32(0x00400000));
      word = k.select(nan, k.i32(0x7fc00000), word);
    } else {
      word = held[4 + size_t(number)];
    }
    return arith::BitcastOp::create(k.b, k.f32Type(), word);
  };
  out.low = scaleOf(first);
  out.high = scaleOf(first + 1);
  return out;
}

SmallVector<Value> Product::multiply(KernelBuilder &k, const Operands &weights,
                                     ValueRange tokens, ValueRange sums) const {
  SmallVector<Value> sum(sums);
  if (weights.low)
    sum.assign(size_t(kAccumulators), k.f32(0));
  for (size_t j = 0; j < 2; ++j)
    sum = k.mma(ValueRange(weights.words).slice(j * 4, 4),
                tokens.slice(j * 2, 2), sum, element);
  if (weights.low)
    for (auto [i, part] : llvm::enumerate(sum))
      part = k.fma(part, i < 2 ? weights.low : weights.high, sums[i]);
  return sum;
}

SmallVector<Value> Product::loadWeights(KernelBuilder &k, Value base,
                                        Value block, Value number) const {
  if (encoded)
    return loadEncoded(k, base, block, number);
  if (fragments) {
    // Two blocks of 16 by 16, 512 contiguous bytes each.
    Value first = k.add(k.mul(block, paddedIn() / 16), k.mul(number, 2));
    Value index = arith::AddIOp::create(
        k.b, arith::MulIOp::create(k.b, k.toI64(first), k.i64(kWarp)),
        k.toI64(k.lane()));
    Value address = k.at(base, index, k.words());
    SmallVector<Value> out = k.load16(address, true);
    out.append(k.load16(k.at(address, 512), true));
    return out;
  }
  // A lane takes 8 neighbouring channels of both its rows. Which of them an
  // instruction multiplies is our choice, as long as the tokens' side agrees.
  int64_t each = kBlockRows / halves;
  Value group = k.div(k.lane(), 4), quad = k.rem(k.lane(), 4);
  Value row = k.add(k.mul(block, each), group);
  Value column = k.add(k.mul(number, kStep), k.mul(quad, kStep / 4));
  RowsInMemory weights{base, in, in, element};
  // Rows past the last one are computed and not stored.
  Value last = k.i32(out / halves - 1);
  Value second = halves == 2 ? k.add(k.min(row, last), out / 2)
                             : k.min(k.add(row, 8), last);
  SmallVector<Value> low =
      k.load16(k.at(weights, k.min(row, last), column), true);
  SmallVector<Value> high = k.load16(k.at(weights, second, column), true);
  return {low[0], high[0], low[1], high[1], low[2], high[2], low[3], high[3]};
}

Value Product::evaluate(KernelBuilder &k, Value value, Value sum, Value up,
                        const Place &place) const {
  auto addBias = [&](Value x, int64_t from) {
    if (!linear.getBias())
      return x;
    Type type = linear.getBias().getType().getElementType();
    Value column = from ? k.add(place.column, from) : place.column;
    Value address = k.at(place.bias, column, type);
    return k.addF(x, k.widen(k.loadConstant(type, address)));
  };
  if (value == linear.getResult())
    return addBias(sum, 0);
  Operation *op = value.getDefiningOp();
  if (!op) { // A kernel argument: the same row and column of it.
    RowsInMemory rows = k.rowsOf(value);
    Value column = rows.width == 1 ? k.i32(0) : place.column;
    return k.widen(k.load(rows.element, k.at(rows, place.row, column)));
  }
  if (auto slice = dyn_cast<tensor::ExtractSliceOp>(op);
      slice && slice.getSource() == linear.getResult() && halves == 2)
    return slice.getStaticOffsets()[1] == 0 ? addBias(sum, 0)
                                            : addBias(up, out / 2);
  SmallVector<Value> operands;
  for (Value operand : op->getOperands()) {
    Value one = evaluate(k, operand, sum, up, place);
    if (!one)
      return {};
    operands.push_back(one);
  }
  if (isa<arith::TruncFOp, arith::ExtFOp>(op))
    return operands[0]; // The store rounds.
  if (!isElementwise(op)) {
    op->emitOpError("is no part of an epilogue that the GPU's products know");
    return {};
  }
  return emitElementwise(k.b, k.b.getLoc(), op, operands);
}
