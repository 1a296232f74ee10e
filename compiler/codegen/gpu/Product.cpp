// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A product and its epilogue, as the threads of a warp compute it.
#include "compiler/codegen/gpu/Product.h"

#include "compiler/codegen/Elementwise.h"
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
  if (!product.element.isBF16() && !product.element.isF16())
    return linear.emitOpError("has weights of ")
           << product.element << "; a GPU's products take bf16 and f16";
  for (Operation *user : linear.getResult().getUsers())
    if (isa<tensor::ExtractSliceOp>(user))
      product.halves = 2;
  if (auto packing =
          dyn_cast_or_null<flow::FragmentsAttr>(type.getEncoding())) {
    product.fragments = true;
    if (packing.getHalves() != product.halves)
      return linear.emitOpError("has weights packed for another epilogue");
  } else if (type.getEncoding()) {
    return linear.emitOpError("has weights packed for another target");
  } else if (product.in % 64) {
    return linear.emitOpError("has row-major weights of ")
           << product.in << " input channels; expected a multiple of 64";
  }
  int64_t each = kBlockRows / product.halves;
  product.rowBlocks = (product.out / product.halves + each - 1) / each;
  return product;
}

SmallVector<Value> Product::loadWeights(KernelBuilder &k, Value base,
                                        Value block, Value step) const {
  if (fragments) {
    // Two blocks of 16 by 16, 512 contiguous bytes each.
    Value number = k.add(k.mul(block, paddedIn() / 16), k.mul(step, 2));
    Value index = arith::AddIOp::create(
        k.b, arith::MulIOp::create(k.b, k.toI64(number), k.i64(kWarp)),
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
  Value column = k.add(k.mul(step, kStep), k.mul(quad, kStep / 4));
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
