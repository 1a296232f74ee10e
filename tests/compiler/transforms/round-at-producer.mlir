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

// Someone wants float32; the products want two types; a norm is made again by
// each of its readers and never stored.
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
