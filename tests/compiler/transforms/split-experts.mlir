// RUN: headrace-opt %s --headrace-split-experts | FileCheck %s

// Gate and up of each expert lie behind one another in the merged weight.
// CHECK: tier.weight @"gate+up" : tensor<2x96x64xbf16> from
// CHECK-SAME: [#tier.range<"m" at 0 bytes 6144>, #tier.range<"m" at 20000 bytes 6144>, #tier.range<"m" at 6144 bytes 6144>, #tier.range<"m" at 26144 bytes 6144>]
tier.weight @gate : tensor<2x48x64xbf16> from [#tier.range<"m" at 0 bytes 12288>]
tier.weight @up : tensor<2x48x64xbf16> from [#tier.range<"m" at 20000 bytes 12288>]
tier.weight @down : tensor<2x64x48xbf16> from [#tier.range<"m" at 40000 bytes 12288>]

// The body becomes two. Between them are buckets of the type in which the second
// product reads its rows.
// CHECK-LABEL: func.func @gated
// CHECK-SAME: %[[B:.*]]: !moe.buckets
func.func @gated(%b: !moe.buckets<experts = 2, slots = 1, width = 64, element = f32>) -> !moe.buckets<experts = 2, slots = 1, width = 64, element = f32> {
  %wg = tier.use @gate : tensor<2x48x64xbf16>
  %wu = tier.use @up : tensor<2x48x64xbf16>
  // CHECK: %[[DOWN:.*]] = tier.use @down
  %wd = tier.use @down : tensor<2x64x48xbf16>
  // CHECK: %[[W:.*]] = tier.use @"gate+up"
  // CHECK: %[[MIDDLE:.*]] = moe.experts %[[B]] weights(%[[W]])
  // CHECK-SAME: -> !moe.buckets<experts = 2, slots = 1, width = 48, element = bf16>
  // CHECK-NEXT: ^bb0(%[[X:.*]]: tensor<?x64xf32>, %[[ONE:.*]]: tensor<96x64xbf16>):
  // CHECK-NEXT: %[[BOTH:.*]] = nn.linear %[[X]], %[[ONE]] inputs bf16 : {{.*}} -> tensor<?x96xf32>
  // CHECK-DAG: %[[LOW:.*]] = tensor.extract_slice %[[BOTH]][0, 0] [%{{.*}}, 48]
  // CHECK-DAG: %[[HIGH:.*]] = tensor.extract_slice %[[BOTH]][0, 48] [%{{.*}}, 48]
  // CHECK: %[[H:.*]] = nn.glu silu %[[LOW]], %[[HIGH]]
  // CHECK-NEXT: %[[SHORT:.*]] = arith.truncf %[[H]]
  // CHECK-NEXT: moe.yield %[[SHORT]] : tensor<?x48xbf16>
  // CHECK: %[[OUT:.*]] = moe.experts %[[MIDDLE]] weights(%[[DOWN]])
  // CHECK-NEXT: ^bb0(%[[ROWS:.*]]: tensor<?x48xbf16>, %[[D:.*]]: tensor<64x48xbf16>):
  // CHECK-NEXT: %[[WIDE:.*]] = arith.extf %[[ROWS]]
  // CHECK-NEXT: %[[Y:.*]] = nn.linear %[[WIDE]], %[[D]] inputs bf16
  // CHECK-NEXT: moe.yield %[[Y]]
  %0 = moe.experts %b weights(%wg, %wu, %wd) : !moe.buckets<experts = 2, slots = 1, width = 64, element = f32>, (tensor<2x48x64xbf16>, tensor<2x48x64xbf16>, tensor<2x64x48xbf16>) -> !moe.buckets<experts = 2, slots = 1, width = 64, element = f32> {
  ^bb0(%x: tensor<?x64xf32>, %g: tensor<48x64xbf16>, %u: tensor<48x64xbf16>, %d: tensor<64x48xbf16>):
    %1 = nn.linear %x, %g inputs bf16 : tensor<?x64xf32>, tensor<48x64xbf16> -> tensor<?x48xf32>
    %2 = nn.linear %x, %u inputs bf16 : tensor<?x64xf32>, tensor<48x64xbf16> -> tensor<?x48xf32>
    %3 = nn.glu silu %1, %2 : tensor<?x48xf32>
    %4 = nn.linear %3, %d inputs bf16 : tensor<?x48xf32>, tensor<64x48xbf16> -> tensor<?x64xf32>
    moe.yield %4 : tensor<?x64xf32>
  }
  // CHECK: return %[[OUT]]
  return %0 : !moe.buckets<experts = 2, slots = 1, width = 64, element = f32>
}

// Biases go with their products, and the activation stays what it is. Stored
// transposed, with gate and up in turn: the merged weight has ranges of its own
// for each expert.
// CHECK: tier.weight @"g.t+u.t" : tensor<2x96x64xbf16> from
// CHECK-SAME: [#tier.range<"m" at 0 bytes 6144 shape [1, 48, 64] strides [12288, 4, 192]>, #tier.range<"m" at 2 bytes 6144 shape [1, 48, 64] strides [12288, 4, 192]>, #tier.range<"m" at 12288 bytes 6144 shape [1, 48, 64] strides [12288, 4, 192]>, #tier.range<"m" at 12290 bytes 6144 shape [1, 48, 64] strides [12288, 4, 192]>]
tier.weight @g.t : tensor<2x48x64xbf16> from [#tier.range<"m" at 0 bytes 12288 shape [2, 48, 64] strides [12288, 4, 192]>]
tier.weight @u.t : tensor<2x48x64xbf16> from [#tier.range<"m" at 2 bytes 12288 shape [2, 48, 64] strides [12288, 4, 192]>]
// CHECK: tier.weight @"g.b+u.b" : tensor<2x96xbf16> from
tier.weight @g.b : tensor<2x48xbf16> from [#tier.range<"m" at 30000 bytes 192>]
tier.weight @u.b : tensor<2x48xbf16> from [#tier.range<"m" at 30192 bytes 192>]
tier.weight @d.b : tensor<2x64xbf16> from [#tier.range<"m" at 30384 bytes 256>]
// CHECK-LABEL: func.func @biased
// CHECK-SAME: %[[B:.*]]: !moe.buckets
func.func @biased(%b: !moe.buckets<experts = 2, slots = 1, width = 64, element = f32>) -> !moe.buckets<experts = 2, slots = 1, width = 64, element = f32> {
  %wg = tier.use @g.t : tensor<2x48x64xbf16>
  %wu = tier.use @u.t : tensor<2x48x64xbf16>
  %wd = tier.use @down : tensor<2x64x48xbf16>
  %bg = tier.use @g.b : tensor<2x48xbf16>
  %bu = tier.use @u.b : tensor<2x48xbf16>
  %bd = tier.use @d.b : tensor<2x64xbf16>
  // CHECK: %[[MIDDLE:.*]] = moe.experts %[[B]] weights(%{{.*}}, %{{.*}})
  // CHECK-NEXT: ^bb0(%[[X:.*]]: tensor<?x64xf32>, %[[W:.*]]: tensor<96x64xbf16>, %[[WB:.*]]: tensor<96xbf16>):
  // CHECK-NEXT: nn.linear %[[X]], %[[W]] bias %[[WB]] inputs bf16
  // CHECK: nn.glu silu %{{.*}}, %{{.*}} alpha 1.702000e+00 limit 7.000000e+00 offset 1.000000e+00
  // CHECK: moe.experts %[[MIDDLE]] weights(%{{.*}}, %{{.*}})
  // CHECK-NEXT: ^bb0(%{{.*}}: tensor<?x48xbf16>, %[[D:.*]]: tensor<64x48xbf16>, %[[DB:.*]]: tensor<64xbf16>):
  // CHECK: nn.linear %{{.*}}, %[[D]] bias %[[DB]] inputs bf16
  %0 = moe.experts %b weights(%wg, %wu, %wd, %bg, %bu, %bd) : !moe.buckets<experts = 2, slots = 1, width = 64, element = f32>, (tensor<2x48x64xbf16>, tensor<2x48x64xbf16>, tensor<2x64x48xbf16>, tensor<2x48xbf16>, tensor<2x48xbf16>, tensor<2x64xbf16>) -> !moe.buckets<experts = 2, slots = 1, width = 64, element = f32> {
  ^bb0(%x: tensor<?x64xf32>, %g: tensor<48x64xbf16>, %u: tensor<48x64xbf16>, %d: tensor<64x48xbf16>, %gb: tensor<48xbf16>, %ub: tensor<48xbf16>, %db: tensor<64xbf16>):
    %1 = nn.linear %x, %g bias %gb inputs bf16 : tensor<?x64xf32>, tensor<48x64xbf16>, tensor<48xbf16> -> tensor<?x48xf32>
    %2 = nn.linear %x, %u bias %ub inputs bf16 : tensor<?x64xf32>, tensor<48x64xbf16>, tensor<48xbf16> -> tensor<?x48xf32>
    %3 = nn.glu silu %1, %2 alpha 1.702 limit 7.0 offset 1.0 : tensor<?x48xf32>
    %4 = nn.linear %3, %d bias %db inputs bf16 : tensor<?x48xf32>, tensor<64x48xbf16>, tensor<64xbf16> -> tensor<?x64xf32>
    moe.yield %4 : tensor<?x64xf32>
  }
  return %0 : !moe.buckets<experts = 2, slots = 1, width = 64, element = f32>
}

// A body of another form stays one.
// CHECK-LABEL: func.func @plain
// CHECK: moe.experts
// CHECK-NOT: moe.experts
// CHECK: return
func.func @plain(%b: !moe.buckets<experts = 2, slots = 1, width = 64, element = f32>) -> !moe.buckets<experts = 2, slots = 1, width = 64, element = f32> {
  %wu = tier.use @up : tensor<2x48x64xbf16>
  %wd = tier.use @down : tensor<2x64x48xbf16>
  %0 = moe.experts %b weights(%wu, %wd) : !moe.buckets<experts = 2, slots = 1, width = 64, element = f32>, (tensor<2x48x64xbf16>, tensor<2x64x48xbf16>) -> !moe.buckets<experts = 2, slots = 1, width = 64, element = f32> {
  ^bb0(%x: tensor<?x64xf32>, %u: tensor<48x64xbf16>, %d: tensor<64x48xbf16>):
    %1 = nn.linear %x, %u inputs bf16 : tensor<?x64xf32>, tensor<48x64xbf16> -> tensor<?x48xf32>
    %2 = nn.act silu %1 : tensor<?x48xf32>
    %3 = nn.linear %2, %d inputs bf16 : tensor<?x48xf32>, tensor<64x48xbf16> -> tensor<?x64xf32>
    moe.yield %3 : tensor<?x64xf32>
  }
  return %0 : !moe.buckets<experts = 2, slots = 1, width = 64, element = f32>
}

// Base addends are summed ahead where the last one comes from a product, whose
// kernel takes the sum in; otherwise the combine keeps them.
// CHECK-LABEL: func.func @bases
// CHECK-SAME: %[[X:.*]]: tensor<?x64xf32>, %[[Y:.*]]: tensor<?x64xf32>, %[[W:.*]]: tensor<64x64xbf16>
func.func @bases(%x: tensor<?x64xf32>, %y: tensor<?x64xf32>, %w: tensor<64x64xbf16>, %b: !moe.buckets<experts = 2, slots = 1, width = 64, element = f32>, %r: !moe.routing<experts = 2, slots = 1>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  // CHECK: %[[S:.*]] = nn.linear
  %s = nn.linear %x, %w inputs bf16 : tensor<?x64xf32>, tensor<64x64xbf16> -> tensor<?x64xf32>
  // CHECK-NEXT: %[[SUM:.*]] = arith.addf %[[X]], %[[S]]
  // CHECK-NEXT: moe.combine %{{.*}}, %{{.*}} base(%[[SUM]])
  %0 = moe.combine %b, %r base(%x, %s) : !moe.buckets<experts = 2, slots = 1, width = 64, element = f32>, !moe.routing<experts = 2, slots = 1>, tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x64xf32>
  // CHECK-NEXT: moe.combine %{{.*}}, %{{.*}} base(%[[X]], %[[Y]])
  %1 = moe.combine %b, %r base(%x, %y) : !moe.buckets<experts = 2, slots = 1, width = 64, element = f32>, !moe.routing<experts = 2, slots = 1>, tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x64xf32>
  return %0, %1 : tensor<?x64xf32>, tensor<?x64xf32>
}
