// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef HEADRACE_FLOW_OPS
#define HEADRACE_FLOW_OPS

include "dialects/flow/IR/FlowDialect.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/CommonAttrConstraints.td"
include "mlir/IR/CommonTypeConstraints.td"
include "mlir/IR/OpAsmInterface.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/FunctionInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class Flow_Op<string mnemonic, list<Trait> traits = []>
    : Op<Flow_Dialect, mnemonic, traits>;

//===----------------------------------------------------------------------===//
// Graph level
//===----------------------------------------------------------------------===//

def Flow_KernelOp : Flow_Op<"kernel",
    [Symbol, IsolatedFromAbove, SingleBlock]> {
  let summary = "what becomes one launch";
  let description = [{
    The region is the meaning of the kernel: pure ops on its arguments, ended by
    `flow.yield`. Arguments of static shape are weights, others are activations.
    `family` names the emitter that makes its code, `tasks` how the work is cut;
    how it is cut never changes a result. Two launches that compute the
    same function on different weights share one kernel.

    - (C1) the region's block has the argument types of `type`.
    - (C2) `flow.yield` has the result types of `type`.

    Example:
    ```mlir
    flow.kernel @linear_0 "linear" : (tensor<?x64xf32>, tensor<96x64xbf16>) -> tensor<?x96xf32> {
    ^bb0(%x: tensor<?x64xf32>, %w: tensor<96x64xbf16>):
      %y = nn.linear %x, %w inputs bf16 : tensor<?x64xf32>, tensor<96x64xbf16> -> tensor<?x96xf32>
      flow.yield %y : tensor<?x96xf32>
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrAttr:$family,
      TypeAttrOf<FunctionType>:$type, OptionalAttr<Flow_GridAttr>:$tasks);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $sym_name $family (`tasks` $tasks^)? `:` $type $body attr-dict
  }];
  let hasRegionVerifier = 1;
}

def Flow_YieldOp : Flow_Op<"yield", [Pure, Terminator, ReturnLike,
    ParentOneOf<["KernelOp", "MapOp", "RowsOp"]>]> {
  let summary = "ends a region and gives its values";
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

def Flow_CallOp : Flow_Op<"call", [
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "applies a kernel to values";
  let description = [{
    - (C1) `kernel` names a `flow.kernel` of this type.

    Example:
    ```mlir
    %y = flow.call @linear_0(%x, %w) : (tensor<?x64xf32>, tensor<96x64xbf16>) -> tensor<?x96xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, Variadic<AnyType>:$operands);
  let results = (outs Variadic<AnyType>:$results);
  let assemblyFormat =
      "$kernel `(` $operands `)` attr-dict `:` functional-type($operands, $results)";
}

def Flow_ScheduleOp : Flow_Op<"schedule", [Symbol, NoTerminator, SingleBlock,
    IsolatedFromAbove]> {
  let summary = "the static order of launches of one entry point";
  let description = [{
    A launch starts when the one before it has ended. `inputs` and `outputs` are
    `tier.buffer`s with a role, in the order in which the host gives them. With a
    plan the transfers stand between the launches: `tier.prefetch`, `tier.wait`
    and `tier.evict`, `flow.routed` around launches that read routed weights, and
    `flow.predict` around those that say which are likely read next.

    Example:
    ```mlir
    flow.schedule @forward inputs [@tokens] outputs [@logits] {
      flow.launch @linear_0 operands [@hidden, @w] results [@logits]
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name,
      TypedArrayAttrBase<FlatSymbolRefAttr, "buffers">:$inputs,
      TypedArrayAttrBase<FlatSymbolRefAttr, "buffers">:$outputs);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat =
      "$sym_name `inputs` $inputs `outputs` $outputs attr-dict-with-keyword $body";
}

def Flow_RoutedOp : Flow_Op<"routed", [HasParent<"ScheduleOp">, NoTerminator,
    SingleBlock, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "runs launches in waves of active experts";
  let description = [{
    The launches inside run once for each wave: a run of experts of `routing`'s
    list of active ones, ascending, for which the pool of `bundles` has slots.
    The experts of a wave have arrived when its launches start.

    - (C1) `routing` names a placed `tier.buffer`.
    - (C2) `bundles` names a `tier.bundle` of a cache that has experts.

    Example:
    ```mlir
    flow.routed routing @routing0 bundles @layer0.experts {
      flow.launch @routed_up_0 operands [@x, @routing0, @up] results [@h]
      flow.launch @routed_down_0 operands [@h, @routing0, @down] results [@x]
    }
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$routing, FlatSymbolRefAttr:$bundles);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat =
      "`routing` $routing `bundles` $bundles attr-dict-with-keyword $body";
}

def Flow_PredictOp : Flow_Op<"predict", [HasParent<"ScheduleOp">,
    NoTerminator, SingleBlock,
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "runs a launch that says which experts are likely next";
  let description = [{
    The launch inside writes a routing ahead of the one that decides, of rows
    that are not final yet. No other launch reads it: of its experts, the most
    likely first, no more than `most` may be fetched ahead, or none, and the
    launch may be left out. Results are the same bits.

    - (C1) `routing` names a placed `tier.buffer`.
    - (C2) `bundles` names a `tier.bundle` of a cache that has experts.
    - (C3) `most` is positive.
    - (C4) one launch is inside, and `routing` is a result of it.

    Example:
    ```mlir
    flow.predict routing @guess1 bundles @layer1.experts most 2 {
      flow.launch @router_0 operands [@x, @gate1] results [@guess1]
    }
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$routing, FlatSymbolRefAttr:$bundles,
      I64Attr:$most);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    `routing` $routing `bundles` $bundles `most` $most attr-dict-with-keyword
    $body
  }];
}

def Flow_LaunchOp : Flow_Op<"launch", [
    ParentOneOf<["ScheduleOp", "RoutedOp", "PredictOp"]>,
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "runs a kernel on placed buffers and weights";
  let description = [{
    `operands` names a `tier.buffer` or `tier.weight` for each argument of the
    kernel, `results` a buffer for each result; a result may name the buffer of
    an operand, which the kernel then updates in place.

    - (C1) `kernel` names a `flow.kernel` or its `flow.program`.
    - (C2) every operand is a buffer or a weight, every result a buffer.
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel,
      TypedArrayAttrBase<FlatSymbolRefAttr, "symbols">:$inputs,
      TypedArrayAttrBase<FlatSymbolRefAttr, "symbols">:$results);
  let assemblyFormat = [{
    $kernel `operands` $inputs `results` $results attr-dict
  }];
}

//===----------------------------------------------------------------------===//
// Tile level
//===----------------------------------------------------------------------===//

def Flow_ProgramOp : Flow_Op<"program",
    [Symbol, IsolatedFromAbove, SingleBlock, NoTerminator]> {
  let summary = "the code of one task of a kernel";
  let description = [{
    The block's first argument is the task number; the others are the kernel's
    operands and results as memory: `buffers` activations (in launch order), then
    weights, of which the stacked ones are read through `flow.expert` only. Rows of a buffer may be padded: the memref's strides say so.
    `scratch` bytes of fast memory belong to the worker that runs the task.
    Besides tile ops the body holds `scf`, `arith`, `math`, `index` and
    `memref.load` / `memref.store`.

    - (C1) the first block argument is an index, the others are memrefs.
    - (C2) `buffers` is at most the number of memrefs.
    - (C3) `scratch` is a multiple of 64.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrAttr:$family,
      I64Attr:$buffers, I64Attr:$scratch, Flow_GridAttr:$grid);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $sym_name $family `buffers` $buffers `scratch` $scratch `grid` $grid
    attr-dict-with-keyword $body
  }];
  let hasRegionVerifier = 1;
}

def Flow_Count : Flow_I32Enum<"Count", "a size of the step", [
    I32EnumAttrCase<"tokens", 0>, I32EnumAttrCase<"sequences", 1>,
    I32EnumAttrCase<"outputs", 2>, I32EnumAttrCase<"first_active", 3>,
    I32EnumAttrCase<"end_active", 4>]>;
def Flow_CountAttr : EnumAttr<Flow_Dialect, Flow_Count, "count">;

def Flow_CountOp : Flow_Op<"count", [Pure]> {
  let summary = "a size of the running step";
  let description = [{
    `first_active` and `end_active` are the part of a routing's list of active
    experts that this run of a routed kernel handles: all of it, or one wave of
    it where fast memory does not hold all of them at once.

    Example: `%t = flow.count tokens`
  }];
  let arguments = (ins Flow_CountAttr:$what);
  let results = (outs Index:$result);
  let assemblyFormat = "`` $what attr-dict";
}

def Flow_ScratchOp : Flow_Op<"scratch", [Pure]> {
  let summary = "a piece of the worker's fast memory";
  let description = [{
    - (C1) `offset` is a multiple of 64.
    - (C2) the piece has a static shape.
    - (C3) the piece lies inside the program's scratch.

    Example: `%s = flow.scratch offset 0 : memref<12x64xf32>`
  }];
  let arguments = (ins I64Attr:$offset);
  let results = (outs AnyMemRef:$result);
  let assemblyFormat = "`offset` $offset attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Flow_ViewOp : Flow_Op<"view", [Pure]> {
  let summary = "a typed piece of a buffer";
  let description = [{
    The memory from `offset` bytes, plus `start` elements where given, on.

    - (C1) `offset` is a multiple of the result's element size.

    Example: `%ids = flow.view %routing offset 64 : memref<4096xi8> to memref<8xi32>`
  }];
  let arguments = (ins AnyMemRef:$source, Optional<Index>:$start,
                       I64Attr:$offset);
  let results = (outs AnyMemRef:$result);
  let assemblyFormat = [{
    $source (`at` $start^)? `offset` $offset attr-dict
    `:` type($source) `to` type($result)
  }];
  let hasVerifier = 1;
}

def Flow_ExpertOp : Flow_Op<"expert", [Pure]> {
  let summary = "the weights of one expert";
  let description = [{
    `weights` stands for E matrices of one form, one a slot of the binding
    table, so that each of them may lie anywhere; the result is matrix `index`.

    - (C1) `weights` is an argument of the program behind its buffers.
    - (C2) the result is `weights` without its first dimension.

    Example: `%one = flow.expert %w[%e] : memref<8x6x32x32x2xbf16> to memref<6x32x32x2xbf16>`
  }];
  let arguments = (ins AnyMemRef:$weights, Index:$index);
  let results = (outs AnyMemRef:$result);
  let assemblyFormat = [{
    $weights `[` $index `]` attr-dict `:` type($weights) `to` type($result)
  }];
  let hasVerifier = 1;
}

def Flow_SameOp : Flow_Op<"same", [Pure]> {
  let summary = "whether two buffers start at one address";
  let description = [{
    Tells a kernel whether a result was placed over an operand, so that it need
    not copy what is there already.
  }];
  let arguments = (ins AnyMemRef:$first, AnyMemRef:$second);
  let results = (outs I1:$result);
  let assemblyFormat =
      "$first `,` $second attr-dict `:` type($first) `,` type($second)";
}

def Flow_ArriveOp : Flow_Op<"arrive"> {
  let summary = "counts tasks in; true for the last of them";
  let description = [{
    Adds one to the i32 `counter` and says whether `total` tasks have now
    arrived. What every task wrote before it arrived is visible to the one that
    sees true; that one resets the counter before the launch ends.
  }];
  let arguments = (ins AnyMemRef:$counter, Index:$total);
  let results = (outs I1:$result);
  let assemblyFormat = "$counter `of` $total attr-dict `:` type($counter)";
}

def Flow_RowNorm : Flow_I32Enum<"RowNorm", "normalisation while loading", [
    I32EnumAttrCase<"rms", 0>, I32EnumAttrCase<"layer", 1>,
    I32EnumAttrCase<"l2", 2>]>;
def Flow_RowNormAttr : EnumAttr<Flow_Dialect, Flow_RowNorm, "row_norm">;

def Flow_LoadOp : Flow_Op<"load", [AttrSizedOperandSegments]> {
  let summary = "stages rows for a product, optionally gathered and normalised";
  let description = [{
    Row i of the tile is row `indices[first + i]` of `source` (row `first + i`
    without `indices`), for i < `count`; normalised as `nn.norm` says where
    `norm` is given, then rounded to the tile's element. With `in_place` nothing
    moves: the rows of `source` are used where they are.

    - (C1) the widths of source and tile agree.
    - (C2) `in_place` has neither `indices` nor `norm` nor a change of element.
    - (C3) without `in_place` there is a `stage` of rows as wide as the tile's.
  }];
  let arguments = (ins AnyMemRef:$source, Index:$first, Index:$count,
      Optional<AnyMemRef>:$indices, Optional<AnyMemRef>:$stage,
      Optional<AnyMemRef>:$weight, Optional<AnyMemRef>:$bias,
      OptionalAttr<Flow_RowNormAttr>:$norm,
      DefaultValuedAttr<F64Attr, "0.0">:$eps,
      UnitAttr:$in_place);
  let results = (outs Flow_TileType:$result);
  let assemblyFormat = [{
    $source `[` $first `,` $count `]` (`rows` $indices^ `:` type($indices))?
    (`stage` $stage^ `:` type($stage))? (`norm` `` $norm^ `eps` $eps)?
    (`weight` $weight^ `:` type($weight))? (`bias` $bias^ `:` type($bias))?
    (`in_place` $in_place^)? attr-dict
    `:` type($source) `->` qualified(type($result))
  }];
  let hasVerifier = 1;
}

def Flow_RowsOp : Flow_Op<"rows", [SingleBlock]> {
  let summary = "runs its body for each register tile of rows";
  let description = [{
    Cuts `count` rows into ceil(count / limit) tiles whose sizes differ by at
    most one and runs the body for each: the block argument is the tile's first
    row. Values of type `!flow.acc` inside have the tile's rows. Every size from
    1 to `limit` is compiled as a case of its own.

    - (C1) `limit` is positive.
  }];
  let arguments = (ins Index:$count, I64Attr:$limit);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$count `limit` $limit $body attr-dict";
  let hasRegionVerifier = 1;
}

def Flow_MmaOp : Flow_Op<"mma", [Pure, AttrSizedOperandSegments]> {
  let summary = "row tile times one weight panel";
  let description = [{
    `result[r, c] = init[r, c] + sum_k rows[first + r, k] * panel[c, k]`, k
    ascending, in float32 (pairs of 16-bit products are added as the target's dot
    instruction does). `panel` is the base of packed weights
    `[in / pack][columns][pack]` and `index` counts panels from it. Panels of an
    encoded weight are bytes, and `of` is its type: then each block of input
    channels is added up by itself, from zero, and `result` is `init` plus these
    sums times their scales, blocks ascending.

    While the panel is read, bytes that come later are asked for: with `prefetch`
    those a little behind the read point; with `ahead` instead those of another
    panel, each step as many as it reads.

    - (C1) the result is as wide as a panel.
    - (C2) the panel's rows match the tile's width.
    - (C3) `ahead` has the element type and, but for the number of panels, the
      shape of `panel`, which is of no encoded weight.
    - (C4) `prefetch` and `ahead` exclude each other.
    - (C5) `of` is a weight encoded by `#tier.scaled` and packed in panels, with
      blocks of which a run of 128 channels holds a whole number, each of whole
      groups; a panel of `panel` has its bytes.

    Example:
    ```mlir
    %acc = flow.mma %tile at %row, %w[%n]
        ahead %w[%next] : memref<3x32x32x2xbf16>
        : !flow.tile<64 x bf16>, memref<3x32x32x2xbf16> -> !flow.acc<32 x f32>
    %sum = flow.mma %tile at %row, %e[%n] of tensor<96x64xf8E4M3FN,
        #tier.scaled<rows = 32, columns = 32, scale = f32, packing = #flow.panels<columns = 32, pack = 2>>>
        : !flow.tile<64 x bf16>, memref<3x2560xi8> -> !flow.acc<32 x f32>
    ```
  }];
  let arguments = (ins Flow_TileType:$rows, Index:$first,
      AnyMemRef:$panel, Index:$index, Optional<Flow_AccType>:$init,
      Optional<AnyMemRef>:$ahead, Optional<Index>:$ahead_index,
      UnitAttr:$prefetch, OptionalAttr<TypeAttrOf<AnyRankedTensor>>:$weight);
  let results = (outs Flow_AccType:$result);
  let assemblyFormat = [{
    $rows `at` $first `,` $panel `[` $index `]` (`of` $weight^)?
    (`init` $init^ `:` qualified(type($init)))? (`prefetch` $prefetch^)?
    (`ahead` $ahead^ `[` $ahead_index `]` `:` type($ahead))? attr-dict
    `:` qualified(type($rows)) `,` type($panel) `->` qualified(type($result))
  }];
  let hasVerifier = 1;
}

def Flow_PrefetchOp : Flow_Op<"prefetch"> {
  let summary = "asks for weights ahead of their product";
  let description = [{
    Asks for the first `bytes` bytes of panel `index` of `panel`, so that they
    are on their way while something else is done. Changes no value.

    - (C1) `bytes` is positive.

    Example: `flow.prefetch %w[%n] bytes 8192 : memref<6x32x32x2xbf16>`
  }];
  let arguments = (ins AnyMemRef:$panel, Index:$index, I64Attr:$bytes);
  let assemblyFormat = [{
    $panel `[` $index `]` `bytes` $bytes attr-dict `:` type($panel)
  }];
  let hasVerifier = 1;
}

def Flow_MapOp : Flow_Op<"map", [Pure, SingleBlock]> {
  let summary = "elementwise region over register tiles";
  let description = [{
    The region computes one element from one element of each operand; an operand
    of width 1 is the same for all columns of a row.

    - (C1) operands are as wide as the result or 1 wide.
    - (C2) the block arguments and the yielded value have the element types.
  }];
  let arguments = (ins Variadic<Flow_AccType>:$inputs);
  let results = (outs Flow_AccType:$result);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    `(` $inputs `)` attr-dict `:` functional-type($inputs, $result) $body
  }];
  let hasRegionVerifier = 1;
}

def Flow_ReduceKind : Flow_I32Enum<"ReduceKind", "row reduction", [
    I32EnumAttrCase<"sum", 0>, I32EnumAttrCase<"max", 1>]>;
def Flow_ReduceKindAttr : EnumAttr<Flow_Dialect, Flow_ReduceKind, "reduce_kind">;

def Flow_ReduceOp : Flow_Op<"reduce", [Pure,
    PredOpTrait<"the result is one column of the input's element",
        CPred<"$result.getType() == AccType::get($_op.getContext(), 1, "
              "::llvm::cast<AccType>($input.getType()).getElement())">>]> {
  let summary =
      "sum or maximum over the columns of each row; a sum's order depends on the width only";
  let description = [{
    The result is one column of the input's element.
    Example: `%m = flow.reduce max %s : !flow.acc<32 x f32>`
  }];
  let arguments = (ins Flow_ReduceKindAttr:$kind, Flow_AccType:$input);
  let results = (outs Flow_AccType:$result);
  let assemblyFormat =
      "`` $kind $input attr-dict `:` qualified(type($input)) `->` qualified(type($result))";
}

def Flow_SplitOp : Flow_Op<"split", [Pure]> {
  let summary = "the two halves of a register tile";
  let description = [{
    - (C1) both results are half as wide as the input.
  }];
  let hasVerifier = 1;
  let arguments = (ins Flow_AccType:$input);
  let results = (outs Flow_AccType:$low, Flow_AccType:$high);
  let assemblyFormat = [{
    $input attr-dict `:` qualified(type($input)) `->` qualified(type($low)) `,` qualified(type($high))
  }];
}

def Flow_ConstantOp : Flow_Op<"constant", [Pure]> {
  let summary = "a register tile filled with one value";
  let description = "Example: `%z = flow.constant 0.0 : !flow.acc<32 x f32>`";
  let arguments = (ins F32Attr:$value);
  let results = (outs Flow_AccType:$result);
  let assemblyFormat = "$value attr-dict `:` qualified(type($result))";
}

def Flow_IotaKind : Flow_I32Enum<"IotaKind", "what is counted", [
    I32EnumAttrCase<"rows", 0>, I32EnumAttrCase<"columns", 1>]>;
def Flow_IotaKindAttr : EnumAttr<Flow_Dialect, Flow_IotaKind, "iota_kind">;

def Flow_IotaOp : Flow_Op<"iota", [Pure]> {
  let summary = "row or column numbers from a start, as i32";
  let description = "Example: `%c = flow.iota columns from %p : !flow.acc<32 x i32>`";
  let arguments = (ins Flow_IotaKindAttr:$kind, Index:$start);
  let results = (outs Flow_AccType:$result);
  let assemblyFormat = "`` $kind `from` $start attr-dict `:` qualified(type($result))";
}

def Flow_ReadOp : Flow_Op<"read", [AttrSizedOperandSegments]> {
  let summary = "a register tile from memory";
  let description = [{
    Element (r, c) is `source[row(first + r), column + c]`, converted to the
    result's element; row(i) is `indices[i]` where `indices` is given, else i. A
    one-dimensional source with a column is a vector over columns, the same for
    every row (a bias); without a column it is one value a row.
  }];
  let arguments = (ins AnyMemRef:$source, Optional<Index>:$first,
      Optional<Index>:$column, Optional<AnyMemRef>:$indices);
  let results = (outs Flow_AccType:$result);
  let assemblyFormat = [{
    $source (`row` $first^)? (`column` $column^)?
    (`rows` $indices^ `:` type($indices))? attr-dict
    `:` type($source) `->` qualified(type($result))
  }];
}

def Flow_StoreOp : Flow_Op<"store"> {
  let summary = "a register tile to memory, or added to it";
  let description = [{
    Writes element (r, c) to `target[row(first + r), column + c]`, rounded to the
    target's element; columns past the target's last one are left out. With
    `accumulate` the value is added to what is there. row(i) is `indices[i]`
    where `indices` is given, else i.
  }];
  let arguments = (ins Flow_AccType:$value, AnyMemRef:$target, Index:$first,
      Index:$column, Optional<AnyMemRef>:$indices, UnitAttr:$accumulate);
  let assemblyFormat = [{
    $value `,` $target `row` $first `column` $column
    (`rows` $indices^ `:` type($indices))? (`accumulate` $accumulate^)? attr-dict
    `:` qualified(type($value)) `,` type($target)
  }];
}

#endif // HEADRACE_FLOW_OPS
