// RUN: headrace-opt %s --verify-roundtrip | FileCheck %s
// RUN: headrace-opt %s --mlir-print-op-generic | headrace-opt | FileCheck %s

// Parameters at their default are not printed.
// CHECK-LABEL: func.func private @attributes
// CHECK-SAME: test.a = #flow.grid<fixed, base = 2>
// CHECK-SAME: test.b = #flow.grid<per_token, base = 1>
// CHECK-SAME: test.c = #flow.grid<per_sequence, base = 4>
// CHECK-SAME: test.d = #flow.grid<per_output, base = 4>
// CHECK-SAME: test.e = #flow.grid<per_token_block, base = 3, block = 16>
// CHECK-SAME: test.f = #flow.grid<per_routed, base = 4, block = 8, limit = 64>
// CHECK-SAME: test.g = #flow.panels<columns = 32, pack = 2>
// CHECK-SAME: test.h = #flow.panels<columns = 16, pack = 1, halves = 2>
// CHECK-SAME: test.i = #flow.fragments<>
// CHECK-SAME: test.j = #flow.fragments<halves = 2>
func.func private @attributes() attributes {
  test.a = #flow.grid<fixed, base = 2, block = 1, limit = 1>,
  test.b = #flow.grid<per_token, base = 1>,
  test.c = #flow.grid<per_sequence, base = 4>,
  test.d = #flow.grid<per_output, base = 4>,
  test.e = #flow.grid<per_token_block, base = 3, block = 16>,
  test.f = #flow.grid<per_routed, base = 4, block = 8, limit = 64>,
  test.g = #flow.panels<columns = 32, pack = 2, halves = 1>,
  test.h = #flow.panels<columns = 16, pack = 1, halves = 2>,
  test.i = #flow.fragments<halves = 1>,
  test.j = #flow.fragments<halves = 2>
}

// CHECK-LABEL: func.func private @types
// CHECK-SAME: !flow.tile<2048 x bf16>, !flow.acc<32 x f32>, !flow.acc<1 x i32>, tensor<96x64xbf16, #flow.fragments<halves = 2>>
func.func private @types(!flow.tile<2048 x bf16>, !flow.acc<32 x f32>, !flow.acc<1 x i32>,
                         tensor<96x64xbf16, #flow.fragments<halves = 2>>)

tier.buffer @tokens : tensor<?x64xf32> level "dram" bytes 2048 role "tokens"
tier.buffer @logits : tensor<?x96xf32> level "dram" bytes 4096 role "logits" output
tier.weight @w : tensor<96x64xbf16> from [#tier.range<"model.safetensors" at 0 bytes 12288>]

// CHECK-LABEL: flow.kernel @linear_0 "linear" : (tensor<?x64xf32>, tensor<96x64xbf16>) -> tensor<?x96xf32> {
flow.kernel @linear_0 "linear" : (tensor<?x64xf32>, tensor<96x64xbf16>) -> tensor<?x96xf32> {
// CHECK-NEXT: ^bb0(%[[X:.*]]: tensor<?x64xf32>, %[[W:.*]]: tensor<96x64xbf16>):
^bb0(%x: tensor<?x64xf32>, %w: tensor<96x64xbf16>):
  // CHECK: %[[Y:.*]] = nn.linear %[[X]], %[[W]]
  %y = nn.linear %x, %w inputs bf16 : tensor<?x64xf32>, tensor<96x64xbf16> -> tensor<?x96xf32>
  // CHECK: flow.yield %[[Y]] : tensor<?x96xf32>
  flow.yield %y : tensor<?x96xf32>
}

// CHECK-LABEL: flow.kernel @cut "linear" tasks <fixed, base = 4> : () -> () {
flow.kernel @cut "linear" tasks <fixed, base = 4> : () -> () {
  // CHECK-NEXT: flow.yield{{$}}
  flow.yield
}

// CHECK-LABEL: func.func @call
func.func @call(%x: tensor<?x64xf32>, %w: tensor<96x64xbf16>) -> tensor<?x96xf32> {
  // CHECK: flow.call @linear_0(%{{.*}}, %{{.*}}) : (tensor<?x64xf32>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %y = flow.call @linear_0(%x, %w) : (tensor<?x64xf32>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}

// CHECK-LABEL: flow.schedule @forward inputs [@tokens] outputs [@logits] {
flow.schedule @forward inputs [@tokens] outputs [@logits] {
  // CHECK-NEXT: flow.launch @linear_0 operands [@tokens, @w] results [@logits]{{$}}
  flow.launch @linear_0 operands [@tokens, @w] results [@logits]
  // CHECK-NEXT: flow.launch @linear_0_code operands [@tokens, @w] results [@logits]{{$}}
  flow.launch @linear_0_code operands [@tokens, @w] results [@logits]
}

tier.buffer @x : tensor<?x64xf32> level "dram" bytes 2048 offset 0
tier.buffer @h : tensor<?x32xf32> level "dram" bytes 2048 offset 2048
tier.buffer @routing0 : tensor<?xi32> level "dram" bytes 64 offset 4096
tier.weight @up : tensor<8x32x64xbf16> from [#tier.range<"f" at 0 bytes 32768>]
tier.weight @down : tensor<8x64x32xbf16> from [#tier.range<"f" at 0 bytes 32768>]
tier.pool @cache cache policy lru level "dram" offset 8192 slots 1 of 8192 least 1
tier.bundle @layer0.experts in @cache weights [@up, @down] offsets [0, 4096] bytes 8192 experts 8
flow.kernel @routed_up_0 "routed_up" : () -> () {
  flow.yield
}
flow.kernel @routed_down_0 "routed_down" : () -> () {
  flow.yield
}
flow.kernel @router_0 "router" : () -> () {
  flow.yield
}
tier.buffer @guess1 : tensor<?xi32> level "dram" bytes 64 offset 4160
tier.weight @gate1 : tensor<8x64xbf16> from [#tier.range<"f" at 0 bytes 1024>]
tier.weight @up1 : tensor<8x32x64xbf16> from [#tier.range<"f" at 0 bytes 32768>]
tier.bundle @layer1.experts in @cache weights [@up1] offsets [0] bytes 4096 experts 8

// CHECK-LABEL: flow.schedule @planned
flow.schedule @planned inputs [@tokens] outputs [@logits] {
  // CHECK-NEXT: flow.predict routing @guess1 bundles @layer1.experts most 2 {
  flow.predict routing @guess1 bundles @layer1.experts most 2 {
    // CHECK-NEXT: flow.launch @router_0 operands [@x, @gate1] results [@guess1]
    flow.launch @router_0 operands [@x, @gate1] results [@guess1]
  }
  // CHECK: flow.routed routing @routing0 bundles @layer0.experts {
  flow.routed routing @routing0 bundles @layer0.experts {
    // CHECK-NEXT: flow.launch @routed_up_0 operands [@x, @routing0, @up] results [@h]
    flow.launch @routed_up_0 operands [@x, @routing0, @up] results [@h]
    // CHECK-NEXT: flow.launch @routed_down_0 operands [@h, @routing0, @down] results [@x]
    flow.launch @routed_down_0 operands [@h, @routing0, @down] results [@x]
  }
}

// CHECK-LABEL: flow.program @linear_0_code "linear" buffers 2 scratch 3072 grid <fixed, base = 3> {
flow.program @linear_0_code "linear" buffers 2 scratch 3072 grid <fixed, base = 3> {
// CHECK-NEXT: ^bb0(%[[TASK:.*]]: index, %[[X:.*]]: memref<?x64xf32>, %[[Y:.*]]: memref<?x96xf32>, %[[W:.*]]: memref<3x32x32x2xbf16>):
^bb0(%task: index, %x: memref<?x64xf32>, %y: memref<?x96xf32>, %w: memref<3x32x32x2xbf16>):
  %c0 = arith.constant 0 : index
  %c32 = arith.constant 32 : index
  // CHECK: %[[T:.*]] = flow.count tokens{{$}}
  %t = flow.count tokens
  // CHECK: %[[STAGE:.*]] = flow.scratch offset 0 : memref<12x64xbf16>
  %stage = flow.scratch offset 0 : memref<12x64xbf16>
  // CHECK: %[[TILE:.*]] = flow.load %[[X]][%{{.*}}, %[[T]]] stage %[[STAGE]] : memref<12x64xbf16> : memref<?x64xf32> -> !flow.tile<64 x bf16>
  %tile = flow.load %x[%c0, %t] stage %stage : memref<12x64xbf16> : memref<?x64xf32> -> !flow.tile<64 x bf16>
  // CHECK: flow.rows %[[T]] limit 12 {
  flow.rows %t limit 12 {
  // CHECK-NEXT: ^bb0(%[[FIRST:.*]]: index):
  ^bb0(%first: index):
    // CHECK: %[[ACC:.*]] = flow.mma %[[TILE]] at %[[FIRST]], %[[W]][%[[TASK]]] prefetch : !flow.tile<64 x bf16>, memref<3x32x32x2xbf16> -> !flow.acc<32 x f32>
    %acc = flow.mma %tile at %first, %w[%task] prefetch : !flow.tile<64 x bf16>, memref<3x32x32x2xbf16> -> !flow.acc<32 x f32>
    // CHECK: flow.mma %[[TILE]] at %[[FIRST]], %[[W]][%[[TASK]]] ahead %[[W]][%[[FIRST]]] : memref<3x32x32x2xbf16> : !flow.tile<64 x bf16>, memref<3x32x32x2xbf16> -> !flow.acc<32 x f32>
    %next = flow.mma %tile at %first, %w[%task] ahead %w[%first] : memref<3x32x32x2xbf16> : !flow.tile<64 x bf16>, memref<3x32x32x2xbf16> -> !flow.acc<32 x f32>
    // CHECK: flow.mma %[[TILE]] at %[[FIRST]], %[[W]][%[[TASK]]] init %[[ACC]] : !flow.acc<32 x f32> : !flow.tile<64 x bf16>, memref<3x32x32x2xbf16> -> !flow.acc<32 x f32>
    %more = flow.mma %tile at %first, %w[%task] init %acc : !flow.acc<32 x f32> : !flow.tile<64 x bf16>, memref<3x32x32x2xbf16> -> !flow.acc<32 x f32>
    %column = arith.muli %task, %c32 : index
    // CHECK: flow.store %{{.*}}, %[[Y]] row %[[FIRST]] column %{{.*}} : !flow.acc<32 x f32>, memref<?x96xf32>
    flow.store %more, %y row %first column %column : !flow.acc<32 x f32>, memref<?x96xf32>
    flow.yield
  }
}

// CHECK-LABEL: func.func @counts
func.func @counts() {
  // CHECK: flow.count tokens
  %0 = flow.count tokens
  // CHECK: flow.count sequences
  %1 = flow.count sequences
  // CHECK: flow.count outputs
  %2 = flow.count outputs
  // CHECK: flow.count first_active
  %3 = flow.count first_active
  // CHECK: flow.count end_active
  %4 = flow.count end_active
  return
}

// CHECK-LABEL: flow.program @experts
flow.program @experts "routed_up" buffers 1 scratch 0 grid <per_routed, base = 1, block = 2, limit = 8> {
// CHECK-NEXT: ^bb0(%[[TASK:.*]]: index, %{{.*}}: memref<64xi8>, %[[W:.*]]: memref<8x6x32x32x2xbf16>):
^bb0(%e: index, %routing: memref<64xi8>, %w: memref<8x6x32x32x2xbf16>):
  // CHECK: %[[ONE:.*]] = flow.expert %[[W]][%[[TASK]]] : memref<8x6x32x32x2xbf16> to memref<6x32x32x2xbf16>
  %one = flow.expert %w[%e] : memref<8x6x32x32x2xbf16> to memref<6x32x32x2xbf16>
  // CHECK: flow.prefetch %[[ONE]][%[[TASK]]] bytes 4096
  flow.prefetch %one[%e] bytes 4096 : memref<6x32x32x2xbf16>
}

// CHECK-LABEL: func.func @load
// CHECK-SAME: %[[X:.*]]: memref<?x64xf32>, %[[I:.*]]: memref<?xi32>, %[[S:.*]]: memref<8x64xbf16>, %[[W:.*]]: memref<64xbf16>, %[[N:.*]]: index
func.func @load(%x: memref<?x64xf32>, %i: memref<?xi32>, %s: memref<8x64xbf16>, %w: memref<64xbf16>, %n: index) {
  // CHECK: flow.load %[[X]][%[[N]], %[[N]]] in_place : memref<?x64xf32> -> !flow.tile<64 x f32>
  %0 = flow.load %x[%n, %n] in_place : memref<?x64xf32> -> !flow.tile<64 x f32>
  // CHECK: flow.load %[[X]][%[[N]], %[[N]]] rows %[[I]] : memref<?xi32> stage %[[S]] : memref<8x64xbf16> : memref<?x64xf32> -> !flow.tile<64 x bf16>
  %1 = flow.load %x[%n, %n] rows %i : memref<?xi32> stage %s : memref<8x64xbf16> : memref<?x64xf32> -> !flow.tile<64 x bf16>
  // CHECK: flow.load %[[X]][%[[N]], %[[N]]] stage %[[S]] : memref<8x64xbf16> norm rms eps 1.000000e-05 weight %[[W]] : memref<64xbf16> : memref<?x64xf32> -> !flow.tile<64 x bf16>
  %2 = flow.load %x[%n, %n] stage %s : memref<8x64xbf16> norm rms eps 1.0e-5 weight %w : memref<64xbf16> : memref<?x64xf32> -> !flow.tile<64 x bf16>
  // CHECK: norm layer eps 1.000000e-05 weight %[[W]] : memref<64xbf16> bias %[[W]] : memref<64xbf16> :
  %3 = flow.load %x[%n, %n] stage %s : memref<8x64xbf16> norm layer eps 1.0e-5 weight %w : memref<64xbf16> bias %w : memref<64xbf16> : memref<?x64xf32> -> !flow.tile<64 x bf16>
  // CHECK: norm l2 eps 0.000000e+00 :
  %4 = flow.load %x[%n, %n] stage %s : memref<8x64xbf16> norm l2 eps 0.0 : memref<?x64xf32> -> !flow.tile<64 x bf16>
  return
}

// CHECK-LABEL: func.func @map
// CHECK-SAME: %[[A:.*]]: !flow.acc<32 x f32>, %[[B:.*]]: !flow.acc<1 x f32>
func.func @map(%a: !flow.acc<32 x f32>, %b: !flow.acc<1 x f32>) -> !flow.acc<32 x f32> {
  // CHECK: flow.map(%[[A]], %[[B]]) : (!flow.acc<32 x f32>, !flow.acc<1 x f32>) -> !flow.acc<32 x f32> {
  %r = flow.map(%a, %b) : (!flow.acc<32 x f32>, !flow.acc<1 x f32>) -> !flow.acc<32 x f32> {
  // CHECK-NEXT: ^bb0(%[[P:.*]]: f32, %[[Q:.*]]: f32):
  ^bb0(%p: f32, %q: f32):
    // CHECK-NEXT: %[[M:.*]] = arith.mulf %[[P]], %[[Q]] : f32
    %m = arith.mulf %p, %q : f32
    // CHECK-NEXT: flow.yield %[[M]] : f32
    flow.yield %m : f32
  }
  // CHECK: flow.map() : () -> !flow.acc<32 x f32> {
  %s = flow.map() : () -> !flow.acc<32 x f32> {
    %one = arith.constant 1.0 : f32
    flow.yield %one : f32
  }
  return %r : !flow.acc<32 x f32>
}

// CHECK-LABEL: func.func @registers
// CHECK-SAME: %[[A:.*]]: !flow.acc<32 x f32>, %[[N:.*]]: index
func.func @registers(%a: !flow.acc<32 x f32>, %n: index) {
  // CHECK: flow.reduce max %[[A]] : !flow.acc<32 x f32> -> !flow.acc<1 x f32>
  %0 = flow.reduce max %a : !flow.acc<32 x f32> -> !flow.acc<1 x f32>
  // CHECK: flow.reduce sum %[[A]] :
  %1 = flow.reduce sum %a : !flow.acc<32 x f32> -> !flow.acc<1 x f32>
  // CHECK: flow.split %[[A]] : !flow.acc<32 x f32> -> !flow.acc<16 x f32>, !flow.acc<16 x f32>
  %low, %high = flow.split %a : !flow.acc<32 x f32> -> !flow.acc<16 x f32>, !flow.acc<16 x f32>
  // CHECK: flow.constant 0.000000e+00 : !flow.acc<32 x f32>
  %2 = flow.constant 0.0 : !flow.acc<32 x f32>
  // CHECK: flow.iota columns from %[[N]] : !flow.acc<32 x i32>
  %3 = flow.iota columns from %n : !flow.acc<32 x i32>
  // CHECK: flow.iota rows from %[[N]] : !flow.acc<1 x i32>
  %4 = flow.iota rows from %n : !flow.acc<1 x i32>
  return
}

// CHECK-LABEL: func.func @memory
// CHECK-SAME: %[[M:.*]]: memref<?x64xf32>, %[[V:.*]]: memref<64xbf16>, %[[I:.*]]: memref<?xi32>, %[[N:.*]]: index
func.func @memory(%m: memref<?x64xf32>, %v: memref<64xbf16>, %i: memref<?xi32>, %n: index) {
  // CHECK: %[[A:.*]] = flow.read %[[M]] row %[[N]] column %[[N]] : memref<?x64xf32> -> !flow.acc<32 x f32>
  %0 = flow.read %m row %n column %n : memref<?x64xf32> -> !flow.acc<32 x f32>
  // CHECK: flow.read %[[M]] row %[[N]] column %[[N]] rows %[[I]] : memref<?xi32> : memref<?x64xf32> -> !flow.acc<32 x f32>
  %1 = flow.read %m row %n column %n rows %i : memref<?xi32> : memref<?x64xf32> -> !flow.acc<32 x f32>
  // CHECK: flow.read %[[V]] column %[[N]] : memref<64xbf16> -> !flow.acc<32 x f32>
  %2 = flow.read %v column %n : memref<64xbf16> -> !flow.acc<32 x f32>
  // CHECK: flow.read %[[V]] row %[[N]] : memref<64xbf16> -> !flow.acc<1 x f32>
  %3 = flow.read %v row %n : memref<64xbf16> -> !flow.acc<1 x f32>
  // CHECK: flow.store %[[A]], %[[M]] row %[[N]] column %[[N]] : !flow.acc<32 x f32>, memref<?x64xf32>
  flow.store %0, %m row %n column %n : !flow.acc<32 x f32>, memref<?x64xf32>
  // CHECK: flow.store %[[A]], %[[M]] row %[[N]] column %[[N]] rows %[[I]] : memref<?xi32> accumulate : !flow.acc<32 x f32>, memref<?x64xf32>
  flow.store %0, %m row %n column %n rows %i : memref<?xi32> accumulate : !flow.acc<32 x f32>, memref<?x64xf32>
  return
}

// CHECK-LABEL: func.func @bytes
// CHECK-SAME: %[[B:.*]]: memref<4096xi8>, %[[N:.*]]: index, %[[W:.*]]: memref<6x32x32x2xbf16>
func.func @bytes(%b: memref<4096xi8>, %n: index, %w: memref<6x32x32x2xbf16>) {
  // CHECK: %[[C:.*]] = flow.view %[[B]] offset 64 : memref<4096xi8> to memref<8xi32>
  %0 = flow.view %b offset 64 : memref<4096xi8> to memref<8xi32>
  // CHECK: flow.view %[[B]] at %[[N]] offset 0 : memref<4096xi8> to memref<8xf32>
  %3 = flow.view %b at %n offset 0 : memref<4096xi8> to memref<8xf32>
  // CHECK: flow.same %[[B]], %[[C]] : memref<4096xi8>, memref<8xi32>
  %1 = flow.same %b, %0 : memref<4096xi8>, memref<8xi32>
  // CHECK: flow.prefetch %[[W]][%[[N]]] bytes 8192 : memref<6x32x32x2xbf16>
  flow.prefetch %w[%n] bytes 8192 : memref<6x32x32x2xbf16>
  // CHECK: flow.arrive %[[C]] of %[[N]] : memref<8xi32>
  %2 = flow.arrive %0 of %n : memref<8xi32>
  return
}

// The examples of the spec, as far as nothing above holds them.
// CHECK-LABEL: module @examples
module @examples {
  tier.buffer @tokens : tensor<?x64xf32> level "dram" bytes 2048 role "tokens"
  tier.buffer @hidden : tensor<?x64xf32> level "dram" bytes 2048 offset 0
  tier.buffer @logits : tensor<?x96xf32> level "dram" bytes 4096 role "logits" output
  tier.weight @w : tensor<96x64xbf16> from [#tier.range<"model.safetensors" at 0 bytes 12288>]
  flow.kernel @linear_0 "linear" : (tensor<?x64xf32>, tensor<96x64xbf16, #flow.panels<columns = 32, pack = 2>>) -> () {
  ^bb0(%x: tensor<?x64xf32>, %w: tensor<96x64xbf16, #flow.panels<columns = 32, pack = 2>>):
    flow.yield
  }
  // CHECK: flow.schedule @forward
  flow.schedule @forward inputs [@tokens] outputs [@logits] {
    flow.launch @linear_0 operands [@hidden, @w] results [@logits]
  }
  // CHECK: flow.program @scratch
  flow.program @scratch "linear" buffers 0 scratch 3072 grid <fixed, base = 1> {
  ^bb0(%task: index):
    // CHECK: flow.scratch offset 0 : memref<12x64xf32>
    %s = flow.scratch offset 0 : memref<12x64xf32>
  }
}

// Panels of encoded weights are bytes; the type says what they mean.
module @encoded {
  tier.weight @w : tensor<96x64xbf16, #flow.panels<columns = 32, pack = 2>> from [#tier.range<"m" at 0 bytes 12288>]
  tier.weight @e : tensor<96x256xf8E4M3FN, #tier.scaled<rows = 128, columns = 128, scale = f32,
    packing = #flow.panels<columns = 32, pack = 2>>> from [#tier.range<"m" at 0 bytes 24584>]
  func.func @uses() {
    %w = tier.use @w : tensor<96x64xbf16, #flow.panels<columns = 32, pack = 2>>
    // CHECK: tier.use @e : tensor<96x256xf8E4M3FN, #tier.scaled<rows = 128, columns = 128, scale = f32, packing = #flow.panels<columns = 32, pack = 2>>>
    %e = tier.use @e : tensor<96x256xf8E4M3FN, #tier.scaled<rows = 128, columns = 128, scale = f32,
      packing = #flow.panels<columns = 32, pack = 2>>>
    return
  }
  func.func @products(%tile: !flow.tile<64 x bf16>, %row: index, %w: memref<3x32x32x2xbf16>, %e: memref<3x2560xi8>, %n: index, %next: index) {
    %acc = flow.mma %tile at %row, %w[%n]
        ahead %w[%next] : memref<3x32x32x2xbf16>
        : !flow.tile<64 x bf16>, memref<3x32x32x2xbf16> -> !flow.acc<32 x f32>
    // CHECK: flow.mma %{{.*}} at %{{.*}}, %{{.*}}[%{{.*}}] of tensor<96x64xf8E4M3FN, #tier.scaled<rows = 32, columns = 32, scale = f32, packing = #flow.panels<columns = 32, pack = 2>>> : !flow.tile<64 x bf16>, memref<3x2560xi8> -> !flow.acc<32 x f32>
    %sum = flow.mma %tile at %row, %e[%n] of tensor<96x64xf8E4M3FN,
        #tier.scaled<rows = 32, columns = 32, scale = f32, packing = #flow.panels<columns = 32, pack = 2>>>
        : !flow.tile<64 x bf16>, memref<3x2560xi8> -> !flow.acc<32 x f32>
    // CHECK: flow.mma %{{.*}} at %{{.*}}, %{{.*}}[%{{.*}}] of tensor<96x64xf8E4M3FN, #tier.scaled<rows = 32, columns = 32, scale = f32, packing = #flow.panels<columns = 32, pack = 2>>> init %{{.*}} : !flow.acc<32 x f32> prefetch : !flow.tile<64 x bf16>, memref<3x2560xi8> -> !flow.acc<32 x f32>
    %more = flow.mma %tile at %row, %e[%n] of tensor<96x64xf8E4M3FN, #tier.scaled<rows = 32, columns = 32, scale = f32, packing = #flow.panels<columns = 32, pack = 2>>> init %sum : !flow.acc<32 x f32> prefetch : !flow.tile<64 x bf16>, memref<3x2560xi8> -> !flow.acc<32 x f32>
    return
  }
}
