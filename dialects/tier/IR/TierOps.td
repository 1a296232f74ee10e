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
    layer's experts, or rows of several matrices, without copying a byte at
    import. The type's encoding, if any, is the packing chosen for a target.

    - (C1) `type` is a ranked tensor of static shape and of elements that are
      whole bytes.
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
    counted from the host's first byte. `type` has `?` where the size depends on the step; `bytes` is its
    largest size.

    - (C1) `offset` or `role` is present.
    - (C2) `offset` is a multiple of 64.
    - (C3) `bytes` is not negative.

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

#endif // HEADRACE_TIER_OPS
