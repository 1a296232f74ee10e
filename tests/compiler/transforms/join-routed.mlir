// RUN: headrace-opt %s --headrace-join-routed | FileCheck %s

// The first product of a routed layer moves down to the second, past what does
// not read it; dense products stay.
flow.kernel @up "routed_up" : (tensor<?x64xf32>, tensor<2x64x64xf32>) -> tensor<?x64xf32> {
^bb0(%x: tensor<?x64xf32>, %w: tensor<2x64x64xf32>):
  flow.yield %x : tensor<?x64xf32>
}
flow.kernel @dense "linear" : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32> {
^bb0(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>):
  flow.yield %x : tensor<?x64xf32>
}
tier.weight @experts : tensor<2x64x64xf32> from [#tier.range<"m" at 0 bytes 32768>]
tier.weight @w : tensor<64x64xf32> from [#tier.range<"m" at 0 bytes 16384>]

// CHECK-LABEL: func.func @forward
// CHECK: %[[S:.*]] = flow.call @dense(%arg0
// CHECK-NEXT: %[[A:.*]] = flow.call @up(%arg0
// CHECK-NEXT: %[[B:.*]] = flow.call @up(%[[A]]
// CHECK-NEXT: return %[[B]], %[[S]]
func.func @forward(%x: tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %e = tier.use @experts : tensor<2x64x64xf32>
  %w = tier.use @w : tensor<64x64xf32>
  %a = flow.call @up(%x, %e) : (tensor<?x64xf32>, tensor<2x64x64xf32>) -> tensor<?x64xf32>
  %s = flow.call @dense(%x, %w) : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %b = flow.call @up(%a, %e) : (tensor<?x64xf32>, tensor<2x64x64xf32>) -> tensor<?x64xf32>
  return %b, %s : tensor<?x64xf32>, tensor<?x64xf32>
}
