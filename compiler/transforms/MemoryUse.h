// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a placed program reads of its weights, launch by launch, and what of
// them moves together.
#ifndef HEADRACE_COMPILER_TRANSFORMS_MEMORYUSE_H
#define HEADRACE_COMPILER_TRANSFORMS_MEMORYUSE_H

#include "dialects/flow/IR/Flow.h"
#include "dialects/tier/IR/Tier.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringMap.h"

namespace headrace {

/// Of what lies in the package alone.
constexpr uint64_t kNowhere = UINT64_MAX;

/// Launches that a transfer may stand between: one, or those of a routed layer,
/// which run together wave by wave.
struct Unit {
  llvm::SmallVector<flow::LaunchOp> launches;
  std::string routing; ///< Buffer of the routing, for a routed layer.
};

/// A weight and the units that read it, ascending, by entry.
struct WeightUse {
  tier::WeightOp op;
  uint64_t bytes = 0; ///< Of one slot of the binding table, in whole pages.
  int64_t slots = 1;
  bool routed = false;
  bool predicts = false; ///< Read by a router that runs ahead.
  llvm::SmallVector<llvm::SmallVector<int>> units;
};

/// A run of units of one entry during which a bundle must be there.
struct Span {
  int first, last;
};

struct Bundle {
  llvm::SmallVector<WeightUse *> weights;
  uint64_t bytes = 0;
  llvm::SmallVector<llvm::SmallVector<Span>> spans; ///< By entry.
  uint32_t fetches = 0;                             ///< In the main entry.
  uint64_t home = kNowhere; ///< In the home level's arena.
};

/// A routed layer: unit `unit` of entry `entry` and what it reads.
struct Group {
  int entry, unit;
  llvm::SmallVector<WeightUse *> weights;
  int64_t experts = 0, slots = 1;
  uint64_t bytes = 0;       ///< Of one expert.
  uint64_t home = kNowhere; ///< Of the first one.
};

/// What a router that runs ahead writes, and the routed layer that it is for.
struct Prediction {
  mlir::FlatSymbolRefAttr routing;
  size_t group = 0;
};

/// All of it, and what of the weights moves together.
struct MemoryUse {
  explicit MemoryUse(mlir::ModuleOp module) : module(module) {}

  /// Reads the schedules, and cuts the weights into what moves together.
  /// Complains of programs that no plan can be made for.
  mlir::LogicalResult read();

  /// Experts that a step of one token uses.
  static int64_t picksOf(const Group &group) {
    return std::min(group.slots, group.experts);
  }
  /// Bytes of the largest bundle of weights that may move.
  uint64_t largestMover() const;

  mlir::ModuleOp module;
  std::vector<std::unique_ptr<WeightUse>> weights;
  llvm::SmallVector<flow::ScheduleOp> entries;
  size_t main = 0;                      ///< The entry whose traffic counts.
  std::vector<std::vector<Unit>> units; ///< By entry.
  llvm::SmallVector<WeightUse *> fixed; ///< What never leaves.
  std::vector<Bundle> bundles;
  std::vector<Group> groups;
  llvm::DenseMap<mlir::Operation *, Prediction> predictions; ///< By launch.

private:
  void readProgram();
  llvm::SmallVector<WeightUse *> weightsOf(flow::LaunchOp launch);
  std::string routingOf(flow::LaunchOp launch);
  mlir::LogicalResult formGroups();
  mlir::LogicalResult formPredictions();
  mlir::FlatSymbolRefAttr routingMadeBy(flow::LaunchOp launch);
  void formBundles();
  void settleBundles();

  llvm::StringMap<WeightUse *> byName;
};

} // namespace headrace

#endif // HEADRACE_COMPILER_TRANSFORMS_MEMORYUSE_H
