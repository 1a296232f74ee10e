// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// form-kernels: cuts a function into kernels.
//
// Every op that reads weights or mixes rows is the anchor of a kernel. What
// works elementwise on an anchor's only result joins it (epilogue); what is
// cheap to make again (norms, slices, rotations) is cloned into each kernel
// that reads it (prologue). What no family knows is a kernel of its own, made
// of plain loops; so is what a family would remake but cannot. Kernels that
// compute the same function on other weights are one kernel.
#include "compiler/codegen/BufferLayout.h"
#include "compiler/codegen/Elementwise.h"
#include "compiler/codegen/KernelMatch.h"
#include "compiler/codegen/ProgramBuilder.h"
#include "compiler/codegen/TensorLoops.h"
#include "compiler/transforms/Panels.h"
#include "compiler/transforms/PassesDetail.h"
#include "dialects/moe/IR/Moe.h"
#include "dialects/nn/IR/Nn.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Transforms/RegionUtils.h"
#include "runtime/abi/kernel_abi.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;
using namespace headrace;

namespace {

struct Group {
  StringRef family;
  SmallVector<Operation *> ops;
};

/// Ops that a kernel makes for itself rather than read from memory, where no
/// other kernel has made them.
bool isCheap(Operation *op) {
  if (auto embed = dyn_cast<nn::EmbedOp>(op)) // Rows picked from activations.
    return !isWeightType(embed.getTable().getType());
  return isMadeWhereRead(op) ||
         isa<nn::NormOp, nn::RotateOp, nn::ClampOp, arith::ExtFOp,
             moe::SelectOp, moe::DispatchOp, moe::ExpertsOp>(op);
}

bool isPacked(nn::LinearOp linear) { return bool(panelWeightOf(linear)); }

/// Whether the emitter of products takes `linear`. That of a GPU multiplies
/// 16-bit rows and weights; scores of routers, for one, are often not made so.
bool isProduct(nn::LinearOp linear) {
  if (!isPacked(linear))
    return false;
  if (!linear->getParentOfType<ModuleOp>()->hasAttr("headrace.target"))
    return true;
  auto type = cast<RankedTensorType>(linear.getWeight().getType());
  if (tier::scaledOf(type)) // Elements are exact in bf16.
    return linear.getInputs() && linear.getInputs()->isBF16();
  bool lines = type.getShape().back() % 64 == 0;
  bool rounds = linear.getInputs() == type.getElementType();
  return (type.getElementType().isF16() ||
          (type.getElementType().isBF16() && rounds)) &&
         (type.getEncoding() || lines);
}

/// What stages the rows of a product: a widening, one norm of whole rows, one
/// pick of rows. Gives the first op behind which the product's own kernel
/// cannot reach; it has to be another kernel's.
Operation *behindStage(Value rows) {
  bool norm = false, pick = false;
  while (Operation *op = rows.getDefiningOp()) {
    if (!isCheap(op))
      return nullptr;
    if (auto widen = dyn_cast<arith::ExtFOp>(op)) {
      rows = widen.getIn();
    } else if (auto found = dyn_cast<nn::NormOp>(op);
               found && found.getGroups() == 1 && !norm) {
      norm = true;
      rows = found.getInput();
    } else if (auto found = dyn_cast<nn::EmbedOp>(op); found && !pick) {
      pick = true;
      rows = found.getTable();
    } else {
      return op;
    }
  }
  return nullptr;
}

/// The same for a query, key or value of `heads` heads: channels of a product,
/// then a norm, clamps and a rotation.
Operation *behindHead(Value rows, int64_t heads) {
  bool first = true, norm = false;
  while (Operation *op = rows.getDefiningOp()) {
    if (!isCheap(op))
      return nullptr;
    auto found = dyn_cast<nn::NormOp>(op);
    bool knows =
        (isa<nn::RotateOp>(op) && first) || (isa<nn::ClampOp>(op) && !norm) ||
        isa<tensor::ExtractSliceOp>(op) ||
        (found && !norm && found.getKind() == nn::NormKind::rms &&
         !found.getBias() &&
         (found.getGroups() == 1 || int64_t(found.getGroups()) == heads));
    if (!knows)
      return op;
    norm |= bool(found);
    first = false;
    rows = op->getOperand(0);
  }
  return nullptr;
}

/// What `op` reads, in its regions, too.
llvm::SetVector<Value> readBy(Operation *op) {
  llvm::SetVector<Value> values(op->operand_begin(), op->operand_end());
  getUsedValuesDefinedAbove(op->getRegions(), values);
  return values;
}

/// The only product of an expert's body that is a product and an epilogue.
nn::LinearOp onlyProduct(moe::ExpertsOp experts) {
  nn::LinearOp linear;
  for (Operation &op : experts.getBody().front().without_terminator()) {
    if (auto found = dyn_cast<nn::LinearOp>(op)) {
      if (linear)
        return {};
      linear = found;
    } else if (!isElementwise(&op) &&
               !isa<arith::TruncFOp, arith::ExtFOp, arith::ConstantOp,
                    tensor::DimOp, tensor::ExtractSliceOp>(op)) {
      return {};
    }
  }
  Block &body = experts.getBody().front();
  // Its weights, and behind them its bias.
  bool known = linear && isProduct(linear) &&
               experts.getWeights().size() == (linear.getBias() ? 2 : 1) &&
               linear.getWeight() == body.getArgument(1) &&
               (!linear.getBias() || linear.getBias() == body.getArgument(2));
  return known ? linear : nn::LinearOp();
}

/// The rows of `linear` as they lie in memory, rounded or not.
Value productRows(nn::LinearOp linear) {
  auto widen = linear.getInput().getDefiningOp<arith::ExtFOp>();
  return widen ? widen.getIn() : linear.getInput();
}

/// Whether the emitter of the first half of a routed feed-forward knows it:
/// the product of dispatched rows, gated or alone.
bool isRoutedUp(moe::ExpertsOp experts) {
  auto dispatch = experts.getBuckets().getDefiningOp<moe::DispatchOp>();
  nn::LinearOp linear = onlyProduct(experts);
  if (!dispatch || !dispatch->hasOneUse() || !linear ||
      productRows(linear) != experts.getBody().getArgument(0))
    return false;
  bool halves = hasGluHalves(linear);
  for (auto slice : experts.getBody().front().getOps<tensor::ExtractSliceOp>())
    if (!halves || slice.getSource() != linear.getResult())
      return false;
  return true;
}

/// Whether the emitter of the second half knows it: a product whose rows are
/// combined once.
bool isRoutedDown(moe::ExpertsOp experts) {
  nn::LinearOp linear = onlyProduct(experts);
  if (!linear || !experts->hasOneUse() ||
      !isa<moe::CombineOp>(*experts->getUsers().begin()))
    return false;
  Block &body = experts.getBody().front();
  return productRows(linear) == body.getArgument(0) &&
         body.getTerminator()->getOperand(0) == linear.getResult();
}

class KernelFormer {
public:
  KernelFormer(func::FuncOp function, llvm::StringMap<std::string> &known,
               llvm::StringMap<unsigned> &counters)
      : function(function), known(known), counters(counters) {}

  LogicalResult run() {
    Block &block = function.getBody().front();
    for (Operation &op : block)
      anchor(&op);
    for (Operation &op : block)
      if (!groupOf.count(&op))
        joinProducer(&op);
    for (Operation &op : block)
      if (!groupOf.count(&op) && !isCheap(&op) && isFallback(&op))
        make("upstream", &op);
    for (Operation &op : llvm::reverse(block.getOperations()))
      makeOperands(&op);
    findRows();
    // Kernels stand where their last op stood: everything they read is there.
    SmallVector<Group *> order;
    for (Operation &op : block) {
      Group *group = groupOf.lookup(&op);
      if (group && group->ops.back() == &op)
        order.push_back(group);
      else if (!group && !isCheap(&op) && !isa<tier::UseOp>(op) &&
               !op.hasTrait<OpTrait::IsTerminator>())
        return op.emitOpError("is known neither to a kernel family nor to the "
                              "fallback lowering");
    }
    for (Group *group : order)
      if (failed(outline(*group)))
        return failure();
    // Clones have replaced what is cheap.
    for (Operation &op :
         llvm::make_early_inc_range(llvm::reverse(block.getOperations())))
      if (isCheap(&op) && op.use_empty())
        op.erase();
    return success();
  }

private:
  Group *make(StringRef family, ArrayRef<Operation *> ops) {
    groups.push_back(std::make_unique<Group>());
    Group *group = groups.back().get();
    group->family = family;
    for (Operation *op : ops)
      add(group, op);
    return group;
  }
  void add(Group *group, Operation *op) {
    if (groupOf.count(op))
      return;
    group->ops.push_back(op);
    llvm::sort(group->ops, [](Operation *a, Operation *b) {
      return a->isBeforeInBlock(b);
    });
    groupOf[op] = group;
  }

  void anchor(Operation *op) {
    if (groupOf.count(op))
      return;
    if (auto embed = dyn_cast<nn::EmbedOp>(op);
        embed && isWeightType(embed.getTable().getType())) {
      make("embed", op);
    } else if (isa<nn::AnglesOp>(op)) {
      make("angles", op);
    } else if (isa<nn::AttentionOp>(op)) {
      make("attention", op);
    } else if (auto linear = dyn_cast<nn::LinearOp>(op)) {
      if (moe::WeighOp weigh = routerOf(linear))
        anchorRouter(linear, weigh);
      else
        make(isProduct(linear) ? "linear" : "upstream", op);
    } else if (auto experts = dyn_cast<moe::ExpertsOp>(op)) {
      anchorExperts(experts);
    }
  }

  /// The weighing that a product's scores decide, where they decide the
  /// selection, too, with a bias or without, and do nothing else.
  moe::WeighOp routerOf(nn::LinearOp linear) {
    Value rows = linear.getInput();
    if (auto norm = rows.getDefiningOp<nn::NormOp>();
        norm && norm.getGroups() == 1)
      rows = norm.getInput();
    if (!isPacked(linear) ||
        (rows.getDefiningOp() && isCheap(rows.getDefiningOp())))
      return {};
    Value scores = linear.getResult();
    if (auto squash = onlySquash(scores))
      scores = squash.getResult();
    moe::WeighOp weigh;
    for (Operation *user : scores.getUsers())
      if (auto found = dyn_cast<moe::WeighOp>(user); found && !weigh)
        weigh = found;
      else if (found)
        return {};
    auto select = weigh ? weigh.getSelection().getDefiningOp<moe::SelectOp>()
                        : moe::SelectOp();
    if (!select || !select->hasOneUse() || weigh.getValue() != scores)
      return {};
    Operation *picks = select;
    if (auto biased = matchBiasedScores(select.getChoice())) {
      picks = select.getChoice().getDefiningOp();
      if (biased->scores != scores || !picks->hasOneUse() ||
          !biased->bias.getDefiningOp<tier::UseOp>())
        return {};
      Operation *shaped = biased->shaped;
      bool only = llvm::all_of(scores.getUsers(), [&](Operation *user) {
        return user == picks || user == weigh || isSizeOf(user, shaped);
      });
      return only ? weigh : moe::WeighOp();
    }
    bool only =
        select.getChoice() == scores && llvm::hasNItems(scores.getUsers(), 2);
    return only ? weigh : moe::WeighOp();
  }
  /// The squashing of scores that nobody else reads.
  static moe::SquashOp onlySquash(Value scores) {
    auto one = [](Operation *user) { return !isa<tensor::DimOp>(user); };
    return llvm::count_if(scores.getUsers(), one) == 1
               ? dyn_cast<moe::SquashOp>(*llvm::find_if(scores.getUsers(), one))
               : moe::SquashOp();
  }
  /// Whether `op` is a size that makes nothing but what `shaped` writes into.
  static bool isSizeOf(Operation *op, Operation *shaped) {
    return isa<tensor::DimOp>(op) &&
           llvm::all_of(op->getUsers(), [&](Operation *user) {
             return isa<tensor::EmptyOp>(user) && user->hasOneUse() &&
                    *user->getUsers().begin() == shaped;
           });
  }
  void anchorRouter(nn::LinearOp linear, moe::WeighOp weigh) {
    Group *group = make("router", linear.getOperation());
    Value scores = weigh.getValue();
    auto select = weigh.getSelection().getDefiningOp<moe::SelectOp>();
    if (scores != linear.getResult())
      add(group, scores.getDefiningOp());
    if (auto biased = matchBiasedScores(select.getChoice())) {
      // Its size is asked of its own scores, so that the kernel reads no rows
      // only to know how many there are.
      OpBuilder b(biased->shaped);
      Location loc = biased->shaped.getLoc();
      Value rows = tensor::DimOp::create(b, loc, scores, 0);
      Value empty = tensor::EmptyOp::create(
          b, loc, ArrayRef<OpFoldResult>{rows, b.getIndexAttr(width(scores))},
          b.getF32Type());
      Operation *before = biased->shaped.getDpsInits()[0].getDefiningOp();
      biased->shaped.setDpsInitOperand(0, empty);
      if (isa_and_present<tensor::EmptyOp>(before) && before->use_empty())
        before->erase();
      add(group, biased->shaped);
      add(group, select.getChoice().getDefiningOp());
    }
    add(group, select);
    add(group, weigh);
    // The rows that experts read are stored by the kernel that norms them
    // anyway.
    if (auto norm = linear.getInput().getDefiningOp<nn::NormOp>())
      for (Operation *user : norm.getResult().getUsers())
        if (isa<arith::TruncFOp>(user))
          add(group, user);
  }
  void anchorExperts(moe::ExpertsOp experts) {
    // Its rows are combined by the emitter of the second half, or all of it is
    // a matter of loops.
    if (!isRoutedUp(experts))
      return;
    auto next = experts->hasOneUse()
                    ? dyn_cast<moe::ExpertsOp>(*experts->getUsers().begin())
                    : moe::ExpertsOp();
    bool known = next && isRoutedDown(next);
    if (!known && llvm::any_of(experts->getUsers(), [](Operation *user) {
          return isa<moe::ExpertsOp, moe::CombineOp>(user);
        }))
      return;
    Group *group = make("routed_up", experts.getOperation());
    add(group, experts.getBuckets().getDefiningOp());
    if (!known)
      return;
    group = make("routed_down", next.getOperation());
    add(group, *next->getUsers().begin());
  }

  /// Whether columns of `rows` are halves that its product keeps apart.
  static bool isHalf(Value rows) {
    auto linear = rows.getDefiningOp<nn::LinearOp>();
    return linear && isProduct(linear) && hasGluHalves(linear);
  }

  /// Adds an elementwise op to the kernel that makes one of its operands, where
  /// that operand has no other reader.
  void joinProducer(Operation *op) {
    if (op->getNumResults() != 1)
      return;
    bool slice = isa<tensor::ExtractSliceOp>(op) && op->hasOneUse() &&
                 isa<nn::GluOp>(*op->getUsers().begin()) &&
                 isHalf(op->getOperand(0));
    if (!slice && !isElementwise(op) && !isa<arith::TruncFOp>(op))
      return;
    Group *best = nullptr;
    for (Value operand : op->getOperands()) {
      Operation *def = operand.getDefiningOp();
      Group *group = def ? groupOf.lookup(def) : nullptr;
      if (!group)
        continue;
      bool may = group->family == "linear" ||
                 (group->family == "attention" && isa<arith::TruncFOp>(op));
      // The epilogue runs over the product's columns, so what joins has them.
      if (!may || !(slice || (onlyReader(operand, op) &&
                              width(operand) == width(op->getResult(0)))))
        continue;
      if (!best || best->ops.back()->isBeforeInBlock(group->ops.back()))
        best = group;
    }
    if (best)
      add(best, op);
  }
  /// Work on activations that no family has taken and that loops can do.
  static bool isFallback(Operation *op) {
    if (isa<moe::WeighOp, moe::CombineOp>(op))
      return true;
    return hasLoops(op) && llvm::all_of(op->getResultTypes(), isRows);
  }

  /// Makes kernels of the cheap ops that `op`'s own kernel cannot remake, or
  /// that have no kernel to remake them.
  void makeOperands(Operation *op) {
    Group *group = groupOf.lookup(op);
    if (!group && !op->hasTrait<OpTrait::IsTerminator>())
      return;
    StringRef family = group ? group->family : "";
    if (family == "router") // Its emitter knows all of them, or it is none.
      return;
    if (auto attention = dyn_cast<nn::AttentionOp>(op)) {
      int64_t kvHeads = attention.getCache().getType().getHeads();
      makeAlone(
          behindHead(attention.getQuery(), int64_t(attention.getHeads())));
      makeAlone(behindHead(attention.getKey(), kvHeads));
      makeAlone(behindHead(attention.getValue(), kvHeads));
      return;
    }
    if (auto linear = dyn_cast<nn::LinearOp>(op);
        linear && family != "upstream") {
      makeAlone(behindStage(linear.getInput()));
      return;
    }
    if (auto dispatch = dyn_cast<moe::DispatchOp>(op); dispatch && group)
      return makeAlone(behindStage(dispatch.getInput()));
    for (Value operand : readBy(op)) {
      Operation *def = operand.getDefiningOp();
      if (!def || groupOf.count(def) || !isCheap(def))
        continue;
      if (!group || family == "routed_down" || isa<moe::WeighOp>(op))
        makeChoice(def);
      else
        makeHeavy(def, group);
    }
  }
  /// A kernel of its own for `op`, unless it is none or has one.
  void makeAlone(Operation *op) {
    if (op && !groupOf.count(op) && hasLoops(op) &&
        llvm::all_of(op->getResultTypes(), isRows))
      makeOperands(make("upstream", op)->ops.front());
  }
  /// The same, past what is no tensor: the scores behind a selection.
  void makeChoice(Operation *op) {
    if (auto select = dyn_cast<moe::SelectOp>(op))
      op = select.getChoice().getDefiningOp();
    if (op && isCheap(op))
      makeAlone(op);
  }
  /// What takes more than a look to remake, among all that `op` is remade from.
  void makeHeavy(Operation *op, Group *group) {
    if (groupOf.count(op) || !isCheap(op))
      return;
    // An epilogue reads other values as they lie in memory.
    bool epilogue = group->family == "linear";
    if (isa<nn::NormOp, nn::RotateOp>(op) ||
        (isa<nn::EmbedOp, tensor::ConcatOp, tensor::ExpandShapeOp,
             tensor::CollapseShapeOp>(op) &&
         epilogue))
      return makeAlone(op);
    if (auto slice = dyn_cast<tensor::ExtractSliceOp>(op); slice && epilogue) {
      if (groupOf.lookup(slice.getSource().getDefiningOp()) != group)
        makeAlone(op);
      return;
    }
    for (Value operand : readBy(op))
      if (Operation *def = operand.getDefiningOp())
        makeHeavy(def, group);
  }

  /// Finds out which values have a row for each row of logits.
  void findRows() {
    for (Operation &op : function.getBody().front()) {
      bool few = false;
      if (auto embed = dyn_cast<nn::EmbedOp>(op)) {
        auto ids = dyn_cast<BlockArgument>(embed.getIds());
        auto role = ids ? function.getArgAttrOfType<StringAttr>(
                              ids.getArgNumber(), "headrace.role")
                        : StringAttr();
        few = role && role.getValue() == HEADRACE_ROLE_OUTPUT_ROWS;
      } else {
        few = llvm::any_of(op.getOperands(), [&](Value operand) {
          return outputRows.contains(operand);
        });
      }
      if (few)
        outputRows.insert(op.result_begin(), op.result_end());
    }
  }
  static int64_t width(Value value) {
    return cast<RankedTensorType>(value.getType()).getDimSize(1);
  }
  static bool onlyReader(Value value, Operation *op) {
    return llvm::all_of(value.getUsers(), [&](Operation *user) {
      return user == op || isa<tensor::DimOp>(user);
    });
  }

  LogicalResult outline(Group &group) {
    // The group's ops and the cheap ops they need, in block order.
    llvm::SetVector<Operation *> inside(group.ops.begin(), group.ops.end());
    SmallVector<Operation *> work(group.ops);
    while (!work.empty()) {
      Operation *op = work.pop_back_val();
      for (Value operand : readBy(op)) {
        Operation *def = operand.getDefiningOp();
        if (def && !groupOf.count(def) && isCheap(def) && inside.insert(def))
          work.push_back(def);
      }
    }
    SmallVector<Operation *> ops(inside.begin(), inside.end());
    llvm::sort(
        ops, [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
    llvm::SetVector<Value> inputs, outputs;
    for (Operation *op : ops)
      for (Value operand : readBy(op)) {
        Operation *def = operand.getDefiningOp();
        if (!def || !inside.contains(def))
          inputs.insert(operand);
      }
    for (Value input : inputs)
      if (!memoryType(input.getType(), StepLimits()))
        return group.ops.back()->emitOpError("reads a ")
               << input.getType() << " of another kernel, which is never in "
               << "memory";
    for (Operation *op : group.ops)
      for (Value result : op->getResults())
        if (llvm::any_of(result.getUsers(), [&](Operation *user) {
              return groupOf.lookup(user) != &group &&
                     !isa<tensor::DimOp>(user);
            }))
          outputs.insert(result);
    if (outputs.empty())
      return success(); // Nobody reads it.

    Operation *last = group.ops.back();
    Location loc = last->getLoc();
    MLIRContext *context = last->getContext();
    SmallVector<Type> inTypes, outTypes;
    for (Value value : inputs)
      inTypes.push_back(value.getType());
    for (Value value : outputs)
      outTypes.push_back(value.getType());
    auto type = FunctionType::get(context, inTypes, outTypes);

    OpBuilder b(function);
    // A choice from scores in memory is a router without the product.
    StringRef family =
        isa<moe::WeighOp>(group.ops.back()) ? "router" : group.family;
    auto kernel = flow::KernelOp::create(b, loc, "kernel", family, type,
                                         flow::GridAttr());
    if (outputRows.contains(outputs.front()))
      kernel->setAttr(kOutputRowsAttr, b.getUnitAttr());
    Block &body = kernel.getBody().emplaceBlock();
    IRMapping map;
    for (Value value : inputs)
      map.map(value, body.addArgument(value.getType(), loc));
    OpBuilder inner = OpBuilder::atBlockEnd(&body);
    IntegerAttr layer;
    for (Operation *op : ops) {
      Operation *clone = inner.clone(*op, map);
      // Which layer's pages are read is the call's business, so that all layers
      // share one kernel.
      if (auto attention = dyn_cast<nn::AttentionOp>(clone)) {
        layer = attention.getLayerAttr();
        attention.setLayer(0);
      }
    }
    SmallVector<Value> yielded;
    for (Value value : outputs)
      yielded.push_back(map.lookup(value));
    flow::YieldOp::create(inner, loc, yielded);

    // By itself: the module around it is in pieces, and a printer that finds it
    // so would number values by what surrounds the kernel.
    std::string text;
    llvm::raw_string_ostream stream(text);
    kernel->print(stream, OpPrintingFlags().useLocalScope().assumeVerified());
    auto [entry, fresh] = known.try_emplace(text, "");
    if (fresh) {
      std::string name = (family + "_" + Twine(counters[family]++)).str();
      kernel.setSymName(name);
      entry->second = name;
    } else {
      kernel.erase();
    }

    b.setInsertionPointAfter(last);
    auto call = flow::CallOp::create(b, loc, outTypes, entry->second,
                                     inputs.getArrayRef());
    if (layer)
      call->setAttr("layer", layer);
    for (auto [i, result] : llvm::enumerate(call.getResults())) {
      Value value = outputs[i];
      value.replaceUsesWithIf(result, [&](OpOperand &use) {
        return groupOf.lookup(use.getOwner()) != &group;
      });
    }
    for (Operation *op : llvm::reverse(group.ops)) {
      // Sizes that slices of a merged product ask for.
      for (Operation *user : llvm::make_early_inc_range(op->getUsers()))
        if (isa<tensor::DimOp>(user) && user->use_empty())
          user->erase();
      groupOf.erase(op);
      if (!op->use_empty())
        continue;
      SmallVector<Value> operands(op->getOperands());
      op->erase();
      for (Value operand : operands) // A size of a producer, too, goes with it.
        if (auto empty = operand.getDefiningOp<tensor::EmptyOp>();
            empty && empty->use_empty())
          empty->erase();
    }
    return success();
  }

  func::FuncOp function;
  llvm::StringMap<std::string> &known;
  llvm::StringMap<unsigned> &counters;
  std::vector<std::unique_ptr<Group>> groups;
  DenseMap<Operation *, Group *> groupOf;
  DenseSet<Value> outputRows;
};

struct FormKernelsPass : public ModulePass<FormKernelsPass> {
  HEADRACE_PASS("headrace-form-kernels", "cuts functions into kernels")

  void runOnOperation() override {
    llvm::StringMap<std::string> known;
    llvm::StringMap<unsigned> counters;
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (failed(KernelFormer(function, known, counters).run()))
        return signalPassFailure();
  }
};
} // namespace

std::unique_ptr<Pass> headrace::createFormKernelsPass() {
  return std::make_unique<FormKernelsPass>();
}
