// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// form-kernels: cuts a function into kernels.
//
// Every op that reads weights or mixes rows is the anchor of a kernel. What
// works elementwise on an anchor's only result joins it (epilogue); what is
// cheap to make again (norms, slices, rotations) is cloned into each kernel
// that reads it (prologue). Other elementwise work is a kernel of its own, made
// by upstream's lowering. Kernels that compute the same function on other
// weights are one kernel.
#include "compiler/codegen/BufferLayout.h"
#include "compiler/codegen/Elementwise.h"
#include "compiler/transforms/PassesDetail.h"
#include "dialects/moe/IR/Moe.h"
#include "dialects/nn/IR/Nn.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;
using namespace headrace;

namespace {

struct Group {
  StringRef family;
  SmallVector<Operation *> ops;
};

/// Ops that a kernel makes for itself rather than read from memory.
bool isCheap(Operation *op) {
  if (auto embed = dyn_cast<nn::EmbedOp>(op)) // Rows picked from activations.
    return !isWeightType(embed.getTable().getType());
  return isa<arith::ConstantOp, nn::NormOp, nn::RotateOp, nn::ClampOp,
             arith::ExtFOp, tensor::ExtractSliceOp, tensor::DimOp>(op);
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
      if (!groupOf.count(&op) && isFallback(&op))
        make("upstream", &op);
    // Kernels stand where their last op stood: everything they read is there.
    SmallVector<Group *> order;
    for (Operation &op : block) {
      Group *group = groupOf.lookup(&op);
      if (group && group->ops.back() == &op)
        order.push_back(group);
      else if (!group && !isCheap(&op) && !isa<tier::UseOp>(op) &&
               !op.hasTrait<OpTrait::IsTerminator>())
        return op.emitOpError(
            "belongs to no kernel family; expected a product, "
            "a router, attention, an embedding or an "
            "elementwise op on a product");
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
      if (moe::SelectOp select = routerOf(linear))
        anchorRouter(linear, select);
      else
        make("linear", op);
    } else if (auto experts = dyn_cast<moe::ExpertsOp>(op)) {
      anchorExperts(experts);
    }
  }

  /// The selection that a product's scores decide, if they do nothing else.
  moe::SelectOp routerOf(nn::LinearOp linear) {
    Value scores = linear.getResult();
    if (scores.hasOneUse())
      if (auto squash = dyn_cast<moe::SquashOp>(*scores.getUsers().begin()))
        scores = squash.getResult();
    for (Operation *user : scores.getUsers())
      if (auto select = dyn_cast<moe::SelectOp>(user))
        return select;
    return {};
  }
  void anchorRouter(nn::LinearOp linear, moe::SelectOp select) {
    Group *group = make("router", linear.getOperation());
    if (auto squash = select.getChoice().getDefiningOp<moe::SquashOp>())
      add(group, squash);
    add(group, select);
    for (Operation *user : select.getResult().getUsers())
      if (isa<moe::WeighOp>(user))
        add(group, user);
    // The rows that experts read are stored by the kernel that norms them
    // anyway.
    if (auto norm = linear.getInput().getDefiningOp<nn::NormOp>())
      for (Operation *user : norm.getResult().getUsers())
        if (isa<arith::TruncFOp>(user))
          add(group, user);
  }
  void anchorExperts(moe::ExpertsOp experts) {
    Operation *source = experts.getBuckets().getDefiningOp();
    if (isa_and_nonnull<moe::DispatchOp>(source)) {
      Group *group = make("routed_up", experts.getOperation());
      add(group, source);
      return;
    }
    Group *group = make("routed_down", experts.getOperation());
    for (Operation *user : experts.getResult().getUsers())
      if (isa<moe::CombineOp>(user))
        add(group, user);
  }

  /// Adds an elementwise op to the kernel that makes one of its operands, where
  /// that operand has no other reader.
  void joinProducer(Operation *op) {
    if (op->getNumResults() != 1)
      return;
    bool slice = isa<tensor::ExtractSliceOp>(op) && op->hasOneUse() &&
                 isa<nn::GluOp>(*op->getUsers().begin());
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
  /// Elementwise work on activations that no family has taken.
  static bool isFallback(Operation *op) {
    if (isCheap(op) || op->getNumResults() != 1 ||
        !(isElementwise(op) || OpTrait::hasElementwiseMappableTraits(op)))
      return false;
    auto rows = [](Type type) {
      auto tensor = dyn_cast<RankedTensorType>(type);
      return tensor && tensor.getRank() == 2 && tensor.isDynamicDim(0);
    };
    return rows(op->getResult(0).getType()) &&
           llvm::all_of(op->getOperandTypes(), rows);
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
      for (Value operand : op->getOperands()) {
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
      for (Value operand : op->getOperands()) {
        Operation *def = operand.getDefiningOp();
        if (!def || !inside.contains(def))
          inputs.insert(operand);
      }
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
    auto kernel = flow::KernelOp::create(b, loc, "kernel", group.family, type,
                                         flow::GridAttr());
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

    std::string text;
    llvm::raw_string_ostream stream(text);
    kernel->print(stream);
    auto [entry, fresh] = known.try_emplace(text, "");
    if (fresh) {
      std::string name =
          (group.family + "_" + Twine(counters[group.family]++)).str();
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
      if (op->use_empty())
        op->erase();
    }
    return success();
  }

  func::FuncOp function;
  llvm::StringMap<std::string> &known;
  llvm::StringMap<unsigned> &counters;
  std::vector<std::unique_ptr<Group>> groups;
  DenseMap<Operation *, Group *> groupOf;
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
