// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef HEADRACE_NN_OPS
#define HEADRACE_NN_OPS

include "dialects/nn/IR/NnDialect.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/CommonAttrConstraints.td"
include "mlir/IR/CommonTypeConstraints.td"
include "mlir/IR/OpAsmInterface.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class Nn_Op<string mnemonic, list<Trait> traits = []>
    : Op<Nn_Dialect, mnemonic, !listconcat([Pure], traits)>;

// Rows of float32: the activation between ops. How many there are is the step's
// business, how wide they are is not.
def Nn_Rows
    : Type<And<[2DTensorOf<[F32]>.predicate,
                CPred<"!::llvm::cast<::mlir::RankedTensorType>($_self)"
                      ".isDynamicDim(1)">]>,
           "rows of float32 of a static width", "::mlir::RankedTensorType">;
def Nn_Weight : TensorRankOf<[F32, BF16, F16], [1, 2]>;
def Nn_Matrix : 2DTensorOf<[F32, BF16, F16]>;
// Of a product; encoded weights carry their scales, see #tier.scaled.
def Nn_ProductWeight : 2DTensorOf<[F32, BF16, F16, F8E4M3FN, F4E2M1FN]>;
def Nn_Vector : 1DTensorOf<[F32, BF16, F16]>;
def Nn_Ids : 1DTensorOf<[I32]>;
// Positions and sequence starts are always tensor<?xi32>, so ops that take
// several of them need not spell the type.
def Nn_StepIds
    : Type<Nn_Ids.predicate, "tensor<?xi32>", "::mlir::RankedTensorType">,
      BuildableType<"::mlir::RankedTensorType::get({::mlir::ShapedType::kDynamic},"
                    " $_builder.getI32Type())">;

def Nn_EmbedOp : Nn_Op<"embed"> {
  let summary = "rows of a table picked by index, as float32";
  let description = [{
    `result[t, :] = table[ids[t], :]`. An id outside the table is refused before
    a step starts, not here.

    - (C1) the rows of `table` and `result` have the same width.
    - (C2) `ids` and `result` have the same number of rows.

    Example:
    ```mlir
    %x = nn.embed %ids, %table : tensor<?xi32>, tensor<300x64xbf16> -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Nn_Ids:$ids, Nn_Matrix:$table);
  let results = (outs Nn_Rows:$result);
  let assemblyFormat = [{
    $ids `,` $table attr-dict `:` type($ids) `,` type($table) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Nn_NormOp : Nn_Op<"norm",
    [AttrSizedOperandSegments, AllTypesMatch<["input", "result"]>]> {
  let summary = "normalises each row, or equal groups of each row";
  let description = [{
    With the C channels cut into `groups` equal parts of n channels, per part:
    - `rms`: x / sqrt(mean(x^2) + eps)
    - `layer`: (x - mean(x)) / sqrt(mean((x - mean)^2) + eps)
    - `l2`: x / sqrt(sum(x^2) + eps)

    then times `weight` (n values, the same for every part) and plus `bias`,
    where present. All in float32.

    - (C1) `groups` is positive and divides the row width.
    - (C2) `weight` and `bias` have as many values as one part.
    - (C3) `eps` is finite and not negative.

    Example:
    ```mlir
    %n = nn.norm rms %x, %w eps 1.0e-5 : tensor<?x64xf32>, tensor<64xbf16>
    ```
  }];
  let arguments = (ins Nn_NormKindAttr:$kind, Nn_Rows:$input,
      Optional<Nn_Vector>:$weight, Optional<Nn_Vector>:$bias,
      F64Attr:$eps, DefaultValuedAttr<I64Attr, "1">:$groups);
  let results = (outs Nn_Rows:$result);
  let assemblyFormat = [{
    `` $kind $input (`,` $weight^)? (`bias` $bias^)? `eps` $eps
    (`groups` $groups^)? attr-dict
    `:` type($input) (`,` type($weight)^)? (`bias` type($bias)^)?
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    int64_t getGroupWidth() {
      return getInput().getType().getDimSize(1) / (int64_t)getGroups();
    }
  }];
}

def Nn_LinearOp : Nn_Op<"linear"> {
  let summary = "product with a weight [out, in], plus bias";
  let description = [{
    `result[t, n] = sum_k input'[t, k] * weight[n, k] + bias[n]`, accumulated in
    float32, k ascending. `input'` is the input rounded to the nearest even value
    of the type `inputs`, or the input itself where that is absent.

    With an encoded weight, `#tier.scaled`, the products of elements are added up
    for each block of input channels by itself, k ascending, and `result[t, n]` is
    the sum of these sums times their scales, blocks ascending, all in float32.

    - (C1) the input's width equals the weight's second dimension.
    - (C2) the result's width equals the weight's first dimension.
    - (C3) `bias` has one value an output channel.
    - (C4) `inputs` is bf16 or f16.
    - (C5) a weight of 8-bit or 4-bit elements is encoded by `#tier.scaled`.

    Example:
    ```mlir
    %q = nn.linear %x, %w inputs bf16 : tensor<?x64xf32>, tensor<96x64xbf16> -> tensor<?x96xf32>
    %k = nn.linear %x, %e inputs bf16 : tensor<?x64xf32>,
      tensor<96x64xf8E4M3FN, #tier.scaled<rows = 32, columns = 32, scale = f32>> -> tensor<?x96xf32>
    ```
  }];
  let arguments = (ins Nn_Rows:$input, Nn_ProductWeight:$weight,
      Optional<Nn_Vector>:$bias, OptionalAttr<TypeAttr>:$inputs);
  let results = (outs Nn_Rows:$result);
  let assemblyFormat = [{
    $input `,` $weight (`bias` $bias^)? (`inputs` $inputs^)? attr-dict
    `:` type($input) `,` type($weight) (`,` type($bias)^)? `->` type($result)
  }];
  let hasVerifier = 1;
}

def Nn_RopeOp : Nn_Op<"rope", [AllTypesMatch<["input", "result"]>]> {
  let summary = "rotary position embedding, half pairing";
  let description = [{
    Each row is `heads` heads of d channels. In every head, with the table's
    `dim` = r <= d and a = positions[t] * f_i, channels i and i + r/2 become
    `x_i cos a - x_{i+r/2} sin a` and `x_{i+r/2} cos a + x_i sin a`; channels
    from r on stay. Angles, cosines and sines are those of float32 arithmetic
    on an angle computed in float32.

    - (C1) `heads` divides the row width.
    - (C2) the table's `dim` is at most the width of a head.

    Example:
    ```mlir
    %r = nn.rope %q at %positions heads 4 table <default, dim = 16, theta = 1.0e+4>
      : tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Nn_Rows:$input, Nn_StepIds:$positions, I64Attr:$heads,
                       Nn_RopeAttr:$table);
  let results = (outs Nn_Rows:$result);
  let assemblyFormat = [{
    $input `at` $positions `heads` $heads `table` $table attr-dict
    `:` type($input)
  }];
  let hasVerifier = 1;
}

def Nn_AnglesOp : Nn_Op<"angles"> {
  let summary = "cosines and sines of rotary angles";
  let description = [{
    Row t holds cos(a_0) .. cos(a_{r/2-1}), sin(a_0) .. sin(a_{r/2-1}) with
    a_i = positions[t] * f_i in float32, r the table's `dim`, both times the
    table's attention factor. `nn.rope` is `nn.rotate` by these: made once a step,
    they serve every layer and head.

    - (C1) the result is as wide as the table's `dim`.

    Example:
    ```mlir
    %a = nn.angles %positions table <default, dim = 16, theta = 1.0e+4> : tensor<?x16xf32>
    ```
  }];
  let arguments = (ins Nn_StepIds:$positions, Nn_RopeAttr:$table);
  let results = (outs Nn_Rows:$result);
  let assemblyFormat = [{
    $positions `table` $table attr-dict `:` type($result)
  }];
  let hasVerifier = 1;
}

def Nn_RotateOp : Nn_Op<"rotate", [AllTypesMatch<["input", "result"]>]> {
  let summary = "rotates channel pairs of each head by given angles";
  let description = [{
    The second half of `nn.rope`, for `angles` as `nn.angles` gives them.

    - (C1) `heads` divides the row width.
    - (C2) `angles` is at most as wide as a head.

    Example:
    ```mlir
    %r = nn.rotate %q by %a heads 4 : tensor<?x64xf32>, tensor<?x16xf32>
    ```
  }];
  let arguments = (ins Nn_Rows:$input, Nn_Rows:$angles, I64Attr:$heads);
  let results = (outs Nn_Rows:$result);
  let assemblyFormat = [{
    $input `by` $angles `heads` $heads attr-dict
    `:` type($input) `,` type($angles)
  }];
  let hasVerifier = 1;
}

def Nn_AttentionOp : Nn_Op<"attention",
    [AllTypesMatch<["cache", "updated_cache"]>, AllTypesMatch<["query", "result"]>,
     AllTypesMatch<["key", "value"]>]> {
  let summary = "causal attention over a key-value cache";
  let description = [{
    Writes the step's keys and values into `cache` (rounded to its element
    type), then for row t of sequence s at position p, head h, over the
    positions j of s with j <= p and, where `window` = w is given, j > p - w:
    `result = sum_j softmax_j(scale * q_h . k_j) v_j`; KV head of h is
    `h / (heads / kv_heads)`. Rows of one sequence are consecutive:
    `sequences[s]` is the first row of sequence s, and its last value the
    number of rows.

    With `sinks` head h's softmax has one more score, `sinks[h]`, whose value is
    zero: it takes part in the maximum and in the sum, and in nothing else.

    - (C1) `heads` is a multiple of the cache's heads.
    - (C2) `query` and `result` are `heads * head_dim` wide, `key` and `value`
      as wide as the cache's heads.
    - (C3) `layer` is a layer of the cache.
    - (C4) `window`, where given, is positive.
    - (C5) `sinks` has one value a head.

    Example:
    ```mlir
    %a, %c1 = nn.attention %q, %k, %v cache %c0 layer 0 at %positions of %sequences
      heads 4 scale 2.5e-01 : tensor<?x64xf32>, tensor<?x32xf32>,
      !nn.kv_cache<layers = 2, heads = 2, head_dim = 16, element = f32>
    %b, %c2 = nn.attention %q, %k, %v cache %c1 layer 1 at %positions of %sequences
      heads 4 scale 2.5e-01 window 8 sinks %s : tensor<?x64xf32>, tensor<?x32xf32>,
      !nn.kv_cache<layers = 2, heads = 2, head_dim = 16, element = f32>, tensor<4xbf16>
    ```
  }];
  let arguments = (ins Nn_Rows:$query, Nn_Rows:$key, Nn_Rows:$value,
      Nn_KvCacheType:$cache, I64Attr:$layer, Nn_StepIds:$positions,
      Nn_StepIds:$sequences, I64Attr:$heads, F64Attr:$scale,
      OptionalAttr<I64Attr>:$window, Optional<Nn_Vector>:$sinks);
  let results = (outs Nn_Rows:$result, Nn_KvCacheType:$updated_cache);
  let assemblyFormat = [{
    $query `,` $key `,` $value `cache` $cache `layer` $layer `at` $positions
    `of` $sequences `heads` $heads `scale` $scale (`window` $window^)?
    (`sinks` $sinks^)? attr-dict
    `:` type($query) `,` type($key) `,` qualified(type($cache))
    (`,` type($sinks)^)?
  }];
  let hasVerifier = 1;
}

def Nn_ActOp : Nn_Op<"act", [AllTypesMatch<["input", "result"]>]> {
  let summary = "elementwise activation";
  let description = [{
    `silu` x/(1+e^-x); `gelu` x Phi(x); `gelu_tanh` its tanh approximation;
    `relu`; `sigmoid` 1/(1+e^-x).

    Example: `%y = nn.act sigmoid %x : tensor<?x1xf32>`
  }];
  let arguments = (ins Nn_ActivationAttr:$kind, Nn_Rows:$input);
  let results = (outs Nn_Rows:$result);
  let assemblyFormat = "`` $kind $input attr-dict `:` type($input)";
}

def Nn_GluOp : Nn_Op<"glu", [AllTypesMatch<["gate", "up", "result"]>]> {
  let summary = "gated linear unit: act(gate) * up";
  let description = [{
    `result = act(gate') * (up' + offset)`, where gate' is `gate` cut off above
    `limit` and up' is `up` clamped to [-`limit`, `limit`]; without `limit` they
    are `gate` and `up`, and `offset` is zero where it is absent. With `alpha`
    the activation is x / (1 + e^(-alpha x)).

    - (C1) `alpha` is given with `silu` only, positive and finite.
    - (C2) `limit` is positive.
    - (C3) `offset` is finite.

    Example:
    ```mlir
    %h = nn.glu silu %g, %u : tensor<?x40xf32>
    %o = nn.glu silu %g, %u alpha 1.702 limit 7.0 offset 1.0 : tensor<?x40xf32>
    ```
  }];
  let arguments = (ins Nn_ActivationAttr:$kind, Nn_Rows:$gate, Nn_Rows:$up,
      OptionalAttr<F64Attr>:$alpha, OptionalAttr<F64Attr>:$limit,
      OptionalAttr<F64Attr>:$offset);
  let results = (outs Nn_Rows:$result);
  let assemblyFormat = [{
    `` $kind $gate `,` $up (`alpha` $alpha^)? (`limit` $limit^)?
    (`offset` $offset^)? attr-dict `:` type($gate)
  }];
  let hasVerifier = 1;
}

def Nn_ClampOp : Nn_Op<"clamp", [AllTypesMatch<["input", "result"]>]> {
  let summary = "elementwise clamp to [low, high]";
  let description = [{
    - (C1) `low` <= `high` and neither is NaN.

    Example: `%y = nn.clamp %x low -8.0 high 8.0 : tensor<?x64xf32>`
  }];
  let arguments = (ins Nn_Rows:$input, F64Attr:$low, F64Attr:$high);
  let results = (outs Nn_Rows:$result);
  let assemblyFormat =
      "$input `low` $low `high` $high attr-dict `:` type($input)";
  let hasVerifier = 1;
}

def Nn_ScaleOp : Nn_Op<"scale", [AllTypesMatch<["input", "result"]>]> {
  let summary = "each row times a number of its own";
  let description = [{
    `result[t, :] = input[t, :] * factor[t, 0]`.

    - (C1) `factor` is one column wide.

    Example: `%y = nn.scale %x by %g : tensor<?x64xf32>, tensor<?x1xf32>`
  }];
  let arguments = (ins Nn_Rows:$input, Nn_Rows:$factor);
  let results = (outs Nn_Rows:$result);
  let assemblyFormat =
      "$input `by` $factor attr-dict `:` type($input) `,` type($factor)";
  let hasVerifier = 1;
}

#endif // HEADRACE_NN_OPS
