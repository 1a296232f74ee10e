// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Registers the tier dialect with its attributes and types, and verifies those.
#include "dialects/tier/IR/Tier.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace headrace::tier;

#include "dialects/tier/IR/TierDialect.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/tier/IR/TierAttrs.cpp.inc"

void headrace::tier::TierDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/tier/IR/TierAttrs.cpp.inc"
      >();

  addOperations<
#define GET_OP_LIST
#include "dialects/tier/IR/TierOps.cpp.inc"
      >();
}

LogicalResult LevelAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                StringRef name, uint64_t bytes, uint64_t count,
                                uint64_t alignment) {
  if (name.empty()) // tier.level C1
    return emitError() << "expected a level name, but got an empty one";
  if (bytes == 0 || count == 0) // tier.level C2
    return emitError() << "expected bytes and count of level '" << name
                       << "' to be positive, but got " << bytes << " and "
                       << count;
  if (alignment == 0 || (alignment & (alignment - 1))) // tier.level C3
    return emitError() << "expected the alignment of level '" << name
                       << "' to be a power of two, but got " << alignment;
  return success();
}

LogicalResult LinkAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                               StringRef source, StringRef target,
                               uint64_t bandwidth, uint64_t latency) {
  if (bandwidth == 0) // tier.link C1
    return emitError() << "expected the bandwidth of link '" << source
                       << "' to '" << target << "' to be positive, but got 0";
  return success();
}

LogicalResult MachineAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                  StringRef name, ArrayRef<LevelAttr> levels,
                                  ArrayRef<LinkAttr> links) {
  if (levels.empty()) // tier.machine C1
    return emitError() << "expected machine '" << name
                       << "' to have at least one level, but got none";
  llvm::StringSet<> names;
  for (LevelAttr level : levels)
    if (!names.insert(level.getName()).second) // tier.machine C1
      return emitError() << "expected level names of machine '" << name
                         << "' to be unique, but got '" << level.getName()
                         << "' twice";
  for (LinkAttr link : links)
    for (StringRef end : {link.getSource(), link.getTarget()})
      if (!names.contains(end)) // tier.machine C2
        return emitError() << "expected the ends of a link to be levels of "
                           << "machine '" << name << "', but got '" << end
                           << "'";
  return success();
}

LevelAttr MachineAttr::lookupLevel(StringRef name) const {
  for (LevelAttr level : getLevels())
    if (level.getName() == name)
      return level;
  return {};
}

LogicalResult RangeAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                StringRef file, uint64_t offset,
                                uint64_t bytes) {
  if (offset + bytes < offset) // tier.range C1
    return emitError() << "expected the range of '" << file
                       << "' to end below 2^64, but got offset " << offset
                       << " and " << bytes << " bytes";
  return success();
}
