// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tensor ops as plain loops over memory.
#include "compiler/codegen/TensorLoops.h"

#include "compiler/codegen/Elementwise.h"
#include "dialects/moe/IR/Moe.h"
#include "dialects/nn/IR/Nn.h"
#include "mlir/Dialect/Affine/Utils.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Interfaces/CastInterfaces.h"
#include "llvm/ADT/TypeSwitch.h"
#include <functional>
#include <limits>

using namespace mlir;
using namespace headrace;

/// Elements of a constant that is stored one by one; larger ones are weights.
static constexpr int64_t kLargestConstant = 4096;

static bool isTensor(Value value) { return isa<TensorType>(value.getType()); }

/// An arith or math op on numbers, not on tensors.
static bool isScalar(Operation *op) {
  return isa<arith::ArithDialect, math::MathDialect>(op->getDialect()) &&
         op->getNumRegions() == 0 && op->getNumResults() == 1 &&
         llvm::none_of(op->getOperands(), isTensor) &&
         !isTensor(op->getResult(0));
}

/// An op whose result has at each place what follows from its operands there.
static bool isMapped(Operation *op) {
  return op->getNumResults() == 1 && isTensor(op->getResult(0)) &&
         (isElementwise(op) ||
          (isa<arith::ArithDialect, math::MathDialect>(op->getDialect()) &&
           OpTrait::hasElementwiseMappableTraits(op)));
}

bool headrace::isMadeWhereRead(Operation *op) {
  return isScalar(op) ||
         isa<arith::ConstantOp, tensor::DimOp, tensor::EmptyOp, tensor::SplatOp,
             linalg::FillOp, tensor::ExtractSliceOp, tensor::ConcatOp,
             tensor::ExpandShapeOp, tensor::CollapseShapeOp, nn::EmbedOp>(op);
}

bool headrace::hasLoops(Operation *op) {
  if (auto structured = dyn_cast<linalg::LinalgOp>(op))
    return structured.hasPureTensorSemantics();
  return isMadeWhereRead(op) || isMapped(op) ||
         isa<nn::NormOp, nn::LinearOp, nn::RotateOp, moe::SquashOp>(op);
}

bool headrace::isRows(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  if (!tensor || tensor.getRank() == 0 || !tensor.isDynamicDim(0) ||
      tensor.getNumDynamicDims() != 1)
    return false;
  Type element = tensor.getElementType();
  return element.isF32() || element.isBF16() || element.isF16() ||
         element.isInteger(32) || element.isInteger(1);
}

Value TensorLoops::widen(Value element) {
  Type type = element.getType();
  if (!type.isBF16() && !type.isF16())
    return element;
  return arith::ExtFOp::create(p.b, p.b.getF32Type(), element);
}

Value TensorLoops::narrow(Value element, Type type) {
  if (element.getType() == type)
    return element;
  return arith::TruncFOp::create(p.b, type, element);
}

Value TensorLoops::scratch(RankedTensorType type) {
  Type element = type.getElementType();
  if (element.isInteger(1))
    element = p.b.getI8Type();
  SmallVector<int64_t> shape(type.getShape());
  Type dynamic = MemRefType::get(shape, element);
  for (int64_t &size : shape)
    if (ShapedType::isDynamic(size))
      size = p.limits.maxTokens;
  Value piece = p.scratch(MemRefType::get(shape, element));
  return flow::ViewOp::create(p.b, dynamic, piece, Value(), 0);
}

void TensorLoops::over(RankedTensorType type,
                       function_ref<void(ArrayRef<Value>)> body,
                       std::optional<int64_t> independent) {
  int64_t nest = independent.value_or(type.getRank());
  SmallVector<Value> at;
  std::function<void()> walk = [&] {
    int64_t d = int64_t(at.size());
    if (d == type.getRank())
      return body(at);
    Value size = type.isDynamicDim(d) ? rows : index(type.getDimSize(d));
    auto next = [&](Value i) {
      at.push_back(i);
      walk();
      at.pop_back();
    };
    if (d == 0 && nest > 0)
      p.parallel(size, nest, next);
    else
      p.loop(size, next);
  };
  walk();
}

void TensorLoops::write(Value element, Value memory, ArrayRef<Value> at) {
  if (element.getType().isInteger(1))
    element = arith::ExtUIOp::create(p.b, p.b.getI8Type(), element);
  p.store(element, memory, at);
}

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

Value TensorLoops::read(Value tensor, ArrayRef<Value> at) {
  auto type = cast<RankedTensorType>(tensor.getType());
  if (Value memory = memories.lookup(tensor)) {
    if (auto stacked = dyn_cast<BlockArgument>(memory);
        stacked && type.hasStaticShape() && weightSlots(type) > 1) {
      auto all = cast<MemRefType>(memory.getType());
      auto one =
          MemRefType::get(all.getShape().drop_front(), all.getElementType());
      memory = flow::ExpertOp::create(p.b, one, memory, at[0]);
      type = RankedTensorType::get(type.getShape().drop_front(),
                                   type.getElementType(), type.getEncoding());
      at = at.drop_front();
    }
    if (auto panels = dyn_cast_or_null<flow::PanelsAttr>(type.getEncoding()))
      return readPanel(panels, type, memory, at);
    if (auto packing =
            dyn_cast_or_null<flow::FragmentsAttr>(type.getEncoding()))
      return readFragment(packing, type, memory, at);
    Value element = p.load(memory, at);
    if (type.getElementType().isInteger(1))
      element = arith::TruncIOp::create(p.b, p.b.getI1Type(), element);
    return element;
  }
  Operation *op = tensor.getDefiningOp();
  if (!op) {
    emitError(tensor.getLoc(), "is read by a loop, but has no memory");
    return {};
  }
  return llvm::TypeSwitch<Operation *, Value>(op)
      .Case([&](arith::ConstantOp op) -> Value {
        auto splat = cast<SplatElementsAttr>(op.getValue());
        return arith::ConstantOp::create(
            p.b, cast<TypedAttr>(splat.getSplatValue<Attribute>()));
      })
      .Case([&](tensor::EmptyOp) -> Value {
        return arith::ConstantOp::create(
            p.b, p.b.getZeroAttr(type.getElementType()));
      })
      .Case([&](tensor::SplatOp op) { return scalar(op.getInput()); })
      .Case([&](linalg::FillOp op) { return scalar(op.getInputs()[0]); })
      .Case([&](tensor::ExtractSliceOp op) { return readSlice(op, at); })
      .Case<tensor::ExpandShapeOp, tensor::CollapseShapeOp>(
          [&](auto op) { return readReshaped(op.getSrc(), type, at); })
      .Case([&](tensor::ConcatOp op) -> Value {
        // The last source that begins at or before the place.
        Value result;
        int64_t start = 0, d = int64_t(op.getDim());
        for (Value source : op.getInputs()) {
          int64_t size = cast<RankedTensorType>(source.getType()).getDimSize(d);
          // Within the source also where another one is taken.
          SmallVector<Value> inside(at);
          Value here = p.sub(arith::MaxUIOp::create(p.b, at[d], index(start)),
                             index(start));
          inside[d] = p.min(here, index(size - 1));
          Value element = read(source, inside);
          if (!element)
            return {};
          Value reached = arith::CmpIOp::create(p.b, arith::CmpIPredicate::uge,
                                                at[d], index(start));
          result = !result
                       ? element
                       : arith::SelectOp::create(p.b, reached, element, result)
                             .getResult();
          start += size;
        }
        return result;
      })
      .Case([&](nn::EmbedOp op) -> Value {
        Value id = read(op.getIds(), at[0]);
        Value element = id ? read(op.getTable(), {p.toIndex(id), at[1]}) : id;
        return element ? widen(element) : element;
      })
      .Case([&](nn::RotateOp op) { return readRotated(op, at); })
      .Default([&](Operation *op) -> Value {
        if (isMapped(op))
          return readElementwise(op, at);
        op->emitOpError("is read by a loop, but has no memory");
        return {};
      });
}

Value TensorLoops::readWide(Value tensor, ArrayRef<Value> at, bool &done) {
  Value element = read(tensor, at);
  done &= bool(element);
  return element ? widen(element) : p.f32(0);
}

std::pair<Value, Value> TensorLoops::blockOf(Value row, int64_t rows,
                                             int64_t size, int64_t halves) {
  if (halves == 1)
    return {p.div(row, size), p.rem(row, size)};
  int64_t part = size / 2;
  Value high = arith::CmpIOp::create(p.b, arith::CmpIPredicate::uge, row,
                                     index(rows / 2));
  Value base = arith::SelectOp::create(p.b, high, index(rows / 2), index(0));
  Value shift = arith::SelectOp::create(p.b, high, index(part), index(0));
  Value within = p.sub(row, base);
  return {p.div(within, part), p.add(p.rem(within, part), shift)};
}

Value TensorLoops::readPanel(flow::PanelsAttr panels, RankedTensorType type,
                             Value memory, ArrayRef<Value> at) {
  auto [panel, column] = blockOf(at[0], type.getDimSize(0), panels.getColumns(),
                                 panels.getHalves());
  return p.load(memory, {panel, p.div(at[1], panels.getPack()), column,
                         p.rem(at[1], panels.getPack())});
}

Value TensorLoops::readFragment(flow::FragmentsAttr packing,
                                RankedTensorType type, Value memory,
                                ArrayRef<Value> at) {
  constexpr int64_t kRows = 16, kColumns = 16;
  auto [block, row] =
      blockOf(at[0], type.getDimSize(0), kRows, packing.getHalves());
  Value column = p.rem(at[1], kColumns);
  Value lane = p.add(p.mul(p.rem(row, 8), 4), p.div(p.rem(column, 8), 2));
  Value element = p.add(p.mul(p.div(column, 8), 4),
                        p.add(p.mul(p.div(row, 8), 2), p.rem(column, 2)));
  return p.load(memory, {block, p.div(at[1], kColumns), lane, element});
}

Value TensorLoops::readSlice(Operation *op, ArrayRef<Value> at) {
  auto slice = cast<tensor::ExtractSliceOp>(op);
  llvm::SmallBitVector dropped = slice.getDroppedDims();
  SmallVector<Value> source;
  size_t next = 0;
  for (auto [d, offset, stride] :
       llvm::enumerate(slice.getStaticOffsets(), slice.getStaticStrides())) {
    if (ShapedType::isDynamic(offset) || ShapedType::isDynamic(stride) ||
        (slice.getSourceType().isDynamicDim(unsigned(d)) &&
         (offset != 0 || stride != 1 || dropped.test(unsigned(d))))) {
      op->emitOpError("cuts rows, or where only a run can tell, which the "
                      "fallback lowering does not know");
      return {};
    }
    Value place = dropped.test(unsigned(d)) ? index(0) : at[next++];
    source.push_back(p.add(p.mul(place, stride), offset));
  }
  return read(slice.getSource(), source);
}

Value TensorLoops::readReshaped(Value source, RankedTensorType type,
                                ArrayRef<Value> at) {
  auto from = cast<RankedTensorType>(source.getType());
  // Number of the element in row-major order, rows being the slowest.
  Value number;
  for (auto [d, place] : llvm::enumerate(at)) {
    number = !number
                 ? place
                 : p.add(p.mul(number, type.getDimSize(unsigned(d))), place);
  }
  SmallVector<Value> places(size_t(from.getRank()));
  for (size_t d = places.size(); d-- > 1;) {
    places[d] = p.rem(number, from.getDimSize(unsigned(d)));
    number = p.div(number, from.getDimSize(unsigned(d)));
  }
  places[0] = number;
  return read(source, places);
}

Value TensorLoops::readElementwise(Operation *op, ArrayRef<Value> at) {
  SmallVector<Value> operands;
  for (Value operand : op->getOperands()) {
    if (!isTensor(operand)) {
      operands.push_back(scalar(operand));
      continue;
    }
    auto type = cast<RankedTensorType>(operand.getType());
    SmallVector<Value> place(at);
    // One value a row, for all of its columns.
    if (isa<nn::ScaleOp>(op) && type.getDimSize(1) == 1)
      place[1] = index(0);
    Value element = read(operand, place);
    if (!element)
      return {};
    operands.push_back(element);
  }
  bool f32 = getElementTypeOrSelf(op->getResult(0).getType()).isF32();
  if (f32 && isElementwise(op))
    return emitElementwise(p.b, p.b.getLoc(), op, operands);
  return apply(op, operands);
}

Value TensorLoops::readRotated(Operation *op, ArrayRef<Value> at) {
  auto rotate = cast<nn::RotateOp>(op);
  int64_t width =
      cast<RankedTensorType>(rotate.getInput().getType()).getDimSize(1);
  int64_t head = width / int64_t(rotate.getHeads());
  int64_t rotated =
      cast<RankedTensorType>(rotate.getAngles().getType()).getDimSize(1);
  int64_t half = rotated / 2;
  Value channel = p.rem(at[1], head), start = p.sub(at[1], channel);
  Value inside = p.less(channel, index(rotated));
  Value upper = arith::CmpIOp::create(p.b, arith::CmpIPredicate::uge, channel,
                                      index(half));
  // Of the channels behind the rotated ones nothing but themselves is read.
  Value low = p.min(p.rem(channel, std::max<int64_t>(half, 1)),
                    index(std::max<int64_t>(half - 1, 0)));
  Value x = read(rotate.getInput(), {at[0], p.add(start, low)});
  Value y = read(rotate.getInput(), {at[0], p.add(p.add(start, low), half)});
  Value same = read(rotate.getInput(), at);
  Value cosine = read(rotate.getAngles(), {at[0], low});
  Value sine = read(rotate.getAngles(), {at[0], p.add(low, half)});
  if (!x || !y || !same || !cosine || !sine)
    return {};
  auto mul = [&](Value l, Value r) -> Value {
    return arith::MulFOp::create(p.b, l, r);
  };
  Value first = arith::SubFOp::create(p.b, mul(x, cosine), mul(y, sine));
  Value second = arith::AddFOp::create(p.b, mul(y, cosine), mul(x, sine));
  Value turned = arith::SelectOp::create(p.b, upper, second, first);
  return arith::SelectOp::create(p.b, inside, turned, same);
}

/// A number that is no element of a tensor.
Value TensorLoops::scalar(Value value) {
  if (Value known = scalars.lookupOrNull(value))
    return known;
  Operation *op = value.getDefiningOp();
  // Where the text stands, not where it is first read.
  if (auto dim = dyn_cast_or_null<tensor::DimOp>(op)) {
    auto type = cast<RankedTensorType>(dim.getSource().getType());
    std::optional<int64_t> d = dim.getConstantIndex();
    return d && !type.isDynamicDim(unsigned(*d))
               ? index(type.getDimSize(unsigned(*d)))
               : rows;
  }
  if (!op || !isScalar(op)) {
    emitError(value.getLoc(), "is a number that the fallback lowering cannot "
                              "compute");
    return {};
  }
  SmallVector<Value> operands;
  for (Value operand : op->getOperands()) {
    operands.push_back(scalar(operand));
    if (!operands.back())
      return {};
  }
  return apply(op, operands);
}

/// `op` on numbers. Sixteen-bit floats are computed with in float32 and
/// rounded, as no processor has all operations of them.
Value TensorLoops::apply(Operation *op, ValueRange operands) {
  if (auto constant = dyn_cast<arith::ConstantOp>(op))
    return arith::ConstantOp::create(p.b, cast<TypedAttr>(constant.getValue()));
  Type type = getElementTypeOrSelf(op->getResult(0).getType());
  Type computed = type;
  SmallVector<Value> values(operands);
  if (!isa<CastOpInterface>(op)) {
    for (Value &value : values)
      value = widen(value);
    if (type.isBF16() || type.isF16())
      computed = p.b.getF32Type();
  }
  OperationState state(p.b.getLoc(), op->getName(), values, computed,
                       op->getAttrs());
  state.propertiesAttr = op->getPropertiesAsAttribute();
  return narrow(p.b.create(state)->getResult(0), type);
}

//===----------------------------------------------------------------------===//
// Making
//===----------------------------------------------------------------------===//

LogicalResult TensorLoops::prepare(Operation *op) {
  if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
    auto dense = dyn_cast<DenseElementsAttr>(constant.getValue());
    if (!dense || dense.isSplat())
      return success();
    if (dense.getNumElements() > kLargestConstant)
      return op->emitOpError("has more than ")
             << kLargestConstant
             << " elements, which belong into a tier.weight";
    auto type = cast<RankedTensorType>(constant.getType());
    Value memory = scratch(type);
    auto strides = type.getShape();
    for (auto [i, attr] : llvm::enumerate(dense.getValues<Attribute>())) {
      SmallVector<Value> at(strides.size());
      int64_t rest = int64_t(i);
      for (size_t d = at.size(); d-- > 0; rest /= strides[d])
        at[d] = index(rest % strides[d]);
      write(arith::ConstantOp::create(p.b, cast<TypedAttr>(attr)), memory, at);
    }
    bind(constant, memory);
    return success();
  }
  if (isMadeWhereRead(op))
    return success();
  SmallVector<Value> results;
  for (Value result : op->getResults()) {
    auto type = dyn_cast<RankedTensorType>(result.getType());
    if (!type || (!type.hasStaticShape() && !isRows(type)))
      return op->emitOpError("has a result for which the fallback lowering "
                             "has no memory");
    results.push_back(scratch(type));
  }
  if (failed(emit(op, results)))
    return failure();
  for (auto [result, memory] : llvm::zip(op->getResults(), results))
    bind(result, memory);
  return success();
}

LogicalResult TensorLoops::emit(Operation *op, ValueRange results) {
  if (!hasLoops(op))
    return op->emitOpError("is known neither to a kernel family nor to the "
                           "fallback lowering");
  if (isa<nn::NormOp>(op))
    return emitNorm(op, results[0]);
  if (isa<nn::LinearOp>(op))
    return emitLinear(op, results[0]);
  if (isa<moe::SquashOp>(op))
    return emitSquash(op, results[0]);
  if (auto structured = dyn_cast<linalg::LinalgOp>(op);
      structured && !isa<linalg::FillOp>(op))
    return emitLinalg(structured, results);
  bool done = true;
  Value result = op->getResult(0);
  over(cast<RankedTensorType>(result.getType()), [&](ArrayRef<Value> at) {
    if (Value element = read(result, at))
      write(element, results[0], at);
    else
      done = false;
  });
  return success(done);
}

LogicalResult TensorLoops::emitNorm(Operation *op, Value out) {
  auto norm = cast<nn::NormOp>(op);
  int64_t groups = int64_t(norm.getGroups()), width = norm.getGroupWidth();
  bool done = true;
  auto value = [&](Value tensor, ArrayRef<Value> at) {
    return readWide(tensor, at, done);
  };
  p.parallel(rows, 1, [&](Value row) {
    p.loop(index(groups), [&](Value group) {
      Value start = p.mul(group, width), n = p.f32(double(width));
      auto input = [&](Value i) {
        return value(norm.getInput(), {row, p.add(start, i)});
      };
      auto sum = [&](function_ref<Value(Value)> term) -> Value {
        return p.fold(
            index(0), index(width), p.f32(0), [&](Value i, ValueRange total) {
              return SmallVector<Value>{
                  arith::AddFOp::create(p.b, total[0], term(input(i)))};
            })[0];
      };
      Value mean;
      if (norm.getKind() == nn::NormKind::layer)
        mean = arith::DivFOp::create(p.b, sum([](Value x) { return x; }), n);
      auto centred = [&](Value x) -> Value {
        return mean ? arith::SubFOp::create(p.b, x, mean).getResult() : x;
      };
      Value square = sum([&](Value x) -> Value {
        Value d = centred(x);
        return arith::MulFOp::create(p.b, d, d);
      });
      if (norm.getKind() != nn::NormKind::l2)
        square = arith::DivFOp::create(p.b, square, n);
      Value root = math::SqrtOp::create(
          p.b, arith::AddFOp::create(p.b, square,
                                     p.f32(norm.getEps().convertToDouble())));
      p.loop(index(width), [&](Value i) {
        Value x = arith::DivFOp::create(p.b, centred(input(i)), root);
        if (Value weight = norm.getWeight())
          x = arith::MulFOp::create(p.b, x, value(weight, i));
        if (Value bias = norm.getBias())
          x = arith::AddFOp::create(p.b, x, value(bias, i));
        write(x, out, {row, p.add(start, i)});
      });
    });
  });
  return success(done);
}

LogicalResult TensorLoops::emitLinear(Operation *op, Value out) {
  auto linear = cast<nn::LinearOp>(op);
  if (tier::scaledOf(linear.getWeight().getType()))
    return op->emitOpError("has an encoded weight, which the fallback lowering "
                           "does not know");
  int64_t in = linear.getWeight().getType().getDimSize(1);
  bool done = true;
  auto value = [&](Value tensor, ArrayRef<Value> at) {
    return readWide(tensor, at, done);
  };
  over(linear.getType(), [&](ArrayRef<Value> at) {
    Value total =
        p.fold(index(0), index(in), p.f32(0), [&](Value k, ValueRange carried) {
          Value x = value(linear.getInput(), {at[0], k});
          if (auto inputs = linear.getInputs())
            x = widen(narrow(x, *inputs));
          Value product = arith::MulFOp::create(
              p.b, x, value(linear.getWeight(), {at[1], k}));
          return SmallVector<Value>{
              arith::AddFOp::create(p.b, carried[0], product)};
        })[0];
    if (Value bias = linear.getBias())
      total = arith::AddFOp::create(p.b, total, value(bias, at[1]));
    write(total, out, at);
  });
  return success(done);
}

LogicalResult TensorLoops::emitSquash(Operation *op, Value out) {
  auto squash = cast<moe::SquashOp>(op);
  int64_t experts = squash.getType().getDimSize(1);
  bool done = true;
  p.parallel(rows, 1, [&](Value row) {
    auto score = [&](Value e) {
      return readWide(squash.getScores(), {row, e}, done);
    };
    if (squash.getKind() == moe::SquashKind::sigmoid) {
      p.loop(index(experts), [&](Value e) {
        Value one = p.f32(1);
        Value exp =
            math::ExpOp::create(p.b, arith::NegFOp::create(p.b, score(e)));
        write(arith::DivFOp::create(p.b, one,
                                    arith::AddFOp::create(p.b, one, exp)),
              out, {row, e});
      });
      return;
    }
    Value top = p.fold(index(0), index(experts),
                       p.f32(-std::numeric_limits<double>::infinity()),
                       [&](Value e, ValueRange best) {
                         Value x = score(e);
                         Value more = arith::CmpFOp::create(
                             p.b, arith::CmpFPredicate::OGT, x, best[0]);
                         return SmallVector<Value>{
                             arith::SelectOp::create(p.b, more, x, best[0])};
                       })[0];
    Value sum = p.fold(
        index(0), index(experts), p.f32(0), [&](Value e, ValueRange total) {
          Value exp = math::ExpOp::create(
              p.b, arith::SubFOp::create(p.b, score(e), top));
          write(exp, out, {row, e});
          return SmallVector<Value>{arith::AddFOp::create(p.b, total[0], exp)};
        })[0];
    p.loop(index(experts), [&](Value e) {
      write(arith::DivFOp::create(p.b, p.load(out, {row, e}), sum), out,
            {row, e});
    });
  });
  return success(done);
}

LogicalResult TensorLoops::emitLinalg(linalg::LinalgOp op, ValueRange outs) {
  SmallVector<AffineMap> maps = op.getIndexingMapsArray();
  Block &body = *op.getBlock();
  int64_t inputs = op.getNumDpsInputs();
  for (OpOperand &operand : op->getOpOperands()) {
    auto type = dyn_cast<RankedTensorType>(operand.get().getType());
    for (auto [d, size] :
         llvm::enumerate(type ? type.getShape() : ArrayRef<int64_t>()))
      if (ShapedType::isDynamic(size) &&
          !isa<AffineDimExpr>(
              op.getMatchingIndexingMap(&operand).getResult(unsigned(d))))
        return op->emitOpError("reads rows by more than their number, which "
                               "the fallback lowering does not know");
  }
  for (Operation &inner : body.without_terminator())
    if (!isScalar(&inner) && !isa<linalg::IndexOp>(inner))
      return inner.emitOpError("is known neither to a kernel family nor to "
                               "the fallback lowering");
  bool done = true;
  for (auto [i, out] : llvm::enumerate(outs)) {
    OpOperand *init = op.getDpsInitOperand(int64_t(i));
    if (!op.payloadUsesValueFromOperand(init))
      continue;
    over(cast<RankedTensorType>(init->get().getType()),
         [&, out = out](ArrayRef<Value> at) {
           if (Value element = read(init->get(), at))
             write(element, out, at);
           else
             done = false;
         });
  }
  SmallVector<int64_t> ranges = op.getStaticLoopRanges();
  auto space = RankedTensorType::get(ranges, p.b.getF32Type());
  SmallVector<utils::IteratorType> kinds = op.getIteratorTypesArray();
  int64_t independent =
      llvm::find_if(kinds,
                    [](utils::IteratorType kind) {
                      return kind != utils::IteratorType::parallel;
                    }) -
      kinds.begin();
  auto step = [&](ArrayRef<Value> at) {
    IRMapping inside;
    auto place = [&](size_t operand) {
      auto values = affine::expandAffineMap(p.b, p.b.getLoc(), maps[operand],
                                            ValueRange(at));
      done &= values.has_value();
      return values ? llvm::to_vector<6>(*values)
                    : SmallVector<Value, 6>(maps[operand].getNumResults(),
                                            index(0));
    };
    // linalg.map has no argument for its result.
    for (BlockArgument argument : body.getArguments()) {
      size_t number = argument.getArgNumber();
      if (argument.use_empty())
        continue;
      OpOperand &operand = op->getOpOperand(unsigned(number));
      Value element;
      if (!isTensor(operand.get()))
        element = scalar(operand.get());
      else if (int64_t(number) < inputs)
        element = read(operand.get(), place(number));
      else
        element = p.load(outs[number - size_t(inputs)], place(number));
      if (element && argument.getType().isInteger(1) &&
          !element.getType().isInteger(1))
        element = arith::TruncIOp::create(p.b, p.b.getI1Type(), element);
      if (!element) {
        done = false;
        return;
      }
      inside.map(argument, element);
    }
    auto number = [&](Value value) {
      Value known = inside.lookupOrNull(value);
      return known ? known : scalar(value);
    };
    for (Operation &inner : body.without_terminator()) {
      if (auto place = dyn_cast<linalg::IndexOp>(inner)) {
        inside.map(place.getResult(), at[place.getDim()]);
        continue;
      }
      SmallVector<Value> operands;
      for (Value operand : inner.getOperands()) {
        operands.push_back(number(operand));
        if (!operands.back()) {
          done = false;
          return;
        }
      }
      inside.map(inner.getResult(0), apply(&inner, operands));
    }
    for (auto [i, yielded] :
         llvm::enumerate(body.getTerminator()->getOperands()))
      if (Value element = number(yielded))
        write(element, outs[i], place(size_t(inputs) + i));
      else
        done = false;
  };
  over(space, step, independent);
  return success(done);
}
