// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// place-buffers: turns each function of kernel calls into a schedule of
// launches on placed buffers, and states the peak of every level.
//
// Buffers whose lifetimes do not meet share bytes. A result is placed over an
// operand that dies in the same launch when the kernel only ever adds to it.
#include "compiler/codegen/BufferLayout.h"
#include "compiler/transforms/PassesDetail.h"
#include "dialects/moe/IR/Moe.h"
#include "dialects/nn/IR/Nn.h"
#include "runtime/abi/kernel_abi.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace headrace;

namespace {

/// One placed value: alive from launch `first` to launch `last`, both included.
struct Placed {
  std::string name;
  Type type;
  int64_t bytes = 0, offset = 0;
  int first = 0, last = 0;
  bool routing = false;
};

/// Whether `kernel` only adds to argument `argument`, element by element, so
/// that a result of the same type may take its place.
bool mayTakePlace(flow::KernelOp kernel, unsigned argument, unsigned result) {
  Block &body = kernel.getBody().front();
  BlockArgument value = body.getArgument(argument);
  if (value.getType() != kernel.getType().getResult(result))
    return false;
  // The loops of the fallback read ahead of where they write, but for the op
  // that makes the result.
  Operation *made = body.getTerminator()->getOperand(result).getDefiningOp();
  bool loops = kernel.getFamily() == "upstream";
  return llvm::all_of(value.getUsers(), [&](Operation *user) {
    return isa<arith::AddFOp, moe::CombineOp>(user) && (!loops || user == made);
  });
}

class Placer {
public:
  Placer(func::FuncOp function, const StepLimits &limits, StringRef level,
         bool gpu, bool planned)
      : function(function), limits(limits), level(level), gpu(gpu),
        planned(planned), b(function) {}

  /// Returns the bytes of the arena, or failure.
  FailureOr<int64_t> run() {
    for (Operation &op : function.getBody().front())
      if (auto call = dyn_cast<flow::CallOp>(op)) {
        calls.push_back(call);
        for (Type type : call.getResultTypes())
          if (isWeightType(type) || !memoryType(type, limits))
            return call.emitOpError("gives a ")
                   << type
                   << ", which has no place in memory; expected rows of a "
                      "step, tensor<?x...>";
      } else if (!isa<tier::UseOp, func::ReturnOp>(op))
        return op.emitOpError("is outside of every kernel");
    formUnits();
    if (failed(nameArguments()))
      return failure();
    nameResults();
    placeScratch();
    emit();
    return arena;
  }

private:
  std::string prefix() {
    return function.getSymName() == "forward"
               ? ""
               : function.getSymName().str() + ".";
  }

  /// The routing by which a call reads stacked weights, or null.
  static Value routingOf(flow::CallOp call) {
    Value routing;
    bool stacked = false;
    for (Value operand : call.getOperands()) {
      if (isa<moe::RoutingType>(operand.getType()))
        routing = operand;
      auto use = operand.getDefiningOp<tier::UseOp>();
      stacked |= use && use.getType().getRank() >= 3;
    }
    return stacked ? routing : Value();
  }

  /// Calls that run together: with a plan, those of a routed layer run once for
  /// each wave of experts, so nothing that one of them reads may be written
  /// over by another.
  void formUnits() {
    for (int i = 0; i < int(calls.size()); ++i)
      units.push_back({i, i});
    for (int i = 1; planned && i < int(calls.size()); ++i) {
      Value routing = routingOf(calls[i]);
      if (!routing || routing != routingOf(calls[i - 1]))
        continue;
      units[i].first = units[i - 1].first;
      for (int j = units[i].first; j <= i; ++j)
        units[j].second = i;
    }
  }
  /// Whether only `call` of its unit reads `value`.
  bool readsAlone(int call, Value value) {
    for (int j = units[call].first; j <= units[call].second; ++j)
      if (j != call && llvm::is_contained(calls[j].getOperands(), value))
        return false;
    return true;
  }

  LogicalResult nameArguments() {
    for (BlockArgument argument : function.getArguments()) {
      auto role = function.getArgAttrOfType<StringAttr>(argument.getArgNumber(),
                                                        "headrace.role");
      std::string name = role
                             ? role.getValue().str()
                             : ("input" + Twine(argument.getArgNumber())).str();
      Type type = argument.getType();
      if (auto cache = dyn_cast<nn::KvCacheType>(type)) {
        // One buffer a layer, so that kernels need not know theirs.
        roots[argument] = "cache";
        inputs.push_back(HEADRACE_ROLE_KV_POOL);
        inputs.push_back(HEADRACE_ROLE_KV_TABLE);
        KvLayout layout(cache, gpu);
        int64_t element = cache.getElement().getIntOrFloatBitWidth() / 8;
        for (int64_t i = 0; i < cache.getLayers(); ++i) {
          tier::BufferOp buffer = external(
              i == 0 ? std::string(HEADRACE_ROLE_KV_POOL)
                     : (HEADRACE_ROLE_KV_POOL "." + Twine(i)).str(),
              RankedTensorType::get({ShapedType::kDynamic}, cache.getElement()),
              layout.pageElements * element, HEADRACE_ROLE_KV_POOL, false);
          if (i)
            buffer.setOffset(uint64_t(i * layout.layerElements * element));
        }
        int64_t pages = (limits.maxContext + HEADRACE_KV_PAGE_POSITIONS - 1) /
                        HEADRACE_KV_PAGE_POSITIONS;
        external(HEADRACE_ROLE_KV_TABLE,
                 RankedTensorType::get({ShapedType::kDynamic, pages},
                                       b.getI32Type()),
                 limits.maxSequences * pages * 4, HEADRACE_ROLE_KV_TABLE,
                 false);
        continue;
      }
      if (isWeightType(type))
        return function.emitOpError("has an argument of type ")
               << type << ", which is that of a weight; expected tier.use of a "
               << "tier.weight instead";
      if (!memoryType(type, limits))
        return function.emitOpError("has an argument of type ")
               << type << ", which is never in memory";
      int64_t bytes = bufferBytes(type, limits);
      if (name == HEADRACE_ROLE_SEQUENCES)
        bytes =
            int64_t(llvm::alignTo(uint64_t(limits.maxSequences + 1) * 4, 64));
      names[argument] = prefix() + name;
      external(prefix() + name, type, bytes, name, false);
      inputs.push_back(prefix() + name);
    }
    return success();
  }

  void nameResults() {
    Operation *end = function.getBody().front().getTerminator();
    for (auto [i, value] : llvm::enumerate(end->getOperands())) {
      if (isa<nn::KvCacheType>(value.getType()))
        continue;
      bool logits = function.getSymName() == "forward" && i == 0;
      std::string role = logits ? std::string(HEADRACE_ROLE_LOGITS)
                                : ("output" + Twine(i)).str();
      names[value] = prefix() + role;
      external(prefix() + role, value.getType(),
               bufferBytes(value.getType(), limits), role, true);
      outputs.push_back(prefix() + role);
    }
  }

  tier::BufferOp external(const std::string &name, Type type, int64_t bytes,
                          StringRef role, bool output) {
    return tier::BufferOp::create(
        b, function.getLoc(), b.getStringAttr(name), TypeAttr::get(type),
        b.getStringAttr(level), b.getI64IntegerAttr(bytes), IntegerAttr(),
        b.getStringAttr(role), output ? b.getUnitAttr() : UnitAttr());
  }

  void placeScratch() {
    DenseMap<Value, size_t> number;
    std::vector<Placed> placed;
    SmallVector<SmallVector<Value>> members; // Values of one place.
    auto lastUse = [&](Value value) {
      int last = -1;
      for (auto [i, call] : llvm::enumerate(calls))
        if (llvm::is_contained(call.getOperands(), value))
          last = units[i].second;
      return last;
    };
    SymbolTableCollection tables;
    for (auto [i, call] : llvm::enumerate(calls)) {
      auto kernel = tables.lookupNearestSymbolFrom<flow::KernelOp>(
          call, call.getKernelAttr());
      for (auto [r, result] : llvm::enumerate(call.getResults())) {
        if (isa<nn::KvCacheType>(result.getType())) {
          roots[result] = "cache";
          continue;
        }
        if (names.count(result))
          continue; // The host's.
        int last = std::max(lastUse(result), units[i].second);
        // Over an operand that ends here, when the kernel allows.
        bool found = false;
        for (auto [a, operand] : llvm::enumerate(call.getOperands())) {
          auto it = number.find(operand);
          if (it == number.end() || placed[it->second].last != int(i) ||
              !mayTakePlace(kernel, unsigned(a), unsigned(r)) ||
              !readsAlone(int(i), operand))
            continue;
          size_t place = it->second; // A growing map moves what `it` names.
          placed[place].last = last;
          number[result] = place;
          members[place].push_back(result);
          found = true;
          break;
        }
        if (found)
          continue;
        Placed entry;
        entry.type = result.getType();
        entry.bytes = bufferBytes(result.getType(), limits);
        entry.first = units[i].first;
        entry.last = last;
        entry.routing = isa<moe::RoutingType>(result.getType());
        number[result] = placed.size();
        placed.push_back(entry);
        members.push_back({result});
      }
    }
    // Largest first into the lowest free bytes; a routing buffer keeps a
    // counter that lives between steps, so it shares with routing only.
    SmallVector<size_t> order(placed.size());
    for (size_t i = 0; i < order.size(); ++i)
      order[i] = i;
    llvm::stable_sort(order, [&](size_t x, size_t y) {
      if (placed[x].routing != placed[y].routing)
        return placed[x].routing;
      return placed[x].bytes > placed[y].bytes;
    });
    int64_t routingEnd = 0;
    SmallVector<size_t> done;
    for (size_t i : order) {
      Placed &mine = placed[i];
      SmallVector<std::pair<int64_t, int64_t>> taken;
      if (!mine.routing)
        taken.push_back({0, routingEnd});
      for (size_t j : done) {
        Placed &other = placed[j];
        if (other.first <= mine.last && mine.first <= other.last)
          taken.push_back({other.offset, other.offset + other.bytes});
      }
      llvm::sort(taken);
      int64_t at = 0;
      for (auto [from, to] : taken) {
        if (at + mine.bytes <= from)
          break;
        at = std::max(at, to);
      }
      mine.offset = at;
      arena = std::max(arena, at + mine.bytes);
      if (mine.routing)
        routingEnd = std::max(routingEnd, at + mine.bytes);
      done.push_back(i);
    }
    for (size_t i = 0; i < placed.size(); ++i) {
      std::string name = (prefix() + "scratch" + Twine(i)).str();
      tier::BufferOp::create(
          b, function.getLoc(), b.getStringAttr(name),
          TypeAttr::get(placed[i].type), b.getStringAttr(level),
          b.getI64IntegerAttr(placed[i].bytes),
          b.getI64IntegerAttr(placed[i].offset), StringAttr(), UnitAttr());
      for (Value value : members[i])
        names[value] = name;
    }
  }

  void emit() {
    auto symbols = [&](ArrayRef<std::string> list) {
      SmallVector<Attribute> out;
      for (const std::string &name : list)
        out.push_back(FlatSymbolRefAttr::get(b.getContext(), name));
      return b.getArrayAttr(out);
    };
    auto schedule =
        flow::ScheduleOp::create(b, function.getLoc(), function.getSymName(),
                                 symbols(inputs), symbols(outputs));
    Block &block = schedule.getBody().emplaceBlock();
    OpBuilder inner = OpBuilder::atBlockEnd(&block);
    for (flow::CallOp call : calls) {
      SmallVector<std::string> operands, results;
      for (Value operand : call.getOperands()) {
        if (isa<nn::KvCacheType>(operand.getType())) {
          int64_t layer = 0;
          if (auto attr = call->getAttrOfType<IntegerAttr>("layer"))
            layer = attr.getInt();
          operands.push_back(
              layer == 0 ? std::string(HEADRACE_ROLE_KV_POOL)
                         : (HEADRACE_ROLE_KV_POOL "." + Twine(layer)).str());
          operands.push_back(HEADRACE_ROLE_KV_TABLE);
        } else if (auto use = operand.getDefiningOp<tier::UseOp>()) {
          operands.push_back(use.getWeight().str());
        } else {
          operands.push_back(names.lookup(operand));
        }
      }
      for (Value result : call.getResults())
        if (!isa<nn::KvCacheType>(result.getType()))
          results.push_back(names.lookup(result));
      auto launch =
          flow::LaunchOp::create(inner, call.getLoc(), call.getKernel(),
                                 symbols(operands), symbols(results));
      if (call->hasAttr(kPredicts))
        launch->setAttr(kPredicts, b.getUnitAttr());
    }
    function.erase();
  }

  func::FuncOp function;
  const StepLimits &limits;
  StringRef level;
  bool gpu, planned;
  OpBuilder b;
  SmallVector<flow::CallOp> calls;
  SmallVector<std::pair<int, int>> units; ///< First and last call, by call.
  DenseMap<Value, std::string> names, roots;
  SmallVector<std::string> inputs, outputs;
  int64_t arena = 0;
};

struct PlaceBuffersPass : public ModulePass<PlaceBuffersPass> {
  HEADRACE_PASS("headrace-place-buffers", "places buffers and orders launches")

  explicit PlaceBuffersPass(bool planned) : planned(planned) {}

  void runOnOperation() override {
    ModuleOp module = getOperation();
    StepLimits limits = StepLimits::of(module);
    auto machine = module->getAttrOfType<tier::MachineAttr>("tier.machine");
    if (!machine) {
      module.emitError("expected the module to name its machine in "
                       "'tier.machine'");
      return signalPassFailure();
    }
    // Weights, activations and caches live on the level that is not private to
    // a core or a multiprocessor; the faster ones are caches of it.
    bool gpu = module->hasAttr("headrace.target");
    StringRef level = gpu ? "hbm" : "dram";
    tier::LevelAttr home = machine.lookupLevel(level);
    if (!home) {
      module.emitError("expected machine '")
          << machine.getName() << "' to have a level '" << level << "'";
      return signalPassFailure();
    }
    for (auto function : module.getOps<func::FuncOp>())
      for (Type type : function.getArgumentTypes())
        if (isa<nn::KvCacheType>(type))
          module->setAttr("headrace.kv_cache", TypeAttr::get(type));
    int64_t arena = 0;
    for (auto function :
         llvm::make_early_inc_range(module.getOps<func::FuncOp>())) {
      auto bytes = Placer(function, limits, level, gpu, planned).run();
      if (failed(bytes))
        return signalPassFailure();
      arena = std::max(arena, *bytes);
    }
    uint64_t weights = 0;
    for (auto weight : module.getOps<tier::WeightOp>()) {
      MemRefType memory = memoryType(weight.getType(), limits);
      weights += llvm::alignTo(uint64_t(memory.getNumElements()) *
                                   (memory.getElementTypeBitWidth() / 8),
                               4096);
    }
    uint64_t need = weights + uint64_t(arena);
    uint64_t have = home.getBytes() * home.getCount();
    if (need > have && !planned) {
      module.emitError("the program needs ")
          << need << " bytes of level '" << level << "' (" << weights
          << " of weights, " << arena << " of activations), but machine '"
          << machine.getName() << "' has " << have << ": " << need - have
          << " too few";
      return signalPassFailure();
    }
    Builder b(&getContext());
    module->setAttr(
        "headrace.peaks",
        b.getDictionaryAttr({b.getNamedAttr(
            level,
            b.getDictionaryAttr(
                {b.getNamedAttr("activations", b.getI64IntegerAttr(arena)),
                 b.getNamedAttr("weights",
                                b.getI64IntegerAttr(int64_t(weights)))}))}));
  }

  bool planned;
};
} // namespace

std::unique_ptr<Pass> headrace::createPlaceBuffersPass(bool planned) {
  return std::make_unique<PlaceBuffersPass>(planned);
}
