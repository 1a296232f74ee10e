// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The handlers of upstream's ops: arith and math on numbers and, element by
// element, on tensors; linalg as its iteration space says; tensor.
#include "compiler/reference/Frame.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>

using namespace mlir;
using namespace headrace;
using llvm::Error;
using llvm::Expected;

namespace {

/// A number of a program: a float of any width as the float32 it equals; an
/// index, an integer, or an i1, which is 0 or 1.
using Number = std::variant<float, int64_t>;

float real(const Number &number) { return std::get<float>(number); }
int64_t whole(const Number &number) { return std::get<int64_t>(number); }

float toFloat(const llvm::APFloat &value) {
  return float(value.convertToDouble());
}

bool compare(arith::CmpFPredicate predicate, float a, float b) {
  using P = arith::CmpFPredicate;
  bool unordered = std::isnan(a) || std::isnan(b);
  switch (predicate) {
  case P::AlwaysFalse:
    return false;
  case P::OEQ:
    return a == b;
  case P::OGT:
    return a > b;
  case P::OGE:
    return a >= b;
  case P::OLT:
    return a < b;
  case P::OLE:
    return a <= b;
  case P::ONE:
    return !unordered && a != b;
  case P::ORD:
    return !unordered;
  case P::UEQ:
    return unordered || a == b;
  case P::UGT:
    return !(a <= b);
  case P::UGE:
    return !(a < b);
  case P::ULT:
    return !(a >= b);
  case P::ULE:
    return !(a > b);
  case P::UNE:
    return a != b;
  case P::UNO:
    return unordered;
  case P::AlwaysTrue:
    return true;
  }
  llvm_unreachable("no such predicate");
}

bool compare(arith::CmpIPredicate predicate, int64_t a, int64_t b) {
  using P = arith::CmpIPredicate;
  auto ua = uint64_t(a), ub = uint64_t(b);
  switch (predicate) {
  case P::eq:
    return a == b;
  case P::ne:
    return a != b;
  case P::slt:
    return a < b;
  case P::sle:
    return a <= b;
  case P::sgt:
    return a > b;
  case P::sge:
    return a >= b;
  case P::ult:
    return ua < ub;
  case P::ule:
    return ua <= ub;
  case P::ugt:
    return ua > ub;
  case P::uge:
    return ua >= ub;
  }
  llvm_unreachable("no such predicate");
}

/// The larger (or, negated, the smaller) of two, a NaN where one is.
float maximum(float a, float b) {
  if (std::isnan(a) || std::isnan(b))
    return NAN;
  if (a == b) // Zeros are told apart.
    return std::signbit(a) ? b : a;
  return a > b ? a : b;
}

/// `op` on numbers, before its result is rounded.
std::optional<Number> compute(Operation *op, ArrayRef<Number> v) {
  using Result = std::optional<Number>;
  auto f = [&](auto function) { return Result(float(function)); };
  auto i = [&](int64_t value) { return Result(value); };
  auto divides = [&] { return whole(v[1]) != 0; };
  return llvm::TypeSwitch<Operation *, Result>(op)
      .Case([&](arith::ConstantOp op) -> Result {
        if (auto number = dyn_cast<FloatAttr>(op.getValue()))
          return f(toFloat(number.getValue()));
        auto number = dyn_cast<IntegerAttr>(op.getValue());
        if (!number)
          return std::nullopt;
        return i(number.getType().isInteger(1)
                     ? int64_t(!number.getValue().isZero())
                     : number.getInt());
      })
      .Case([&](arith::AddFOp) { return f(real(v[0]) + real(v[1])); })
      .Case([&](arith::SubFOp) { return f(real(v[0]) - real(v[1])); })
      .Case([&](arith::MulFOp) { return f(real(v[0]) * real(v[1])); })
      .Case([&](arith::DivFOp) { return f(real(v[0]) / real(v[1])); })
      .Case([&](arith::RemFOp) { return f(std::fmod(real(v[0]), real(v[1]))); })
      .Case([&](arith::NegFOp) { return f(-real(v[0])); })
      .Case(
          [&](arith::MaximumFOp) { return f(maximum(real(v[0]), real(v[1]))); })
      .Case([&](arith::MinimumFOp) {
        return f(-maximum(-real(v[0]), -real(v[1])));
      })
      .Case([&](arith::MaxNumFOp) {
        return f(std::fmax(real(v[0]), real(v[1])));
      })
      .Case([&](arith::MinNumFOp) {
        return f(std::fmin(real(v[0]), real(v[1])));
      })
      .Case([&](arith::CmpFOp op) {
        return i(compare(op.getPredicate(), real(v[0]), real(v[1])));
      })
      .Case([&](arith::SelectOp) { return Result(whole(v[0]) ? v[1] : v[2]); })
      .Case<arith::ExtFOp, arith::TruncFOp>([&](auto) { return Result(v[0]); })
      .Case<arith::SIToFPOp>([&](auto) { return f(whole(v[0])); })
      .Case([&](arith::UIToFPOp op) -> Result {
        unsigned width = op.getIn().getType().isInteger(1) ? 1 : 32;
        return f(uint64_t(whole(v[0])) & ((uint64_t(1) << width) - 1));
      })
      .Case<arith::FPToSIOp>([&](auto) { return i(int64_t(real(v[0]))); })
      .Case([&](arith::AddIOp) { return i(whole(v[0]) + whole(v[1])); })
      .Case([&](arith::SubIOp) { return i(whole(v[0]) - whole(v[1])); })
      .Case([&](arith::MulIOp) { return i(whole(v[0]) * whole(v[1])); })
      .Case([&](arith::DivSIOp) -> Result {
        return divides() ? i(whole(v[0]) / whole(v[1])) : std::nullopt;
      })
      .Case([&](arith::RemSIOp) -> Result {
        return divides() ? i(whole(v[0]) % whole(v[1])) : std::nullopt;
      })
      .Case([&](arith::AndIOp) { return i(whole(v[0]) & whole(v[1])); })
      .Case([&](arith::OrIOp) { return i(whole(v[0]) | whole(v[1])); })
      .Case([&](arith::XOrIOp) { return i(whole(v[0]) ^ whole(v[1])); })
      .Case(
          [&](arith::MaxSIOp) { return i(std::max(whole(v[0]), whole(v[1]))); })
      .Case(
          [&](arith::MinSIOp) { return i(std::min(whole(v[0]), whole(v[1]))); })
      .Case([&](arith::CmpIOp op) {
        return i(compare(op.getPredicate(), whole(v[0]), whole(v[1])));
      })
      .Case<arith::IndexCastOp, arith::ExtSIOp, arith::ExtUIOp,
            arith::TruncIOp>([&](auto) { return i(whole(v[0])); })
      .Case([&](math::AbsFOp) { return f(std::fabs(real(v[0]))); })
      .Case([&](math::CeilOp) { return f(std::ceil(real(v[0]))); })
      .Case([&](math::FloorOp) { return f(std::floor(real(v[0]))); })
      .Case([&](math::ErfOp) { return f(std::erf(real(v[0]))); })
      .Case([&](math::ExpOp) { return f(std::exp(real(v[0]))); })
      .Case([&](math::Exp2Op) { return f(std::exp2(real(v[0]))); })
      .Case([&](math::ExpM1Op) { return f(std::expm1(real(v[0]))); })
      .Case([&](math::LogOp) { return f(std::log(real(v[0]))); })
      .Case([&](math::Log1pOp) { return f(std::log1p(real(v[0]))); })
      .Case([&](math::Log2Op) { return f(std::log2(real(v[0]))); })
      .Case([&](math::PowFOp) { return f(std::pow(real(v[0]), real(v[1]))); })
      .Case([&](math::SqrtOp) { return f(std::sqrt(real(v[0]))); })
      .Case([&](math::RsqrtOp) { return f(1.0f / std::sqrt(real(v[0]))); })
      .Case([&](math::SinOp) { return f(std::sin(real(v[0]))); })
      .Case([&](math::CosOp) { return f(std::cos(real(v[0]))); })
      .Case([&](math::TanhOp) { return f(std::tanh(real(v[0]))); })
      .Case([&](math::FmaOp) {
        return f(std::fma(real(v[0]), real(v[1]), real(v[2])));
      })
      .Default([](Operation *) { return std::nullopt; });
}

/// `op` on numbers. A float32 result is rounded to the result's type: for bf16
/// and f16 this is the correctly rounded sum, product, quotient or root, as
/// float32 has more than twice their fraction.
Expected<Number> onNumbers(Operation *op, ArrayRef<Number> operands) {
  if (auto narrow = dyn_cast<arith::TruncFOp>(op);
      narrow &&
      narrow.getRoundingmode().value_or(arith::RoundingMode::to_nearest_even) !=
          arith::RoundingMode::to_nearest_even)
    return errorAt(op, "has a rounding mode that the reference interpreter "
                       "does not know");
  std::optional<Number> result = compute(op, operands);
  if (!result)
    return errorAt(op, "is not known to the reference interpreter");
  Type type = getElementTypeOrSelf(op->getResult(0).getType());
  if (auto *number = std::get_if<int64_t>(&*result)) {
    // Integers wrap around.
    if (type.isInteger(32))
      *number = int32_t(*number);
    else if (type.isInteger(1))
      *number &= 1;
    return *result;
  }
  Expected<reference::Element> element = elementOf(op, type);
  if (!element)
    return element.takeError();
  return Number(reference::roundTo(*element, real(*result)));
}

/// A value of the program, read number by number.
class Reader {
public:
  Reader(const RuntimeValue &value, Type type)
      : value(value), flag(getElementTypeOrSelf(type).isInteger(1)) {}

  ArrayRef<int64_t> shape() const {
    if (auto *floats = std::get_if<FloatTensor>(&value))
      return floats->shape;
    if (auto *ids = std::get_if<IdTensor>(&value)) {
      length = int64_t(ids->size());
      return length;
    }
    return {};
  }
  /// Number `i` in row-major order.
  Number at(int64_t i) const {
    if (auto *floats = std::get_if<FloatTensor>(&value)) {
      float element = floats->values.get()[i];
      return flag ? Number(int64_t(element)) : Number(element);
    }
    if (auto *ids = std::get_if<IdTensor>(&value))
      return int64_t((*ids)[size_t(i)]);
    return std::get<int64_t>(value);
  }
  /// The same by place.
  Number operator[](ArrayRef<int64_t> places) const {
    int64_t i = 0;
    for (auto [place, size] : llvm::zip_equal(places, shape()))
      i = i * size + place;
    return this->at(i);
  }

private:
  const RuntimeValue &value;
  bool flag;
  mutable int64_t length = 0;
};

/// A tensor or number that is written number by number.
class Writer {
public:
  Writer(Type type, ArrayRef<int64_t> shape) : type(type), shape(shape) {
    int64_t count = 1;
    for (int64_t size : shape)
      count *= size;
    numbers.resize(size_t(count));
  }
  Number &at(int64_t i) { return numbers[size_t(i)]; }
  Number &operator[](ArrayRef<int64_t> at) {
    int64_t i = 0;
    for (auto [place, size] : llvm::zip_equal(at, shape))
      i = i * size + place;
    return numbers[size_t(i)];
  }
  Expected<RuntimeValue> finish(Operation *op) {
    Type element = getElementTypeOrSelf(type);
    if (!isa<TensorType>(type) && !isa<FloatType>(type))
      return RuntimeValue(whole(numbers[0]));
    if (element.isInteger(32) && shape.size() == 1) {
      IdTensor ids;
      for (const Number &number : numbers)
        ids.push_back(int32_t(whole(number)));
      return RuntimeValue(std::move(ids));
    }
    if (!isa<FloatType>(element) && !element.isInteger(1))
      return errorAt(op, "gives a tensor that the reference interpreter does "
                         "not know");
    std::vector<float> floats;
    for (const Number &number : numbers)
      floats.push_back(element.isInteger(1) ? float(whole(number))
                                            : real(number));
    return RuntimeValue(FloatTensor(
        std::vector<int64_t>(shape.begin(), shape.end()), std::move(floats)));
  }

private:
  Type type;
  SmallVector<int64_t> shape;
  std::vector<Number> numbers;
};

/// Counts `at` up within `shape`, last dimension fastest; false at the end.
bool next(SmallVectorImpl<int64_t> &at, ArrayRef<int64_t> shape) {
  for (size_t d = at.size(); d-- > 0;) {
    if (++at[d] < shape[d])
      return true;
    at[d] = 0;
  }
  return false;
}

bool isEmpty(ArrayRef<int64_t> shape) { return llvm::is_contained(shape, 0); }

//===----------------------------------------------------------------------===//
// arith, math
//===----------------------------------------------------------------------===//

Error evaluateMapped(Frame &frame, Operation *op) {
  SmallVector<Reader> operands;
  SmallVector<int64_t> shape;
  for (Value operand : op->getOperands())
    operands.emplace_back(frame.getAny(operand), operand.getType());
  bool any = false;
  for (auto [k, value] : llvm::enumerate(op->getOperands())) {
    if (!isa<TensorType>(value.getType()))
      continue;
    if (any && operands[k].shape() != ArrayRef<int64_t>(shape))
      return errorAt(op, "expected operands of one shape, but they differ");
    any = true;
    shape = SmallVector<int64_t>(operands[k].shape());
  }
  Writer result(op->getResult(0).getType(), shape);
  int64_t count = 1;
  for (int64_t size : shape)
    count *= size;
  SmallVector<Number> numbers(operands.size());
  for (int64_t i = 0; i < count; ++i) {
    for (auto [k, value] : llvm::enumerate(op->getOperands()))
      numbers[k] = operands[k].at(isa<TensorType>(value.getType()) ? i : 0);
    Expected<Number> number = onNumbers(op, numbers);
    if (!number)
      return number.takeError();
    result.at(i) = *number;
  }
  Expected<RuntimeValue> value = result.finish(op);
  if (!value)
    return value.takeError();
  return frame.set(op->getResult(0), std::move(*value));
}

Error evaluateConstant(Frame &frame, Operation *op) {
  auto constant = cast<arith::ConstantOp>(op);
  auto type = dyn_cast<RankedTensorType>(constant.getType());
  if (!type)
    return evaluateMapped(frame, op);
  auto dense = dyn_cast<DenseElementsAttr>(constant.getValue());
  if (!dense)
    return errorAt(op, "has a type that the reference interpreter does not "
                       "know");
  Writer result(type, type.getShape());
  int64_t i = 0;
  for (Attribute attr : dense.getValues<Attribute>()) {
    if (auto number = dyn_cast<FloatAttr>(attr))
      result.at(i++) = toFloat(number.getValue());
    else
      result.at(i++) =
          int64_t(cast<IntegerAttr>(attr).getValue().isNegative() &&
                          type.getElementType().isInteger(1)
                      ? 1
                      : cast<IntegerAttr>(attr).getValue().getSExtValue());
  }
  Expected<RuntimeValue> value = result.finish(op);
  if (!value)
    return value.takeError();
  return frame.set(op->getResult(0), std::move(*value));
}

//===----------------------------------------------------------------------===//
// linalg
//===----------------------------------------------------------------------===//

Error evaluateStructured(Frame &frame, Operation *op) {
  auto structured = dyn_cast<linalg::LinalgOp>(op);
  if (!structured || !structured.hasPureTensorSemantics())
    return errorAt(op, "is not known to the reference interpreter");
  SmallVector<AffineMap> maps = structured.getIndexingMapsArray();
  SmallVector<Reader> operands;
  SmallVector<int64_t> shapes;
  for (Value operand : op->getOperands()) {
    operands.emplace_back(frame.getAny(operand), operand.getType());
    llvm::append_range(shapes, operands.back().shape());
  }
  SmallVector<int64_t> ranges =
      structured.getShapesToLoopsMap().compose(shapes);
  // What the ops themselves cannot know: that sizes agree where the step
  // decides about them.
  for (auto [operand, map] : llvm::zip(operands, maps))
    for (auto [size, expression] : llvm::zip(operand.shape(), map.getResults()))
      if (auto dim = dyn_cast<AffineDimExpr>(expression);
          dim && ranges[dim.getPosition()] != size)
        return errorAt(op, "expected operands of matching sizes, but got " +
                               Twine(ranges[dim.getPosition()]) + " and " +
                               Twine(size));
  int64_t inputs = structured.getNumDpsInputs();
  SmallVector<Writer> results;
  for (auto [i, type] : llvm::enumerate(op->getResultTypes())) {
    const Reader &init = operands[size_t(inputs) + i];
    results.emplace_back(type, init.shape());
    if (isEmpty(init.shape()))
      continue;
    SmallVector<int64_t> at(init.shape().size(), 0);
    do
      results.back()[ArrayRef<int64_t>(at)] = init[ArrayRef<int64_t>(at)];
    while (next(at, init.shape()));
  }
  Block &body = *structured.getBlock();
  SmallVector<int64_t> at(ranges.size(), 0);
  if (!isEmpty(ranges))
    do {
      llvm::DenseMap<Value, Number> known;
      for (BlockArgument argument : body.getArguments()) {
        size_t k = argument.getArgNumber();
        SmallVector<int64_t> place = maps[k].compose(at);
        known[argument] =
            int64_t(k) < inputs
                ? operands[k][ArrayRef<int64_t>(place)]
                : results[k - size_t(inputs)][ArrayRef<int64_t>(place)];
      }
      auto number = [&](Value value) -> Number {
        auto it = known.find(value);
        return it != known.end()
                   ? it->second
                   : Reader(frame.getAny(value), value.getType()).at(0);
      };
      for (Operation &inner : body.without_terminator()) {
        if (auto index = dyn_cast<linalg::IndexOp>(inner)) {
          known[index.getResult()] = at[index.getDim()];
          continue;
        }
        SmallVector<Number> numbers;
        for (Value operand : inner.getOperands())
          numbers.push_back(number(operand));
        if (inner.getNumResults() != 1)
          return errorAt(&inner, "is not known to the reference interpreter");
        Expected<Number> result = onNumbers(&inner, numbers);
        if (!result)
          return result.takeError();
        known[inner.getResult(0)] = *result;
      }
      for (auto [i, yielded] :
           llvm::enumerate(body.getTerminator()->getOperands())) {
        SmallVector<int64_t> place = maps[size_t(inputs) + i].compose(at);
        results[i][ArrayRef<int64_t>(place)] = number(yielded);
      }
    } while (next(at, ranges));
  for (auto [i, result] : llvm::enumerate(op->getResults())) {
    Expected<RuntimeValue> value = results[i].finish(op);
    if (!value)
      return value.takeError();
    if (Error failed = frame.set(result, std::move(*value)))
      return failed;
  }
  return Error::success();
}

//===----------------------------------------------------------------------===//
// tensor
//===----------------------------------------------------------------------===//

int64_t number(Frame &frame, OpFoldResult value) {
  if (auto attr = dyn_cast<Attribute>(value))
    return cast<IntegerAttr>(attr).getInt();
  return frame.get<int64_t>(cast<Value>(value));
}

SmallVector<int64_t> numbers(Frame &frame, ArrayRef<OpFoldResult> values) {
  return llvm::map_to_vector(
      values, [&](OpFoldResult value) { return number(frame, value); });
}

Error evaluateDim(Frame &frame, Operation *op) {
  auto dim = cast<tensor::DimOp>(op);
  int64_t index = frame.get<int64_t>(dim.getIndex());
  Reader source(frame.getAny(dim.getSource()), dim.getSource().getType());
  ArrayRef<int64_t> shape = source.shape();
  if (index < 0 || index >= int64_t(shape.size()))
    return errorAt(op, "expected a dimension below " + Twine(shape.size()) +
                           ", but got " + Twine(index));
  return frame.set(dim.getResult(), shape[size_t(index)]);
}

/// Gives the op's result its values: `source(at)` of each place of `shape`.
Error setPlaces(Frame &frame, Operation *op, ArrayRef<int64_t> shape,
                llvm::function_ref<Number(ArrayRef<int64_t>)> source) {
  Writer result(op->getResult(0).getType(), shape);
  SmallVector<int64_t> at(shape.size(), 0);
  if (!isEmpty(shape))
    do
      result[ArrayRef<int64_t>(at)] = source(at);
    while (next(at, shape));
  Expected<RuntimeValue> value = result.finish(op);
  if (!value)
    return value.takeError();
  return frame.set(op->getResult(0), std::move(*value));
}

Error evaluateSlice(Frame &frame, Operation *op) {
  auto slice = cast<tensor::ExtractSliceOp>(op);
  Reader source(frame.getAny(slice.getSource()), slice.getSourceType());
  SmallVector<int64_t> offsets = numbers(frame, slice.getMixedOffsets());
  SmallVector<int64_t> sizes = numbers(frame, slice.getMixedSizes());
  SmallVector<int64_t> strides = numbers(frame, slice.getMixedStrides());
  ArrayRef<int64_t> whole = source.shape();
  for (size_t d = 0; d < sizes.size(); ++d)
    if (offsets[d] < 0 || sizes[d] < 0 || strides[d] < 1 ||
        (sizes[d] > 0 && offsets[d] + (sizes[d] - 1) * strides[d] >= whole[d]))
      return errorAt(op, "reads outside dimension #" + Twine(d) + " of " +
                             Twine(whole[d]));
  llvm::SmallBitVector dropped = slice.getDroppedDims();
  SmallVector<int64_t> shape;
  for (size_t d = 0; d < sizes.size(); ++d)
    if (!dropped.test(unsigned(d)))
      shape.push_back(sizes[d]);
  return setPlaces(frame, op, shape, [&](ArrayRef<int64_t> at) {
    SmallVector<int64_t> place;
    size_t next = 0;
    for (size_t d = 0; d < sizes.size(); ++d)
      place.push_back(offsets[d] + (dropped.test(unsigned(d))
                                        ? 0
                                        : at[next++] * strides[d]));
    return source[ArrayRef<int64_t>(place)];
  });
}

Error evaluateEmpty(Frame &frame, Operation *op) {
  auto empty = cast<tensor::EmptyOp>(op);
  SmallVector<int64_t> shape = numbers(frame, empty.getMixedSizes());
  for (int64_t size : shape)
    if (size < 0)
      return errorAt(op, "expected sizes that are not negative, but got " +
                             Twine(size));
  bool floats = isa<FloatType>(empty.getType().getElementType());
  return setPlaces(frame, op, shape, [&](ArrayRef<int64_t>) {
    return floats ? Number(0.0f) : Number(int64_t(0));
  });
}

Error evaluateSplat(Frame &frame, Operation *op) {
  auto splat = cast<tensor::SplatOp>(op);
  auto type = splat.getType();
  SmallVector<int64_t> shape(type.getShape());
  auto sizes = splat.getDynamicSizes().begin();
  for (int64_t &size : shape)
    if (ShapedType::isDynamic(size))
      size = frame.get<int64_t>(*sizes++);
  Number value =
      Reader(frame.getAny(splat.getInput()), splat.getInput().getType()).at(0);
  return setPlaces(frame, op, shape, [&](ArrayRef<int64_t>) { return value; });
}

Error evaluateConcat(Frame &frame, Operation *op) {
  auto concat = cast<tensor::ConcatOp>(op);
  size_t d = size_t(concat.getDim());
  SmallVector<Reader> parts;
  SmallVector<int64_t> shape;
  for (Value part : concat.getInputs()) {
    parts.emplace_back(frame.getAny(part), part.getType());
    ArrayRef<int64_t> sizes = parts.back().shape();
    if (shape.empty()) {
      shape.assign(sizes.begin(), sizes.end());
      continue;
    }
    for (size_t k = 0; k < shape.size(); ++k)
      if (k != d && shape[k] != sizes[k])
        return errorAt(op, "expected parts of matching sizes, but got " +
                               Twine(shape[k]) + " and " + Twine(sizes[k]));
    shape[d] += sizes[d];
  }
  return setPlaces(frame, op, shape, [&](ArrayRef<int64_t> at) {
    SmallVector<int64_t> place(at);
    const Reader *part = parts.begin();
    while (place[d] >= part->shape()[d])
      place[d] -= (part++)->shape()[d];
    return (*part)[ArrayRef<int64_t>(place)];
  });
}

/// The same values in another shape.
Error evaluateReshape(Frame &frame, Operation *op) {
  Value operand = op->getOperand(0);
  Reader source(frame.getAny(operand), operand.getType());
  int64_t count = 1, known = 1;
  for (int64_t size : source.shape())
    count *= size;
  SmallVector<int64_t> shape(
      cast<RankedTensorType>(op->getResult(0).getType()).getShape());
  if (llvm::count_if(shape, ShapedType::isDynamic) > 1)
    return errorAt(op, "has more than one dynamic size, which the reference "
                       "interpreter does not know");
  for (int64_t size : shape)
    known *= ShapedType::isDynamic(size) ? 1 : size;
  for (int64_t &size : shape)
    if (ShapedType::isDynamic(size))
      size = known ? count / known : 0;
  int64_t i = 0;
  return setPlaces(frame, op, shape,
                   [&](ArrayRef<int64_t>) { return source.at(i++); });
}

} // namespace

Handler headrace::upstreamHandler(Operation *op) {
  if (isa<arith::ConstantOp>(op))
    return evaluateConstant;
  if (isa<arith::ArithDialect, math::MathDialect>(op->getDialect()) &&
      op->getNumResults() == 1)
    return evaluateMapped;
  if (isa<linalg::LinalgDialect>(op->getDialect()))
    return evaluateStructured;
  return llvm::TypeSwitch<Operation *, Handler>(op)
      .Case([](tensor::DimOp) { return evaluateDim; })
      .Case([](tensor::ExtractSliceOp) { return evaluateSlice; })
      .Case([](tensor::EmptyOp) { return evaluateEmpty; })
      .Case([](tensor::SplatOp) { return evaluateSplat; })
      .Case([](tensor::ConcatOp) { return evaluateConcat; })
      .Case<tensor::ExpandShapeOp, tensor::CollapseShapeOp>(
          [](auto) { return evaluateReshape; })
      .Default([](Operation *) { return nullptr; });
}
