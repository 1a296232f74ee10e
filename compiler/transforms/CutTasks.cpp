// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// cut-tasks: decides how the work of each kernel is cut into tasks.
//
// A task that streams weights should read about 4 MB in one run: less, and the
// memory pipeline drains between tasks; much more, and the workers end at
// different times. Small products are cut only as far as workers are kept busy.
#include "compiler/codegen/Emitters.h"
#include "compiler/transforms/PassesDetail.h"
#include "dialects/moe/IR/Moe.h"
#include "dialects/nn/IR/Nn.h"

using namespace mlir;
using namespace headrace;

namespace {

constexpr int64_t kTaskBytes = int64_t(4) << 20;
constexpr int64_t kSmallestTaskBytes = int64_t(64) << 10;

/// Workers that the machine's fastest level is private to; two where the
/// machine is not said.
int64_t workersOf(ModuleOp module) {
  if (auto machine = module->getAttrOfType<tier::MachineAttr>("tier.machine"))
    return std::max<int64_t>(int64_t(machine.getLevels()[0].getCount()), 1);
  return 2;
}

/// Column groups for `panels` panels of `panelBytes`, walked `repeats` times
/// in one task.
int64_t groupsFor(int64_t panels, int64_t panelBytes, int64_t repeats,
                  int64_t workers) {
  int64_t bytes = panels * panelBytes;
  int64_t groups = (bytes * repeats + kTaskBytes - 1) / kTaskBytes;
  int64_t busy = std::min(2 * workers, bytes / kSmallestTaskBytes);
  return std::min(std::max<int64_t>({groups, busy, 1}), panels);
}

struct CutTasksPass : public ModulePass<CutTasksPass> {
  HEADRACE_PASS("headrace-cut-tasks", "cuts kernels into tasks")

  void runOnOperation() override {
    int64_t workers = workersOf(getOperation());
    for (auto kernel : getOperation().getOps<flow::KernelOp>())
      kernel.setTasksAttr(cut(kernel, workers));
  }

private:
  flow::GridAttr cut(flow::KernelOp kernel, int64_t workers) {
    using flow::GridKind;
    auto grid = [&](GridKind kind, int64_t base, int64_t block = 1,
                    int64_t limit = 1) {
      return flow::GridAttr::get(&getContext(), kind, base, block, limit);
    };
    StringRef family = kernel.getFamily();
    if (family == "upstream")
      return grid(GridKind::fixed, 1);
    if (family == "embed" || family == "angles")
      return grid(GridKind::per_token, 1);
    if (family == "router")
      return grid(GridKind::per_token_block, 1, kRouterBlock);
    if (family == "attention") {
      int64_t heads = 1;
      kernel.getBody().walk([&](nn::AttentionOp op) {
        heads = op.getCache().getType().getHeads();
      });
      return grid(GridKind::per_sequence, heads);
    }
    nn::LinearOp linear;
    moe::ExpertsOp experts;
    kernel.getBody().walk([&](nn::LinearOp op) { linear = op; });
    kernel.getBody().walk([&](moe::ExpertsOp op) { experts = op; });
    auto type = linear ? linear.getWeight().getType() : RankedTensorType();
    auto panels =
        type ? dyn_cast_or_null<flow::PanelsAttr>(tier::packingOf(type))
             : flow::PanelsAttr();
    if (!panels)
      return grid(GridKind::fixed, 1);
    int64_t count = panels.getPanelCount(type.getDimSize(0));
    int64_t panelBytes = panels.getPanelBytes(type);
    if (!experts)
      return grid(GridKind::fixed, groupsFor(count, panelBytes, 1, workers));
    moe::BucketsType buckets = experts.getBuckets().getType();
    if (family == "routed_up")
      return grid(GridKind::per_routed,
                  groupsFor(count, panelBytes, 1, workers), buckets.getSlots(),
                  buckets.getExperts());
    // A down task walks its columns through all experts that have rows; with
    // one token these are the experts of its slots.
    return grid(GridKind::fixed,
                groupsFor(count, panelBytes, buckets.getSlots(), workers));
  }
};
} // namespace

std::unique_ptr<Pass> headrace::createCutTasksPass() {
  return std::make_unique<CutTasksPass>();
}
