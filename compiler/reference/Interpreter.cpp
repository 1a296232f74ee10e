// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The interpreter apart from the ops: calls, weights, checks and LM sessions.
#include "compiler/reference/Interpreter.h"

#include "compiler/reference/Frame.h"
#include "compiler/reference/ops/Encoded.h"
#include "compiler/support/Diagnostics.h"
#include "dialects/flow/IR/Flow.h"
#include "dialects/moe/IR/Moe.h"
#include "dialects/nn/IR/Nn.h"
#include "dialects/tier/IR/Tier.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace headrace;
using reference::Element;
using reference::KvCache;

/// Deeper nesting than any program needs: a function that calls itself ends in
/// an error and not in a stack overflow.
static constexpr int64_t maxDepth = 64;

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

FloatTensor::FloatTensor(std::vector<int64_t> shape, std::vector<float> floats)
    : shape(std::move(shape)) {
  auto owner = std::make_shared<std::vector<float>>(std::move(floats));
  values = std::shared_ptr<const float>(owner, owner->data());
}

FloatTensor::FloatTensor(reference::Rows rows)
    : FloatTensor({rows.rows, rows.width}, std::move(rows.values)) {}

int64_t FloatTensor::size() const {
  int64_t size = 1;
  for (int64_t dim : shape)
    size *= dim;
  return size;
}

reference::Matrix FloatTensor::matrix() const {
  assert(shape.size() == 2 && "not a matrix");
  return {values.get(), shape[0], shape[1]};
}

FloatTensor FloatTensor::slice(int64_t index) const {
  FloatTensor result;
  result.shape.assign(shape.begin() + 1, shape.end());
  result.values = std::shared_ptr<const float>(
      values, values.get() + index * result.size());
  if (scales) {
    assert(result.shape.size() == 2 && "scales belong to whole matrices");
    result.scales = *scales;
    result.scales->values = std::shared_ptr<const float>(
        scales->values, scales->values.get() + index * scales->perMatrix);
  }
  return result;
}

static std::string print(llvm::function_ref<void(llvm::raw_ostream &)> body) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  body(stream);
  return text;
}

static llvm::Error error(const Twine &message) {
  return llvm::createStringError(message);
}

llvm::Error headrace::errorAt(Operation *op, const Twine &message) {
  return error(placeOf(op->getLoc()) + "'" + op->getName().getStringRef() +
               "' " + message);
}

static std::optional<Element> elementOfType(Type type) {
  if (type.isF32())
    return Element::F32;
  if (type.isBF16())
    return Element::BF16;
  if (type.isF16())
    return Element::F16;
  return std::nullopt;
}

llvm::Expected<Element> headrace::elementOf(Operation *op, Type type) {
  if (std::optional<Element> element = elementOfType(type))
    return *element;
  return errorAt(op, print([&](llvm::raw_ostream &os) {
                   os << "has an element that the reference interpreter does "
                         "not know, "
                      << type;
                 }));
}

static bool shapeFits(ArrayRef<int64_t> shape, RankedTensorType type) {
  return shape.size() == size_t(type.getRank()) &&
         llvm::all_of(llvm::zip(shape, type.getShape()), [](auto pair) {
           auto [size, dim] = pair;
           return ShapedType::isDynamic(dim) ? size >= 0 : size == dim;
         });
}

/// Whether a runtime value is one of `type`, as far as can be seen cheaply.
static bool fits(const RuntimeValue &value, Type type) {
  if (auto tensor = dyn_cast<RankedTensorType>(type)) {
    if (auto *floats = std::get_if<FloatTensor>(&value))
      return (elementOfType(tensor.getElementType()) ||
              tensor.getElementType().isInteger(1) ||
              (tier::scaledOf(tensor) && floats->scales)) &&
             shapeFits(floats->shape, tensor);
    if (auto *ids = std::get_if<IdTensor>(&value))
      return tensor.getElementType().isInteger(32) &&
             shapeFits(int64_t(ids->size()), tensor);
    return false;
  }
  if (auto cache = dyn_cast<nn::KvCacheType>(type)) {
    auto *have = std::get_if<std::shared_ptr<KvCache>>(&value);
    return have && *have && (*have)->layers == cache.getLayers() &&
           (*have)->heads == cache.getHeads() &&
           (*have)->headDim == cache.getHeadDim() &&
           (*have)->element == elementOfType(cache.getElement());
  }
  auto selects = [](const reference::Selection &selection, auto type) {
    return selection.expertCount == type.getExperts() &&
           selection.slots == type.getSlots();
  };
  if (auto selection = dyn_cast<moe::SelectionType>(type)) {
    auto *have = std::get_if<reference::Selection>(&value);
    return have && selects(*have, selection);
  }
  if (auto routing = dyn_cast<moe::RoutingType>(type)) {
    auto *have = std::get_if<reference::Routing>(&value);
    return have && selects(have->selection, routing);
  }
  if (auto buckets = dyn_cast<moe::BucketsType>(type)) {
    auto *have = std::get_if<std::shared_ptr<reference::Buckets>>(&value);
    return have && *have &&
           int64_t((*have)->rows.size()) == buckets.getExperts() &&
           (*have)->slots == buckets.getSlots() &&
           (*have)->width == buckets.getWidth();
  }
  if (elementOfType(type)) {
    auto *number = std::get_if<FloatTensor>(&value);
    return number && number->shape.empty();
  }
  return (type.isIndex() || isa<IntegerType>(type)) &&
         std::holds_alternative<int64_t>(value);
}

//===----------------------------------------------------------------------===//
// State
//===----------------------------------------------------------------------===//

namespace {
/// A sequence of the session: its caches, one for each cache argument.
struct Sequence {
  int64_t length = 0;
  std::vector<std::shared_ptr<reference::SequenceCache>> caches;
};
} // namespace

struct Interpreter::State {
  ModuleOp module;
  SymbolTable symbols;
  std::string directory;
  llvm::StringMap<FloatTensor> weights;
  std::map<int64_t, Sequence> sequences;
  RouterTrace routerTrace;

  explicit State(ModuleOp module) : module(module), symbols(module) {}

  llvm::Expected<FloatTensor> readWeight(tier::WeightOp weight);
};

/// Appends the values of `range` to `bytes`.
static llvm::Error readRange(StringRef directory, tier::RangeAttr range,
                             std::vector<uint8_t> &bytes) {
  SmallString<256> path(directory);
  llvm::sys::path::append(path, range.getFile());
  llvm::Expected<llvm::sys::fs::file_t> file =
      llvm::sys::fs::openNativeFileForRead(path);
  if (!file)
    return error("cannot open '" + path +
                 "': " + llvm::toString(file.takeError()));
  llvm::scope_exit close([&] { llvm::sys::fs::closeFile(*file); });
  size_t begin = bytes.size();
  bytes.resize(begin + range.getBytes());
  char *values = reinterpret_cast<char *>(&bytes[begin]);
  uint64_t extent = range.getExtent(), done = 0;
  std::vector<char> stored(range.isContiguous() ? 0 : extent);
  char *target = range.isContiguous() ? values : stored.data();
  while (done < extent) {
    MutableArrayRef<char> rest(target + done, extent - done);
    llvm::Expected<size_t> count = llvm::sys::fs::readNativeFileSlice(
        *file, rest, range.getOffset() + done);
    if (!count)
      return error("cannot read '" + path +
                   "': " + llvm::toString(count.takeError()));
    if (*count == 0)
      return error("'" + path + "' ends before byte " +
                   Twine(range.getOffset() + extent) +
                   ", which a weight needs");
    done += *count;
  }
  if (!range.isContiguous())
    range.gather(stored.data(), values);
  return llvm::Error::success();
}

/// The elements and scales of a weight's bytes.
static FloatTensor decodeScaled(RankedTensorType type, tier::ScaledAttr scaled,
                                ArrayRef<uint8_t> bytes) {
  auto encoding = type.getElementTypeBitWidth() == 8
                      ? reference::Encoding::E4M3
                      : reference::Encoding::E2M1;
  auto scaleType = isa<Float8E8M0FNUType>(scaled.getScale())
                       ? reference::ScaleType::E8M0
                   : scaled.getScale().isBF16() ? reference::ScaleType::BF16
                                                : reference::ScaleType::F32;
  ArrayRef<int64_t> shape = type.getShape();
  int64_t out = shape[shape.size() - 2], in = shape.back();
  int64_t scaleBytes = scaled.getAllScaleBytes(out, in);
  FloatTensor::Scales scales;
  scales.rows = scaled.getRows();
  scales.columns = scaled.getColumns();
  scales.perMatrix = scaleBytes / scaled.getScaleBytes();
  std::vector<float> elements, factors;
  while (!bytes.empty()) {
    size_t elementBytes = size_t(reference::elementBytes(encoding, out * in));
    llvm::append_range(
        elements, reference::decode(encoding, bytes.data(), size_t(out * in)));
    bytes = bytes.drop_front(elementBytes);
    llvm::append_range(factors, reference::decode(scaleType, bytes.data(),
                                                  size_t(scales.perMatrix)));
    bytes = bytes.drop_front(size_t(scaleBytes));
  }
  FloatTensor result(shape.vec(), std::move(elements));
  auto owner = std::make_shared<std::vector<float>>(std::move(factors));
  scales.values = std::shared_ptr<const float>(owner, owner->data());
  result.scales = std::move(scales);
  return result;
}

llvm::Expected<FloatTensor>
Interpreter::State::readWeight(tier::WeightOp weight) {
  auto type = cast<RankedTensorType>(weight.getType());
  tier::ScaledAttr scaled = tier::scaledOf(type);
  llvm::Expected<Element> element =
      scaled ? Element::F32 : elementOf(weight, type.getElementType());
  if (!element)
    return element.takeError();
  if (directory.empty())
    return errorAt(weight, "needs a checkpoint directory: none was given, and "
                           "the module has no 'headrace.checkpoint'");
  std::vector<uint8_t> bytes;
  for (auto range : weight.getSource().getAsRange<tier::RangeAttr>())
    if (llvm::Error failed = readRange(directory, range, bytes))
      return errorAt(weight, "@" + weight.getSymName() + ": " +
                                 llvm::toString(std::move(failed)));
  if (scaled)
    return decodeScaled(type, scaled, bytes);
  return FloatTensor(
      type.getShape().vec(),
      reference::decode(*element, bytes.data(), size_t(type.getNumElements())));
}

//===----------------------------------------------------------------------===//
// Frame
//===----------------------------------------------------------------------===//

llvm::Error Frame::set(Value value, RuntimeValue runtime) {
  if (!fits(runtime, value.getType()))
    return error(print([&](llvm::raw_ostream &os) {
      os << placeOf(value.getLoc()) << "expected a value of type "
         << value.getType()
         << ", but what was computed or given has another kind or shape";
      if (auto *tensor = std::get_if<FloatTensor>(&runtime)) {
        os << ", ";
        llvm::interleave(tensor->shape, os, "x");
      }
    }));
  values[value] = std::move(runtime);
  return llvm::Error::success();
}

llvm::Expected<Frame::Results> Frame::run(Block &block,
                                          ArrayRef<RuntimeValue> arguments) {
  assert(arguments.size() == block.getNumArguments());
  for (auto [argument, value] : llvm::zip(block.getArguments(), arguments))
    if (llvm::Error failed = set(argument, value))
      return std::move(failed);
  for (Operation &op : block) {
    if (isa<func::ReturnOp, flow::YieldOp, moe::YieldOp>(op)) {
      Results results;
      for (Value operand : op.getOperands())
        results.push_back(values.find(operand)->second);
      return results;
    }
    Handler handler = op.getDialect() ? handlerOf(&op) : nullptr;
    if (!handler)
      return errorAt(&op, "is not known to the reference interpreter");
    if (llvm::Error failed = handler(*this, &op))
      return std::move(failed);
  }
  return errorAt(block.getParentOp(), "has a block without a known terminator");
}

llvm::Expected<Frame::Results> Frame::call(Operation *caller, Block &block,
                                           ArrayRef<RuntimeValue> arguments) {
  if (depth + 1 >= maxDepth)
    return errorAt(caller,
                   "is nested deeper than " + Twine(maxDepth) + " calls");
  return Frame(state, depth + 1).run(block, arguments);
}

llvm::Expected<FloatTensor> Frame::weight(Operation *user, StringAttr name) {
  auto known = state.weights.find(name.getValue());
  if (known != state.weights.end())
    return known->second;
  auto weight = state.symbols.lookup<tier::WeightOp>(name);
  if (!weight)
    return errorAt(user, "names no weight, '@" + name.getValue() + "'");
  llvm::Expected<FloatTensor> tensor = state.readWeight(weight);
  if (tensor)
    state.weights[name.getValue()] = *tensor;
  return tensor;
}

Operation *Frame::lookup(StringRef name) const {
  return state.symbols.lookup(name);
}

const Interpreter::RouterTrace &Frame::routerTrace() const {
  return state.routerTrace;
}

//===----------------------------------------------------------------------===//
// Interpreter
//===----------------------------------------------------------------------===//

Interpreter::Interpreter(std::unique_ptr<State> state)
    : state(std::move(state)) {}
Interpreter::Interpreter(Interpreter &&) = default;
Interpreter &Interpreter::operator=(Interpreter &&) = default;
Interpreter::~Interpreter() = default;

llvm::Expected<Interpreter> Interpreter::create(ModuleOp module,
                                                StringRef checkpointDir) {
  auto state = std::make_unique<State>(module);
  state->directory = checkpointDir.str();
  if (checkpointDir.empty())
    if (auto recorded =
            module->getAttrOfType<StringAttr>("headrace.checkpoint"))
      state->directory = recorded.str();
  return Interpreter(std::move(state));
}

void Interpreter::setRouterTrace(RouterTrace trace) {
  state->routerTrace = std::move(trace);
}

void Interpreter::forget(int64_t sequence) { state->sequences.erase(sequence); }

llvm::Expected<SmallVector<RuntimeValue>>
Interpreter::runFunction(StringRef name, ArrayRef<RuntimeValue> arguments) {
  auto function = state->symbols.lookup<func::FuncOp>(name);
  if (!function || function.isExternal())
    return error("the module has no function '@" + name + "' with a body");
  if (arguments.size() != function.getNumArguments())
    return errorAt(function, "expected " + Twine(function.getNumArguments()) +
                                 " arguments, but got " +
                                 Twine(arguments.size()));
  if (!function.getBody().hasOneBlock())
    return errorAt(function, "has more than one block");
  return Frame(*state, 0).run(function.getBody().front(), arguments);
}

llvm::Expected<reference::Rows> Interpreter::step(ArrayRef<StepItem> items,
                                                  StepRows rows) {
  auto forward = state->symbols.lookup<func::FuncOp>("forward");
  if (!forward || forward.isExternal())
    return error("the module has no function '@forward' with a body");

  // The sequences are touched only after the step has succeeded.
  IdTensor tokens, positions, starts = {0}, outputs;
  std::vector<Sequence> active;
  for (const StepItem &item : items) {
    if (item.tokens.empty())
      return error("sequence " + Twine(item.sequence) +
                   " has no token in the step");
    if (llvm::count_if(items, [&](const StepItem &other) {
          return other.sequence == item.sequence;
        }) > 1)
      return error("sequence " + Twine(item.sequence) +
                   " stands twice in one step");
    auto known = state->sequences.find(item.sequence);
    active.push_back(known == state->sequences.end() ? Sequence()
                                                     : known->second);
    for (auto [index, token] : llvm::enumerate(item.tokens)) {
      if (rows == StepRows::All || index + 1 == item.tokens.size())
        outputs.push_back(int32_t(tokens.size()));
      positions.push_back(int32_t(active.back().length + int64_t(index)));
      tokens.push_back(token);
    }
    starts.push_back(int32_t(tokens.size()));
  }

  SmallVector<RuntimeValue> arguments;
  size_t cacheCount = 0;
  for (BlockArgument argument : forward.getArguments()) {
    auto role = forward.getArgAttrOfType<StringAttr>(argument.getArgNumber(),
                                                     "headrace.role");
    StringRef name = role ? role.getValue() : "";
    auto cache = dyn_cast<nn::KvCacheType>(argument.getType());
    if (name == "tokens") {
      arguments.push_back(tokens);
    } else if (name == "positions") {
      arguments.push_back(positions);
    } else if (name == "sequences") {
      arguments.push_back(starts);
    } else if (name == "output_rows") {
      arguments.push_back(outputs);
    } else if (cache && (!role || name == "cache")) {
      llvm::Expected<Element> element = elementOf(forward, cache.getElement());
      if (!element)
        return element.takeError();
      auto view = std::make_shared<KvCache>(
          KvCache::empty(cache.getLayers(), cache.getHeads(),
                         cache.getHeadDim(), *element, 0));
      for (Sequence &sequence : active) {
        if (sequence.caches.size() == cacheCount)
          sequence.caches.push_back(
              std::make_shared<reference::SequenceCache>(cache.getLayers()));
        view->sequences.push_back(sequence.caches[cacheCount]);
      }
      arguments.push_back(std::move(view));
      ++cacheCount;
    } else {
      return errorAt(forward,
                     "argument #" + Twine(argument.getArgNumber()) +
                         " has no 'headrace.role' that a step can fill" +
                         (role ? ": '" + name + "'" : Twine()));
    }
  }

  llvm::Expected<SmallVector<RuntimeValue>> results =
      runFunction("forward", arguments);
  if (!results) {
    for (Sequence &sequence : active)
      for (auto &cache : sequence.caches)
        cache->truncate(sequence.length);
    return results.takeError();
  }
  for (auto [item, sequence] : llvm::zip(items, active)) {
    sequence.length += int64_t(item.tokens.size());
    state->sequences[item.sequence] = std::move(sequence);
  }
  for (RuntimeValue &result : *results) {
    auto *logits = std::get_if<FloatTensor>(&result);
    if (!logits || logits->shape.size() != 2)
      continue;
    const float *values = logits->values.get();
    return reference::Rows(logits->shape[0], logits->shape[1],
                           {values, values + logits->size()});
  }
  return errorAt(forward, "returns no matrix of logits");
}
