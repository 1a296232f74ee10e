// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef HEADRACE_MOE_OPS
#define HEADRACE_MOE_OPS

include "dialects/moe/IR/MoeDialect.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/CommonAttrConstraints.td"
include "mlir/IR/CommonTypeConstraints.td"
include "mlir/IR/RegionKindInterface.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class Moe_Op<string mnemonic, list<Trait> traits = []>
    : Op<Moe_Dialect, mnemonic, traits>;

// Rows of a width that is known; see Nn_Rows.
class Moe_RowsOf<list<Type> elements, string summary>
    : Type<And<[2DTensorOf<elements>.predicate,
                CPred<"!::llvm::cast<::mlir::RankedTensorType>($_self)"
                      ".isDynamicDim(1)">]>,
           summary, "::mlir::RankedTensorType">;
def Moe_Rows : Moe_RowsOf<[F32], "rows of float32 of a static width">;
// Scores: one row a token, one column an expert.
defvar Moe_Scores = Moe_Rows;

def Moe_SquashOp : Moe_Op<"squash",
    [Pure, AllTypesMatch<["scores", "result"]>]> {
  let summary = "softmax over a row of scores, or sigmoid of each";
  let description = [{
    In float32: `softmax` e^(x - max) / sum over the row's experts; `sigmoid`
    1 / (1 + e^-x).

    Example: `%p = moe.squash softmax %logits : tensor<?x8xf32>`
  }];
  let arguments = (ins Moe_SquashKindAttr:$kind, Moe_Scores:$scores);
  let results = (outs Moe_Scores:$result);
  let assemblyFormat = "`` $kind $scores attr-dict `:` type($scores)";
}

def Moe_SelectOp : Moe_Op<"select", [Pure]> {
  let summary = "the experts with the largest scores, by row";
  let description = [{
    Slot 0 holds the expert with the largest choice score, slot 1 the next, ...
    Of equal scores the lower expert wins. A NaN counts as the smallest score.

    - (C1) the result has as many experts as `choice` has columns.
    - (C2) the result's slots equal `top_k`.

    Example:
    ```mlir
    %sel = moe.select top_k 2 %p : tensor<?x8xf32> -> !moe.selection<experts = 8, slots = 2>
    ```
  }];
  let arguments = (ins I64Attr:$top_k, Moe_Scores:$choice);
  let results = (outs Moe_SelectionType:$result);
  let assemblyFormat = [{
    `top_k` $top_k $choice attr-dict `:` type($choice) `->` qualified(type($result))
  }];
  let hasVerifier = 1;
}

def Moe_WeighOp : Moe_Op<"weigh", [Pure]> {
  let summary = "gives every picked slot its weight";
  let description = [{
    Reads v_j = value[row, expert of slot j] and normalises over the row's slots:
    - `none`: w_j = v_j
    - `sum`: w_j = v_j / (sum_j v_j + eps)
    - `pnorm`: w_j = v_j / (sum_j |v_j|^p)^(1/p)
    - `softmax`: w_j = e^(v_j - max) / sum_j e^(v_j - max)

    then multiplies by `scale`. A sum of zero gives weights of zero. Sums run in
    slot order in float32.

    - (C1) `value` has as many columns as the selection has experts.
    - (C2) the result has the selection's experts and slots.
    - (C3) `p` is present exactly with `pnorm` and at least 1.
    - (C4) `eps` is present only with `sum`, and not negative.

    Example:
    ```mlir
    %r = moe.weigh %sel, %p norm sum : !moe.selection<experts = 8, slots = 2>,
      tensor<?x8xf32> -> !moe.routing<experts = 8, slots = 2>
    ```
  }];
  let arguments = (ins Moe_SelectionType:$selection, Moe_Scores:$value,
      Moe_WeighNormAttr:$norm, OptionalAttr<F64Attr>:$eps,
      OptionalAttr<F64Attr>:$p, OptionalAttr<F64Attr>:$scale);
  let results = (outs Moe_RoutingType:$result);
  let assemblyFormat = [{
    $selection `,` $value `norm` `` $norm (`eps` $eps^)? (`p` $p^)?
    (`scale` $scale^)? attr-dict
    `:` qualified(type($selection)) `,` type($value) `->` qualified(type($result))
  }];
  let hasVerifier = 1;
}

def Moe_DispatchOp : Moe_Op<"dispatch", [Pure]> {
  let summary = "rows grouped by the experts that they picked";
  let description = [{
    A view: nothing is copied and nothing is dropped. A row that picked k experts
    stands in k buckets, rounded to the result's element.

    - (C1) the result has the routing's experts and slots.
    - (C2) the result's width is the input's.

    Example:
    ```mlir
    %b = moe.dispatch %x, %r : tensor<?x64xf32>, !moe.routing<experts = 8, slots = 2>
      -> !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>
    ```
  }];
  let arguments = (ins
      Moe_RowsOf<[F32, BF16, F16], "rows of floats of a static width">:$input,
      Moe_RoutingType:$routing);
  let results = (outs Moe_BucketsType:$result);
  let assemblyFormat = [{
    $input `,` $routing attr-dict
    `:` type($input) `,` qualified(type($routing)) `->` qualified(type($result))
  }];
  let hasVerifier = 1;
}

def Moe_ExpertsOp : Moe_Op<"experts",
    [Pure, IsolatedFromAbove, SingleBlock]> {
  let summary = "runs each expert's body on its bucket";
  let description = [{
    The region is one expert's body: its first argument is the expert's rows
    `tensor<?xW>`, the others are the expert's slices of `weights` (the first
    dimension counts experts and is dropped). It yields `tensor<?xW'>`.

    - (C1) every weight's first dimension is the number of experts.
    - (C2) the region's arguments are the rows and one slice a weight.
    - (C3) the region yields rows as wide as the result's.
    - (C4) the result has the buckets' experts and slots.

    Example:
    ```mlir
    %y = moe.experts %b weights(%w) : !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>,
        (tensor<8x32x64xbf16>) -> !moe.buckets<experts = 8, slots = 2, width = 32, element = f32> {
    ^bb0(%x: tensor<?x64xf32>, %we: tensor<32x64xbf16>):
      %h = nn.linear %x, %we inputs bf16 : tensor<?x64xf32>, tensor<32x64xbf16> -> tensor<?x32xf32>
      moe.yield %h : tensor<?x32xf32>
    }
    ```
  }];
  let arguments = (ins Moe_BucketsType:$buckets,
                       Variadic<AnyRankedTensor>:$weights);
  let results = (outs Moe_BucketsType:$result);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $buckets (`weights` `(` $weights^ `)`)? attr-dict
    `:` qualified(type($buckets)) (`,` `(` type($weights)^ `)`)? `->` qualified(type($result)) $body
  }];
  let hasRegionVerifier = 1;
}

def Moe_YieldOp : Moe_Op<"yield",
    [Pure, Terminator, HasParent<"ExpertsOp">]> {
  let summary = "the rows an expert gives back";
  let arguments = (ins AnyRankedTensor:$rows);
  let assemblyFormat = "$rows attr-dict `:` type($rows)";
}

def Moe_CombineOp : Moe_Op<"combine", [Pure]> {
  let summary = "adds the experts' rows up by their weights";
  let description = [{
    `result[t] = base[t] + sum over the row's experts, ascending by expert, of
    weight * expert row`, in float32; `base` is the sum of its addends, or zero.
    A row that no expert took is its base.

    - (C1) buckets and routing agree in experts and slots.
    - (C2) every base addend has the result's type, as wide as the buckets.

    Example:
    ```mlir
    %z = moe.combine %y, %r base(%x) : !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>,
      !moe.routing<experts = 8, slots = 2>, tensor<?x64xf32> -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Moe_BucketsType:$buckets, Moe_RoutingType:$routing,
                       Variadic<Moe_Rows>:$base);
  let results = (outs Moe_Rows:$result);
  let assemblyFormat = [{
    $buckets `,` $routing (`base` `(` $base^ `)`)? attr-dict
    `:` qualified(type($buckets)) `,` qualified(type($routing)) (`,` type($base)^)? `->` type($result)
  }];
  let hasVerifier = 1;
}

#endif // HEADRACE_MOE_OPS
