// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef HEADRACE_TIER_ATTRS
#define HEADRACE_TIER_ATTRS

include "dialects/tier/IR/TierDialect.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/TensorEncoding.td"

class Tier_Attr<string name, string mnemonicValue>
    : AttrDef<Tier_Dialect, name> {
  let mnemonic = mnemonicValue;
}

def Tier_LevelAttr : Tier_Attr<"Level", "level"> {
  let summary = "one level of a machine's memory";
  let description = [{
    `bytes` is the size of one instance and `count` the number of instances (the
    L2 caches of a chip, the HBM stacks of a node). `alignment` is the smallest
    unit, in bytes, in which the level is addressed by a plan.

    - (C1) `name` is not empty.
    - (C2) `bytes` and `count` are positive.
    - (C3) `alignment` is a power of two.

    Example: `#tier.level<"dram", bytes = 17179869184, count = 1, alignment = 64>`
  }];
  let parameters = (ins StringRefParameter<>:$name, "uint64_t":$bytes,
      DefaultValuedParameter<"uint64_t", "1">:$count,
      DefaultValuedParameter<"uint64_t", "64">:$alignment);
  let assemblyFormat = [{
    `<` $name `,` struct($bytes, $count, $alignment) `>`
  }];
  let genVerifyDecl = 1;
}

def Tier_LinkAttr : Tier_Attr<"Link", "link"> {
  let summary = "a directed path between two levels";
  let description = [{
    `bandwidth` in bytes per second and `latency` in nanoseconds of one instance;
    `count` is the number of instances that can carry parts of one transfer at
    once (the host links of a node's eight accelerators). A path that works both
    ways is two links. Links that name the same `bus` share its wires: while one
    carries bytes, the others wait. A link from a level to itself says how fast
    bytes are copied inside it, counting each copied byte once. `request` in bytes
    per second is what one request at a time gets besides its latency, where
    several at a time get more together (a disk); 0: as much as all of them.

    - (C1) `bandwidth` is positive.
    - (C2) `count` is positive.
    - (C3) `request` is at most `bandwidth`.

    Example: `#tier.link<"disk" to "dram", bandwidth = 2000000000, latency = 80000, request = 600000000>`
  }];
  let parameters = (ins StringRefParameter<>:$source,
      StringRefParameter<>:$target, "uint64_t":$bandwidth,
      DefaultValuedParameter<"uint64_t", "0">:$latency,
      DefaultValuedParameter<"uint64_t", "1">:$count,
      StringRefParameter<"", [{""}]>:$bus,
      DefaultValuedParameter<"uint64_t", "0">:$request);
  let assemblyFormat = [{
    `<` $source `to` $target `,`
    struct($bandwidth, $latency, $count, $bus, $request) `>`
  }];
  let genVerifyDecl = 1;
}

def Tier_ComputeAttr : Tier_Attr<"Compute", "compute"> {
  let summary = "how fast a machine multiplies elements of one type";
  let description = [{
    `operations` per second of one instance on operands of `type`, an addition
    and a multiplication counted apart; `count` is the number of instances (cores
    of a processor, accelerators of a node).

    - (C1) `type` is one of f32, tf32, bf16, f16, f8, i8.
    - (C2) `operations` and `count` are positive.

    Example: `#tier.compute<"bf16", operations = 989400000000000>`
  }];
  let parameters = (ins StringRefParameter<>:$type, "uint64_t":$operations,
      DefaultValuedParameter<"uint64_t", "1">:$count);
  let assemblyFormat = [{
    `<` $type `,` struct($operations, $count) `>`
  }];
  let genVerifyDecl = 1;
}

def Tier_MachineAttr : Tier_Attr<"Machine", "machine"> {
  let summary = "the memory levels of a machine and the links between them";
  let description = [{
    Levels are ordered from fast to slow. `compute` says how fast the machine
    multiplies, and `launch` how many nanoseconds pass between the end of one
    launch and the beginning of the next. The attribute sits on the module as
    `tier.machine`; tests replace it by a tiny synthetic one.

    - (C1) there is at least one level and level names are unique.
    - (C2) the ends of every link are names of levels.
    - (C3) at most one link leads from one level to another.
    - (C4) at most one `compute` has a type.

    Example:
    ```mlir
    #tier.machine<"two-tier",
      levels = [<"sram", bytes = 65536, count = 2>, <"dram", bytes = 1048576>],
      links = [<"dram" to "sram", bandwidth = 40000000000>],
      compute = [<"bf16", operations = 474000000000, count = 2>],
      launch = 2000>
    ```
  }];
  let parameters = (ins StringRefParameter<>:$name,
      ArrayRefParameter<"LevelAttr">:$levels,
      OptionalArrayRefParameter<"LinkAttr">:$links,
      OptionalArrayRefParameter<"ComputeAttr">:$compute,
      DefaultValuedParameter<"uint64_t", "0">:$launch);
  // By hand: a declarative format cannot tell optional clauses apart that begin
  // with the same comma.
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// The level of that name, or a null attribute.
    LevelAttr lookupLevel(::llvm::StringRef name) const;
    /// The link from `source` to `target`, or a null attribute.
    LinkAttr lookupLink(::llvm::StringRef source,
                        ::llvm::StringRef target) const;
  }];
}

def Tier_RangeAttr : Tier_Attr<"Range", "range"> {
  let summary = "values in a file";
  let description = [{
    `bytes` bytes from `offset` of `file`, a path relative to the directory the
    model was imported from. With `shape` they do not lie one behind the other:
    value (i, j, ...) is at `offset` plus i, j, ... times the `strides`, which
    count bytes, and the values of the range are these in row-major order. So a
    checkpoint's matrix is read transposed, or every second row of it, without a
    byte being copied at import.

    - (C1) the range ends below 2^64.
    - (C2) there is one stride for each size of `shape`, and no size is 0.
    - (C3) `bytes` are equally many, at least one, for each value of `shape`.

    Example: `#tier.range<"model.safetensors" at 130 bytes 5120 shape [40, 64] strides [4, 160]>`
  }];
  let parameters = (ins StringRefParameter<>:$file, "uint64_t":$offset,
      "uint64_t":$bytes, OptionalArrayRefParameter<"uint64_t">:$shape,
      OptionalArrayRefParameter<"uint64_t">:$strides);
  let assemblyFormat = [{
    `<` $file `at` $offset `bytes` $bytes
    (`shape` ` ` `[` $shape^ `]` `strides` ` ` `[` $strides `]`)? `>`
  }];
  let builders = [
    AttrBuilder<(ins "::llvm::StringRef":$file, "uint64_t":$offset,
                     "uint64_t":$bytes), [{
      return $_get($_ctxt, file, offset, bytes, ::llvm::ArrayRef<uint64_t>(),
                   ::llvm::ArrayRef<uint64_t>());
    }]>];
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    bool isContiguous() const { return getShape().empty(); }
    /// How many bytes of the file, from `offset` on, the values lie in.
    uint64_t getExtent() const;
    /// Copies the values one behind the other to `target`, which has room for
    /// `bytes`; `source` are the range's `getExtent()` bytes of the file.
    void gather(const char *source, char *target) const;
    /// Appends the ranges that hold bytes [from, from + count) of the values.
    void slice(uint64_t from, uint64_t count,
               ::llvm::SmallVectorImpl<::mlir::Attribute> &ranges) const;
  }];
}
def Tier_RangeArrayAttr : TypedArrayAttrBase<Tier_RangeAttr, "byte ranges">;

def Tier_ScaledAttr : AttrDef<Tier_Dialect, "Scaled",
    [DeclareAttrInterfaceMethods<VerifiableTensorEncoding>]> {
  let mnemonic = "scaled";
  let summary = "encoding of a weight [.., out, in] with a scale for each block";
  let description = [{
    The values of the tensor are its elements times scales: all elements of a
    block of `rows` by `columns` share one, and blocks at the ends may be smaller.
    Value (n, k) is element (n, k) times scale (n / `rows`, k / `columns`).

    A matrix is stored as its elements, row major, two of 4 bits in a byte, the
    first in the lower half; behind them its scales, of type `scale`, row major:
    `[ceil(out / rows)][ceil(in / columns)]`. Matrices of a stacked weight stand
    one behind the other. `packing` is the layout chosen for a target, if any.

    - (C1) `rows` and `columns` are positive.
    - (C2) `scale` is f32, bf16 or f8E8M0FNU.
    - (C3) the tensor is a matrix or a stack of them, of static shape, with
      elements of f8E4M3FN or f4E2M1FN.
    - (C4) a row of 4-bit elements is of whole bytes.

    Example:
    ```mlir
    %fp8 = tier.use @q : tensor<192x320xf8E4M3FN, #tier.scaled<rows = 128, columns = 128, scale = f32>>
    %mxfp4 = tier.use @up : tensor<8x40x64xf4E2M1FN, #tier.scaled<rows = 1, columns = 32, scale = f8E8M0FNU>>
    ```
  }];
  let parameters = (ins "int64_t":$rows, "int64_t":$columns,
      "::mlir::Type":$scale, OptionalParameter<"::mlir::Attribute">:$packing);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// Bytes of one scale, and of one as packings have it: f32, or as it is.
    int64_t getScaleBytes() const;
    int64_t getPackedScaleBytes() const;
    /// Bytes of the elements, and of the scales, of one matrix [out, in].
    static int64_t getElementBytes(int64_t out, int64_t in,
                                   ::mlir::Type element);
    int64_t getAllScaleBytes(int64_t out, int64_t in) const;
  }];
}

class Tier_I32Enum<string name, string summary, list<I32EnumAttrCase> cases>
    : I32EnumAttr<name, summary, cases> {
  let cppNamespace = "::headrace::tier";
  let genSpecializedAttr = 0;
}
def Tier_PoolKind : Tier_I32Enum<"PoolKind", "who chooses the slots", [
    I32EnumAttrCase<"ring", 0>, I32EnumAttrCase<"cache", 1>]>;
def Tier_PoolKindAttr : EnumAttr<Tier_Dialect, Tier_PoolKind, "pool_kind">;
def Tier_CachePolicy : Tier_I32Enum<"CachePolicy", "which bundle leaves", [
    I32EnumAttrCase<"lru", 0>, I32EnumAttrCase<"lfu", 1>,
    I32EnumAttrCase<"pinned", 2>, I32EnumAttrCase<"predict", 3>]>;
def Tier_CachePolicyAttr
    : EnumAttr<Tier_Dialect, Tier_CachePolicy, "cache_policy">;

def Tier_TokenType : TypeDef<Tier_Dialect, "Token"> {
  let mnemonic = "token";
  let summary = "a transfer that has begun";
  let description = "What `tier.wait` and `tier.evict` refer to.";
}

#endif // HEADRACE_TIER_ATTRS
