// RUN: headrace-opt %s --headrace-predict-routing | FileCheck %s

// Each router but the first one also runs ahead of the experts before it, on the
// rows that the router of those reads; not where the two take other operands.
flow.kernel @router "router" : (tensor<?x64xf32>, tensor<2x64xf32>) -> !moe.routing<experts = 2, slots = 1> {
^bb0(%x: tensor<?x64xf32>, %w: tensor<2x64xf32>):
  %s = nn.linear %x, %w : tensor<?x64xf32>, tensor<2x64xf32> -> tensor<?x2xf32>
  %p = moe.select top_k 1 %s : tensor<?x2xf32> -> !moe.selection<experts = 2, slots = 1>
  %r = moe.weigh %p, %s norm none : !moe.selection<experts = 2, slots = 1>, tensor<?x2xf32> -> !moe.routing<experts = 2, slots = 1>
  flow.yield %r : !moe.routing<experts = 2, slots = 1>
}
flow.kernel @other "router" : (tensor<?x64xf32>, tensor<64xf32>, tensor<2x64xf32>) -> !moe.routing<experts = 2, slots = 1> {
^bb0(%x: tensor<?x64xf32>, %n: tensor<64xf32>, %w: tensor<2x64xf32>):
  %y = nn.norm rms %x, %n eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32>
  %s = nn.linear %y, %w : tensor<?x64xf32>, tensor<2x64xf32> -> tensor<?x2xf32>
  %p = moe.select top_k 1 %s : tensor<?x2xf32> -> !moe.selection<experts = 2, slots = 1>
  %r = moe.weigh %p, %s norm none : !moe.selection<experts = 2, slots = 1>, tensor<?x2xf32> -> !moe.routing<experts = 2, slots = 1>
  flow.yield %r : !moe.routing<experts = 2, slots = 1>
}
flow.kernel @experts "routed_up" : (tensor<?x64xf32>, !moe.routing<experts = 2, slots = 1>, tensor<2x64x64xf32>) -> tensor<?x64xf32> {
^bb0(%x: tensor<?x64xf32>, %r: !moe.routing<experts = 2, slots = 1>, %w: tensor<2x64x64xf32>):
  flow.yield %x : tensor<?x64xf32>
}
tier.weight @gate0 : tensor<2x64xf32> from [#tier.range<"m" at 0 bytes 512>]
tier.weight @gate1 : tensor<2x64xf32> from [#tier.range<"m" at 512 bytes 512>]
tier.weight @gate2 : tensor<2x64xf32> from [#tier.range<"m" at 1024 bytes 512>]
tier.weight @norm2 : tensor<64xf32> from [#tier.range<"m" at 1536 bytes 256>]
tier.weight @up : tensor<2x64x64xf32> from [#tier.range<"m" at 2048 bytes 32768>]

// CHECK-LABEL: func.func @forward
// CHECK: %[[R0:.*]] = flow.call @router(%arg0, %{{.*}})
// CHECK: %[[G1:.*]] = tier.use @gate1
// CHECK-NEXT: flow.call @router(%arg0, %[[G1]]) {predicts}
// CHECK-NEXT: %[[X1:.*]] = flow.call @experts(%arg0, %[[R0]],
// CHECK: %[[R1:.*]] = flow.call @router(%[[X1]], %{{.*}})
// CHECK-NOT: predicts
// CHECK: flow.call @experts(%[[X1]], %[[R1]],
// CHECK-NOT: predicts
// CHECK: return
func.func @forward(%x0: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %u = tier.use @up : tensor<2x64x64xf32>
  %g0 = tier.use @gate0 : tensor<2x64xf32>
  %r0 = flow.call @router(%x0, %g0) : (tensor<?x64xf32>, tensor<2x64xf32>) -> !moe.routing<experts = 2, slots = 1>
  %x1 = flow.call @experts(%x0, %r0, %u) : (tensor<?x64xf32>, !moe.routing<experts = 2, slots = 1>, tensor<2x64x64xf32>) -> tensor<?x64xf32>
  %g1 = tier.use @gate1 : tensor<2x64xf32>
  %r1 = flow.call @router(%x1, %g1) : (tensor<?x64xf32>, tensor<2x64xf32>) -> !moe.routing<experts = 2, slots = 1>
  %x2 = flow.call @experts(%x1, %r1, %u) : (tensor<?x64xf32>, !moe.routing<experts = 2, slots = 1>, tensor<2x64x64xf32>) -> tensor<?x64xf32>
  %g2 = tier.use @gate2 : tensor<2x64xf32>
  %n2 = tier.use @norm2 : tensor<64xf32>
  %r2 = flow.call @other(%x2, %n2, %g2) : (tensor<?x64xf32>, tensor<64xf32>, tensor<2x64xf32>) -> !moe.routing<experts = 2, slots = 1>
  %x3 = flow.call @experts(%x2, %r2, %u) : (tensor<?x64xf32>, !moe.routing<experts = 2, slots = 1>, tensor<2x64x64xf32>) -> tensor<?x64xf32>
  return %x3 : tensor<?x64xf32>
}
