// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The part of a package's manifest that says where bytes live and when they
// move, and the certificate of it.
#ifndef HEADRACE_COMPILER_PACKAGE_WRITEPLAN_H
#define HEADRACE_COMPILER_PACKAGE_WRITEPLAN_H

#include "compiler/codegen/BufferLayout.h"
#include "mlir/IR/BuiltinOps.h"
#include "runtime/abi/package_generated.h"
#include "llvm/ADT/StringMap.h"
#include <map>

namespace headrace {

/// Steps of the manifest: an entry's own, or those of one of its classes.
struct ScheduleNumber {
  uint32_t entry = 0, stepClass = UINT32_MAX;
};

/// How the manifest numbers what ops name.
struct ManifestNumbers {
  llvm::StringMap<uint32_t> weights; ///< First slot of each.
  llvm::StringMap<uint32_t> buffers;
  llvm::StringMap<uint32_t> levels;
  /// By schedule: one for each code section that runs it.
  llvm::StringMap<llvm::SmallVector<ScheduleNumber, 2>> schedules;
};

/// What a plan adds to the manifest. Digests are 1 until they are known.
struct PlanRecord {
  struct Place {
    abi::Residency residency = abi::Residency::mapped;
    uint32_t level = 0;
    uint64_t offset = 0;
  };
  std::unique_ptr<abi::PlanT> plan;     ///< Null where the module has none.
  std::vector<Place> slots;             ///< By slot of the binding table.
  std::map<uint32_t, uint64_t> buffers; ///< Offsets of the host's buffers.
  std::map<uint32_t, uint64_t> arenas;  ///< Bytes by level.
  using Steps = std::vector<std::unique_ptr<abi::StepT>>;
  llvm::StringMap<Steps> steps; ///< By schedule.
  std::vector<std::unique_ptr<abi::PeakT>> certificate;

  void setDigest(uint64_t digest);
};

/// Reads the plan of `module`; `slotBytes` are the bytes of each slot's blob.
PlanRecord recordPlan(mlir::ModuleOp module, const ManifestNumbers &numbers,
                      llvm::ArrayRef<uint64_t> slotBytes,
                      const StepLimits &limits);

/// The digest of the schedule in a finished manifest that has a plan.
uint64_t scheduleDigest(const uint8_t *manifest);

} // namespace headrace

#endif // HEADRACE_COMPILER_PACKAGE_WRITEPLAN_H
