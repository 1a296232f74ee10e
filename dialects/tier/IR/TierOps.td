// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef HEADRACE_TIER_OPS
#define HEADRACE_TIER_OPS

include "dialects/tier/IR/TierAttrs.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/CommonAttrConstraints.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class Tier_Op<string mnemonic, list<Trait> traits = []>
    : Op<Tier_Dialect, mnemonic, traits>;

def Tier_WeightOp : Tier_Op<"weight", [Symbol]> {
  let summary = "binds a read-only tensor to bytes of a checkpoint";
  let description = [{
    The tensor's bytes are the ranges of `source` one behind the other, row
    major, little endian. Several ranges let one weight gather the tensors of a
    layer's experts, or rows of several matrices, and ranges with a shape read
    matrices that are stored transposed or interleaved, without copying a byte at
    import. The type's encoding, if any, is the packing chosen for a target.

    - (C1) `type` is a ranked tensor of static shape and of elements that are
      whole bytes, or encoded by `#tier.scaled`.
    - (C2) the ranges add up to the bytes of the type.

    Example:
    ```mlir
    tier.weight @layer0.gate : tensor<2x40x64xbf16> from [
      #tier.range<"model.safetensors" at 128 bytes 5120>,
      #tier.range<"model.safetensors" at 9000 bytes 5120>]
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttr:$type,
                       Tier_RangeArrayAttr:$source);
  let assemblyFormat = "$sym_name `:` $type `from` $source attr-dict";
  let hasVerifier = 1;
}

def Tier_UseOp : Tier_Op<"use", [Pure,
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "the tensor that a weight symbol names";
  let description = [{
    - (C1) `weight` names a `tier.weight`.
    - (C2) the result has the weight's type.

    Example: `%w = tier.use @layer0.gate : tensor<2x40x64xbf16>`
  }];
  let arguments = (ins FlatSymbolRefAttr:$weight);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$weight attr-dict `:` type($result)";
}

def Tier_BufferOp : Tier_Op<"buffer", [Symbol]> {
  let summary = "planned bytes of one level";
  let description = [{
    A buffer that the plan placed: `bytes` at `offset` of the arena of `level`.
    Two buffers may share bytes when their lifetimes do not meet. `role` names a
    buffer that the host provides for each step instead; its offset, if any, is
    counted from the host's first byte, for the key-value pool in a pool of one
    page. `bytes` is for the largest step.

    - (C1) `offset` or `role` is present.
    - (C2) `offset` is a multiple of 64.
    - (C3) `bytes` is not negative.
    - (C4) `level` is one of the module's `tier.machine`, where it has one.

    Example:
    ```mlir
    tier.buffer @hidden : tensor<?x64xf32> level "dram" bytes 131072 offset 4096
    tier.buffer @tokens : tensor<?xi32> level "dram" bytes 2048 role "tokens"
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttr:$type,
      StrAttr:$level, I64Attr:$bytes, OptionalAttr<I64Attr>:$offset,
      OptionalAttr<StrAttr>:$role, UnitAttr:$output);
  let assemblyFormat = [{
    $sym_name `:` $type `level` $level `bytes` $bytes (`offset` $offset^)?
    (`role` $role^)? (`output` $output^)? attr-dict
  }];
  let hasVerifier = 1;
}

def Tier_PlanOp : Tier_Op<"plan"> {
  let summary = "what a plan bounds, and with what";
  let description = [{
    The program takes `arena` bytes of `level`, of which there may be at most
    `budget` (0: as many as the level has); with fewer than `minimum` bytes no
    plan exists. `workers` pieces of `worker_bytes` bytes from offset `scratch`
    on are the threads' scratch; `kv_pages` pages of the key-value cache start
    at `kv`. `strategy` chose what stays.

    Bundles may have a `home`: an arena of another level, `home_arena` bytes of
    at most `home_budget` (0: as many as the level has), out of which they are
    copied into slots. Its last `staging` bytes are for bundles without a home,
    which come from the package, where kernels reach no other level.

    - (C1) `minimum` is at most `arena`, and `arena` at most a `budget` that is
      not 0; so is `home_arena` of `home_budget`.
    - (C2) offsets and `worker_bytes` are multiples of 4096, and so are
      `home_arena` and `staging`, which is the smaller of the two.
    - (C3) `home`, `home_arena`, `home_budget` and `staging` are all there or
      none is.

    Example:
    ```mlir
    tier.plan "joint" level "dram" arena 1048576 budget 1050000 minimum 65536 workers 2 of 8192 at 16384 kv 8 at 32768
    tier.plan "joint" level "hbm" arena 1048576 budget 0 minimum 65536 workers 1 of 0 at 16384 kv 8 at 32768 home "dram" arena 4194304 budget 0 staging 65536
    ```
  }];
  let arguments = (ins StrAttr:$strategy, StrAttr:$level, I64Attr:$arena,
      I64Attr:$budget, I64Attr:$minimum, I64Attr:$workers,
      I64Attr:$worker_bytes, I64Attr:$scratch, I64Attr:$kv_pages, I64Attr:$kv,
      OptionalAttr<StrAttr>:$home, OptionalAttr<I64Attr>:$home_arena,
      OptionalAttr<I64Attr>:$home_budget, OptionalAttr<I64Attr>:$staging);
  let assemblyFormat = [{
    $strategy `level` $level `arena` $arena `budget` $budget `minimum` $minimum
    `workers` $workers `of` $worker_bytes `at` $scratch
    `kv` $kv_pages `at` $kv
    (`home` $home^ `arena` $home_arena `budget` $home_budget
     `staging` $staging)? attr-dict
  }];
  let hasVerifier = 1;
}

def Tier_PinOp : Tier_Op<"pin", [
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "gives bytes that stay to a weight or a host's buffer";
  let description = [{
    From the start on `what` is at `offsets` of the arena of `level`: one offset
    for a buffer or a weight, one an expert for a stacked weight [E, N, K].

    - (C1) `what` names a `tier.weight` or a `tier.buffer` with a role.
    - (C2) there are as many offsets as `what` has parts.
    - (C3) offsets are multiples of 64 for a buffer, of 4096 for a weight.

    Example: `tier.pin @head level "dram" offsets [8192]`
  }];
  let arguments = (ins FlatSymbolRefAttr:$what, StrAttr:$level,
                       DenseI64ArrayAttr:$offsets);
  let assemblyFormat = "$what `level` $level `offsets` $offsets attr-dict";
}

def Tier_PoolOp : Tier_Op<"pool", [Symbol]> {
  let summary = "equal slots that bundles take turns in";
  let description = [{
    `slots` slots of `slot_bytes` bytes from `offset` of the arena of `level` on.
    In a ring the schedule says which slot a bundle takes; in a cache the runtime
    does, by `policy`. With fewer than `min_slots` the schedule cannot run.

    - (C1) `slots` is at least `min_slots`, which is positive.
    - (C2) `slot_bytes` is a positive multiple of 4096, `offset` a multiple.
    - (C3) a cache has a policy, a ring has none.

    Example: `tier.pool @ring ring level "dram" offset 65536 slots 2 of 16384 least 1`
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, Tier_PoolKindAttr:$kind,
      OptionalAttr<Tier_CachePolicyAttr>:$policy, StrAttr:$level,
      I64Attr:$offset, I64Attr:$slots, I64Attr:$slot_bytes, I64Attr:$min_slots);
  let assemblyFormat = [{
    $sym_name $kind (`policy` $policy^)? `level` $level `offset` $offset
    `slots` $slots `of` $slot_bytes `least` $min_slots attr-dict
  }];
  let hasVerifier = 1;
}

def Tier_BundleOp : Tier_Op<"bundle", [Symbol,
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "weights that move together";
  let description = [{
    The `weights` lie at `offsets` of a slot of `pool` while they are there, and
    take `bytes` bytes of it. With `experts` it stands for that many bundles:
    number e holds matrix e of each of the weights, which are stacked. While it
    is in no slot, it lies as in a slot at `home` of the arena of the plan's home
    level, bundles of experts one behind the other; without a `home` it is in the
    package alone.

    - (C1) `pool` names a `tier.pool` whose slots hold `bytes`.
    - (C2) `weights` name `tier.weight`s, stacked ones of `experts` matrices
      where `experts` is given and only there.
    - (C3) there is one offset a weight, ascending multiples of 4096, and so is
      `home`.

    Example:
    ```mlir
    tier.bundle @layer0 in @ring weights [@q, @o] offsets [0, 8192] bytes 16384
    tier.bundle @layer0.experts in @cache weights [@up, @down] offsets [0, 4096] bytes 8192 experts 8
    tier.bundle @layer1 in @ring weights [@q1] offsets [0] bytes 8192 home 16384
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, FlatSymbolRefAttr:$pool,
      TypedArrayAttrBase<FlatSymbolRefAttr, "weights">:$weights,
      DenseI64ArrayAttr:$offsets, I64Attr:$bytes, OptionalAttr<I64Attr>:$experts,
      OptionalAttr<I64Attr>:$home);
  let assemblyFormat = [{
    $sym_name `in` $pool `weights` $weights `offsets` $offsets `bytes` $bytes
    (`experts` $experts^)? (`home` $home^)? attr-dict
  }];
}

def Tier_PagesOp : Tier_Op<"pages", [Symbol,
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "a layer's key-value pages that move";
  let description = [{
    The pages of `layer` of the key-value cache lie at `offset` of the arena of
    `level`, and from a prefetch to the eviction in a slot of `pool`. A page has
    the same number in both. What launches write into the slot goes back with
    `tier.store`. All `bytes` are there in both, but only pages that a step's
    sequences use are moved.

    - (C1) `pool` names a ring whose slots hold `bytes`.
    - (C2) `offset` is a multiple of 4096.

    Example: `tier.pages @layer0.kv in @kv layer 0 bytes 16384 home "disk" offset 0`
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, FlatSymbolRefAttr:$pool,
      I64Attr:$layer, I64Attr:$bytes, StrAttr:$level, I64Attr:$offset);
  let assemblyFormat = [{
    $sym_name `in` $pool `layer` $layer `bytes` $bytes
    `home` $level `offset` $offset attr-dict
  }];
}

def Tier_PrefetchOp : Tier_Op<"prefetch", [
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "begins to read a bundle, or a layer's pages, into a slot";
  let description = [{
    The slot is free: whatever it held was evicted.

    - (C1) `bundle` names a `tier.bundle` of a ring, without experts, or
      `tier.pages`.
    - (C2) `slot` is one of the pool's.

    Example: `%t = tier.prefetch @layer0 slot 0`
  }];
  let arguments = (ins FlatSymbolRefAttr:$bundle, I64Attr:$slot);
  let results = (outs Tier_TokenType:$token);
  let assemblyFormat = "$bundle `slot` $slot attr-dict";
}

def Tier_WaitOp : Tier_Op<"wait"> {
  let summary = "goes on when a bundle has arrived";
  let description = "Example: `tier.wait %t`";
  let arguments = (ins Tier_TokenType:$token);
  let assemblyFormat = "$token attr-dict";
}

def Tier_EvictOp : Tier_Op<"evict"> {
  let summary = "frees the slot of a bundle";
  let description = [{
    Free it is when all launches before have ended, and all that was stored out
    of it has arrived. Weights are read-only, so nothing of them is written back.

    Example: `tier.evict %t`
  }];
  let arguments = (ins Tier_TokenType:$token);
  let assemblyFormat = "$token attr-dict";
}

def Tier_StoreOp : Tier_Op<"store", [
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "begins to write a slot's pages to their home";
  let description = [{
    What the launches before wrote of the pages that the token's prefetch
    brought. It is over before the slot is evicted.

    - (C1) `token` is that of a prefetch of `tier.pages`.

    Example: `tier.store %t`
  }];
  let arguments = (ins Tier_TokenType:$token);
  let assemblyFormat = "$token attr-dict";
}

#endif // HEADRACE_TIER_OPS
