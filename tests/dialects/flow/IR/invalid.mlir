// RUN: headrace-opt %s --split-input-file --verify-diagnostics

// expected-error @+1 {{expected base, block and limit of a grid to be positive, but got 0, 1 and 1}}
func.func private @grid_c1_base() attributes {test.g = #flow.grid<fixed, base = 0>}

// -----

// expected-error @+1 {{expected base, block and limit of a grid to be positive, but got 1, 0 and 1}}
func.func private @grid_c1_block() attributes {test.g = #flow.grid<per_token_block, base = 1, block = 0>}

// -----

// expected-error @+1 {{expected base, block and limit of a grid to be positive, but got 1, 1 and -1}}
func.func private @grid_c1_limit() attributes {test.g = #flow.grid<per_routed, base = 1, limit = -1>}

// -----

// expected-error @+1 {{expected columns to be a positive multiple of 16 and pack to be 1 or 2, but got 24 and 2}}
func.func private @panels_c1_columns() attributes {test.p = #flow.panels<columns = 24, pack = 2>}

// -----

// expected-error @+1 {{expected columns to be a positive multiple of 16 and pack to be 1 or 2, but got 0 and 2}}
func.func private @panels_c1_zero() attributes {test.p = #flow.panels<columns = 0, pack = 2>}

// -----

// expected-error @+1 {{expected columns to be a positive multiple of 16 and pack to be 1 or 2, but got 16 and 4}}
func.func private @panels_c1_pack() attributes {test.p = #flow.panels<columns = 16, pack = 4>}

// -----

// expected-error @+1 {{expected halves to be 1 or 2, but got 3}}
func.func private @panels_c2() attributes {test.p = #flow.panels<columns = 16, pack = 2, halves = 3>}

// -----

// expected-error @+1 {{expected halves to be 1 or 2, but got 4}}
func.func private @fragments_c1() attributes {test.p = #flow.fragments<halves = 4>}

// -----

// expected-error @+1 {{'flow.kernel' op expected the region's arguments to have the types of '(tensor<4xf32>) -> ()'}}
flow.kernel @kernel_c1 "linear" : (tensor<4xf32>) -> () {
^bb0(%x: tensor<5xf32>):
  flow.yield
}

// -----

// expected-error @+1 {{'flow.kernel' op expected flow.yield to give the results of '() -> tensor<4xf32>'}}
flow.kernel @kernel_c2 "linear" : () -> tensor<4xf32> {
  flow.yield
}

// -----

func.func @call_c1_missing() {
  // expected-error @+1 {{'flow.call' op expected '@missing' to name a flow.kernel, but there is none}}
  flow.call @missing() : () -> ()
  return
}

// -----

flow.kernel @kernel "linear" : () -> () {
  flow.yield
}
func.func @call_c1_type(%x: tensor<4xf32>) {
  // expected-error @+1 {{'flow.call' op expected the types of '@kernel', '() -> ()', but got '(tensor<4xf32>) -> ()'}}
  flow.call @kernel(%x) : (tensor<4xf32>) -> ()
  return
}

// -----

flow.schedule @launch_c1 inputs [] outputs [] {
  // expected-error @+1 {{'flow.launch' op expected '@missing' to name a flow.kernel or flow.program}}
  flow.launch @missing operands [] results []
}

// -----

flow.kernel @kernel "linear" : () -> () {
  flow.yield
}
flow.schedule @launch_c2_operand inputs [] outputs [] {
  // expected-error @+1 {{'flow.launch' op expected @kernel to name a tier.buffer or a tier.weight}}
  flow.launch @kernel operands [@kernel] results []
}

// -----

flow.kernel @kernel "linear" : () -> () {
  flow.yield
}
tier.weight @w : tensor<4xf32> from [#tier.range<"f" at 0 bytes 16>]
flow.schedule @launch_c2_result inputs [] outputs [] {
  // expected-error @+1 {{'flow.launch' op expected @w to name a tier.buffer}}
  flow.launch @kernel operands [@w] results [@w]
}

// -----

flow.kernel @kernel "linear" : () -> () {
  flow.yield
}
func.func @launch_parent() {
  // expected-error @+1 {{'flow.launch' op expects parent op to be one of 'flow.schedule, flow.routed, flow.predict'}}
  flow.launch @kernel operands [] results []
  return
}

// -----

// expected-error @+1 {{'flow.program' op expected the first block argument to be the task, an index}}
flow.program @program_c1_task "linear" buffers 0 scratch 0 grid <fixed, base = 1> {
^bb0(%x: memref<4xf32>):
}

// -----

// expected-error @+1 {{'flow.program' op expected block argument #1 to be a memref, but got 'f32'}}
flow.program @program_c1_memref "linear" buffers 0 scratch 0 grid <fixed, base = 1> {
^bb0(%task: index, %x: f32):
}

// -----

// expected-error @+1 {{'flow.program' op expected 'buffers' to be at most the number of memrefs 1, but got 2}}
flow.program @program_c2 "linear" buffers 2 scratch 0 grid <fixed, base = 1> {
^bb0(%task: index, %x: memref<4xf32>):
}

// -----

// expected-error @+1 {{'flow.program' op expected 'scratch' to be a multiple of 64, but got 100}}
flow.program @program_c3 "linear" buffers 0 scratch 100 grid <fixed, base = 1> {
^bb0(%task: index):
}

// -----

// expected-error @+1 {{expected a positive width and an element that is an integer or float, but got 0 and 'f32'}}
func.func private @tile_c1(!flow.tile<0 x f32>)

// -----

// expected-error @+1 {{expected a positive width and an element that is an integer or float, but got 8 and 'index'}}
func.func private @acc_c1(!flow.acc<8 x index>)

// -----

flow.program @scratch_c1 "linear" buffers 0 scratch 4096 grid <fixed, base = 1> {
^bb0(%task: index):
  // expected-error @+1 {{'flow.scratch' op expected 'offset' to be a multiple of 64, but got 32}}
  %s = flow.scratch offset 32 : memref<12x64xf32>
}

// -----

flow.program @scratch_c2 "linear" buffers 0 scratch 4096 grid <fixed, base = 1> {
^bb0(%task: index):
  // expected-error @+1 {{'flow.scratch' op expected a piece of static shape, but got 'memref<?x64xf32>'}}
  %s = flow.scratch offset 0 : memref<?x64xf32>
}

// -----

flow.program @scratch_c3 "linear" buffers 0 scratch 4096 grid <fixed, base = 1> {
^bb0(%task: index):
  // expected-error @+1 {{'flow.scratch' op expected the piece to end within the 4096 bytes of scratch, but it ends at 4160}}
  %s = flow.scratch offset 1088 : memref<12x64xf32>
}

// -----

func.func @reduce_result_width(%a: !flow.acc<32 x f32>) {
  // expected-error @+1 {{'flow.reduce' op failed to verify that the result is one column of the input's element}}
  %m = flow.reduce max %a : !flow.acc<32 x f32> -> !flow.acc<32 x f32>
  return
}

// -----

func.func @reduce_result_element(%a: !flow.acc<32 x f32>) {
  // expected-error @+1 {{'flow.reduce' op failed to verify that the result is one column of the input's element}}
  %m = flow.reduce sum %a : !flow.acc<32 x f32> -> !flow.acc<1 x i32>
  return
}

// -----

func.func @split_c1(%a: !flow.acc<32 x f32>) {
  // expected-error @+1 {{'flow.split' op expected two halves of '!flow.acc<32 x f32>', but got '!flow.acc<16 x f32>' and '!flow.acc<8 x f32>'}}
  %l, %h = flow.split %a : !flow.acc<32 x f32> -> !flow.acc<16 x f32>, !flow.acc<8 x f32>
  return
}

// -----

func.func @view_c1_element(%b: memref<4096xi8>) {
  // expected-error @+1 {{'flow.view' op expected elements of whole bytes, but got 'index'}}
  %0 = flow.view %b offset 0 : memref<4096xi8> to memref<8xindex>
  return
}

// -----

func.func @prefetch_c1(%w: memref<6x32x32x2xbf16>, %n: index) {
  // expected-error @+1 {{'flow.prefetch' op expected 'bytes' to be positive, but got 0}}
  flow.prefetch %w[%n] bytes 0 : memref<6x32x32x2xbf16>
  return
}

// -----

func.func @view_c1(%b: memref<4096xi8>) {
  // expected-error @+1 {{'flow.view' op expected 'offset' to be a multiple of the element size 4, but got 6}}
  %0 = flow.view %b offset 6 : memref<4096xi8> to memref<8xi32>
  return
}

// -----

func.func @load_c1(%x: memref<?x32xf32>, %n: index) {
  // expected-error @+1 {{'flow.load' op expected the source to be 64 wide, but got 'memref<?x32xf32>'}}
  %t = flow.load %x[%n, %n] in_place : memref<?x32xf32> -> !flow.tile<64 x f32>
  return
}

// -----

func.func @load_c1_rank(%x: memref<64xf32>, %n: index) {
  // expected-error @+1 {{'flow.load' op expected the source to be 64 wide, but got 'memref<64xf32>'}}
  %t = flow.load %x[%n, %n] in_place : memref<64xf32> -> !flow.tile<64 x f32>
  return
}

// -----

func.func @load_c2_gathered(%x: memref<?x64xf32>, %i: memref<?xi32>, %n: index) {
  // expected-error @+1 {{'flow.load' op expected rows used in place to be neither gathered, normalised nor converted}}
  %t = flow.load %x[%n, %n] rows %i : memref<?xi32> in_place : memref<?x64xf32> -> !flow.tile<64 x f32>
  return
}

// -----

func.func @load_c2_normalised(%x: memref<?x64xf32>, %n: index) {
  // expected-error @+1 {{'flow.load' op expected rows used in place to be neither gathered, normalised nor converted}}
  %t = flow.load %x[%n, %n] norm rms eps 0.0 in_place : memref<?x64xf32> -> !flow.tile<64 x f32>
  return
}

// -----

func.func @load_c2_converted(%x: memref<?x64xf32>, %n: index) {
  // expected-error @+1 {{'flow.load' op expected rows used in place to be neither gathered, normalised nor converted}}
  %t = flow.load %x[%n, %n] in_place : memref<?x64xf32> -> !flow.tile<64 x bf16>
  return
}

// -----

func.func @load_c3_none(%x: memref<?x64xf32>, %n: index) {
  // expected-error @+1 {{'flow.load' op expected a stage of rows 64 wide}}
  %t = flow.load %x[%n, %n] : memref<?x64xf32> -> !flow.tile<64 x f32>
  return
}

// -----

func.func @load_c3_width(%x: memref<?x64xf32>, %s: memref<8x32xf32>, %n: index) {
  // expected-error @+1 {{'flow.load' op expected a stage of rows 64 wide}}
  %t = flow.load %x[%n, %n] stage %s : memref<8x32xf32> : memref<?x64xf32> -> !flow.tile<64 x f32>
  return
}

// -----

func.func @rows_c1(%n: index) {
  // expected-error @+1 {{'flow.rows' op expected 'limit' to be positive, but got 0}}
  flow.rows %n limit 0 {
  ^bb0(%first: index):
    flow.yield
  }
  return
}

// -----

func.func @rows_argument(%n: index) {
  // expected-error @+1 {{'flow.rows' op expected one block argument, the tile's first row}}
  flow.rows %n limit 4 {
    flow.yield
  }
  return
}

// -----

func.func @mma_c1(%t: !flow.tile<64 x bf16>, %w: memref<3x32x32x2xbf16>, %n: index) {
  // expected-error @+1 {{'flow.mma' op expected the result to be as wide as a panel of 'memref<3x32x32x2xbf16>', but got 16}}
  %a = flow.mma %t at %n, %w[%n] : !flow.tile<64 x bf16>, memref<3x32x32x2xbf16> -> !flow.acc<16 x f32>
  return
}

// -----

func.func @mma_c1_rank(%t: !flow.tile<64 x bf16>, %w: memref<64x32xbf16>, %n: index) {
  // expected-error @+1 {{'flow.mma' op expected the result to be as wide as a panel of 'memref<64x32xbf16>', but got 32}}
  %a = flow.mma %t at %n, %w[%n] : !flow.tile<64 x bf16>, memref<64x32xbf16> -> !flow.acc<32 x f32>
  return
}

// -----

func.func @mma_c1_pack(%t: !flow.tile<64 x bf16>, %w: memref<3x32x32x0xbf16>, %n: index) {
  // expected-error @+1 {{'flow.mma' op expected the result to be as wide as a panel of 'memref<3x32x32x0xbf16>', but got 32}}
  %a = flow.mma %t at %n, %w[%n] : !flow.tile<64 x bf16>, memref<3x32x32x0xbf16> -> !flow.acc<32 x f32>
  return
}

// -----

func.func @mma_c2(%t: !flow.tile<96 x bf16>, %w: memref<3x32x32x2xbf16>, %n: index) {
  // expected-error @+1 {{'flow.mma' op expected the panel's 64 input channels to match the tile's width 96}}
  %a = flow.mma %t at %n, %w[%n] : !flow.tile<96 x bf16>, memref<3x32x32x2xbf16> -> !flow.acc<32 x f32>
  return
}

// -----

func.func @mma_c3(%t: !flow.tile<64 x bf16>, %w: memref<3x32x32x2xbf16>, %v: memref<3x16x32x2xbf16>, %n: index) {
  // expected-error @+1 {{'flow.mma' op expected 'ahead' to hold panels like those of 'memref<3x32x32x2xbf16>', but got 'memref<3x16x32x2xbf16>'}}
  %a = flow.mma %t at %n, %w[%n] ahead %v[%n] : memref<3x16x32x2xbf16> : !flow.tile<64 x bf16>, memref<3x32x32x2xbf16> -> !flow.acc<32 x f32>
  return
}

// -----

func.func @mma_c4(%t: !flow.tile<64 x bf16>, %w: memref<3x32x32x2xbf16>, %n: index) {
  // expected-error @+1 {{'flow.mma' op expected 'prefetch' or 'ahead', but got both}}
  %a = flow.mma %t at %n, %w[%n] prefetch ahead %w[%n] : memref<3x32x32x2xbf16> : !flow.tile<64 x bf16>, memref<3x32x32x2xbf16> -> !flow.acc<32 x f32>
  return
}

// -----

func.func @map_c1(%a: !flow.acc<32 x f32>, %b: !flow.acc<16 x f32>) {
  // expected-error @+1 {{'flow.map' op expected an operand as wide as the result 32 or 1, but got 16}}
  %r = flow.map(%a, %b) : (!flow.acc<32 x f32>, !flow.acc<16 x f32>) -> !flow.acc<32 x f32> {
  ^bb0(%p: f32, %q: f32):
    flow.yield %p : f32
  }
  return
}

// -----

func.func @map_c2_count(%a: !flow.acc<32 x f32>) {
  // expected-error @+1 {{'flow.map' op expected one block argument an operand, but got 0 for 1}}
  %r = flow.map(%a) : (!flow.acc<32 x f32>) -> !flow.acc<32 x f32> {
    %p = arith.constant 1.0 : f32
    flow.yield %p : f32
  }
  return
}

// -----

func.func @map_c2_argument(%a: !flow.acc<32 x f32>) {
  // expected-error @+1 {{'flow.map' op expected block argument #0 to be 'f32', but got 'i32'}}
  %r = flow.map(%a) : (!flow.acc<32 x f32>) -> !flow.acc<32 x i32> {
  ^bb0(%p: i32):
    flow.yield %p : i32
  }
  return
}

// -----

func.func @map_c2_yield(%a: !flow.acc<32 x f32>) {
  // expected-error @+1 {{'flow.map' op expected the region to yield one 'i32'}}
  %r = flow.map(%a) : (!flow.acc<32 x f32>) -> !flow.acc<32 x i32> {
  ^bb0(%p: f32):
    flow.yield %p : f32
  }
  return
}

// -----

func.func @yield_parent() {
  // expected-error @+1 {{'flow.yield' op expects parent op to be one of 'flow.kernel, flow.map, flow.rows'}}
  flow.yield
}

// -----

flow.program @expert_c1_buffer "routed_up" buffers 1 scratch 0 grid <fixed, base = 1> {
^bb0(%task: index, %w: memref<8x3x32x32x2xbf16>):
  // expected-error @+1 {{'flow.expert' op expected an argument of the program behind its 1 buffers}}
  %one = flow.expert %w[%task] : memref<8x3x32x32x2xbf16> to memref<3x32x32x2xbf16>
}

// -----

flow.program @expert_c1_scratch "routed_up" buffers 0 scratch 1024 grid <fixed, base = 1> {
^bb0(%task: index):
  %s = flow.scratch offset 0 : memref<2x64xf32>
  // expected-error @+1 {{'flow.expert' op expected an argument of the program behind its 0 buffers}}
  %one = flow.expert %s[%task] : memref<2x64xf32> to memref<64xf32>
}

// -----

func.func @expert_c2(%w: memref<8x3x32x32x2xbf16>, %e: index) {
  // expected-error @+1 {{'flow.expert' op expected 'memref<8x3x32x32x2xbf16>' without its first dimension, but got 'memref<8x32x32x2xbf16>'}}
  %one = flow.expert %w[%e] : memref<8x3x32x32x2xbf16> to memref<8x32x32x2xbf16>
  return
}

// -----

tier.buffer @tokens : tensor<?xi32> level "dram" bytes 64 role "tokens"
flow.schedule @routed_c1 inputs [@tokens] outputs [] {
  // expected-error @+1 {{'flow.routed' op expected '@tokens' to name the buffer of a routing}}
  flow.routed routing @tokens bundles @experts {
  }
}

// -----

tier.buffer @routing : tensor<?xi32> level "dram" bytes 64 offset 0
tier.pool @ring ring level "dram" offset 0 slots 1 of 4096 least 1
tier.weight @w : tensor<4x4xf32> from [#tier.range<"f" at 0 bytes 64>]
tier.bundle @bundle in @ring weights [@w] offsets [0] bytes 4096
flow.schedule @routed_c2 inputs [] outputs [] {
  // expected-error @+1 {{'flow.routed' op expected '@bundle' to name the bundles of experts in a cache}}
  flow.routed routing @routing bundles @bundle {
  }
}

// -----

tier.buffer @tokens : tensor<?xi32> level "dram" bytes 64 role "tokens"
tier.buffer @guess : tensor<?xi32> level "dram" bytes 64 offset 0
tier.pool @ring ring level "dram" offset 0 slots 1 of 4096 least 1
tier.pool @cache cache policy predict level "dram" offset 4096 slots 1 of 4096 least 1
tier.weight @w : tensor<4x4xf32> from [#tier.range<"f" at 0 bytes 64>]
tier.weight @up : tensor<2x4x4xf32> from [#tier.range<"f" at 0 bytes 128>]
tier.bundle @bundle in @ring weights [@w] offsets [0] bytes 4096
tier.bundle @experts in @cache weights [@up] offsets [0] bytes 4096 experts 2
flow.kernel @router "router" : () -> () {
  flow.yield
}
flow.schedule @predict_c1 inputs [@tokens] outputs [] {
  // expected-error @+1 {{'flow.predict' op expected '@tokens' to name the buffer of a routing}}
  flow.predict routing @tokens bundles @experts most 1 {
    flow.launch @router operands [@tokens] results [@guess]
  }
}

// -----

tier.buffer @tokens : tensor<?xi32> level "dram" bytes 64 role "tokens"
tier.buffer @guess : tensor<?xi32> level "dram" bytes 64 offset 0
tier.pool @ring ring level "dram" offset 0 slots 1 of 4096 least 1
tier.pool @cache cache policy predict level "dram" offset 4096 slots 1 of 4096 least 1
tier.weight @w : tensor<4x4xf32> from [#tier.range<"f" at 0 bytes 64>]
tier.weight @up : tensor<2x4x4xf32> from [#tier.range<"f" at 0 bytes 128>]
tier.bundle @bundle in @ring weights [@w] offsets [0] bytes 4096
tier.bundle @experts in @cache weights [@up] offsets [0] bytes 4096 experts 2
flow.kernel @router "router" : () -> () {
  flow.yield
}
flow.schedule @predict_c2 inputs [@tokens] outputs [] {
  // expected-error @+1 {{'flow.predict' op expected '@bundle' to name the bundles of experts in a cache}}
  flow.predict routing @guess bundles @bundle most 1 {
    flow.launch @router operands [@tokens] results [@guess]
  }
}

// -----

tier.buffer @tokens : tensor<?xi32> level "dram" bytes 64 role "tokens"
tier.buffer @guess : tensor<?xi32> level "dram" bytes 64 offset 0
tier.pool @ring ring level "dram" offset 0 slots 1 of 4096 least 1
tier.pool @cache cache policy predict level "dram" offset 4096 slots 1 of 4096 least 1
tier.weight @w : tensor<4x4xf32> from [#tier.range<"f" at 0 bytes 64>]
tier.weight @up : tensor<2x4x4xf32> from [#tier.range<"f" at 0 bytes 128>]
tier.bundle @bundle in @ring weights [@w] offsets [0] bytes 4096
tier.bundle @experts in @cache weights [@up] offsets [0] bytes 4096 experts 2
flow.kernel @router "router" : () -> () {
  flow.yield
}
flow.schedule @predict_c3 inputs [@tokens] outputs [] {
  // expected-error @+1 {{'flow.predict' op expected 'most' to be positive, but got 0}}
  flow.predict routing @guess bundles @experts most 0 {
    flow.launch @router operands [@tokens] results [@guess]
  }
}

// -----

tier.buffer @tokens : tensor<?xi32> level "dram" bytes 64 role "tokens"
tier.buffer @guess : tensor<?xi32> level "dram" bytes 64 offset 0
tier.pool @ring ring level "dram" offset 0 slots 1 of 4096 least 1
tier.pool @cache cache policy predict level "dram" offset 4096 slots 1 of 4096 least 1
tier.weight @w : tensor<4x4xf32> from [#tier.range<"f" at 0 bytes 64>]
tier.weight @up : tensor<2x4x4xf32> from [#tier.range<"f" at 0 bytes 128>]
tier.bundle @bundle in @ring weights [@w] offsets [0] bytes 4096
tier.bundle @experts in @cache weights [@up] offsets [0] bytes 4096 experts 2
flow.kernel @router "router" : () -> () {
  flow.yield
}
flow.schedule @predict_c4_two inputs [@tokens] outputs [] {
  // expected-error @+1 {{'flow.predict' op expected one launch with the result '@guess'}}
  flow.predict routing @guess bundles @experts most 1 {
    flow.launch @router operands [@tokens] results [@guess]
    flow.launch @router operands [@tokens] results [@guess]
  }
}

// -----

tier.buffer @tokens : tensor<?xi32> level "dram" bytes 64 role "tokens"
tier.buffer @guess : tensor<?xi32> level "dram" bytes 64 offset 0
tier.pool @ring ring level "dram" offset 0 slots 1 of 4096 least 1
tier.pool @cache cache policy predict level "dram" offset 4096 slots 1 of 4096 least 1
tier.weight @w : tensor<4x4xf32> from [#tier.range<"f" at 0 bytes 64>]
tier.weight @up : tensor<2x4x4xf32> from [#tier.range<"f" at 0 bytes 128>]
tier.bundle @bundle in @ring weights [@w] offsets [0] bytes 4096
tier.bundle @experts in @cache weights [@up] offsets [0] bytes 4096 experts 2
flow.kernel @router "router" : () -> () {
  flow.yield
}
flow.schedule @predict_c4_result inputs [@tokens] outputs [] {
  // expected-error @+1 {{'flow.predict' op expected one launch with the result '@guess'}}
  flow.predict routing @guess bundles @experts most 1 {
    flow.launch @router operands [@guess] results [@tokens]
  }
}

// -----

func.func @mma_c5_unpacked(%t: !flow.tile<64 x bf16>, %w: memref<3x2560xi8>, %n: index) {
  // expected-error @+1 {{'flow.mma' op expected an encoded weight in panels with blocks of which 128 channels hold a whole number, but got 'tensor<96x64xf8E4M3FN, #tier.scaled<rows = 32, columns = 32, scale = f32>>'}}
  %a = flow.mma %t at %n, %w[%n] of tensor<96x64xf8E4M3FN, #tier.scaled<rows = 32, columns = 32, scale = f32>> : !flow.tile<64 x bf16>, memref<3x2560xi8> -> !flow.acc<32 x f32>
  return
}

// -----

func.func @mma_c5_block(%t: !flow.tile<64 x bf16>, %w: memref<3x2560xi8>, %n: index) {
  // expected-error @+1 {{'flow.mma' op expected an encoded weight in panels with blocks of which 128 channels hold a whole number, but got 'tensor<96x64xf8E4M3FN, #tier.scaled<rows = 32, columns = 48, scale = f32, packing = #flow.panels<columns = 32, pack = 2>>>'}}
  %a = flow.mma %t at %n, %w[%n] of tensor<96x64xf8E4M3FN, #tier.scaled<rows = 32, columns = 48, scale = f32, packing = #flow.panels<columns = 32, pack = 2>>> : !flow.tile<64 x bf16>, memref<3x2560xi8> -> !flow.acc<32 x f32>
  return
}

// -----

func.func @mma_c5_bytes(%t: !flow.tile<64 x bf16>, %w: memref<3x2048xi8>, %n: index) {
  // expected-error @+1 {{'flow.mma' op expected panels of 2560 bytes, but got 'memref<3x2048xi8>'}}
  %a = flow.mma %t at %n, %w[%n] of tensor<96x64xf8E4M3FN, #tier.scaled<rows = 32, columns = 32, scale = f32, packing = #flow.panels<columns = 32, pack = 2>>> : !flow.tile<64 x bf16>, memref<3x2048xi8> -> !flow.acc<32 x f32>
  return
}

// -----

func.func @mma_c5_element(%t: !flow.tile<64 x bf16>, %w: memref<3x2560xbf16>, %n: index) {
  // expected-error @+1 {{'flow.mma' op expected panels of 2560 bytes, but got 'memref<3x2560xbf16>'}}
  %a = flow.mma %t at %n, %w[%n] of tensor<96x64xf8E4M3FN, #tier.scaled<rows = 32, columns = 32, scale = f32, packing = #flow.panels<columns = 32, pack = 2>>> : !flow.tile<64 x bf16>, memref<3x2560xbf16> -> !flow.acc<32 x f32>
  return
}

// -----

func.func @mma_c1_encoded(%t: !flow.tile<64 x bf16>, %w: memref<3x2560xi8>, %n: index) {
  // expected-error @+1 {{'flow.mma' op expected the result to be as wide as a panel, 32, but got 16}}
  %a = flow.mma %t at %n, %w[%n] of tensor<96x64xf8E4M3FN, #tier.scaled<rows = 32, columns = 32, scale = f32, packing = #flow.panels<columns = 32, pack = 2>>> : !flow.tile<64 x bf16>, memref<3x2560xi8> -> !flow.acc<16 x f32>
  return
}

// -----

func.func @mma_c2_encoded(%t: !flow.tile<96 x bf16>, %w: memref<3x2560xi8>, %n: index) {
  // expected-error @+1 {{'flow.mma' op expected the weight's 64 input channels to match the tile's width 96}}
  %a = flow.mma %t at %n, %w[%n] of tensor<96x64xf8E4M3FN, #tier.scaled<rows = 32, columns = 32, scale = f32, packing = #flow.panels<columns = 32, pack = 2>>> : !flow.tile<96 x bf16>, memref<3x2560xi8> -> !flow.acc<32 x f32>
  return
}

// -----

func.func @mma_c3_encoded(%t: !flow.tile<64 x bf16>, %w: memref<3x2560xi8>, %n: index) {
  // expected-error @+1 {{'flow.mma' op expected no 'ahead' for an encoded weight}}
  %a = flow.mma %t at %n, %w[%n] of tensor<96x64xf8E4M3FN, #tier.scaled<rows = 32, columns = 32, scale = f32, packing = #flow.panels<columns = 32, pack = 2>>> ahead %w[%n] : memref<3x2560xi8> : !flow.tile<64 x bf16>, memref<3x2560xi8> -> !flow.acc<32 x f32>
  return
}
