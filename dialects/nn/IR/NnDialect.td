// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef HEADRACE_NN_DIALECT
#define HEADRACE_NN_DIALECT

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

def Nn_Dialect : Dialect {
  let name = "nn";
  let cppNamespace = "::headrace::nn";
  let summary = "the blocks of a decoder that MLIR does not have";
  let description = [{
    Activations are float32 tensors `?xC`: one row a token, and the number of
    tokens is known only when a step runs. Weights are `[out, in]` in the
    checkpoint's element type. Everything that is elementwise and has a name
    upstream is `arith` and `math`.
  }];
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
  let dependentDialects = ["::headrace::tier::TierDialect"];
}

class Nn_I32Enum<string name, string summary, list<I32EnumAttrCase> cases>
    : I32EnumAttr<name, summary, cases> {
  let cppNamespace = "::headrace::nn";
  let genSpecializedAttr = 0;
}

def Nn_NormKind : Nn_I32Enum<"NormKind", "kind of normalisation", [
    I32EnumAttrCase<"rms", 0>, I32EnumAttrCase<"layer", 1>,
    I32EnumAttrCase<"l2", 2>]>;
def Nn_NormKindAttr : EnumAttr<Nn_Dialect, Nn_NormKind, "norm_kind">;

def Nn_Activation : Nn_I32Enum<"Activation", "elementwise activation", [
    I32EnumAttrCase<"silu", 0>, I32EnumAttrCase<"gelu", 1>,
    I32EnumAttrCase<"gelu_tanh", 2>, I32EnumAttrCase<"relu", 3>,
    I32EnumAttrCase<"sigmoid", 4>]>;
def Nn_ActivationAttr : EnumAttr<Nn_Dialect, Nn_Activation, "activation">;

def Nn_RopeKind : Nn_I32Enum<"RopeKind", "how rotary frequencies are made", [
    I32EnumAttrCase<"standard", 0, "default">, I32EnumAttrCase<"linear", 1>,
    I32EnumAttrCase<"llama3", 2>, I32EnumAttrCase<"yarn", 3>]>;

class Nn_F64<string value> : APFloatParameter<""> {
  let defaultValue = value;
}

def Nn_RopeAttr : AttrDef<Nn_Dialect, "Rope"> {
  let mnemonic = "rope_table";
  let summary = "a table of rotary frequencies";
  let description = [{
    Frequency i of `dim / 2` is f_i = theta^(-2i/dim), then by kind:
    - `default`: f_i.
    - `linear`: f_i / factor.
    - `llama3`: with wavelength 2 pi / f_i, above original/low: f_i / factor;
      below original/high: f_i; between, a linear blend by
      (original/wavelength - low) / (high - low).
    - `yarn`: blend of f_i and f_i / factor by a ramp between the correction
      dimensions of beta `high` and `low`, rounded outwards to whole ones where
      `truncate`; cos and sin times `attention_factor`.

    - (C1) `dim` is positive and even; `theta` and `factor` are positive.
    - (C2) kinds `llama3` and `yarn` have a positive `original`.
    - (C3) kind `llama3` has `low` < `high`.
    - (C4) only kind `yarn` goes without `truncate`.

    Example: `#nn.rope_table<default, dim = 64, theta = 10000.0>`
  }];
  let parameters = (ins EnumParameter<Nn_RopeKind>:$kind, "int64_t":$dim,
      APFloatParameter<"">:$theta,
      Nn_F64<"::llvm::APFloat(1.0)">:$factor,
      Nn_F64<"::llvm::APFloat(1.0)">:$low,
      Nn_F64<"::llvm::APFloat(1.0)">:$high,
      DefaultValuedParameter<"int64_t", "0">:$original,
      Nn_F64<"::llvm::APFloat(1.0)">:$attention_factor,
      DefaultValuedParameter<"bool", "true">:$truncate);
  let assemblyFormat = [{
    `<` $kind `,` struct($dim, $theta, $factor, $low, $high, $original,
                         $attention_factor, $truncate) `>`
  }];
  let genVerifyDecl = 1;
}

def Nn_KvCacheType : TypeDef<Nn_Dialect, "KvCache"> {
  let mnemonic = "kv_cache";
  let summary = "keys and values of all sequences of a step, all layers";
  let description = [{
    An opaque value threaded through the attention ops in program order: each
    reads what came before and adds the step's own keys and values.

    - (C1) all sizes are positive; `element` is f32, bf16 or f16.

    Example: `!nn.kv_cache<layers = 2, heads = 4, head_dim = 64, element = bf16>`
  }];
  let parameters = (ins "int64_t":$layers, "int64_t":$heads,
                        "int64_t":$head_dim, "::mlir::Type":$element);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

#endif // HEADRACE_NN_DIALECT
