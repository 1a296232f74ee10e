// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef HEADRACE_FLOW_DIALECT
#define HEADRACE_FLOW_DIALECT

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

def Flow_Dialect : Dialect {
  let name = "flow";
  let cppNamespace = "::headrace::flow";
  let summary = "the dataflow graph after fusion, and the tiles inside";
  let description = [{
    Two levels. At graph level a `flow.kernel` holds what becomes one launch: its
    region is the meaning, in `nn` and `moe` ops. A `flow.schedule` is the order
    of launches of one entry point. At tile level a `flow.program` is the code of
    one task of a kernel, written with operations on whole tiles; it knows no
    threads and no vector width, so that one text serves every target.
  }];
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
  let dependentDialects = ["::headrace::tier::TierDialect"];
}

class Flow_I32Enum<string name, string summary, list<I32EnumAttrCase> cases>
    : I32EnumAttr<name, summary, cases> {
  let cppNamespace = "::headrace::flow";
  let genSpecializedAttr = 0;
}

def Flow_GridKind : Flow_I32Enum<"GridKind", "how the number of tasks follows", [
    I32EnumAttrCase<"fixed", 0>, I32EnumAttrCase<"per_token", 1>,
    I32EnumAttrCase<"per_sequence", 2>, I32EnumAttrCase<"per_output", 3>,
    I32EnumAttrCase<"per_token_block", 4>, I32EnumAttrCase<"per_routed", 5>]>;

def Flow_GridAttr : AttrDef<Flow_Dialect, "Grid"> {
  let mnemonic = "grid";
  let summary = "the number of tasks of a launch";
  let description = [{
    `fixed` base; `per_token`, `per_sequence`, `per_output` base times the
    step's count; `per_token_block` base * ceil(tokens / block); `per_routed`
    base * min(limit, block * tokens). As `headrace_grid_t` of the kernel ABI.

    - (C1) `base`, `block` and `limit` are positive.

    Example: `#flow.grid<per_routed, base = 4, block = 8, limit = 64>`
  }];
  let parameters = (ins EnumParameter<Flow_GridKind>:$kind, "int64_t":$base,
      DefaultValuedParameter<"int64_t", "1">:$block,
      DefaultValuedParameter<"int64_t", "1">:$limit);
  let assemblyFormat = "`<` $kind `,` struct($base, $block, $limit) `>`";
  let genVerifyDecl = 1;
}

def Flow_PanelsAttr : AttrDef<Flow_Dialect, "Panels"> {
  let mnemonic = "panels";
  let summary = "packing of a weight [.., out, in] for streaming";
  let description = [{
    The encoding of a packed weight. Output channels are cut into panels of
    `columns`; a panel is contiguous and holds for each group of `pack`
    neighbouring input channels the values of all its columns:
    `[out / columns][in / pack][columns][pack]`, zero padded. With `halves` = 2
    the first half of the output channels (gate) and the second (up) alternate
    in one panel: columns/2 of each, so that gate and up of one channel meet in
    one accumulator. Leading dimensions (experts) are outermost.

    A panel of a weight encoded by `#tier.scaled` is bytes: runs of 128 input
    channels, the last one as short as it is, each of its scales
    `[128 / block][columns]` and then its elements as above, two of 4 bits in a
    byte. So one stream has both. The scales are f32 (or f8E8M0FNU, if stored so);
    a NaN among the elements has become one of its block's scale.

    - (C1) `columns` is a positive multiple of 16; `pack` is 1 or 2.
    - (C2) `halves` is 1 or 2.

    Example:
    ```mlir
    %w = tier.use @w : tensor<96x64xbf16, #flow.panels<columns = 32, pack = 2>>
    %e = tier.use @e : tensor<96x256xf8E4M3FN, #tier.scaled<rows = 128, columns = 128, scale = f32,
      packing = #flow.panels<columns = 32, pack = 2>>>
    ```
  }];
  let parameters = (ins "int64_t":$columns, "int64_t":$pack,
      DefaultValuedParameter<"int64_t", "1">:$halves);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// Panels that `out` output channels need.
    int64_t getPanelCount(int64_t out) const;
    /// Input channels whose scales stand together in an encoded panel.
    static constexpr int64_t kRun = 128;
    /// Bytes of one panel of a weight [.., out, in] of `type`, padding and
    /// scales included.
    int64_t getPanelBytes(::mlir::RankedTensorType type) const;
    /// Bytes of the scales of one run.
    int64_t getRunScaleBytes(tier::ScaledAttr scaled) const;
  }];
}

def Flow_FragmentsAttr : AttrDef<Flow_Dialect, "Fragments"> {
  let mnemonic = "fragments";
  let summary = "packing of a weight [.., out, in] for matrix instructions";
  let description = [{
    The encoding of a weight packed for the tensor cores of a GPU, where it is
    the operand with 16 rows: `[out / 16][in / 16][32][8]`, zero padded to blocks
    of 16 output and 64 input channels. Each 16 by 16 block is 512 contiguous
    bytes in the order in which a warp's registers hold it: lane l has the
    elements (row, column) = (l / 4 + 8 i, l % 4 * 2 + 8 j + c) at
    `[l][4 j + 2 i + c]` for i, j, c in {0, 1}, which one 16-byte load fetches.

    With `halves` = 2 the first half of the output channels (gate) and the
    second (up) alternate: rows 0 to 7 of a block are gate channels, rows 8 to 15
    the up channels of the same numbers, so that a lane has both. Leading
    dimensions (experts) are outermost.

    Of a weight encoded by `#tier.scaled` 16 rows are bytes: `[in / load][32]`
    runs of 16 bytes, a lane's elements of neighbouring blocks one behind the
    other, of `load` = 32 channels in 8 bits and 64 in 4. Of the n elements of a
    32-bit word the even ones fill its lower half and the odd ones the upper, so
    that a shift and a mask give a pair. Then follow the scales, f32 (or
    f8E8M0FNU, if stored so), `[in / (n block)][8][n][2]` with n = load / block or
    1 if that is more: for i in {0, 1} that of rows g + 8 i and the j-th of n
    blocks at `[.][g][j][i]`, so that one load fetches what a lane needs beside
    its elements. Channels of padding have zeros, elements and scales alike. A
    NaN among the elements has become one of its block's scale.

    - (C1) `halves` is 1 or 2.

    Example: `tensor<96x64xbf16, #flow.fragments<halves = 2>>`
  }];
  let parameters = (ins DefaultValuedParameter<"int64_t", "1">:$halves);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// Blocks of 16 rows that `out` output channels need.
    int64_t getRowBlocks(int64_t out) const;
    /// Blocks of 16 columns that `in` input channels need; a multiple of 4.
    static int64_t getColumnBlocks(int64_t in);
    /// Bytes of 16 rows of an encoded weight [.., out, in] of `type`: of their
    /// elements, and with their scales.
    static int64_t getElementBytes(::mlir::RankedTensorType type);
    /// Input channels of which a lane's elements of an encoded weight are 16
    /// bytes, and bytes of the scales of its two rows beside them.
    static int64_t getLoadChannels(::mlir::RankedTensorType type);
    static int64_t getLoadScaleBytes(::mlir::RankedTensorType type);
    static int64_t getRowBlockBytes(::mlir::RankedTensorType type);
  }];
}

def Flow_TileType : TypeDef<Flow_Dialect, "Tile"> {
  let mnemonic = "tile";
  let summary = "rows staged for a product";
  let description = [{
    A run of rows, each `width` values of `element`, ready to be the row operand
    of `flow.mma`: in the worker's fast memory, or in place when a buffer already
    has the form.

    - (C1) `width` is positive and `element` an integer or float.

    Example: `!flow.tile<2048 x bf16>`
  }];
  let parameters = (ins "int64_t":$width, "::mlir::Type":$element);
  let assemblyFormat = "`<` $width `x` $element `>`";
  let genVerifyDecl = 1;
}

def Flow_AccType : TypeDef<Flow_Dialect, "Acc"> {
  let mnemonic = "acc";
  let summary = "a register tile: the current rows by `width` columns";
  let description = [{
    The rows are those of the enclosing `flow.rows`; width 1 is one value a row,
    which `flow.map` broadcasts.

    - (C1) `width` is positive and `element` an integer or float.

    Example: `!flow.acc<32 x f32>`
  }];
  let parameters = (ins "int64_t":$width, "::mlir::Type":$element);
  let assemblyFormat = "`<` $width `x` $element `>`";
  let genVerifyDecl = 1;
}

#endif // HEADRACE_FLOW_DIALECT
