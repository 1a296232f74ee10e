// RUN: headrace-opt %s --headrace-form-kernels --split-input-file --verify-diagnostics | FileCheck %s

tier.weight @n0 : tensor<64xf32> from [#tier.range<"m" at 0 bytes 256>]
tier.weight @n1 : tensor<64xf32> from [#tier.range<"m" at 256 bytes 256>]
tier.weight @w0 : tensor<64x64xf32> from [#tier.range<"m" at 1024 bytes 16384>]
tier.weight @w1 : tensor<64x64xf32> from [#tier.range<"m" at 17408 bytes 16384>]

// A norm joins the product that reads it and the sum behind the product joins
// too. Two layers of one shape are one kernel, called with other weights.
// CHECK: flow.kernel @linear_0 "linear" : (tensor<?x64xf32>, tensor<64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
// CHECK-NEXT: ^bb0(%[[X:.*]]: tensor<?x64xf32>, %[[N:.*]]: tensor<64xf32>, %[[W:.*]]: tensor<64x64xf32>):
// CHECK-NEXT: %[[R:.*]] = nn.norm rms %[[X]], %[[N]]
// CHECK-NEXT: %[[Y:.*]] = nn.linear %[[R]], %[[W]]
// CHECK-NEXT: %[[S:.*]] = arith.addf %[[X]], %[[Y]]
// CHECK-NEXT: flow.yield %[[S]]
// CHECK-NOT: flow.kernel
// CHECK-LABEL: func.func @forward
// CHECK-SAME: %[[A0:.*]]: tensor<?x64xf32>
func.func @forward(%a0: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // CHECK-DAG: %[[N0:.*]] = tier.use @n0
  // CHECK-DAG: %[[N1:.*]] = tier.use @n1
  // CHECK-DAG: %[[W0:.*]] = tier.use @w0
  // CHECK-DAG: %[[W1:.*]] = tier.use @w1
  %n0 = tier.use @n0 : tensor<64xf32>
  %n1 = tier.use @n1 : tensor<64xf32>
  %w0 = tier.use @w0 : tensor<64x64xf32>
  %w1 = tier.use @w1 : tensor<64x64xf32>
  // CHECK: %[[A1:.*]] = flow.call @linear_0(%[[A0]], %[[N0]], %[[W0]])
  %r0 = nn.norm rms %a0, %n0 eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32>
  %y0 = nn.linear %r0, %w0 : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
  %a1 = arith.addf %a0, %y0 : tensor<?x64xf32>
  // CHECK-NEXT: %[[A2:.*]] = flow.call @linear_0(%[[A1]], %[[N1]], %[[W1]])
  %r1 = nn.norm rms %a1, %n1 eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32>
  %y1 = nn.linear %r1, %w1 : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
  %a2 = arith.addf %a1, %y1 : tensor<?x64xf32>
  // CHECK-NEXT: return %[[A2]]
  return %a2 : tensor<?x64xf32>
}

// -----

tier.weight @gate : tensor<8x64xf32> from [#tier.range<"m" at 0 bytes 2048>]
tier.weight @up : tensor<8x96x64xf32> from [#tier.range<"m" at 2048 bytes 196608>]
tier.weight @down : tensor<8x64x48xf32> from [#tier.range<"m" at 198656 bytes 98304>]

// A routed feed-forward is three kernels: the router makes the routing, dispatch
// joins the first product and combine the second. The norm is made in both
// kernels that read its rows.
// CHECK: flow.kernel @router_0 "router"
// CHECK: nn.norm rms
// CHECK: nn.linear
// CHECK-NEXT: moe.squash softmax
// CHECK-NEXT: moe.select top_k 2
// CHECK-NEXT: %[[ROUTING:.*]] = moe.weigh
// CHECK-NEXT: flow.yield %[[ROUTING]] : !moe.routing<experts = 8, slots = 2>
// CHECK: flow.kernel @routed_up_0 "routed_up"
// CHECK: nn.norm rms
// CHECK-NEXT: %[[ROWS:.*]] = moe.dispatch
// CHECK-NEXT: moe.experts %[[ROWS]]
// CHECK: flow.kernel @routed_down_0 "routed_down"
// CHECK: %[[DOWN:.*]] = moe.experts
// CHECK: %[[OUT:.*]] = moe.combine %[[DOWN]]
// CHECK-NEXT: flow.yield %[[OUT]]
// CHECK-LABEL: func.func @forward
func.func @forward(%x: tensor<?x64xf32>, %n: tensor<64xf32>) -> tensor<?x64xf32> {
  %wr = tier.use @gate : tensor<8x64xf32>
  %wu = tier.use @up : tensor<8x96x64xf32>
  %wd = tier.use @down : tensor<8x64x48xf32>
  // CHECK: %[[R:.*]] = flow.call @router_0
  // CHECK-NEXT: %[[H:.*]] = flow.call @routed_up_0(%{{.*}}, %{{.*}}, %[[R]], %{{.*}})
  // CHECK-NEXT: flow.call @routed_down_0(%[[H]],
  // CHECK-NEXT: return
  %0 = nn.norm rms %x, %n eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32>
  %1 = nn.linear %0, %wr : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  %2 = moe.squash softmax %1 : tensor<?x8xf32>
  %3 = moe.select top_k 2 %2 : tensor<?x8xf32> -> !moe.selection<experts = 8, slots = 2>
  %4 = moe.weigh %3, %2 norm none : !moe.selection<experts = 8, slots = 2>, tensor<?x8xf32> -> !moe.routing<experts = 8, slots = 2>
  %5 = moe.dispatch %0, %4 : tensor<?x64xf32>, !moe.routing<experts = 8, slots = 2> -> !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>
  %6 = moe.experts %5 weights(%wu) : !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>, (tensor<8x96x64xf32>) -> !moe.buckets<experts = 8, slots = 2, width = 48, element = f32> {
  ^bb0(%rows: tensor<?x64xf32>, %w: tensor<96x64xf32>):
    %c0 = arith.constant 0 : index
    %both = nn.linear %rows, %w : tensor<?x64xf32>, tensor<96x64xf32> -> tensor<?x96xf32>
    %count = tensor.dim %both, %c0 : tensor<?x96xf32>
    %low = tensor.extract_slice %both[0, 0] [%count, 48] [1, 1] : tensor<?x96xf32> to tensor<?x48xf32>
    %high = tensor.extract_slice %both[0, 48] [%count, 48] [1, 1] : tensor<?x96xf32> to tensor<?x48xf32>
    %h = nn.glu silu %low, %high : tensor<?x48xf32>
    moe.yield %h : tensor<?x48xf32>
  }
  %7 = moe.experts %6 weights(%wd) : !moe.buckets<experts = 8, slots = 2, width = 48, element = f32>, (tensor<8x64x48xf32>) -> !moe.buckets<experts = 8, slots = 2, width = 64, element = f32> {
  ^bb0(%rows: tensor<?x48xf32>, %w: tensor<64x48xf32>):
    %y = nn.linear %rows, %w : tensor<?x48xf32>, tensor<64x48xf32> -> tensor<?x64xf32>
    moe.yield %y : tensor<?x64xf32>
  }
  %8 = moe.combine %7, %4 base(%x) : !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>, !moe.routing<experts = 8, slots = 2>, tensor<?x64xf32> -> tensor<?x64xf32>
  return %8 : tensor<?x64xf32>
}

// -----

// Scores with a bias decide who is picked, those without it the weights: still
// one kernel, which reads no rows but those of its scores.
// CHECK: flow.kernel @router_0 "router" : (tensor<?x64xf32>, tensor<8x64xf32>, tensor<8xf32>) -> !moe.routing<experts = 8, slots = 2>
// CHECK: %[[SCORES:.*]] = moe.squash sigmoid
// CHECK: %[[CHOICE:.*]] = linalg.generic
// CHECK: %[[PICKED:.*]] = moe.select top_k 2 %[[CHOICE]]
// CHECK-NEXT: moe.weigh %[[PICKED]], %[[SCORES]]
// CHECK-LABEL: func.func @biased
tier.weight @wr : tensor<8x64xf32> from [#tier.range<"m" at 0 bytes 2048>]
tier.weight @wb : tensor<8xf32> from [#tier.range<"m" at 2048 bytes 32>]
func.func @biased(%x: tensor<?x64xf32>, %y: tensor<?x64xf32>) -> !moe.routing<experts = 8, slots = 2> {
  %wr = tier.use @wr : tensor<8x64xf32>
  %wb = tier.use @wb : tensor<8xf32>
  %0 = nn.linear %x, %wr : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  %1 = moe.squash sigmoid %0 : tensor<?x8xf32>
  %c0 = arith.constant 0 : index
  %n = tensor.dim %y, %c0 : tensor<?x64xf32>
  %e = tensor.empty(%n) : tensor<?x8xf32>
  %2 = linalg.generic {
      indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (j)>,
                       affine_map<(i, j) -> (i, j)>],
      iterator_types = ["parallel", "parallel"]}
      ins(%1, %wb : tensor<?x8xf32>, tensor<8xf32>) outs(%e : tensor<?x8xf32>) {
  ^bb0(%s: f32, %t: f32, %o: f32):
    %a = arith.addf %s, %t : f32
    linalg.yield %a : f32
  } -> tensor<?x8xf32>
  %3 = moe.select top_k 2 %2 : tensor<?x8xf32> -> !moe.selection<experts = 8, slots = 2>
  %4 = moe.weigh %3, %1 norm sum : !moe.selection<experts = 8, slots = 2>, tensor<?x8xf32> -> !moe.routing<experts = 8, slots = 2>
  return %4 : !moe.routing<experts = 8, slots = 2>
}

// -----

// Rounded rows that are dispatched are a second result of their router.
// CHECK: flow.kernel @router_0 "router" {{.*}} -> (tensor<?x64xbf16>, !moe.routing<experts = 8, slots = 2>)
// CHECK: %[[NORM:.*]] = nn.norm rms
// CHECK: %[[ROUNDED:.*]] = arith.truncf %[[NORM]]
// CHECK: %[[WEIGHED:.*]] = moe.weigh
// CHECK-NEXT: flow.yield %[[ROUNDED]], %[[WEIGHED]]
// CHECK: flow.kernel @routed_up_0 "routed_up" : (tensor<?x64xbf16>,
// CHECK-NOT: nn.norm
// CHECK-LABEL: func.func @forward
tier.weight @wr : tensor<8x64xf32> from [#tier.range<"m" at 0 bytes 2048>]
tier.weight @wu : tensor<8x48x64xbf16> from [#tier.range<"m" at 2048 bytes 49152>]
func.func @forward(%x: tensor<?x64xf32>, %n: tensor<64xf32>) -> !moe.buckets<experts = 8, slots = 2, width = 48, element = f32> {
  %wr = tier.use @wr : tensor<8x64xf32>
  %wu = tier.use @wu : tensor<8x48x64xbf16>
  %0 = nn.norm rms %x, %n eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32>
  %t = arith.truncf %0 : tensor<?x64xf32> to tensor<?x64xbf16>
  %1 = nn.linear %0, %wr : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  %3 = moe.select top_k 2 %1 : tensor<?x8xf32> -> !moe.selection<experts = 8, slots = 2>
  %4 = moe.weigh %3, %1 norm softmax : !moe.selection<experts = 8, slots = 2>, tensor<?x8xf32> -> !moe.routing<experts = 8, slots = 2>
  %5 = moe.dispatch %t, %4 : tensor<?x64xbf16>, !moe.routing<experts = 8, slots = 2> -> !moe.buckets<experts = 8, slots = 2, width = 64, element = bf16>
  %6 = moe.experts %5 weights(%wu) : !moe.buckets<experts = 8, slots = 2, width = 64, element = bf16>, (tensor<8x48x64xbf16>) -> !moe.buckets<experts = 8, slots = 2, width = 48, element = f32> {
  ^bb0(%rows: tensor<?x64xbf16>, %w: tensor<48x64xbf16>):
    %wide = arith.extf %rows : tensor<?x64xbf16> to tensor<?x64xf32>
    %y = nn.linear %wide, %w inputs bf16 : tensor<?x64xf32>, tensor<48x64xbf16> -> tensor<?x48xf32>
    moe.yield %y : tensor<?x48xf32>
  }
  return %6 : !moe.buckets<experts = 8, slots = 2, width = 48, element = f32>
}

// -----

// Which layer's pages attention reads is said by the call, so that all layers
// share the kernel. Rotation and slices join it.
// CHECK: flow.kernel @attention_0 "attention"
// CHECK-COUNT-2: nn.rotate
// CHECK: nn.attention {{.*}} layer 0 at
// CHECK-NOT: flow.kernel
// CHECK-LABEL: func.func @forward
// CHECK: flow.call @attention_0{{.*}} {layer = 0 : i64}
// CHECK-NEXT: flow.call @attention_0{{.*}} {layer = 1 : i64}
// CHECK-NEXT: return
func.func @forward(%x: tensor<?x96xf32>, %a: tensor<?x16xf32>, %cache: !nn.kv_cache<layers = 2, heads = 2, head_dim = 16, element = f32>, %p: tensor<?xi32>, %s: tensor<?xi32>) -> (tensor<?x32xf32>, tensor<?x32xf32>, !nn.kv_cache<layers = 2, heads = 2, head_dim = 16, element = f32>) {
  %c0 = arith.constant 0 : index
  %rows = tensor.dim %x, %c0 : tensor<?x96xf32>
  %q = tensor.extract_slice %x[0, 0] [%rows, 32] [1, 1] : tensor<?x96xf32> to tensor<?x32xf32>
  %k = tensor.extract_slice %x[0, 32] [%rows, 32] [1, 1] : tensor<?x96xf32> to tensor<?x32xf32>
  %v = tensor.extract_slice %x[0, 64] [%rows, 32] [1, 1] : tensor<?x96xf32> to tensor<?x32xf32>
  %rq = nn.rotate %q by %a heads 2 : tensor<?x32xf32>, tensor<?x16xf32>
  %rk = nn.rotate %k by %a heads 2 : tensor<?x32xf32>, tensor<?x16xf32>
  %0, %c1 = nn.attention %rq, %rk, %v cache %cache layer 0 at %p of %s heads 2 scale 0.25 : tensor<?x32xf32>, tensor<?x32xf32>, !nn.kv_cache<layers = 2, heads = 2, head_dim = 16, element = f32>
  %1, %c2 = nn.attention %rq, %rk, %v cache %c1 layer 1 at %p of %s heads 2 scale 0.25 : tensor<?x32xf32>, tensor<?x32xf32>, !nn.kv_cache<layers = 2, heads = 2, head_dim = 16, element = f32>
  return %0, %1, %c2 : tensor<?x32xf32>, tensor<?x32xf32>, !nn.kv_cache<layers = 2, heads = 2, head_dim = 16, element = f32>
}

// -----

// Elementwise work that follows no product is a kernel of its own.
// CHECK: flow.kernel @upstream_0 "upstream" : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
// CHECK: arith.addf
// CHECK-LABEL: func.func @forward
// CHECK-NEXT: flow.call @upstream_0
// CHECK-NEXT: return
func.func @forward(%x: tensor<?x64xf32>, %y: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %0 = arith.addf %x, %y : tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

// A softmax that no router reads is a kernel of its own; so is a norm that no
// product reads, and a product whose rows no product can stage reads it there.
// CHECK: flow.kernel @upstream_0 "upstream"
// CHECK: nn.norm rms {{.*}} groups 2
// CHECK: flow.kernel @linear_0 "linear" : (tensor<?x64xf32>, tensor<64x64xf32>)
// CHECK-NOT: nn.norm
// CHECK: flow.kernel @upstream_1 "upstream"
// CHECK: moe.squash
tier.weight @w : tensor<64x64xf32> from [#tier.range<"m" at 0 bytes 16384>]
func.func @forward(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %w = tier.use @w : tensor<64x64xf32>
  %n = nn.norm rms %x eps 1.0e-5 groups 2 : tensor<?x64xf32>
  %0 = nn.linear %n, %w : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
  %1 = moe.squash softmax %0 : tensor<?x64xf32>
  return %1 : tensor<?x64xf32>
}

// -----

func.func @forward(%x: tensor<?x64xf64>) -> tensor<?x64xf64> {
  // expected-error @+1 {{'arith.addf' op is known neither to a kernel family nor to the fallback lowering}}
  %0 = arith.addf %x, %x : tensor<?x64xf64>
  return %0 : tensor<?x64xf64>
}
