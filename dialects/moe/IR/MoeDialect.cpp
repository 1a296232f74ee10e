// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Registers the moe dialect with its attributes and types, and verifies those.
#include "dialects/moe/IR/Moe.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace headrace::moe;

#include "dialects/moe/IR/MoeDialect.cpp.inc"

#include "dialects/moe/IR/MoeEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/moe/IR/MoeAttrs.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "dialects/moe/IR/MoeTypes.cpp.inc"

void headrace::moe::MoeDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/moe/IR/MoeAttrs.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/moe/IR/MoeTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/moe/IR/MoeOps.cpp.inc"
      >();
}

static LogicalResult verifySlots(function_ref<InFlightDiagnostic()> emitError,
                                 int64_t experts, int64_t slots) {
  if (slots >= 1 && slots <= experts)
    return success();
  return emitError() << "expected slots to be between 1 and the number of "
                     << "experts " << experts << ", but got " << slots;
}

LogicalResult
SelectionType::verify(function_ref<InFlightDiagnostic()> emitError,
                      int64_t experts, int64_t slots) {
  return verifySlots(emitError, experts, slots); // moe.selection C1
}

LogicalResult RoutingType::verify(function_ref<InFlightDiagnostic()> emitError,
                                  int64_t experts, int64_t slots) {
  return verifySlots(emitError, experts, slots); // moe.routing C1
}

LogicalResult BucketsType::verify(function_ref<InFlightDiagnostic()> emitError,
                                  int64_t experts, int64_t slots, int64_t width,
                                  Type element) {
  if (failed(verifySlots(emitError, experts, slots))) // moe.buckets C1
    return failure();
  if (width <= 0) // moe.buckets C1
    return emitError() << "expected width to be positive, but got " << width;
  if (!element.isF32() && !element.isBF16() && !element.isF16())
    return emitError() << "expected element to be f32, bf16 or f16, but got "
                       << element; // moe.buckets C2
  return success();
}
