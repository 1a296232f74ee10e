// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The one public header of the moe dialect: routing as data.
#ifndef HEADRACE_DIALECTS_MOE_IR_MOE_H
#define HEADRACE_DIALECTS_MOE_IR_MOE_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/RegionKindInterface.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/moe/IR/MoeDialect.h.inc"

#include "dialects/moe/IR/MoeEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/moe/IR/MoeAttrs.h.inc"

#define GET_TYPEDEF_CLASSES
#include "dialects/moe/IR/MoeTypes.h.inc"

#define GET_OP_CLASSES
#include "dialects/moe/IR/MoeOps.h.inc"

#endif // HEADRACE_DIALECTS_MOE_IR_MOE_H
