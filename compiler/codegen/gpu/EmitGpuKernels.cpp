// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Chooses the GPU emitter of each kernel by its family, for each class of
// steps, and rewrites the schedules to the kernels that came of it.
#include "compiler/codegen/gpu/GpuEmitters.h"
#include "dialects/nn/IR/Nn.h"
#include "dialects/tier/IR/Tier.h"
#include "mlir/IR/IRMapping.h"
#include "runtime/abi/gpu_kernel_abi.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace headrace;

llvm::StringRef headrace::stepSizeName(StepSize size) {
  return size == StepSize::few     ? "few"
         : size == StepSize::many  ? "many"
         : size == StepSize::every ? "all"
                                   : "many_sm_90a";
}

bool headrace::isInSection(Operation *op, StringRef section) {
  auto only = op->getAttrOfType<StringAttr>(kSectionAttr);
  return !only || only.getValue() == section;
}

const DeviceKernel &Expansion::add(flow::KernelOp kernel, StepSize size,
                                   StringRef part,
                                   ArrayRef<ExtraBuffer> extras) {
  std::string name = kernel.getSymName().str();
  if (!part.empty())
    name += "_" + part.str();
  kernels.push_back({name + "_" + stepSizeName(size).str(),
                     SmallVector<ExtraBuffer>(extras), std::nullopt});
  return kernels.back();
}

namespace {

using GpuEmitter = LogicalResult (*)(flow::KernelOp, const GpuOptions &,
                                     StepSize, Expansion &);

GpuEmitter emitterOf(StringRef family) {
  static const llvm::StringMap<GpuEmitter> emitters = {
      {"angles", emitGpuAngles},
      {"attention", emitGpuAttention},
      {"embed", emitGpuEmbed},
      {"linear", emitGpuLinear},
      {"routed_down", emitGpuRoutedDown},
      {"routed_up", emitGpuRoutedUp},
      {"router", emitGpuRouter},
      {"upstream", emitGpuLoops},
  };
  return emitters.lookup(family);
}

/// Families whose kernel is the same for every class of steps.
bool hasOneSize(StringRef family) {
  return family == "angles" || family == "embed" || family == "upstream" ||
         family == "router";
}

/// Whether `kernel` has a product that warpgroups' instructions take: weights
/// in fragments.
bool usesWarpgroups(flow::KernelOp kernel) {
  bool uses = false;
  kernel.getBody().walk([&](nn::LinearOp linear) {
    auto type = cast<RankedTensorType>(linear.getWeight().getType());
    uses |= isa_and_nonnull<flow::FragmentsAttr>(tier::packingOf(type));
  });
  return uses;
}

class Driver {
public:
  Driver(ModuleOp module, const GpuTarget &target)
      : module(module), options{target, StepLimits::of(module)} {
    int64_t most = options.limits.maxTokens;
    classes.push_back({StepSize::few, false, std::min(most, kFewTokens)});
    if (most <= kFewTokens)
      return;
    bool library = module->hasAttr(kLibraryAttr) && most > kLibraryTokens;
    SmallVector<StepSize> sizes{StepSize::many};
    if (target.chip == "sm_90a")
      sizes.push_back(StepSize::manyWarpgroups);
    for (StepSize size : sizes)
      classes.push_back({size, false, library ? kLibraryTokens : most});
    for (StepSize size : sizes)
      if (library)
        classes.push_back({size, true, most});
  }

  /// Makes the kernels, and forgets what no launch needs.
  LogicalResult makeKernels() {
    for (auto kernel :
         llvm::make_early_inc_range(module.getOps<flow::KernelOp>())) {
      GpuEmitter emitter = emitterOf(kernel.getFamily());
      if (!emitter)
        return kernel.emitOpError("is of family '")
               << kernel.getFamily() << "', which no GPU emitter knows";
      auto &made = expansions[kernel.getSymName()];
      std::optional<DeviceKernel> product;
      if (classes.back().library)
        product = libraryProduct(kernel, options.limits);
      for (const Class &one : classes) {
        StepSize size = one.size;
        if (one.library) {
          // As without the library, but for the product itself.
          made.push_back(made[generatedLike(size)]);
          if (product)
            made.back().kernels.back() = *product;
          anyProduct |= product.has_value();
          continue;
        }
        if (hasOneSize(kernel.getFamily())) {
          if (!made.empty()) {
            made.push_back(made.front());
            continue;
          }
          size = StepSize::every;
        }
        if (size == StepSize::manyWarpgroups) {
          if (!usesWarpgroups(kernel)) {
            made.push_back(made.back());
            continue;
          }
          limitTo(made.back(), kPtx);
        }
        made.emplace_back();
        if (failed(emitter(kernel, options, size, made.back())))
          return failure();
        if (size == StepSize::manyWarpgroups)
          limitTo(made.back(), kCubin);
        workspace = std::max(workspace, made.back().workspaceBytes);
        partials = std::max(partials, made.back().partialBytes);
        tickets = std::max(tickets, made.back().tickets);
      }
    }
    if (!anyProduct)
      forgetLibrary();
    return success();
  }

  GpuWorkspace extras() const {
    return {llvm::alignTo(uint64_t(workspace), 64),
            llvm::alignTo(uint64_t(partials), 64),
            llvm::alignTo(uint64_t(tickets) * 4, 64)};
  }

  LogicalResult run() {
    if (failed(makeKernels()))
      return failure();
    auto plans = module.getOps<tier::PlanOp>();
    if (failed(plans.begin() == plans.end() ? placeExtras() : findExtras()))
      return failure();
    for (auto schedule :
         llvm::make_early_inc_range(module.getOps<flow::ScheduleOp>())) {
      for (size_t i = 0; i < classes.size(); ++i)
        rewrite(schedule, i);
      schedule.erase();
    }
    for (auto kernel :
         llvm::make_early_inc_range(module.getOps<flow::KernelOp>()))
      kernel.erase();
    return success();
  }

private:
  /// A class of steps, and who runs its large dense products.
  struct Class {
    StepSize size;
    bool library;
    int64_t maxTokens;
  };

  /// The class of our own kernels for `size`.
  size_t generatedLike(StepSize size) const {
    return size_t(
        llvm::find_if(classes,
                      [&](const Class &one) { return one.size == size; }) -
        classes.begin());
  }

  /// Classes that would be like others but not captured are of no use.
  void forgetLibrary() {
    llvm::erase_if(classes, [](const Class &one) { return one.library; });
    for (Class &one : classes)
      if (one.size != StepSize::few)
        one.maxTokens = options.limits.maxTokens;
  }

  void limitTo(const Expansion &expansion, const char *section) {
    for (const DeviceKernel &kernel : expansion.kernels)
      module.lookupSymbol(kernel.name)
          ->setAttr(kSectionAttr,
                    StringAttr::get(module.getContext(), section));
  }

  /// A plan has placed them, as large as it was told.
  LogicalResult findExtras() {
    auto find = [&](const char *name, uint64_t bytes) -> LogicalResult {
      auto buffer = module.lookupSymbol<tier::BufferOp>(name);
      if (bytes == 0 || (buffer && uint64_t(buffer.getBytes()) >= bytes))
        return success();
      return module.emitError("expected the plan to have ")
             << bytes << " bytes for '" << name << "', but it has "
             << (buffer ? buffer.getBytes() : 0);
    };
    const GpuWorkspace need = extras();
    return success(succeeded(find(kTickets, need.ticketBytes)) &&
                   succeeded(find(kWorkspace, need.workspaceBytes)) &&
                   succeeded(find(kPartials, need.partialBytes)));
  }

  /// Places the buffers of all kernels' own behind the planned ones.
  LogicalResult placeExtras() {
    constexpr uint64_t kAlignment = 256;
    uint64_t end = 0;
    StringRef level;
    for (auto buffer : module.getOps<tier::BufferOp>()) {
      level = buffer.getLevel(); // One for all, those of the host, too.
      if (!buffer.getRole())
        end = std::max<uint64_t>(end, uint64_t(*buffer.getOffset()) +
                                          uint64_t(buffer.getBytes()));
    }
    OpBuilder b(module.getContext());
    b.setInsertionPoint(*module.getOps<flow::ScheduleOp>().begin());
    auto place = [&](const char *name, uint64_t bytes, Type type) {
      if (!bytes)
        return;
      end = llvm::alignTo(end, kAlignment);
      tier::BufferOp::create(
          b, module.getLoc(), b.getStringAttr(name), TypeAttr::get(type),
          b.getStringAttr(level), b.getI64IntegerAttr(int64_t(bytes)),
          b.getI64IntegerAttr(int64_t(end)), StringAttr(), UnitAttr());
      end += bytes;
    };
    place(kTickets, extras().ticketBytes,
          RankedTensorType::get({tickets}, b.getI32Type()));
    place(kWorkspace, extras().workspaceBytes,
          RankedTensorType::get({workspace}, b.getI8Type()));
    place(kPartials, extras().partialBytes,
          RankedTensorType::get({partials}, b.getI8Type()));
    auto machine = module->getAttrOfType<tier::MachineAttr>("tier.machine");
    tier::LevelAttr home = machine ? machine.lookupLevel(level) : nullptr;
    uint64_t weights = 0;
    for (auto weight : module.getOps<tier::WeightOp>()) {
      MemRefType memory = memoryType(weight.getType(), options.limits);
      weights += llvm::alignTo(uint64_t(memory.getNumElements()) *
                                   (memory.getElementTypeBitWidth() / 8),
                               4096);
    }
    uint64_t have = home ? home.getBytes() * home.getCount() : UINT64_MAX;
    if (weights + end > have)
      return module.emitError("the program needs ")
             << weights + end << " bytes of level '" << level
             << "' with the workspace of its GPU kernels, but machine '"
             << machine.getName() << "' has " << have << ": "
             << weights + end - have << " too few";
    return success();
  }

  /// The launches of `schedule` for one class of steps.
  void rewrite(flow::ScheduleOp schedule, size_t number) {
    const Class &one = classes[number];
    OpBuilder b(schedule);
    std::string name =
        (schedule.getSymName() + "." + stepSizeName(one.size)).str();
    if (one.library)
      name += "_library";
    auto made =
        flow::ScheduleOp::create(b, schedule.getLoc(), name,
                                 schedule.getInputs(), schedule.getOutputs());
    bool both = llvm::any_of(classes, [](const Class &other) {
      return other.size == StepSize::manyWarpgroups;
    });
    if (both && one.size != StepSize::few)
      made->setAttr(
          kSectionAttr,
          b.getStringAttr(one.size == StepSize::many ? kPtx : kCubin));
    int64_t tokens = one.maxTokens;
    made->setAttr("headrace.entry", schedule.getSymNameAttr());
    made->setAttr(
        "headrace.class",
        b.getDictionaryAttr(
            {b.getNamedAttr("max_outputs", b.getI64IntegerAttr(tokens)),
             b.getNamedAttr("max_sequences",
                            b.getI64IntegerAttr(
                                std::min(tokens, options.limits.maxSequences))),
             b.getNamedAttr("max_tokens", b.getI64IntegerAttr(tokens))}));
    Block &block = made.getBody().emplaceBlock();
    OpBuilder inner = OpBuilder::atBlockEnd(&block);
    IRMapping transfers;
    for (Operation &op : schedule.getBody().front())
      if (auto launch = dyn_cast<flow::LaunchOp>(op))
        expand(inner, launch, number);
      else if (isa<flow::RoutedOp, flow::PredictOp>(op))
        expandAround(inner, op, number);
      else
        inner.clone(op, transfers); // of a plan
  }

  /// The launches that one of the schedule becomes.
  void expand(OpBuilder &b, flow::LaunchOp launch, size_t number) {
    for (const DeviceKernel &kernel :
         expansions[launch.getKernel()][number].kernels) {
      if (kernel.library) {
        launchProduct(b, launch, kernel);
        continue;
      }
      SmallVector<Attribute> results(launch.getResults().begin(),
                                     launch.getResults().end());
      for (ExtraBuffer extra : kernel.extras)
        results.push_back(FlatSymbolRefAttr::get(
            b.getContext(), extra == ExtraBuffer::workspace  ? kWorkspace
                            : extra == ExtraBuffer::partials ? kPartials
                                                             : kTickets));
      flow::LaunchOp::create(b, launch.getLoc(), kernel.name,
                             launch.getInputs(), b.getArrayAttr(results));
    }
  }

  /// The same inside of an op around launches. A prediction is its last launch;
  /// what that needs runs before.
  void expandAround(OpBuilder &b, Operation &around, size_t number) {
    Operation *copy = b.cloneWithoutRegions(around);
    Block &block = copy->getRegion(0).emplaceBlock();
    OpBuilder inside = OpBuilder::atBlockEnd(&block);
    for (Operation &op : around.getRegion(0).front())
      expand(inside, cast<flow::LaunchOp>(op), number);
    while (isa<flow::PredictOp>(copy) && !llvm::hasSingleElement(block))
      block.front().moveBefore(copy);
  }

  /// The launch of a product by the library: x, w and a bias, then y.
  void launchProduct(OpBuilder &b, flow::LaunchOp launch,
                     const DeviceKernel &kernel) {
    const LibraryOperands &reads = *kernel.library;
    SmallVector<Attribute> inputs{
        reads.x ? launch.getInputs()[*reads.x]
                : FlatSymbolRefAttr::get(b.getContext(), kWorkspace)};
    inputs.push_back(launch.getInputs()[reads.weight]);
    if (reads.bias)
      inputs.push_back(launch.getInputs()[*reads.bias]);
    flow::LaunchOp::create(b, launch.getLoc(), kernel.name,
                           b.getArrayAttr(inputs), launch.getResults());
  }

  ModuleOp module;
  GpuOptions options;
  SmallVector<Class> classes;
  bool anyProduct = false; ///< Whether the library runs any.
  llvm::StringMap<SmallVector<Expansion>> expansions;
  int64_t workspace = 0, partials = 0, tickets = 0;
};

} // namespace

FailureOr<GpuWorkspace> headrace::measureGpuWorkspace(ModuleOp module,
                                                      const GpuTarget &target) {
  Driver driver(module, target);
  if (failed(driver.makeKernels()))
    return failure();
  return driver.extras();
}

LogicalResult headrace::emitGpuKernels(ModuleOp module,
                                       const GpuTarget &target) {
  return Driver(module, target).run();
}
