// RUN: headrace-opt %s --verify-roundtrip | FileCheck %s
// RUN: headrace-opt %s --mlir-print-op-generic | headrace-opt | FileCheck %s

!selection = !moe.selection<experts = 8, slots = 2>
!routing = !moe.routing<experts = 8, slots = 2>
!wide = !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>

// CHECK-LABEL: func.func private @types
// CHECK-SAME: !moe.selection<experts = 8, slots = 2>
// CHECK-SAME: !moe.routing<experts = 8, slots = 2>
// CHECK-SAME: !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>
// CHECK-SAME: !moe.buckets<experts = 8, slots = 8, width = 64, element = f16>
func.func private @types(!selection, !routing, !wide,
  !moe.buckets<experts = 8, slots = 8, width = 64, element = f16>)

// CHECK-LABEL: func.func @squash
func.func @squash(%l: tensor<?x8xf32>) {
  // CHECK: moe.squash softmax %{{.*}} : tensor<?x8xf32>
  %0 = moe.squash softmax %l : tensor<?x8xf32>
  // CHECK: moe.squash sigmoid %{{.*}} : tensor<?x8xf32>
  %1 = moe.squash sigmoid %l : tensor<?x8xf32>
  return
}

// CHECK-LABEL: func.func @select
func.func @select(%p: tensor<?x8xf32>) -> !selection {
  // CHECK: moe.select top_k 2 %{{.*}} : tensor<?x8xf32> -> !moe.selection<experts = 8, slots = 2>
  %s = moe.select top_k 2 %p : tensor<?x8xf32> -> !selection
  return %s : !selection
}

// CHECK-LABEL: func.func @weigh
// CHECK-SAME: %[[S:.*]]: !moe.selection<experts = 8, slots = 2>, %[[V:.*]]: tensor<?x8xf32>
func.func @weigh(%s: !selection, %v: tensor<?x8xf32>) {
  // CHECK: moe.weigh %[[S]], %[[V]] norm none : !moe.selection<experts = 8, slots = 2>, tensor<?x8xf32> -> !moe.routing<experts = 8, slots = 2>
  %0 = moe.weigh %s, %v norm none : !selection, tensor<?x8xf32> -> !routing
  // CHECK: moe.weigh %[[S]], %[[V]] norm sum :
  %1 = moe.weigh %s, %v norm sum : !selection, tensor<?x8xf32> -> !routing
  // CHECK: moe.weigh %[[S]], %[[V]] norm sum eps {{.*}} scale 2.500000e+00 :
  %2 = moe.weigh %s, %v norm sum eps 1.0e-20 scale 2.5 : !selection, tensor<?x8xf32> -> !routing
  // CHECK: moe.weigh %[[S]], %[[V]] norm pnorm p 2.000000e+00 :
  %3 = moe.weigh %s, %v norm pnorm p 2.0 : !selection, tensor<?x8xf32> -> !routing
  // CHECK: moe.weigh %[[S]], %[[V]] norm softmax scale 5.000000e-01 :
  %4 = moe.weigh %s, %v norm softmax scale 0.5 : !selection, tensor<?x8xf32> -> !routing
  return
}

// The choice that decides and the value that counts are two operands.
// CHECK-LABEL: func.func @two_channels
// CHECK-SAME: %[[CHOICE:.*]]: tensor<?x8xf32>, %[[VALUE:.*]]: tensor<?x8xf32>
func.func @two_channels(%choice: tensor<?x8xf32>, %value: tensor<?x8xf32>) -> !routing {
  // CHECK: %[[S:.*]] = moe.select top_k 2 %[[CHOICE]]
  %s = moe.select top_k 2 %choice : tensor<?x8xf32> -> !selection
  // CHECK: moe.weigh %[[S]], %[[VALUE]] norm sum
  %r = moe.weigh %s, %value norm sum : !selection, tensor<?x8xf32> -> !routing
  return %r : !routing
}

// CHECK-LABEL: func.func @dispatch
func.func @dispatch(%x: tensor<?x64xf32>, %r: !routing) -> !wide {
  // CHECK: moe.dispatch %{{.*}}, %{{.*}} : tensor<?x64xf32>, !moe.routing<experts = 8, slots = 2> -> !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>
  %b = moe.dispatch %x, %r : tensor<?x64xf32>, !routing -> !wide
  return %b : !wide
}

// CHECK-LABEL: func.func @experts
// CHECK-SAME: %[[B:.*]]: !moe.buckets<{{.*}}>, %[[G:.*]]: tensor<8x40x64xbf16>, %[[D:.*]]: tensor<8x64x40xbf16>
func.func @experts(%b: !wide, %g: tensor<8x40x64xbf16>, %d: tensor<8x64x40xbf16>) -> !wide {
  // CHECK: moe.experts %[[B]] weights(%[[G]], %[[G]], %[[D]]) : !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>, (tensor<8x40x64xbf16>, tensor<8x40x64xbf16>, tensor<8x64x40xbf16>) -> !moe.buckets<experts = 8, slots = 2, width = 64, element = f32> {
  %y = moe.experts %b weights(%g, %g, %d) : !wide, (tensor<8x40x64xbf16>, tensor<8x40x64xbf16>, tensor<8x64x40xbf16>) -> !wide {
  // CHECK-NEXT: ^bb0(%[[X:.*]]: tensor<?x64xf32>, %[[GE:.*]]: tensor<40x64xbf16>, %[[UE:.*]]: tensor<40x64xbf16>, %[[DE:.*]]: tensor<64x40xbf16>):
  ^bb0(%x: tensor<?x64xf32>, %ge: tensor<40x64xbf16>, %ue: tensor<40x64xbf16>, %de: tensor<64x40xbf16>):
    %gate = nn.linear %x, %ge inputs bf16 : tensor<?x64xf32>, tensor<40x64xbf16> -> tensor<?x40xf32>
    %up = nn.linear %x, %ue inputs bf16 : tensor<?x64xf32>, tensor<40x64xbf16> -> tensor<?x40xf32>
    %h = nn.glu silu %gate, %up : tensor<?x40xf32>
    // CHECK: %[[DOWN:.*]] = nn.linear %{{.*}}, %[[DE]]
    %down = nn.linear %h, %de inputs bf16 : tensor<?x40xf32>, tensor<64x40xbf16> -> tensor<?x64xf32>
    // CHECK-NEXT: moe.yield %[[DOWN]] : tensor<?x64xf32>
    moe.yield %down : tensor<?x64xf32>
  }
  return %y : !wide
}

// A body without weights; a weight's encoding reaches its slice.
// CHECK-LABEL: func.func @experts_forms
func.func @experts_forms(%b: !wide, %p: tensor<8x40x64xbf16, #flow.panels<columns = 16, pack = 2>>) {
  // CHECK: moe.experts %{{.*}} : !moe.buckets<{{.*}}> -> !moe.buckets<{{.*}}> {
  %0 = moe.experts %b : !wide -> !wide {
  ^bb0(%x: tensor<?x64xf32>):
    moe.yield %x : tensor<?x64xf32>
  }
  // CHECK: ^bb0(%{{.*}}: tensor<?x64xf32>, %{{.*}}: tensor<40x64xbf16, #flow.panels<columns = 16, pack = 2>>):
  %1 = moe.experts %b weights(%p) : !wide, (tensor<8x40x64xbf16, #flow.panels<columns = 16, pack = 2>>)
      -> !moe.buckets<experts = 8, slots = 2, width = 40, element = f32> {
  ^bb0(%x: tensor<?x64xf32>, %w: tensor<40x64xbf16, #flow.panels<columns = 16, pack = 2>>):
    %h = nn.linear %x, %w inputs bf16 : tensor<?x64xf32>, tensor<40x64xbf16, #flow.panels<columns = 16, pack = 2>> -> tensor<?x40xf32>
    moe.yield %h : tensor<?x40xf32>
  }
  return
}

// CHECK-LABEL: func.func @combine
// CHECK-SAME: %[[B:.*]]: !moe.buckets<{{.*}}>, %[[R:.*]]: !moe.routing<{{.*}}>, %[[X:.*]]: tensor<?x64xf32>
func.func @combine(%b: !wide, %r: !routing, %x: tensor<?x64xf32>) {
  // CHECK: moe.combine %[[B]], %[[R]] : !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>, !moe.routing<experts = 8, slots = 2> -> tensor<?x64xf32>
  %0 = moe.combine %b, %r : !wide, !routing -> tensor<?x64xf32>
  // CHECK: moe.combine %[[B]], %[[R]] base(%[[X]], %[[X]]) : {{.*}}, tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x64xf32>
  %1 = moe.combine %b, %r base(%x, %x) : !wide, !routing, tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x64xf32>
  return
}

// The examples of the spec, as far as no function above holds them.
// CHECK-LABEL: func.func @examples
func.func @examples(%b: !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>,
    %r: !moe.routing<experts = 8, slots = 2>, %w: tensor<8x32x64xbf16>, %x: tensor<?x64xf32>) {
  // CHECK: moe.experts
  %y = moe.experts %b weights(%w) : !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>,
      (tensor<8x32x64xbf16>) -> !moe.buckets<experts = 8, slots = 2, width = 32, element = f32> {
  ^bb0(%t: tensor<?x64xf32>, %we: tensor<32x64xbf16>):
    %h = nn.linear %t, %we inputs bf16 : tensor<?x64xf32>, tensor<32x64xbf16> -> tensor<?x32xf32>
    moe.yield %h : tensor<?x32xf32>
  }
  // CHECK: moe.combine
  %z = moe.combine %b, %r base(%x) : !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>,
    !moe.routing<experts = 8, slots = 2>, tensor<?x64xf32> -> tensor<?x64xf32>
  return
}
