// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Emits GPU kernels around one product: dense, and the two halves of a routed
// feed-forward.
//
// Steps of few tokens: one kernel, which normalises and rounds its tokens
// itself. Steps of many: the rows are normalised and rounded once by a kernel
// of their own, unless they are in memory as the product takes them. Experts'
// rows are gathered while they are loaded; their sums are added up by the block
// that arrives last (few) or by a kernel (many), in the order of the experts.
#include "compiler/codegen/gpu/GpuEmitters.h"
#include "compiler/codegen/gpu/RowStage.h"
#include "compiler/codegen/gpu/TokenTiles.h"
#include "dialects/moe/IR/Moe.h"

using namespace mlir;
using namespace headrace;

namespace {

flow::GridAttr grid(flow::KernelOp kernel, flow::GridKind kind, int64_t base,
                    int64_t block = 1, int64_t limit = 1) {
  return flow::GridAttr::get(kernel.getContext(), kind, base, block, limit);
}

/// The lists of a routing, as a kernel reads them.
struct RoutingLists {
  RoutingLists(KernelBuilder &k, TypedValue<moe::RoutingType> routing)
      : layout(routing.getType(), k.limits), k(k), base(k.buffer(routing)) {}

  Value activeCount() { return word(layout.activeCount, k.i32(0)); }
  /// Which of them the launch is for: a wave, or all.
  Value first() { return k.count(flow::Count::first_active); }
  Value end() { return k.min(activeCount(), k.count(flow::Count::end_active)); }
  /// That of the block, with `groups` blocks for each.
  Value slot(int64_t groups) {
    return k.add(first(), k.div(k.block(), groups));
  }
  Value active(Value slot) { return word(layout.active, slot); }
  Value offset(Value expert) { return word(layout.offsets, expert); }
  Value row(Value place) { return word(layout.rows, place); }
  Value id(Value slot) { return word(layout.ids, slot); }
  Value weight(Value place) {
    return k.load(k.f32Type(),
                  k.at(k.at(base, layout.weights), place, k.f32Type()));
  }
  RoutingLayout layout;

private:
  Value word(int64_t list, Value index) {
    return k.load(k.i32Type(), k.at(k.at(base, list), index, k.i32Type()));
  }
  KernelBuilder &k;
  Value base;
};

/// Rows of a product as a kernel of their own leaves them in the workspace.
RankedTensorType roundedRows(const Product &product) {
  return RankedTensorType::get({ShapedType::kDynamic, product.in},
                               product.element);
}

/// A kernel that normalises, picks and rounds rows: one row a warp.
void emitRows(flow::KernelOp kernel, const GpuOptions &options,
              RowSource source, const Product &product, StepSize size,
              Expansion &out) {
  constexpr int64_t kWarps = 4;
  const DeviceKernel &made =
      out.add(kernel, size, "rows", {ExtraBuffer::workspace});
  KernelBuilder k(kernel, made.name, options.limits, made.extras);
  // Output rows are counted one a block; there are few of them.
  flow::Count counter = source.pick ? flow::Count::outputs : k.rowCounter();
  int64_t warps = counter == flow::Count::outputs ? 1 : kWarps;
  Value row = k.add(k.mul(k.block(), warps), k.warp());
  Value count = k.count(counter);
  RowsInMemory to =
      k.rowsAt(k.extra(ExtraBuffer::workspace), roundedRows(product));
  k.when(k.less(row, count), [&] {
    Value from = row;
    if (source.pick)
      from = k.load(k.i32Type(),
                    k.at(k.buffer(source.pick.getIds()), row, k.i32Type()));
    // Rows are padded to whole cache lines, so a whole chunk always fits.
    int64_t padded = (product.in + kChunk - 1) / kChunk * kChunk;
    RowStage(k, k.rowsOf(source.argument), source.norm)
        .read(from, padded, [&](Value column, ValueRange values) {
          SmallVector<Value> words;
          for (size_t i = 0; i < size_t(kChunk); i += 2)
            words.push_back(k.pack(values[i], values[i + 1], product.element));
          k.store16(words, k.at(to, row, column));
        });
  });
  k.finish(warps * kWarp,
           counter == flow::Count::outputs
               ? grid(kernel, flow::GridKind::per_output, 1)
               : grid(kernel, flow::GridKind::per_token_block, 1, kWarps));
  out.workspaceBytes = std::max(
      out.workspaceBytes, bufferBytes(roundedRows(product), options.limits));
}

/// The bias of a dense product; null where it has none.
Value biasOf(KernelBuilder &k, const Product &product) {
  Value bias = product.linear.getBias();
  return bias ? k.weight(bias) : Value();
}

/// That of expert `expert`: a row of the stacked biases.
Value biasOf(KernelBuilder &k, const Product &product, moe::ExpertsOp experts,
             Value expert) {
  if (!product.linear.getBias())
    return {};
  Type type = product.linear.getBias().getType().getElementType();
  return k.at(k.weight(experts.getWeights()[1]), k.mul(expert, product.out),
              type);
}

/// Stores what the epilogue makes of a result. Sets `failed` after a
/// diagnostic.
ResultSink storeTo(const RowsInMemory &to, Value firstRow, KernelBuilder &k,
                   const Product &product, Value bias, Value yielded,
                   bool &failed,
                   std::function<void(Value, Value, Value, Value)> &keep) {
  keep = [&k, &product, &failed, to, firstRow, bias,
          yielded](Value token, Value column, Value sum, Value up) {
    Value row = firstRow ? k.add(firstRow, token) : token;
    Value value = product.evaluate(k, yielded, sum, up, {row, column, bias});
    if (!value) {
      failed = true;
      return;
    }
    k.store(k.narrow(value, to.element), k.at(to, row, column));
  };
  return keep;
}

/// How few tokens get to a product: staged in shared memory, or, where they do
/// not fit, read where they are, which must then be as the product takes them.
FailureOr<bool> readsInPlace(Product &product, bool ready,
                             const GpuOptions &options) {
  // What the warps' sums need beside the staged tokens.
  constexpr int64_t kRest = 24 << 10;
  if (FewTokens::stageBytes(product) + kRest <= options.target.sharedBytes)
    return false;
  if (ready && product.in == product.paddedIn())
    return true;
  return product.linear.emitOpError("has rows of ")
         << product.in << " values, which do not fit into the "
         << options.target.sharedBytes << " bytes of shared memory of "
         << options.target.chip;
}

} // namespace

LogicalResult headrace::emitGpuLinear(flow::KernelOp kernel,
                                      const GpuOptions &options, StepSize size,
                                      Expansion &out) {
  ProductMatch match;
  if (failed(matchLinear(kernel, match)))
    return failure();
  RowSource &source = match.rows;
  nn::LinearOp linear = match.linear;
  auto product = Product::match(linear);
  if (failed(product))
    return failure();
  auto countOf = [&](KernelBuilder &k) {
    return k.count(source.pick ? flow::Count::outputs : k.rowCounter());
  };
  bool failedInside = false;
  std::function<void(Value, Value, Value, Value)> sink;
  if (size == StepSize::few) {
    auto inPlace =
        readsInPlace(*product, isReady(source, product->element), options);
    if (failed(inPlace))
      return failure();
    const DeviceKernel &made = out.add(kernel, size, "", {});
    KernelBuilder k(kernel, made.name, options.limits, made.extras);
    FewTokens tokens(k, *product, *inPlace);
    Value count = countOf(k);
    k.when(k.less(k.i32(0), count), [&] {
      tokens.start(k.weight(linear.getWeight()), k.block());
      tokens.stage(k.rowsOf(source.argument), source.norm, count,
                   [&](Value token) -> Value {
                     if (!source.pick)
                       return token;
                     return k.load(k.i32Type(),
                                   k.at(k.buffer(source.pick.getIds()), token,
                                        k.i32Type()));
                   });
      tokens.run(count, storeTo(k.rowsOfResult(0), Value(), k, *product,
                                biasOf(k, *product), match.yielded,
                                failedInside, sink));
    });
    k.finish(tokens.threads(),
             grid(kernel, flow::GridKind::fixed, tokens.groups()));
    return failure(failedInside);
  }
  bool ready = isReady(source, product->element);
  if (!ready)
    emitRows(kernel, options, source, *product, size, out);
  const DeviceKernel &made =
      out.add(kernel, size, "", {ExtraBuffer::workspace});
  KernelBuilder k(kernel, made.name, options.limits, made.extras);
  ManyTokens tokens(k, *product, size == StepSize::manyWarpgroups);
  // Blocks of one tile of tokens stand together: they read the same tokens.
  Value tile = k.div(k.block(), tokens.groups());
  Value group = k.rem(k.block(), tokens.groups());
  Value first = k.mul(tile, ManyTokens::kTile);
  Value count = k.min(k.sub(countOf(k), first), k.i32(ManyTokens::kTile));
  RowsInMemory rows =
      ready ? k.rowsOf(source.argument)
            : k.rowsAt(k.extra(ExtraBuffer::workspace), roundedRows(*product));
  tokens.run(
      rows, k.weight(linear.getWeight()), group, count,
      [&](Value token) { return k.add(first, token); },
      storeTo(k.rowsOfResult(0), first, k, *product, biasOf(k, *product),
              match.yielded, failedInside, sink));
  k.finish(ManyTokens::threads(), grid(kernel, flow::GridKind::per_token_block,
                                       tokens.groups(), ManyTokens::kTile));
  return failure(failedInside);
}

LogicalResult headrace::emitGpuRoutedUp(flow::KernelOp kernel,
                                        const GpuOptions &options,
                                        StepSize size, Expansion &out) {
  ProductMatch match;
  if (failed(matchRoutedUp(kernel, match)))
    return failure();
  RowSource &source = match.rows;
  nn::LinearOp linear = match.linear;
  moe::ExpertsOp experts = match.experts;
  moe::DispatchOp dispatch = match.dispatch;
  auto product = Product::match(linear);
  if (failed(product))
    return failure();
  auto routing = cast<moe::RoutingType>(dispatch.getRouting().getType());
  bool few = size == StepSize::few, failedInside = false;
  bool ready = isReady(source, product->element);
  FailureOr<bool> inPlace = false;
  if (few)
    inPlace = readsInPlace(*product, ready, options);
  if (failed(inPlace))
    return failure();
  if (!few && !ready)
    emitRows(kernel, options, source, *product, size, out);
  const DeviceKernel &made =
      few ? out.add(kernel, size, "", {})
          : out.add(kernel, size, "", {ExtraBuffer::workspace});
  KernelBuilder k(kernel, made.name, options.limits, made.extras);
  RoutingLists lists(k, dispatch.getRouting());
  std::optional<FewTokens> fewTokens;
  std::optional<ManyTokens> manyTokens;
  if (few)
    fewTokens.emplace(k, *product, *inPlace);
  else
    manyTokens.emplace(k, *product, size == StepSize::manyWarpgroups);
  int64_t groups = few ? fewTokens->groups() : manyTokens->groups();
  Value slot = lists.slot(groups), group = k.rem(k.block(), groups);
  std::function<void(Value, Value, Value, Value)> sink;
  k.when(k.less(slot, lists.end()), [&] {
    Value expert = lists.active(slot), begin = lists.offset(expert);
    Value count = k.sub(lists.offset(k.add(expert, 1)), begin);
    Value weights = k.weight(experts.getWeights()[0], expert);
    auto rowOf = [&](Value token) { return lists.row(k.add(begin, token)); };
    ResultSink store = storeTo(k.rowsOfResult(0), begin, k, *product,
                               biasOf(k, *product, experts, expert),
                               match.yielded, failedInside, sink);
    if (few) {
      fewTokens->start(weights, group);
      fewTokens->stage(k.rowsOf(source.argument), source.norm, count, rowOf);
      fewTokens->run(count, store);
    } else {
      RowsInMemory rows = ready ? k.rowsOf(source.argument)
                                : k.rowsAt(k.extra(ExtraBuffer::workspace),
                                           roundedRows(*product));
      manyTokens->run(rows, weights, group, count, rowOf, store);
    }
  });
  k.finish(few ? fewTokens->threads() : ManyTokens::threads(),
           grid(kernel, flow::GridKind::per_routed, groups, routing.getSlots(),
                routing.getExperts()));
  return failure(failedInside);
}

namespace {

/// The down half: each expert's rows times its weights into the partials, one
/// row for each place of the routing's lists, and their sum by rows. That is
/// made with the last wave.
class RoutedDown {
public:
  RoutedDown(flow::KernelOp kernel, moe::CombineOp combine,
             moe::ExpertsOp experts, const Product &product,
             const GpuOptions &options, StepSize size, bool inPlace,
             Expansion &out)
      : kernel(kernel), combine(combine), experts(experts), product(product),
        options(options), size(size), inPlace(inPlace), out(out),
        slots(int64_t(combine.getRouting().getType().getSlots())) {}

  void emit() {
    out.partialBytes = std::max(out.partialBytes, options.limits.maxTokens *
                                                      slots * product.out * 4);
    if (size == StepSize::few) {
      emitFew();
    } else {
      emitMany();
      emitCombine();
    }
  }

private:
  RowsInMemory partials(KernelBuilder &k) {
    return {k.extra(ExtraBuffer::partials), product.out, product.out,
            k.f32Type()};
  }
  flow::GridAttr routedGrid(int64_t groups) {
    return grid(kernel, flow::GridKind::per_routed, groups, slots,
                int64_t(combine.getRouting().getType().getExperts()));
  }
  auto storePartial(KernelBuilder &k, Value begin, Value expert) {
    Value bias = biasOf(k, product, experts, expert);
    return
        [this, &k, begin, bias](Value token, Value column, Value sum, Value) {
          Value place = k.add(begin, token);
          Value y = product.evaluate(k, product.linear.getResult(), sum,
                                     Value(), {place, column, bias});
          k.store(y, k.at(partials(k), place, column));
        };
  }
  Value base(KernelBuilder &k, Value row, Value column) {
    Value total;
    for (Value addend : combine.getBase()) {
      RowsInMemory rows = k.rowsOf(addend);
      Value x = k.widen(k.load(rows.element, k.at(rows, row, column)));
      total = total ? k.addF(total, x) : x;
    }
    return total ? total : k.f32(0);
  }
  void storeTotal(KernelBuilder &k, Value total, Value row, Value column) {
    RowsInMemory to = k.rowsOfResult(0);
    k.store(k.narrow(total, to.element), k.at(to, row, column));
  }

  /// One launch: the block that arrives last at a column group adds it up.
  void emitFew() {
    const DeviceKernel &made = out.add(
        kernel, size, "", {ExtraBuffer::partials, ExtraBuffer::tickets});
    KernelBuilder k(kernel, made.name, options.limits, made.extras);
    RoutingLists lists(k, combine.getRouting());
    FewTokens tokens(k, product, inPlace);
    int64_t groups = tokens.groups();
    out.tickets = std::max(out.tickets, groups);
    Value slot = lists.slot(groups), group = k.rem(k.block(), groups);
    Value end = lists.end();
    k.when(k.less(slot, end), [&] {
      Value expert = lists.active(slot), begin = lists.offset(expert);
      Value count = k.sub(lists.offset(k.add(expert, 1)), begin);
      tokens.start(k.weight(experts.getWeights()[0], expert), group);
      tokens.stage(k.rowsOf(experts.getBuckets()), nn::NormOp(), count,
                   [&](Value token) { return k.add(begin, token); });
      tokens.run(count, storePartial(k, begin, expert));
      Value counter = k.at(k.extra(ExtraBuffer::tickets), group, k.i32Type());
      Value last = k.lastToArrive(counter, k.sub(end, lists.first()));
      k.when(k.both(last, k.equal(end, lists.activeCount())), [&] {
        // Places stand in the order of the experts, so walking all of them
        // meets a row's experts in their order.
        int64_t width = (product.rowBlocks + groups - 1) / groups * kBlockRows;
        Value rows = k.count(flow::Count::tokens);
        k.loop(k.thread(), k.mul(rows, width), k.i32(tokens.threads()),
               [&](Value number) {
                 Value row = k.div(number, width);
                 Value column =
                     k.add(k.mul(group, width), k.rem(number, width));
                 k.when(k.less(column, k.i32(product.out)), [&] {
                   Value total = k.fold(
                       k.i32(0), k.mul(rows, slots), k.i32(1),
                       base(k, row, column), [&](Value place, ValueRange sum) {
                         Value mine = k.equal(lists.row(place), row);
                         return k.choose(
                             mine, k.f32Type(),
                             [&] {
                               return SmallVector<Value>{
                                   addPart(k, lists, sum[0], place, column)};
                             },
                             [&] { return SmallVector<Value>(sum); });
                       })[0];
                   storeTotal(k, total, row, column);
                 });
               });
      });
    });
    k.finish(tokens.threads(), routedGrid(groups));
  }

  void emitMany() {
    const DeviceKernel &made =
        out.add(kernel, size, "", {ExtraBuffer::partials});
    KernelBuilder k(kernel, made.name, options.limits, made.extras);
    RoutingLists lists(k, combine.getRouting());
    ManyTokens tokens(k, product, size == StepSize::manyWarpgroups);
    int64_t groups = tokens.groups();
    Value slot = lists.slot(groups), group = k.rem(k.block(), groups);
    k.when(k.less(slot, lists.end()), [&] {
      Value expert = lists.active(slot), begin = lists.offset(expert);
      Value count = k.sub(lists.offset(k.add(expert, 1)), begin);
      tokens.run(
          k.rowsOf(experts.getBuckets()),
          k.weight(experts.getWeights()[0], expert), group, count,
          [&](Value token) { return k.add(begin, token); },
          storePartial(k, begin, expert));
    });
    k.finish(ManyTokens::threads(), routedGrid(groups));
  }

  /// One row a block: finds the row's places, then adds them up in order.
  void emitCombine() {
    constexpr int64_t kThreads = 128;
    const DeviceKernel &made =
        out.add(kernel, size, "combine", {ExtraBuffer::partials});
    KernelBuilder k(kernel, made.name, options.limits, made.extras);
    RoutingLists lists(k, combine.getRouting());
    Value row = k.block();
    Value order = k.shared(slots * 4);
    Value isLast = k.equal(lists.end(), lists.activeCount());
    k.when(k.both(isLast, k.less(row, k.count(flow::Count::tokens))), [&] {
      Value first = k.mul(row, slots);
      k.when(k.less(k.thread(), k.i32(slots)), [&] {
        Value mine = lists.id(k.add(first, k.thread()));
        // An expert's rows ascend, so the row is found by halving.
        SmallVector<Value> range = k.fold(
            k.i32(0),
            k.i32(int64_t(
                llvm::Log2_64_Ceil(uint64_t(options.limits.maxTokens) + 1))),
            k.i32(1), {lists.offset(mine), lists.offset(k.add(mine, 1))},
            [&](Value, ValueRange now) -> SmallVector<Value> {
              Value middle = k.div(k.add(now[0], now[1]), 2);
              Value open = k.less(now[0], now[1]);
              Value safe = k.select(open, middle, now[0]);
              Value below = k.both(
                  open,
                  k.less(lists.row(k.max(k.min(safe, k.sub(now[1], k.i32(1))),
                                         k.i32(0))),
                         row));
              Value high = k.select(below, now[1], safe);
              return {k.select(below, k.add(middle, 1), now[0]), high};
            });
        Value rank = k.fold(
            k.i32(0), k.i32(slots), k.i32(1), k.i32(0),
            [&](Value other, ValueRange now) -> SmallVector<Value> {
              Value less = k.less(lists.id(k.add(first, other)), mine);
              return {k.add(now[0],
                            arith::ExtUIOp::create(k.b, k.i32Type(), less))};
            })[0];
        k.store(range[0], k.at(order, rank, k.i32Type()));
      });
      k.barrier();
      k.loop(
          k.thread(), k.i32(product.out), k.i32(kThreads), [&](Value column) {
            Value total =
                k.fold(k.i32(0), k.i32(slots), k.i32(1), base(k, row, column),
                       [&](Value i, ValueRange sum) {
                         Value place =
                             k.load(k.i32Type(), k.at(order, i, k.i32Type()));
                         return SmallVector<Value>{
                             addPart(k, lists, sum[0], place, column)};
                       })[0];
            storeTotal(k, total, row, column);
          });
    });
    k.finish(kThreads, grid(kernel, flow::GridKind::per_token, 1));
  }

  Value addPart(KernelBuilder &k, RoutingLists &lists, Value sum, Value place,
                Value column) {
    Value part = k.load(k.f32Type(), k.at(partials(k), place, column));
    return k.addF(sum, k.mulF(part, lists.weight(place)));
  }

  flow::KernelOp kernel;
  moe::CombineOp combine;
  moe::ExpertsOp experts;
  const Product &product;
  const GpuOptions &options;
  StepSize size;
  bool inPlace; ///< Few tokens are not staged.
  Expansion &out;
  int64_t slots;
};

} // namespace

LogicalResult headrace::emitGpuRoutedDown(flow::KernelOp kernel,
                                          const GpuOptions &options,
                                          StepSize size, Expansion &out) {
  RoutedDownMatch match;
  if (failed(matchRoutedDown(kernel, match)))
    return failure();
  moe::ExpertsOp experts = match.experts;
  auto product = Product::match(match.linear);
  if (failed(product))
    return failure();
  auto buckets = cast<moe::BucketsType>(experts.getBuckets().getType());
  if (buckets.getElement() != product->element)
    return experts.emitOpError("has rows of ")
           << buckets.getElement() << " for weights of " << product->element;
  FailureOr<bool> inPlace = false;
  if (size == StepSize::few)
    inPlace = readsInPlace(*product, /*ready=*/true, options);
  if (failed(inPlace))
    return failure();
  RoutedDown(kernel, match.combine, experts, *product, options, size, *inPlace,
             out)
      .emit();
  return success();
}
