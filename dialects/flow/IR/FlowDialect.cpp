// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Registers the flow dialect with its attributes and types, and verifies those.
#include "dialects/flow/IR/Flow.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace headrace::flow;

#include "dialects/flow/IR/FlowDialect.cpp.inc"

#include "dialects/flow/IR/FlowEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/flow/IR/FlowAttrs.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "dialects/flow/IR/FlowTypes.cpp.inc"

void headrace::flow::FlowDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/flow/IR/FlowAttrs.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/flow/IR/FlowTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/flow/IR/FlowOps.cpp.inc"
      >();
}

LogicalResult GridAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                               GridKind kind, int64_t base, int64_t block,
                               int64_t limit) {
  if (base <= 0 || block <= 0 || limit <= 0) // flow.grid C1
    return emitError() << "expected base, block and limit of a grid to be "
                       << "positive, but got " << base << ", " << block
                       << " and " << limit;
  return success();
}

LogicalResult PanelsAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                 int64_t columns, int64_t pack,
                                 int64_t halves) {
  if (columns <= 0 || columns % 16 || (pack != 1 && pack != 2))
    return emitError()
           << "expected columns to be a positive multiple of 16 and "
           << "pack to be 1 or 2, but got " << columns << " and "
           << pack;               // flow.panels C1
  if (halves != 1 && halves != 2) // flow.panels C2
    return emitError() << "expected halves to be 1 or 2, but got " << halves;
  return success();
}

LogicalResult
FragmentsAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                      int64_t halves) {
  if (halves != 1 && halves != 2) // flow.fragments C1
    return emitError() << "expected halves to be 1 or 2, but got " << halves;
  return success();
}

int64_t FragmentsAttr::getRowBlocks(int64_t out) const {
  int64_t each = 16 / getHalves();
  return (out / getHalves() + each - 1) / each;
}

int64_t FragmentsAttr::getColumnBlocks(int64_t in) {
  return (in + 63) / 64 * 4;
}

static LogicalResult verifyTile(function_ref<InFlightDiagnostic()> emitError,
                                int64_t width, Type element) {
  if (width > 0 && element.isIntOrFloat())
    return success();
  return emitError() << "expected a positive width and an element that is an "
                     << "integer or float, but got " << width << " and "
                     << element;
}

LogicalResult TileType::verify(function_ref<InFlightDiagnostic()> emitError,
                               int64_t width, Type element) {
  return verifyTile(emitError, width, element); // flow.tile C1
}

LogicalResult AccType::verify(function_ref<InFlightDiagnostic()> emitError,
                              int64_t width, Type element) {
  return verifyTile(emitError, width, element); // flow.acc C1
}

int64_t PanelsAttr::getPanelCount(int64_t out) const {
  int64_t perPanel = getColumns() / getHalves();
  return (out / getHalves() + perPanel - 1) / perPanel;
}

int64_t PanelsAttr::getRunScaleBytes(tier::ScaledAttr scaled) const {
  return kRun / scaled.getColumns() * getColumns() *
         scaled.getPackedScaleBytes();
}

int64_t PanelsAttr::getPanelBytes(RankedTensorType type) const {
  int64_t in = type.getShape().back();
  int64_t groups = (in + getPack() - 1) / getPack();
  int64_t bytes =
      groups * getColumns() * getPack() * type.getElementTypeBitWidth() / 8;
  if (tier::ScaledAttr scaled = tier::scaledOf(type))
    bytes += (in + kRun - 1) / kRun * getRunScaleBytes(scaled);
  return bytes;
}

int64_t FragmentsAttr::getElementBytes(RankedTensorType type) {
  return getColumnBlocks(type.getShape().back()) * 16 * 16 *
         type.getElementTypeBitWidth() / 8;
}

int64_t FragmentsAttr::getLoadChannels(RankedTensorType type) {
  return 256 / type.getElementTypeBitWidth();
}

int64_t FragmentsAttr::getLoadScaleBytes(RankedTensorType type) {
  tier::ScaledAttr scaled = tier::scaledOf(type);
  int64_t blocks =
      std::max(int64_t(1), getLoadChannels(type) / scaled.getColumns());
  return blocks * 2 * scaled.getPackedScaleBytes();
}

int64_t FragmentsAttr::getRowBlockBytes(RankedTensorType type) {
  tier::ScaledAttr scaled = tier::scaledOf(type);
  int64_t blocks = int64_t(
      llvm::divideCeil(uint64_t(getColumnBlocks(type.getShape().back()) * 16),
                       uint64_t(scaled.getColumns())));
  // A multiple of 16: the next 16 rows are read 16 bytes at a time, too.
  return getElementBytes(type) + blocks * 16 * scaled.getPackedScaleBytes();
}
