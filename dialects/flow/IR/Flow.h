// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The one public header of the flow dialect: the dataflow graph and its tile
// programs.
#ifndef HEADRACE_DIALECTS_FLOW_IR_FLOW_H
#define HEADRACE_DIALECTS_FLOW_IR_FLOW_H

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

#include "dialects/flow/IR/FlowDialect.h.inc"

#include "dialects/flow/IR/FlowEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/flow/IR/FlowAttrs.h.inc"

#define GET_TYPEDEF_CLASSES
#include "dialects/flow/IR/FlowTypes.h.inc"

#define GET_OP_CLASSES
#include "dialects/flow/IR/FlowOps.h.inc"

#endif // HEADRACE_DIALECTS_FLOW_IR_FLOW_H
