// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One function an op: from the values of its operands to those of its results.
//
// What a verified program guarantees (kinds, static widths) is not checked
// again. What only a run can know (numbers of rows, ids, positions) is, so that
// a program outside the specification ends in an error, not in a number.
#include "compiler/reference/Frame.h"
#include "compiler/reference/ops/Attention.h"
#include "compiler/reference/ops/Dense.h"
#include "compiler/reference/ops/Encoded.h"
#include "compiler/reference/ops/Rope.h"
#include "compiler/reference/ops/Routing.h"
#include "dialects/flow/IR/Flow.h"
#include "dialects/moe/IR/Moe.h"
#include "dialects/nn/IR/Nn.h"
#include "dialects/tier/IR/Tier.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace headrace;
using llvm::Error;
using llvm::Expected;
using reference::Element;
using reference::Matrix;

static float toFloat(const llvm::APFloat &value) {
  return float(value.convertToDouble());
}

static Error checkRows(Operation *op, int64_t have, int64_t want) {
  if (have == want)
    return Error::success();
  return errorAt(op, "expected operands of equally many rows, but got " +
                         Twine(want) + " and " + Twine(have));
}

//===----------------------------------------------------------------------===//
// nn
//===----------------------------------------------------------------------===//

static reference::Activation activation(nn::Activation kind) {
  switch (kind) {
  case nn::Activation::silu:
    return reference::Activation::Silu;
  case nn::Activation::gelu:
    return reference::Activation::Gelu;
  case nn::Activation::gelu_tanh:
    return reference::Activation::GeluTanh;
  case nn::Activation::relu:
    return reference::Activation::Relu;
  case nn::Activation::sigmoid:
    return reference::Activation::Sigmoid;
  }
  llvm_unreachable("no such activation");
}

static Error evaluate(Frame &frame, nn::EmbedOp op) {
  const IdTensor &ids = frame.get<IdTensor>(op.getIds());
  Matrix table = frame.matrix(op.getTable());
  for (int32_t id : ids)
    if (id < 0 || id >= table.rows)
      return errorAt(op, "expected ids below " + Twine(table.rows) +
                             ", but got " + Twine(id));
  return frame.set(op.getResult(), reference::embed(ids, table));
}

static Error evaluate(Frame &frame, nn::NormOp op) {
  auto kind = op.getKind() == nn::NormKind::rms     ? reference::NormKind::Rms
              : op.getKind() == nn::NormKind::layer ? reference::NormKind::Layer
                                                    : reference::NormKind::L2;
  return frame.set(op.getResult(),
                   reference::norm(kind, frame.matrix(op.getInput()),
                                   frame.optional(op.getWeight()),
                                   frame.optional(op.getBias()),
                                   toFloat(op.getEps()),
                                   int64_t(op.getGroups())));
}

static Error evaluate(Frame &frame, nn::LinearOp op) {
  Element inputs = Element::F32;
  if (std::optional<Type> type = op.getInputs()) {
    Expected<Element> element = elementOf(op, *type);
    if (!element)
      return element.takeError();
    inputs = *element;
  }
  const FloatTensor &weight = frame.get<FloatTensor>(op.getWeight());
  if (weight.scales)
    return frame.set(
        op.getResult(),
        reference::scaledLinear(frame.matrix(op.getInput()), weight.matrix(),
                                {weight.scales->values.get(),
                                 weight.scales->rows, weight.scales->columns},
                                frame.optional(op.getBias()), inputs));
  return frame.set(op.getResult(),
                   reference::linear(frame.matrix(op.getInput()),
                                     frame.matrix(op.getWeight()),
                                     frame.optional(op.getBias()), inputs));
}

static reference::RopeTable ropeTable(nn::RopeAttr attr) {
  reference::RopeTable table;
  switch (attr.getKind()) {
  case nn::RopeKind::standard:
    table.kind = reference::RopeKind::Default;
    break;
  case nn::RopeKind::linear:
    table.kind = reference::RopeKind::Linear;
    break;
  case nn::RopeKind::llama3:
    table.kind = reference::RopeKind::Llama3;
    break;
  case nn::RopeKind::yarn:
    table.kind = reference::RopeKind::Yarn;
    break;
  }
  table.dim = attr.getDim();
  table.theta = attr.getTheta().convertToDouble();
  table.factor = attr.getFactor().convertToDouble();
  table.low = attr.getLow().convertToDouble();
  table.high = attr.getHigh().convertToDouble();
  table.original = attr.getOriginal();
  table.attentionFactor = attr.getAttentionFactor().convertToDouble();
  table.truncate = attr.getTruncate();
  return table;
}

static Error evaluate(Frame &frame, nn::RopeOp op) {
  Matrix input = frame.matrix(op.getInput());
  const IdTensor &positions = frame.get<IdTensor>(op.getPositions());
  if (Error failed = checkRows(op, int64_t(positions.size()), input.rows))
    return failed;
  return frame.set(op.getResult(),
                   reference::rope(input, positions, int64_t(op.getHeads()),
                                   ropeTable(op.getTable())));
}

static Error evaluate(Frame &frame, nn::AnglesOp op) {
  const IdTensor &positions = frame.get<IdTensor>(op.getPositions());
  return frame.set(op.getResult(),
                   reference::angles(positions, ropeTable(op.getTable())));
}

static Error evaluate(Frame &frame, nn::RotateOp op) {
  Matrix input = frame.matrix(op.getInput());
  Matrix angles = frame.matrix(op.getAngles());
  if (Error failed = checkRows(op, angles.rows, input.rows))
    return failed;
  return frame.set(op.getResult(),
                   reference::rotate(input, angles, int64_t(op.getHeads())));
}

static Error evaluate(Frame &frame, nn::AttentionOp op) {
  // The cache is updated in place, so the value from before must be dead.
  if (!op.getCache().hasOneUse())
    return errorAt(op, "expected 'cache' to have no other use");
  auto cache = frame.get<std::shared_ptr<reference::KvCache>>(op.getCache());
  Matrix query = frame.matrix(op.getQuery());
  Matrix key = frame.matrix(op.getKey());
  Matrix value = frame.matrix(op.getValue());
  const IdTensor &positions = frame.get<IdTensor>(op.getPositions());
  const IdTensor &sequences = frame.get<IdTensor>(op.getSequences());
  if (Error failed = checkRows(op, key.rows, query.rows))
    return failed;
  if (Error failed = checkRows(op, value.rows, query.rows))
    return failed;
  reference::AttentionOptions options;
  options.layer = int64_t(op.getLayer());
  options.heads = int64_t(op.getHeads());
  options.scale = toFloat(op.getScale());
  options.window = int64_t(op.getWindow().value_or(0));
  options.sinks = frame.optional(op.getSinks());
  std::string reason = reference::checkAttention(
      *cache, options.layer, query.rows, positions, sequences);
  if (!reason.empty())
    return errorAt(op, reason);
  if (Error failed = frame.set(
          op.getResult(), reference::attention(query, key, value, *cache,
                                               positions, sequences, options)))
    return failed;
  return frame.set(op.getUpdatedCache(), cache);
}

static Error evaluate(Frame &frame, nn::ActOp op) {
  return frame.set(op.getResult(), reference::act(activation(op.getKind()),
                                                  frame.matrix(op.getInput())));
}

static Error evaluate(Frame &frame, nn::GluOp op) {
  Matrix gate = frame.matrix(op.getGate()), up = frame.matrix(op.getUp());
  if (Error failed = checkRows(op, up.rows, gate.rows))
    return failed;
  reference::GluOptions options;
  if (auto alpha = op.getAlpha())
    options.alpha = toFloat(*alpha);
  if (auto limit = op.getLimit())
    options.limit = toFloat(*limit);
  if (auto offset = op.getOffset())
    options.offset = toFloat(*offset);
  return frame.set(op.getResult(),
                   reference::glu(activation(op.getKind()), gate, up, options));
}

static Error evaluate(Frame &frame, nn::ClampOp op) {
  return frame.set(op.getResult(), reference::clamp(frame.matrix(op.getInput()),
                                                    toFloat(op.getLow()),
                                                    toFloat(op.getHigh())));
}

static Error evaluate(Frame &frame, nn::ScaleOp op) {
  Matrix input = frame.matrix(op.getInput());
  Matrix factor = frame.matrix(op.getFactor());
  if (Error failed = checkRows(op, factor.rows, input.rows))
    return failed;
  return frame.set(op.getResult(), reference::scale(input, factor));
}

//===----------------------------------------------------------------------===//
// moe
//===----------------------------------------------------------------------===//

static Error evaluate(Frame &frame, moe::SquashOp op) {
  auto kind = op.getKind() == moe::SquashKind::softmax
                  ? reference::SquashKind::Softmax
                  : reference::SquashKind::Sigmoid;
  return frame.set(op.getResult(),
                   reference::squash(kind, frame.matrix(op.getScores())));
}

static Error evaluate(Frame &frame, moe::SelectOp op) {
  int64_t topK = int64_t(op.getTopK());
  if (frame.routerTrace()) {
    // Squashing keeps the order of scores, but not their distance.
    auto squash = op.getChoice().getDefiningOp<moe::SquashOp>();
    Value scores = squash ? squash.getScores() : op.getChoice();
    frame.routerTrace()(
        op.getLoc(), reference::selectionMargins(topK, frame.matrix(scores)));
  }
  return frame.set(op.getResult(),
                   reference::select(topK, frame.matrix(op.getChoice())));
}

static Error evaluate(Frame &frame, moe::WeighOp op) {
  const auto &selection = frame.get<reference::Selection>(op.getSelection());
  Matrix value = frame.matrix(op.getValue());
  if (Error failed = checkRows(op, value.rows, selection.rows()))
    return failed;
  auto norm = reference::WeighNorm::None;
  switch (op.getNorm()) {
  case moe::WeighNorm::none:
    break;
  case moe::WeighNorm::sum:
    norm = reference::WeighNorm::Sum;
    break;
  case moe::WeighNorm::pnorm:
    norm = reference::WeighNorm::PNorm;
    break;
  case moe::WeighNorm::softmax:
    norm = reference::WeighNorm::Softmax;
    break;
  }
  return frame.set(
      op.getResult(),
      reference::weigh(selection, value, norm,
                       op.getEps() ? toFloat(*op.getEps()) : 0.0f,
                       op.getP() ? toFloat(*op.getP()) : 1.0f,
                       op.getScale() ? toFloat(*op.getScale()) : 1.0f));
}

static Error evaluate(Frame &frame, moe::DispatchOp op) {
  const auto &routing = frame.get<reference::Routing>(op.getRouting());
  Matrix input = frame.matrix(op.getInput());
  if (Error failed = checkRows(op, routing.selection.rows(), input.rows))
    return failed;
  Expected<Element> element =
      elementOf(op, op.getResult().getType().getElement());
  if (!element)
    return element.takeError();
  return frame.set(op.getResult(),
                   std::make_shared<reference::Buckets>(
                       reference::dispatch(input, routing, *element)));
}

static Error evaluate(Frame &frame, moe::ExpertsOp op) {
  const auto &buckets =
      frame.get<std::shared_ptr<reference::Buckets>>(op.getBuckets());
  moe::BucketsType type = op.getResult().getType();
  Expected<Element> element = elementOf(op, type.getElement());
  if (!element)
    return element.takeError();
  auto result = std::make_shared<reference::Buckets>();
  result->slots = buckets->slots;
  result->width = type.getWidth();
  result->rows = buckets->rows;
  for (auto [expert, rows] : llvm::enumerate(buckets->values)) {
    SmallVector<RuntimeValue> arguments = {FloatTensor(rows)};
    for (Value weight : op.getWeights())
      arguments.push_back(
          frame.get<FloatTensor>(weight).slice(int64_t(expert)));
    Expected<Frame::Results> yielded =
        frame.call(op, op.getBody().front(), arguments);
    if (!yielded)
      return yielded.takeError();
    Matrix values = std::get<FloatTensor>(yielded->front()).matrix();
    if (Error failed = checkRows(op, values.rows, rows.rows))
      return failed;
    reference::Rows rounded(values.rows, values.width);
    for (size_t i = 0; i < rounded.values.size(); ++i)
      rounded.values[i] = reference::roundTo(*element, values.data[i]);
    result->values.push_back(std::move(rounded));
  }
  return frame.set(op.getResult(), result);
}

static Error evaluate(Frame &frame, moe::CombineOp op) {
  const auto &buckets =
      frame.get<std::shared_ptr<reference::Buckets>>(op.getBuckets());
  const auto &routing = frame.get<reference::Routing>(op.getRouting());
  if (!reference::bucketsMatch(*buckets, routing))
    return errorAt(op, "expected the buckets to hold the rows of 'routing', "
                       "but they were dispatched by another one");
  SmallVector<Matrix> base;
  for (Value addend : op.getBase()) {
    base.push_back(frame.matrix(addend));
    if (Error failed =
            checkRows(op, base.back().rows, routing.selection.rows()))
      return failed;
  }
  return frame.set(
      op.getResult(),
      reference::combine(*buckets, routing, {base.begin(), base.end()}));
}

//===----------------------------------------------------------------------===//
// tier, flow, func
//===----------------------------------------------------------------------===//

static Error evaluate(Frame &frame, tier::UseOp op) {
  Expected<FloatTensor> weight = frame.weight(op, op.getWeightAttr().getAttr());
  if (!weight)
    return weight.takeError();
  return frame.set(op.getResult(), *weight);
}

/// Runs the only block of `region` on the op's operands.
static Error callRegion(Frame &frame, Operation *op, Region &region) {
  if (!region.hasOneBlock())
    return errorAt(op, "calls a body that is not one block");
  SmallVector<RuntimeValue> arguments;
  for (Value operand : op->getOperands())
    arguments.push_back(frame.getAny(operand));
  Expected<Frame::Results> results = frame.call(op, region.front(), arguments);
  if (!results)
    return results.takeError();
  for (auto [result, value] : llvm::zip_equal(op->getResults(), *results))
    if (Error failed = frame.set(result, std::move(value)))
      return failed;
  return Error::success();
}

static Error evaluate(Frame &frame, flow::CallOp op) {
  auto kernel = dyn_cast_or_null<flow::KernelOp>(frame.lookup(op.getKernel()));
  if (!kernel)
    return errorAt(op, "names no kernel, '@" + op.getKernel() + "'");
  return callRegion(frame, op, kernel.getBody());
}

static Error evaluate(Frame &frame, func::CallOp op) {
  auto callee = dyn_cast_or_null<func::FuncOp>(frame.lookup(op.getCallee()));
  if (!callee)
    return errorAt(op, "names no function, '@" + op.getCallee() + "'");
  return callRegion(frame, op, callee.getBody());
}

//===----------------------------------------------------------------------===//
// The table
//===----------------------------------------------------------------------===//

template <typename... Ops> static llvm::StringMap<Handler> makeHandlers() {
  llvm::StringMap<Handler> handlers;
  (handlers.try_emplace(Ops::getOperationName(),
                        [](Frame &frame, Operation *op) {
                          return evaluate(frame, cast<Ops>(op));
                        }),
   ...);
  return handlers;
}

static const llvm::StringMap<Handler> &handlers() {
  static const llvm::StringMap<Handler> handlers =
      makeHandlers<nn::EmbedOp, nn::NormOp, nn::LinearOp, nn::RopeOp,
                   nn::AnglesOp, nn::RotateOp, nn::AttentionOp, nn::ActOp,
                   nn::GluOp, nn::ClampOp, nn::ScaleOp, moe::SquashOp,
                   moe::SelectOp, moe::WeighOp, moe::DispatchOp, moe::ExpertsOp,
                   moe::CombineOp, tier::UseOp, flow::CallOp, func::CallOp>();
  return handlers;
}

Handler headrace::handlerOf(Operation *op) {
  Handler handler = handlers().lookup(op->getName().getStringRef());
  return handler ? handler : upstreamHandler(op);
}
