// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The one public header of the tier dialect: where bytes live.
#ifndef HEADRACE_DIALECTS_TIER_IR_TIER_H
#define HEADRACE_DIALECTS_TIER_IR_TIER_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/RegionKindInterface.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/IR/TensorEncoding.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/tier/IR/TierDialect.h.inc"

#include "dialects/tier/IR/TierEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/tier/IR/TierAttrs.h.inc"

#define GET_TYPEDEF_CLASSES
#include "dialects/tier/IR/TierTypes.h.inc"

#define GET_OP_CLASSES
#include "dialects/tier/IR/TierOps.h.inc"

namespace headrace::tier {

/// The encoding of a weight's values by scales; null where its elements are its
/// values.
ScaledAttr scaledOf(mlir::RankedTensorType type);

/// The layout that was chosen for a weight's target; null where it lies as in
/// the checkpoint. `withPacking` gives the type that has it.
mlir::Attribute packingOf(mlir::RankedTensorType type);
mlir::RankedTensorType withPacking(mlir::RankedTensorType type,
                                   mlir::Attribute packing);

/// Bytes of a tensor of static shape as a checkpoint stores it; nothing where
/// they overflow or an element is no whole number of bytes.
std::optional<uint64_t> storedBytes(mlir::RankedTensorType type);

} // namespace headrace::tier

#endif // HEADRACE_DIALECTS_TIER_IR_TIER_H
