// RUN: headrace-opt %s --headrace-split-rope | FileCheck %s

// Rotations by one table at the same positions share their angles, which are
// made ahead of everything else.
// CHECK-LABEL: func.func @shared
// CHECK-SAME: %[[Q:.*]]: tensor<?x64xf32>, %[[K:.*]]: tensor<?x32xf32>, %[[P:.*]]: tensor<?xi32>
func.func @shared(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %p: tensor<?xi32>) -> (tensor<?x64xf32>, tensor<?x32xf32>) {
  // CHECK-NEXT: %[[A:.*]] = nn.angles %[[P]] table <default, dim = 16, theta = 1.000000e+04> : tensor<?x16xf32>
  // CHECK-NEXT: nn.rotate %[[Q]] by %[[A]] heads 4 : tensor<?x64xf32>, tensor<?x16xf32>
  %0 = nn.rope %q at %p heads 4 table <default, dim = 16, theta = 10000.0> : tensor<?x64xf32>
  // CHECK-NEXT: nn.rotate %[[K]] by %[[A]] heads 2 : tensor<?x32xf32>, tensor<?x16xf32>
  %1 = nn.rope %k at %p heads 2 table <default, dim = 16, theta = 10000.0> : tensor<?x32xf32>
  // CHECK-NEXT: return
  return %0, %1 : tensor<?x64xf32>, tensor<?x32xf32>
}

// Another table or other positions are other angles.
// CHECK-LABEL: func.func @apart
// CHECK-SAME: %[[X:.*]]: tensor<?x64xf32>, %[[P:.*]]: tensor<?xi32>, %[[R:.*]]: tensor<?xi32>
func.func @apart(%x: tensor<?x64xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>) -> tensor<?x64xf32> {
  // CHECK-DAG: %[[A:.*]] = nn.angles %[[P]] table <default, dim = 16
  // CHECK-DAG: %[[B:.*]] = nn.angles %[[P]] table <default, dim = 8
  // CHECK-DAG: %[[C:.*]] = nn.angles %[[R]] table <default, dim = 16
  // CHECK: %[[Y:.*]] = nn.rotate %[[X]] by %[[A]]
  %0 = nn.rope %x at %p heads 4 table <default, dim = 16, theta = 10000.0> : tensor<?x64xf32>
  // CHECK: %[[Z:.*]] = nn.rotate %[[Y]] by %[[B]]
  %1 = nn.rope %0 at %p heads 4 table <default, dim = 8, theta = 10000.0> : tensor<?x64xf32>
  // CHECK: nn.rotate %[[Z]] by %[[C]]
  %2 = nn.rope %1 at %r heads 4 table <default, dim = 16, theta = 10000.0> : tensor<?x64xf32>
  return %2 : tensor<?x64xf32>
}

// Functions share nothing, and one without a rotation stays as it is.
// CHECK-LABEL: func.func @none
// CHECK-NEXT: return
func.func @none(%p: tensor<?xi32>) -> tensor<?xi32> {
  return %p : tensor<?xi32>
}
