// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Emits kernels around one product with packed weights: dense, and the two
// halves of a routed feed-forward.
//
// All three have one form: rows are staged (gathered, normalised, rounded) or
// used in place, then for each panel of the task and each register tile of rows
// the product runs over all input channels and an elementwise epilogue stores.
// Tasks are column groups, so no two tasks write one element and an element's
// sum never depends on how the work is cut.
#include "compiler/codegen/Elementwise.h"
#include "compiler/codegen/Emitters.h"
#include "compiler/codegen/KernelMatch.h"
#include "compiler/codegen/ProgramBuilder.h"
#include "compiler/codegen/RoutedRows.h"
#include "dialects/moe/IR/Moe.h"
#include "dialects/nn/IR/Nn.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"
#include <tuple>

using namespace mlir;
using namespace headrace;

namespace {

/// Staged rows: `rows` of them, padded to an odd number of cache lines.
MemRefType stageType(int64_t rows, int64_t width, Type element) {
  int64_t bytes = element.getIntOrFloatBitWidth() / 8;
  int64_t stride =
      int64_t(llvm::alignTo(uint64_t((width + width % 2) * bytes), 64));
  if (stride / 64 % 2 == 0)
    stride += 64;
  return MemRefType::get(
      {rows, width}, element,
      StridedLayoutAttr::get(element.getContext(), 0, {stride / bytes, 1}));
}

/// One product with its epilogue inside a program.
class ProductEmitter {
public:
  ProductEmitter(ProgramBuilder &p, nn::LinearOp linear,
                 const EmitOptions &options)
      : p(p), linear(linear), options(options) {}

  LogicalResult prepare() {
    auto type = cast<RankedTensorType>(linear.getWeight().getType());
    panels = dyn_cast_or_null<flow::PanelsAttr>(tier::packingOf(type));
    if (!panels)
      return linear.emitOpError("has a weight that is not packed");
    out = type.getDimSize(type.getRank() - 2);
    in = type.getDimSize(type.getRank() - 1);
    element = linear.getInputs() ? *linear.getInputs() : Type(p.b.getF32Type());
    panelCount = panels.getPanelCount(out);
    columns = panels.getColumns();
    step = columns / panels.getHalves();
    return success();
  }

  /// Makes the row tile of `count` rows from `first`.
  Value stageRows(Value memory, Value first, Value count, Value indices,
                  nn::NormOp norm, int64_t maxRows) {
    auto source = cast<MemRefType>(memory.getType());
    auto tile = flow::TileType::get(p.b.getContext(), in, element);
    bool inPlace = !indices && !norm && source.getElementType() == element &&
                   (in % 2 == 0 || panels.getPack() == 1);
    Value stage, weight, bias;
    flow::RowNormAttr kind;
    APFloat eps(0.0);
    if (!inPlace)
      stage = p.scratch(stageType(maxRows, in, element));
    if (norm) {
      kind = flow::RowNormAttr::get(p.b.getContext(),
                                    flow::RowNorm(unsigned(norm.getKind())));
      eps = norm.getEps();
      if (norm.getWeight())
        weight = p.memory(norm.getWeight());
      if (norm.getBias())
        bias = p.memory(norm.getBias());
    }
    return flow::LoadOp::create(p.b, tile, memory, first, count, indices, stage,
                                weight, bias, kind,
                                p.b.getF64FloatAttr(eps.convertToDouble()),
                                inPlace ? p.b.getUnitAttr() : UnitAttr());
  }

  /// Reads the weights, and the bias, of expert `expert` from here on.
  void readExpert(moe::ExpertsOp experts, Value expert) {
    weightMemory = p.expert(experts.getWeights()[0], expert);
    if (!linear.getBias())
      return;
    Value stacked = p.memory(experts.getWeights()[1]);
    auto type = cast<MemRefType>(stacked.getType());
    biasMemory =
        flow::ViewOp::create(p.b, MemRefType::get({out}, type.getElementType()),
                             stacked, p.mul(expert, out), 0);
  }

  /// The first panel of a column group. Groups differ by at most one panel, and
  /// the wider ones are spread among the others.
  Value firstPanel(Value group, int64_t groups) {
    return p.div(p.add(p.mul(group, panelCount), groups - 1), groups);
  }

  /// Calls `body(panel)` for the panels of column group `group` of `groups`.
  void overPanels(Value group, int64_t groups, function_ref<void(Value)> body) {
    p.loop(firstPanel(group, groups), firstPanel(p.add(group, 1), groups), 1,
           body);
  }

  /// Asks for the first weights of panel `panel`: enough to cover the way from
  /// memory until the product's own prefetches take over.
  void prefetch(Value panel) {
    constexpr int64_t kBytes = 8192;
    auto type = cast<MemRefType>(weightMemory.getType());
    int64_t panelBytes = type.getNumElements() / type.getDimSize(0) *
                         (type.getElementTypeBitWidth() / 8);
    flow::PrefetchOp::create(p.b, weightMemory, panel,
                             std::min(kBytes, panelBytes));
  }

  /// Calls `body(row)` for each register tile of `count` rows. Panels that are
  /// encoded are decoded for all of the tiles at once, where they fit.
  void overRows(Value count, function_ref<void(Value)> body) {
    flow::RowsOp rows = p.rows(count, options.rowLimit, body);
    int64_t bytes =
        int64_t(llvm::divideCeil(uint64_t(in), uint64_t(2))) * columns * 2 * 2;
    auto type = cast<RankedTensorType>(linear.getWeight().getType());
    if (!tier::scaledOf(type) || !element.isBF16() ||
        bytes > options.decodedPanelBytes)
      return;
    if (decodedAt < 0)
      decodedAt = p.reserve(bytes);
    rows->setAttr(kDecodedAt, p.b.getI64IntegerAttr(decodedAt));
  }

  Value product(Value tile, Value first, Value panel) {
    // Panels of encoded weights are bytes; their type says what they mean.
    auto type = cast<RankedTensorType>(linear.getWeight().getType());
    return flow::MmaOp::create(
        p.b, p.acc(columns), tile, first, weightMemory, panel, Value(), Value(),
        Value(), p.b.getUnitAttr(),
        tier::scaledOf(type) ? TypeAttr::get(type) : TypeAttr());
  }

  /// For each panel of a column group and each register tile of `count` rows:
  /// stores what the region makes of the product, `yielded`, to the result's
  /// rows from `first` on, or from the first where that is null.
  LogicalResult storePanels(Value group, int64_t groups, Value tile,
                            Value first, Value count, Value yielded) {
    bool failedInside = false;
    overPanels(group, groups, [&](Value panel) {
      overRows(count, [&](Value row) {
        low = high = {};
        Value value = evaluate(yielded, product(tile, row, panel), row, panel);
        if (!value) {
          failedInside = true;
          return;
        }
        int64_t width = cast<flow::AccType>(value.getType()).getWidth();
        flow::StoreOp::create(p.b, value, p.result(0),
                              first ? p.add(first, row) : row,
                              p.mul(panel, width), Value(),
                              /*accumulate=*/false);
      });
    });
    return failure(failedInside);
  }

  /// The value of `value` (a tensor of the region) at the columns of panel
  /// `panel`: rows `row` on, `step` columns unless the value is the product
  /// itself. Null after an error.
  Value evaluate(Value value, Value acc, Value row, Value panel) {
    if (value == linear.getResult())
      return addBias(acc, p.mul(panel, columns));
    Operation *op = value.getDefiningOp();
    if (!op) { // A kernel argument: the same rows and columns of it.
      auto type = cast<RankedTensorType>(value.getType());
      bool scalar = type.getDimSize(1) == 1;
      return flow::ReadOp::create(
          p.b, p.acc(scalar ? 1 : step), p.memory(value), row,
          scalar ? p.index(0) : p.mul(panel, step), Value());
    }
    if (auto slice = dyn_cast<tensor::ExtractSliceOp>(op);
        slice && slice.getSource() == linear.getResult() &&
        panels.getHalves() == 2) {
      if (!low) {
        std::tie(low, high) = split(acc);
        Value column = p.mul(panel, step);
        low = addBias(low, column);
        high = addBias(high, p.add(column, out / 2));
      }
      return slice.getStaticOffsets()[1] == 0 ? low : high;
    }
    SmallVector<Value> operands;
    for (Value operand : op->getOperands()) {
      Value one = evaluate(operand, acc, row, panel);
      if (!one)
        return {};
      operands.push_back(one);
    }
    if (isa<arith::TruncFOp, arith::ExtFOp>(op))
      return operands[0]; // The store rounds.
    if (!isElementwise(op)) {
      op->emitOpError("is no part of an epilogue that the product's emitter "
                      "knows");
      return {};
    }
    return p.map(operands, p.acc(step),
                 [&](OpBuilder &b, Location loc, ValueRange v) {
                   return emitElementwise(b, loc, op, v);
                 });
  }

  ProgramBuilder &p;
  nn::LinearOp linear;
  const EmitOptions &options;
  flow::PanelsAttr panels;
  int64_t in = 0, out = 0, panelCount = 0, columns = 0, step = 0;
  Type element;
  Value weightMemory;
  Value biasMemory; ///< Null where the product has none.

private:
  /// `acc` plus as many values of the bias from `column` on.
  Value addBias(Value acc, Value column) {
    if (!biasMemory)
      return acc;
    auto type = cast<flow::AccType>(acc.getType());
    Value bias =
        flow::ReadOp::create(p.b, type, biasMemory, Value(), column, Value());
    return p.map({acc, bias}, type,
                 [](OpBuilder &b, Location loc, ValueRange v) -> Value {
                   return arith::AddFOp::create(b, loc, v[0], v[1]);
                 });
  }
  std::pair<Value, Value> split(Value acc) {
    auto op = flow::SplitOp::create(p.b, p.acc(step), p.acc(step), acc);
    return {op.getLow(), op.getHigh()};
  }
  Value low, high;
  int64_t decodedAt = -1; ///< Offset in the scratch, once it is known.
};

int64_t groupsOf(flow::KernelOp kernel) {
  return kernel.getTasks() ? kernel.getTasks()->getBase() : 1;
}

} // namespace

LogicalResult headrace::emitLinear(flow::KernelOp kernel,
                                   const StepLimits &limits,
                                   const EmitOptions &options) {
  ProductMatch match;
  if (failed(matchLinear(kernel, match)))
    return failure();
  RowSource &source = match.rows;
  nn::LinearOp linear = match.linear;
  ProgramBuilder p(kernel, limits);
  ProductEmitter product(p, linear, options);
  if (failed(product.prepare()))
    return failure();
  product.weightMemory = p.memory(linear.getWeight());
  if (linear.getBias())
    product.biasMemory = p.memory(linear.getBias());
  Value count = source.pick ? p.count(flow::Count::outputs) : p.rowCount();
  Value indices = source.pick ? p.memory(source.pick.getIds()) : Value();
  Value tile = product.stageRows(p.memory(source.argument), p.index(0), count,
                                 indices, source.norm, limits.maxTokens);
  LogicalResult stored = product.storePanels(p.task(), groupsOf(kernel), tile,
                                             Value(), count, match.yielded);
  return failed(stored) ? failure() : p.finish();
}

LogicalResult headrace::emitRoutedUp(flow::KernelOp kernel,
                                     const StepLimits &limits,
                                     const EmitOptions &options) {
  ProductMatch match;
  if (failed(matchRoutedUp(kernel, match)))
    return failure();
  nn::LinearOp linear = match.linear;
  ProgramBuilder p(kernel, limits);
  ProductEmitter product(p, linear, options);
  if (failed(product.prepare()))
    return failure();
  RoutedRows routed(p, match.dispatch.getRouting());

  int64_t groups = groupsOf(kernel);
  Value slot =
      p.add(p.count(flow::Count::first_active), p.div(p.task(), groups));
  Value group = p.rem(p.task(), groups);
  Value actives = routed.end();
  LogicalResult stored = success();
  p.when(p.less(slot, actives), [&] {
    Value expert = routed.expert(slot);
    Value begin, count;
    std::tie(begin, count) = routed.rowsOf(expert);
    product.readExpert(match.experts, expert);
    product.prefetch(product.firstPanel(group, groups));
    Value tile =
        product.stageRows(p.memory(match.rows.argument), begin, count,
                          routed.tokens, match.rows.norm, limits.maxTokens);
    stored =
        product.storePanels(group, groups, tile, begin, count, match.yielded);
  });
  return failed(stored) ? failure() : p.finish();
}

LogicalResult headrace::emitRoutedDown(flow::KernelOp kernel,
                                       const StepLimits &limits,
                                       const EmitOptions &options) {
  RoutedDownMatch match;
  if (failed(matchRoutedDown(kernel, match)))
    return failure();
  moe::CombineOp combine = match.combine;
  moe::ExpertsOp experts = match.experts;
  nn::LinearOp linear = match.linear;

  ProgramBuilder p(kernel, limits);
  ProductEmitter product(p, linear, options);
  if (failed(product.prepare()))
    return failure();
  RoutedRows routed(p, combine.getRouting());

  int64_t groups = groupsOf(kernel), columns = product.columns;
  Value tokens = p.count(flow::Count::tokens);

  // The base addends come first, with the first wave of experts; nothing to do
  // where the result already is the only one of them.
  auto storeBase = [&] {
    product.overPanels(p.task(), groups, [&](Value panel) {
      p.rows(tokens, options.rowLimit, [&](Value row) {
        Value column = p.mul(panel, columns), total;
        for (Value addend : combine.getBase()) {
          Value read = flow::ReadOp::create(
              p.b, p.acc(columns), p.memory(addend), row, column, Value());
          total =
              !total ? read
                     : p.map({total, read}, p.acc(columns),
                             [](OpBuilder &b, Location loc,
                                ValueRange v) -> Value {
                               return arith::AddFOp::create(b, loc, v[0], v[1]);
                             });
        }
        if (!total)
          total = flow::ConstantOp::create(p.b, p.acc(columns),
                                           p.b.getF32FloatAttr(0));
        flow::StoreOp::create(p.b, total, p.result(0), row, column, Value(),
                              /*accumulate=*/false);
      });
    });
  };
  Value first = p.count(flow::Count::first_active);
  Value wanted = p.less(first, p.index(1));
  if (combine.getBase().size() == 1) {
    Value same = flow::SameOp::create(
        p.b, p.b.getI1Type(), p.memory(combine.getBase()[0]), p.result(0));
    Value one = arith::ConstantIntOp::create(p.b, p.b.getI1Type(), 1);
    wanted = arith::AndIOp::create(p.b, wanted,
                                   arith::XOrIOp::create(p.b, same, one));
  }
  p.when(wanted, storeBase);

  Value actives = routed.end();
  p.loop(first, actives, 1, [&](Value slot) {
    Value expert = routed.expert(slot);
    Value begin, count;
    std::tie(begin, count) = routed.rowsOf(expert);
    Value tile = product.stageRows(p.memory(experts.getBuckets()), begin, count,
                                   Value(), nn::NormOp(), limits.maxTokens);
    // The next expert's columns lie elsewhere: the stream would break off
    // there.
    Value following = p.min(p.add(slot, 1), p.sub(actives, p.index(1)));
    product.weightMemory =
        p.expert(experts.getWeights()[0], routed.expert(following));
    product.prefetch(product.firstPanel(p.task(), groups));
    product.readExpert(experts, expert);
    product.overPanels(p.task(), groups, [&](Value panel) {
      product.overRows(count, [&](Value row) {
        Value acc = product.evaluate(
            linear.getResult(), product.product(tile, row, panel), row, panel);
        Value here = p.add(begin, row);
        Value weight = flow::ReadOp::create(p.b, p.acc(1), routed.weights, here,
                                            Value(), Value());
        Value scaled =
            p.map({acc, weight}, p.acc(columns),
                  [](OpBuilder &b, Location loc, ValueRange v) -> Value {
                    return arith::MulFOp::create(b, loc, v[0], v[1]);
                  });
        flow::StoreOp::create(p.b, scaled, p.result(0), here,
                              p.mul(panel, columns), routed.tokens,
                              /*accumulate=*/true);
      });
    });
  });
  return p.finish();
}
