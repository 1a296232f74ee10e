// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef HEADRACE_MOE_DIALECT
#define HEADRACE_MOE_DIALECT

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

def Moe_Dialect : Dialect {
  let name = "moe";
  let cppNamespace = "::headrace::moe";
  let summary = "routing as data";
  let description = [{
    A router is a composition, not a fixed block: scores are plain tensors,
    `moe.select` turns the scores that decide (the choice) into a relation of
    rows, experts and slots, and `moe.weigh` reads the weights from the scores
    that count (the value), which may be other scores. Dispatch is a view,
    `moe.experts` holds one expert's body as a region, and `moe.combine` adds up.
  }];
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
}

class Moe_I32Enum<string name, string summary, list<I32EnumAttrCase> cases>
    : I32EnumAttr<name, summary, cases> {
  let cppNamespace = "::headrace::moe";
  let genSpecializedAttr = 0;
}

def Moe_SquashKind : Moe_I32Enum<"SquashKind", "function over a row of scores",
    [I32EnumAttrCase<"softmax", 0>, I32EnumAttrCase<"sigmoid", 1>]>;
def Moe_SquashKindAttr : EnumAttr<Moe_Dialect, Moe_SquashKind, "squash_kind">;

def Moe_WeighNorm : Moe_I32Enum<"WeighNorm", "normalisation of a row's weights",
    [I32EnumAttrCase<"none", 0>, I32EnumAttrCase<"sum", 1>,
     I32EnumAttrCase<"pnorm", 2>, I32EnumAttrCase<"softmax", 3>]>;
def Moe_WeighNormAttr : EnumAttr<Moe_Dialect, Moe_WeighNorm, "weigh_norm">;

def Moe_SelectionType : TypeDef<Moe_Dialect, "Selection"> {
  let mnemonic = "selection";
  let summary = "which experts each row picked, by slot";
  let description = [{
    A relation (row, expert, slot): every row fills `slots` slots with different
    experts out of `experts`.

    - (C1) 1 <= `slots` <= `experts`.

    Example: `!moe.selection<experts = 8, slots = 2>`
  }];
  let parameters = (ins "int64_t":$experts, "int64_t":$slots);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

def Moe_RoutingType : TypeDef<Moe_Dialect, "Routing"> {
  let mnemonic = "routing";
  let summary = "a selection with a float32 weight a slot";
  let description = [{
    - (C1) 1 <= `slots` <= `experts`.

    Example: `!moe.routing<experts = 8, slots = 2>`
  }];
  let parameters = (ins "int64_t":$experts, "int64_t":$slots);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

def Moe_BucketsType : TypeDef<Moe_Dialect, "Buckets"> {
  let mnemonic = "buckets";
  let summary = "rows grouped by expert";
  let description = [{
    For each expert the rows that picked it, in ascending row order; each row is
    `width` values of `element`: float32, or the type of the product that reads
    the rows next. Ragged: an expert may have no row.

    - (C1) 1 <= `slots` <= `experts` and `width` is positive.
    - (C2) `element` is f32, bf16 or f16.

    Example: `!moe.buckets<experts = 8, slots = 2, width = 64, element = f32>`
  }];
  let parameters = (ins "int64_t":$experts, "int64_t":$slots, "int64_t":$width,
                        "::mlir::Type":$element);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

#endif // HEADRACE_MOE_DIALECT
