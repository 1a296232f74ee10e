// RUN: headrace-opt %s --headrace-round-at-producer | FileCheck %s

// Both readers round to bf16, so the producer does it once.
// CHECK-LABEL: func.func @products
func.func @products(%x: tensor<?x48xf32>, %y: tensor<?x48xf32>, %w: tensor<64x48xbf16>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  // CHECK: %[[G:.*]] = nn.glu silu
  %0 = nn.glu silu %x, %y : tensor<?x48xf32>
  // CHECK-NEXT: %[[T:.*]] = arith.truncf %[[G]] : tensor<?x48xf32> to tensor<?x48xbf16>
  // CHECK-NEXT: %[[E:.*]] = arith.extf %[[T]] : tensor<?x48xbf16> to tensor<?x48xf32>
  // CHECK-NEXT: nn.linear %[[E]], %{{.*}} inputs bf16
  %1 = nn.linear %0, %w inputs bf16 : tensor<?x48xf32>, tensor<64x48xbf16> -> tensor<?x64xf32>
  // CHECK-NEXT: nn.linear %[[E]], %{{.*}} inputs bf16
  %2 = nn.linear %0, %w inputs bf16 : tensor<?x48xf32>, tensor<64x48xbf16> -> tensor<?x64xf32>
  return %1, %2 : tensor<?x64xf32>, tensor<?x64xf32>
}

// Someone wants float32; the products want two types; a norm whose rows are not
// dispatched is made again by each of its readers and never stored.
// CHECK-LABEL: func.func @float
// CHECK-NOT: arith.truncf
// CHECK: return
func.func @float(%x: tensor<?x48xf32>, %w: tensor<64x48xbf16>, %h: tensor<64x48xf16>, %n: tensor<48xf32>) -> tensor<?x48xf32> {
  %0 = nn.act silu %x : tensor<?x48xf32>
  %1 = nn.linear %0, %w inputs bf16 : tensor<?x48xf32>, tensor<64x48xbf16> -> tensor<?x64xf32>
  %2 = nn.act silu %x : tensor<?x48xf32>
  %3 = nn.linear %2, %w inputs bf16 : tensor<?x48xf32>, tensor<64x48xbf16> -> tensor<?x64xf32>
  %4 = nn.linear %2, %h inputs f16 : tensor<?x48xf32>, tensor<64x48xf16> -> tensor<?x64xf32>
  %5 = nn.norm rms %x, %n eps 1.0e-5 : tensor<?x48xf32>, tensor<48xf32>
  %6 = nn.linear %5, %w inputs bf16 : tensor<?x48xf32>, tensor<64x48xbf16> -> tensor<?x64xf32>
  %7 = nn.act silu %x : tensor<?x48xf32>
  %8 = nn.linear %7, %w : tensor<?x48xf32>, tensor<64x48xbf16> -> tensor<?x64xf32>
  return %0 : tensor<?x48xf32>
}

// Rows that are dispatched are stored by their router, rounded as the experts
// and a shared expert round them; the router reads them in full.
// CHECK-LABEL: func.func @dispatched
func.func @dispatched(%x: tensor<?x48xf32>, %n: tensor<48xf32>, %wr: tensor<4x48xbf16>, %ws: tensor<8x48xbf16>, %we: tensor<4x8x48xbf16>) -> (!moe.buckets<experts = 4, slots = 2, width = 8, element = f32>, tensor<?x8xf32>) {
  // CHECK: %[[N:.*]] = nn.norm rms
  // CHECK-NEXT: %[[T:.*]] = arith.truncf %[[N]] : tensor<?x48xf32> to tensor<?x48xbf16>
  // CHECK-NEXT: %[[E:.*]] = arith.extf %[[T]]
  %0 = nn.norm rms %x, %n eps 1.0e-5 : tensor<?x48xf32>, tensor<48xf32>
  // CHECK-NEXT: nn.linear %[[N]]
  %1 = nn.linear %0, %wr : tensor<?x48xf32>, tensor<4x48xbf16> -> tensor<?x4xf32>
  %2 = moe.select top_k 2 %1 : tensor<?x4xf32> -> !moe.selection<experts = 4, slots = 2>
  %3 = moe.weigh %2, %1 norm softmax : !moe.selection<experts = 4, slots = 2>, tensor<?x4xf32> -> !moe.routing<experts = 4, slots = 2>
  // CHECK: %[[D:.*]] = moe.dispatch %[[T]]{{.*}} -> !moe.buckets<experts = 4, slots = 2, width = 48, element = bf16>
  %4 = moe.dispatch %0, %3 : tensor<?x48xf32>, !moe.routing<experts = 4, slots = 2> -> !moe.buckets<experts = 4, slots = 2, width = 48, element = f32>
  // CHECK-NEXT: moe.experts %[[D]]
  %5 = moe.experts %4 weights(%we) : !moe.buckets<experts = 4, slots = 2, width = 48, element = f32>, (tensor<4x8x48xbf16>) -> !moe.buckets<experts = 4, slots = 2, width = 8, element = f32> {
  // CHECK-NEXT: ^bb0(%[[ROWS:.*]]: tensor<?x48xbf16>
  ^bb0(%rows: tensor<?x48xf32>, %w: tensor<8x48xbf16>):
    // CHECK-NEXT: %[[WIDE:.*]] = arith.extf %[[ROWS]]
    // CHECK-NEXT: nn.linear %[[WIDE]]
    %y = nn.linear %rows, %w inputs bf16 : tensor<?x48xf32>, tensor<8x48xbf16> -> tensor<?x8xf32>
    moe.yield %y : tensor<?x8xf32>
  }
  // CHECK: nn.linear %[[E]], %{{.*}} inputs bf16
  %6 = nn.linear %0, %ws inputs bf16 : tensor<?x48xf32>, tensor<8x48xbf16> -> tensor<?x8xf32>
  return %5, %6 : !moe.buckets<experts = 4, slots = 2, width = 8, element = f32>, tensor<?x8xf32>
}
