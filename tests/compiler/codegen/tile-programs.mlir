// RUN: headrace-opt %s --headrace-emit-tile-programs --cse | FileCheck %s --check-prefixes=CHECK,V4
// RUN: headrace-opt %s --headrace-emit-tile-programs=cpu=x86-64-v3 --cse | FileCheck %s --check-prefixes=CHECK,V3
// RUN: not headrace-opt %s --headrace-emit-tile-programs=cpu=abacus 2>&1 | FileCheck %s --check-prefix=UNKNOWN

// UNKNOWN: error: unknown processor 'abacus'; expected native, x86-64-v3

// The rows of the step are normed and rounded once, then meet the panels of the
// task in tiles that fill the registers.
// CHECK: flow.program @normed "linear" buffers 2 scratch 32768 grid <fixed, base = 4>
// CHECK-SAME: {
// CHECK-NEXT: ^bb0(%[[TASK:.*]]: index, %[[X:.*]]: memref<?x32xf32>, %[[Y:.*]]: memref<?x128xf32>, %[[G:.*]]: memref<32xbf16>, %[[W:.*]]: memref<4x16x32x2xbf16>):
// CHECK: %[[COUNT:.*]] = flow.count tokens
// CHECK: %[[STAGE:.*]] = flow.scratch offset 0
// CHECK: %[[TILE:.*]] = flow.load %[[X]][%{{.*}}, %[[COUNT]]] stage %[[STAGE]] {{.*}} norm rms eps 1.000000e-05 weight %[[G]]
// CHECK: scf.for %[[PANEL:.*]] =
// V4: flow.rows %[[COUNT]] limit 14
// V3: flow.rows %[[COUNT]] limit 2
// CHECK-NEXT: ^bb0(%[[ROW:.*]]: index):
// CHECK: %[[SUM:.*]] = flow.mma %[[TILE]] at %[[ROW]], %[[W]][%[[PANEL]]] prefetch
// CHECK: flow.store %[[SUM]], %[[Y]] row %[[ROW]]
flow.kernel @normed "linear" tasks <fixed, base = 4> : (tensor<?x32xf32>, tensor<32xbf16>, tensor<128x32xbf16, #flow.panels<columns = 32, pack = 2>>) -> tensor<?x128xf32> {
^bb0(%x: tensor<?x32xf32>, %g: tensor<32xbf16>, %w: tensor<128x32xbf16, #flow.panels<columns = 32, pack = 2>>):
  %n = nn.norm rms %x, %g eps 1.0e-5 : tensor<?x32xf32>, tensor<32xbf16>
  %y = nn.linear %n, %w inputs bf16 : tensor<?x32xf32>, tensor<128x32xbf16, #flow.panels<columns = 32, pack = 2>> -> tensor<?x128xf32>
  flow.yield %y : tensor<?x128xf32>
}

// Rows that are rounded already are read where they are.
// CHECK: flow.program @rounded "linear" buffers 2 scratch 0
// CHECK-NOT: flow.scratch
// CHECK: flow.load %{{.*}} in_place : memref<?x32xbf16
flow.kernel @rounded "linear" tasks <fixed, base = 1> : (tensor<?x32xbf16>, tensor<32x32xbf16, #flow.panels<columns = 32, pack = 2>>) -> tensor<?x32xf32> {
^bb0(%x: tensor<?x32xbf16>, %w: tensor<32x32xbf16, #flow.panels<columns = 32, pack = 2>>):
  %wide = arith.extf %x : tensor<?x32xbf16> to tensor<?x32xf32>
  %y = nn.linear %wide, %w inputs bf16 : tensor<?x32xf32>, tensor<32x32xbf16, #flow.panels<columns = 32, pack = 2>> -> tensor<?x32xf32>
  flow.yield %y : tensor<?x32xf32>
}
