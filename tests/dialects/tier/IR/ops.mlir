// RUN: headrace-opt %s --verify-roundtrip | FileCheck %s
// RUN: headrace-opt %s --mlir-print-op-generic | headrace-opt | FileCheck %s

// Defaults (count = 1, alignment = 64, latency = 0, no bus) are not printed.
// CHECK-LABEL: func.func private @attributes
// CHECK-SAME: test.aligned = #tier.level<"l1", bytes = 4096, alignment = 128>
// CHECK-SAME: test.compute = #tier.compute<"bf16", operations = 989400000000000>
// CHECK-SAME: test.compute_full = #tier.compute<"f8", operations = 5, count = 8>
// CHECK-SAME: test.level = #tier.level<"dram", bytes = 17179869184>
// CHECK-SAME: test.level_full = #tier.level<"l2", bytes = 4096, count = 3, alignment = 128>
// CHECK-SAME: test.link = #tier.link<"dram" to "sram", bandwidth = 40000000000>
// CHECK-SAME: test.link_full = #tier.link<"disk" to "dram", bandwidth = 2000000000, latency = 80000, request = 600000000>
// CHECK-SAME: test.link_shared = #tier.link<"dram" to "dram", bandwidth = 14000000000, count = 2, bus = "memory">
func.func private @attributes() attributes {
  test.aligned = #tier.level<"l1", bytes = 4096, alignment = 128>,
  test.compute = #tier.compute<"bf16", operations = 989400000000000, count = 1>,
  test.compute_full = #tier.compute<"f8", count = 8, operations = 5>,
  test.level = #tier.level<"dram", bytes = 17179869184, count = 1, alignment = 64>,
  test.level_full = #tier.level<"l2", bytes = 4096, count = 3, alignment = 128>,
  test.link = #tier.link<"dram" to "sram", bandwidth = 40000000000, latency = 0>,
  test.link_full = #tier.link<"disk" to "dram", bandwidth = 2000000000, latency = 80000, request = 600000000>,
  test.link_shared = #tier.link<"dram" to "dram", bandwidth = 14000000000, count = 2, bus = "memory">
}

// CHECK: tier.machine = #tier.machine<"two-tier",
// CHECK-SAME: levels = [<"sram", bytes = 65536, count = 2>, <"dram", bytes = 1048576>],
// CHECK-SAME: links = [<"dram" to "sram", bandwidth = 40000000000>],
// CHECK-SAME: compute = [<"bf16", operations = 474000000000, count = 2>], launch = 2000>
module attributes {tier.machine = #tier.machine<"two-tier",
    levels = [<"sram", bytes = 65536, count = 2>, <"dram", bytes = 1048576>],
    links = [<"dram" to "sram", bandwidth = 40000000000>],
    compute = [<"bf16", operations = 474000000000, count = 2>],
    launch = 2000>} {
}

// CHECK: tier.machine = #tier.machine<"flat", levels = [<"dram", bytes = 1048576>]>
module attributes {tier.machine = #tier.machine<"flat", levels = [<"dram", bytes = 1048576>]>} {
}

// Values that are no neighbours in the file: a matrix that is stored transposed,
// with every second column of it.
// CHECK: tier.weight @transposed : tensor<40x64xbf16> from
// CHECK-SAME: [#tier.range<"model.safetensors" at 130 bytes 5120 shape [40, 64] strides [4, 160]>]
tier.weight @transposed : tensor<40x64xbf16> from [
  #tier.range<"model.safetensors" at 130 bytes 5120 shape [40, 64] strides [4, 160]>]

// A weight may gather several ranges, and several files.
// CHECK-LABEL: tier.weight @gate : tensor<2x40x64xbf16> from
// CHECK-SAME: [#tier.range<"a.safetensors" at 128 bytes 5120>, #tier.range<"b.safetensors" at 9000 bytes 5120>]
tier.weight @gate : tensor<2x40x64xbf16> from [
  #tier.range<"a.safetensors" at 128 bytes 5120>,
  #tier.range<"b.safetensors" at 9000 bytes 5120>]

// CHECK-LABEL: tier.weight @packed : tensor<96x64xbf16, #flow.panels<columns = 32, pack = 2>>
tier.weight @packed : tensor<96x64xbf16, #flow.panels<columns = 32, pack = 2>> from [
  #tier.range<"a.safetensors" at 0 bytes 12288>]

// CHECK-LABEL: tier.buffer @hidden : tensor<?x64xf32> level "dram" bytes 131072 offset 4096
tier.buffer @hidden : tensor<?x64xf32> level "dram" bytes 131072 offset 4096
// CHECK: tier.buffer @tokens : tensor<?xi32> level "dram" bytes 2048 role "tokens"{{$}}
tier.buffer @tokens : tensor<?xi32> level "dram" bytes 2048 role "tokens"
// CHECK: tier.buffer @logits : tensor<?x300xf32> level "dram" bytes 2400 role "logits" output
tier.buffer @logits : tensor<?x300xf32> level "dram" bytes 2400 role "logits" output

// CHECK: tier.buffer @last : tensor<?xi32> level "dram" bytes 2048 offset 64 role "tokens"
tier.buffer @last : tensor<?xi32> level "dram" bytes 2048 offset 64 role "tokens"

// CHECK-LABEL: func.func @use
func.func @use() -> tensor<2x40x64xbf16> {
  // CHECK: %[[W:.*]] = tier.use @gate : tensor<2x40x64xbf16>
  %w = tier.use @gate : tensor<2x40x64xbf16>
  // CHECK: return %[[W]]
  return %w : tensor<2x40x64xbf16>
}

// CHECK-LABEL: module @example
// CHECK-SAME: #tier.compute<"bf16", operations = 989400000000000>
module @example attributes {test.compute = #tier.compute<"bf16", operations = 989400000000000>} {
  // CHECK: tier.weight @layer0.gate : tensor<2x40x64xbf16>
  tier.weight @layer0.gate : tensor<2x40x64xbf16> from [
    #tier.range<"model.safetensors" at 128 bytes 5120>,
    #tier.range<"model.safetensors" at 9000 bytes 5120>]
  func.func @use_example() {
    // CHECK: tier.use @layer0.gate : tensor<2x40x64xbf16>
    %w = tier.use @layer0.gate : tensor<2x40x64xbf16>
    return
  }
}

// What a plan adds.
module {
  tier.weight @q : tensor<64x64xbf16> from [#tier.range<"f" at 0 bytes 8192>]
  tier.weight @q1 : tensor<64x64xbf16> from [#tier.range<"f" at 0 bytes 8192>]
  tier.weight @o : tensor<64x64xbf16> from [#tier.range<"f" at 0 bytes 8192>]
  tier.weight @head : tensor<64x64xbf16> from [#tier.range<"f" at 0 bytes 8192>]
  tier.weight @up : tensor<8x64x32xbf16> from [#tier.range<"f" at 8192 bytes 32768>]
  tier.weight @down : tensor<8x32x64xbf16> from [#tier.range<"f" at 8192 bytes 32768>]
  // CHECK: tier.plan "joint" level "dram" arena 1048576 budget 1050000 minimum 65536 workers 2 of 8192 at 16384 kv 8 at 32768
  tier.plan "joint" level "dram" arena 1048576 budget 1050000 minimum 65536 workers 2 of 8192 at 16384 kv 8 at 32768
  // CHECK: tier.plan "joint" level "hbm" arena 1048576 budget 0 minimum 65536 workers 1 of 0 at 16384 kv 8 at 32768 home "dram" arena 4194304 budget 0 staging 65536
  tier.plan "joint" level "hbm" arena 1048576 budget 0 minimum 65536 workers 1 of 0 at 16384 kv 8 at 32768 home "dram" arena 4194304 budget 0 staging 65536
  // CHECK: tier.pin @head level "dram" offsets [8192]
  tier.pin @head level "dram" offsets [8192]
  // CHECK: tier.pool @ring ring level "dram" offset 65536 slots 2 of 16384 least 1
  tier.pool @ring ring level "dram" offset 65536 slots 2 of 16384 least 1
  // CHECK: tier.pool @cache cache policy lru level "dram" offset 98304 slots 1 of 8192 least 1
  tier.pool @cache cache policy lru level "dram" offset 98304 slots 1 of 8192 least 1
  // CHECK: tier.bundle @layer0 in @ring weights [@q, @o] offsets [0, 8192] bytes 16384
  tier.bundle @layer0 in @ring weights [@q, @o] offsets [0, 8192] bytes 16384
  // CHECK: tier.bundle @layer0.experts in @cache weights [@up, @down] offsets [0, 4096] bytes 8192 experts 8
  tier.bundle @layer0.experts in @cache weights [@up, @down] offsets [0, 4096] bytes 8192 experts 8
  // CHECK: tier.bundle @layer1 in @ring weights [@q1] offsets [0] bytes 8192 home 16384
  tier.bundle @layer1 in @ring weights [@q1] offsets [0] bytes 8192 home 16384
  // CHECK: tier.pool @kv ring level "dram" offset 131072 slots 1 of 16384 least 1
  tier.pool @kv ring level "dram" offset 131072 slots 1 of 16384 least 1
  // CHECK: tier.pages @layer0.kv in @kv layer 0 bytes 16384 home "disk" offset 0
  tier.pages @layer0.kv in @kv layer 0 bytes 16384 home "disk" offset 0
  func.func @transfers() {
    // CHECK: %[[T:.*]] = tier.prefetch @layer0 slot 0
    %t = tier.prefetch @layer0 slot 0
    // CHECK: tier.wait %[[T]]
    tier.wait %t
    // CHECK: tier.evict %[[T]]
    tier.evict %t
    // CHECK: %[[P:.*]] = tier.prefetch @layer0.kv slot 0
    %p = tier.prefetch @layer0.kv slot 0
    // CHECK: tier.store %[[P]]
    tier.store %p
    return
  }
  // CHECK: func.func private @token(!tier.token)
  func.func private @token(!tier.token)
}

// Encoded weights carry their scales.
module @encoded {
  // CHECK: tier.weight @q : tensor<192x320xf8E4M3FN, #tier.scaled<rows = 128, columns = 128, scale = f32>>
  tier.weight @q : tensor<192x320xf8E4M3FN, #tier.scaled<rows = 128, columns = 128, scale = f32>> from [
    #tier.range<"m" at 0 bytes 61440>, #tier.range<"m" at 70000 bytes 24>]
  // CHECK: tier.weight @up : tensor<8x40x64xf4E2M1FN, #tier.scaled<rows = 1, columns = 32, scale = f8E8M0FNU>>
  tier.weight @up : tensor<8x40x64xf4E2M1FN, #tier.scaled<rows = 1, columns = 32, scale = f8E8M0FNU>> from [
    #tier.range<"m" at 0 bytes 10880>]
  // CHECK: tier.weight @packed : tensor<40x64xf4E2M1FN, #tier.scaled<rows = 1, columns = 32, scale = f8E8M0FNU, packing = #flow.panels<columns = 32, pack = 2>>>
  tier.weight @packed : tensor<40x64xf4E2M1FN, #tier.scaled<rows = 1, columns = 32, scale = f8E8M0FNU, packing = #flow.panels<columns = 32, pack = 2>>> from [
    #tier.range<"m" at 0 bytes 1360>]
  func.func @uses() {
    %fp8 = tier.use @q : tensor<192x320xf8E4M3FN, #tier.scaled<rows = 128, columns = 128, scale = f32>>
    %mxfp4 = tier.use @up : tensor<8x40x64xf4E2M1FN, #tier.scaled<rows = 1, columns = 32, scale = f8E8M0FNU>>
    return
  }
}
