// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The one public header of the nn dialect: the blocks of a decoder.
#ifndef HEADRACE_DIALECTS_NN_IR_NN_H
#define HEADRACE_DIALECTS_NN_IR_NN_H

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

#include "dialects/tier/IR/Tier.h"

#include "dialects/nn/IR/NnDialect.h.inc"

#include "dialects/nn/IR/NnEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/nn/IR/NnAttrs.h.inc"

#define GET_TYPEDEF_CLASSES
#include "dialects/nn/IR/NnTypes.h.inc"

#define GET_OP_CLASSES
#include "dialects/nn/IR/NnOps.h.inc"

#endif // HEADRACE_DIALECTS_NN_IR_NN_H
