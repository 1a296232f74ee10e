// RUN: headrace-opt %s --split-input-file --verify-diagnostics

// level_c1: the name is not empty.
// expected-error @+1 {{expected a level name, but got an empty one}}
func.func private @level_c1() attributes {test.level = #tier.level<"", bytes = 1>}

// -----

// level_c2: bytes are positive.
// expected-error @+1 {{expected bytes and count of level 'l' to be positive, but got 0 and 1}}
func.func private @level_c2_bytes() attributes {test.level = #tier.level<"l", bytes = 0>}

// -----

// level_c2: count is positive.
// expected-error @+1 {{expected bytes and count of level 'l' to be positive, but got 8 and 0}}
func.func private @level_c2_count() attributes {test.level = #tier.level<"l", bytes = 8, count = 0>}

// -----

// level_c3: the alignment is a power of two.
// expected-error @+1 {{expected the alignment of level 'l' to be a power of two, but got 48}}
func.func private @level_c3() attributes {test.level = #tier.level<"l", bytes = 8, alignment = 48>}

// -----

// expected-error @+1 {{expected the alignment of level 'l' to be a power of two, but got 0}}
func.func private @level_c3_zero() attributes {test.level = #tier.level<"l", bytes = 8, alignment = 0>}

// -----

// link_c1: the bandwidth is positive.
// expected-error @+1 {{expected the bandwidth of link 'a' to 'b' to be positive, but got 0}}
func.func private @link_c1() attributes {test.link = #tier.link<"a" to "b", bandwidth = 0>}

// -----

// link_c2: the count is positive.
// expected-error @+1 {{expected the count of link 'a' to 'b' to be positive, but got 0}}
func.func private @link_c2() attributes {test.link = #tier.link<"a" to "b", bandwidth = 1, count = 0>}

// -----

// link_c3: one request gets no more than all of them.
// expected-error @+1 {{expected one request on link 'a' to 'b' to get at most 1 bytes a second, but got 2}}
func.func private @link_c3() attributes {test.link = #tier.link<"a" to "b", bandwidth = 1, request = 2>}

// -----

// compute_c1: a type that is known.
// expected-error @+1 {{expected type to be one of f32, tf32, bf16, f16, f8, i8, but got 'half'}}
func.func private @compute_c1() attributes {test.c = #tier.compute<"half", operations = 1>}

// -----

// compute_c2: operations are positive.
// expected-error @+1 {{expected operations and count of 'bf16' to be positive, but got 0 and 1}}
func.func private @compute_c2_operations() attributes {test.c = #tier.compute<"bf16", operations = 0>}

// -----

// compute_c2: count is positive.
// expected-error @+1 {{expected operations and count of 'bf16' to be positive, but got 5 and 0}}
func.func private @compute_c2_count() attributes {test.c = #tier.compute<"bf16", operations = 5, count = 0>}

// -----

// machine_c1: at least one level.
// expected-error @+1 {{expected machine 'm' to have at least one level, but got none}}
func.func private @machine_c1_empty() attributes {test.m = #tier.machine<"m", levels = []>}

// -----

// machine_c1: level names are unique.
// expected-error @+1 {{expected level names of machine 'm' to be unique, but got 'a' twice}}
func.func private @machine_c1() attributes {test.m = #tier.machine<"m", levels = [<"a", bytes = 1>, <"a", bytes = 2>]>}

// -----

// machine_c2: links end at levels.
// expected-error @+1 {{expected the ends of a link to be levels of machine 'm', but got 'b'}}
func.func private @machine_c2_target() attributes {test.m = #tier.machine<"m", levels = [<"a", bytes = 1>], links = [<"a" to "b", bandwidth = 1>]>}

// -----

// expected-error @+1 {{expected the ends of a link to be levels of machine 'm', but got 'b'}}
func.func private @machine_c2_source() attributes {test.m = #tier.machine<"m", levels = [<"a", bytes = 1>], links = [<"b" to "a", bandwidth = 1>]>}

// -----

// machine_c3: one link from one level to another; the way back is another one.
// expected-error @+1 {{expected at most one link of machine 'm' from one level to another, but got two from 'a' to 'b'}}
func.func private @machine_c3() attributes {test.m = #tier.machine<"m", levels = [<"a", bytes = 1>, <"b", bytes = 1>], links = [<"a" to "b", bandwidth = 1>, <"b" to "a", bandwidth = 1>, <"a" to "b", bandwidth = 2>]>}

// -----

// machine_c4: one compute for a type.
// expected-error @+1 {{expected at most one compute of machine 'm' for a type, but got two for 'f32'}}
func.func private @machine_c4() attributes {test.m = #tier.machine<"m", levels = [<"a", bytes = 1>], compute = [<"f32", operations = 1>, <"f32", operations = 2>]>}

// -----

// expected-error @+1 {{expected levels, links, compute or launch, but got 'speed'}}
func.func private @machine_clause() attributes {test.m = #tier.machine<"m", levels = [<"a", bytes = 1>], speed = 1>}

// -----

// expected-error @+1 {{expected 'levels' once}}
func.func private @machine_clause_twice() attributes {test.m = #tier.machine<"m", levels = [<"a", bytes = 1>], levels = [<"b", bytes = 1>]>}

// -----

// range_c1: the end does not overflow.
// expected-error @+1 {{expected the range of 'f' to end below 2^64, but got offset 18446744073709551615 and 2 bytes}}
func.func private @range_c1() attributes {test.r = #tier.range<"f" at 18446744073709551615 bytes 2>}

// -----

// The last value is far behind the first.
// expected-error @+1 {{expected the range of 'f' to end below 2^64, but got offset 8 and 18446744073709551615 bytes}}
func.func private @range_c1_strides() attributes {test.r = #tier.range<"f" at 8 bytes 8 shape [4] strides [9223372036854775807]>}

// -----

// expected-error @+1 {{expected the range of 'f' to have a stride for each size of its shape, but got 1 and 2}}
func.func private @range_c2() attributes {test.r = #tier.range<"f" at 0 bytes 8 shape [2, 2] strides [4]>}

// -----

// expected-error @+1 {{expected the sizes of the range of 'f' to be positive, but got 0}}
func.func private @range_c2_zero() attributes {test.r = #tier.range<"f" at 0 bytes 8 shape [2, 0] strides [4, 2]>}

// -----

// expected-error @+1 {{expected the 10 bytes of the range of 'f' to be equally many for each value of its shape}}
func.func private @range_c3() attributes {test.r = #tier.range<"f" at 0 bytes 10 shape [2, 2] strides [4, 2]>}

// -----

// expected-error @+1 {{expected the 0 bytes of the range of 'f' to be equally many for each value of its shape}}
func.func private @range_c3_none() attributes {test.r = #tier.range<"f" at 0 bytes 0 shape [2] strides [4]>}

// -----

// expected-error @+1 {{'tier.weight' op expected type to be a ranked tensor of static shape, but got 'tensor<?x4xf32>'}}
tier.weight @weight_c1_dynamic : tensor<?x4xf32> from [#tier.range<"f" at 0 bytes 16>]

// -----

// expected-error @+1 {{'tier.weight' op expected type to be a ranked tensor of static shape, but got 'f32'}}
tier.weight @weight_c1_scalar : f32 from [#tier.range<"f" at 0 bytes 4>]

// -----

// expected-error @+1 {{'tier.weight' op expected elements of whole bytes, but got 'index'}}
tier.weight @weight_c1_index : tensor<2xindex> from [#tier.range<"f" at 0 bytes 16>]

// -----

// expected-error @+1 {{'tier.weight' op expected elements of whole bytes, but got 'i1'}}
tier.weight @weight_c1_bits : tensor<8xi1> from [#tier.range<"f" at 0 bytes 1>]

// -----

// expected-error @+1 {{'tier.weight' op expected the bytes of 'tensor<2305843009213693952x8xf32>' to be fewer than 2^64}}
tier.weight @weight_c2_overflow : tensor<2305843009213693952x8xf32> from [#tier.range<"f" at 0 bytes 0>]

// -----

// expected-error @+1 {{'tier.weight' op expected the ranges to add up to 16 bytes of 'tensor<4xf32>', but got 18446744073709551615}}
tier.weight @weight_c2_ranges : tensor<4xf32> from [
  #tier.range<"f" at 0 bytes 18446744073709551615>, #tier.range<"f" at 0 bytes 17>]

// -----

// expected-error @+1 {{'tier.weight' op expected the ranges to add up to 32 bytes of 'tensor<4x4xbf16>', but got 30}}
tier.weight @weight_c2 : tensor<4x4xbf16> from [
  #tier.range<"f" at 0 bytes 16>, #tier.range<"f" at 64 bytes 14>]

// -----

func.func @use_c1() {
  // expected-error @+1 {{'tier.use' op expected '@missing' to name a tier.weight, but there is none}}
  %w = tier.use @missing : tensor<4xf32>
  return
}

// -----

tier.buffer @buffer : tensor<4xf32> level "dram" bytes 16 offset 0
func.func @use_c1_buffer() {
  // expected-error @+1 {{'tier.use' op expected '@buffer' to name a tier.weight, but there is none}}
  %w = tier.use @buffer : tensor<4xf32>
  return
}

// -----

// expected-note @+1 {{weight is here}}
tier.weight @w : tensor<4xf32> from [#tier.range<"f" at 0 bytes 16>]
func.func @use_c2() {
  // expected-error @+1 {{'tier.use' op expected the result type to be that of '@w', 'tensor<4xf32>', but got 'tensor<4xbf16>'}}
  %w = tier.use @w : tensor<4xbf16>
  return
}

// -----

// expected-error @+1 {{'tier.buffer' op expected an offset or a role, but got neither}}
tier.buffer @buffer_c1 : tensor<4xf32> level "dram" bytes 16

// -----

// expected-error @+1 {{'tier.buffer' op expected offset to be a multiple of 64, but got 32}}
tier.buffer @buffer_c2 : tensor<4xf32> level "dram" bytes 16 offset 32

// -----

// expected-error @+1 {{'tier.buffer' op expected offset to be a multiple of 64, but got -64}}
tier.buffer @buffer_c2_negative : tensor<4xf32> level "dram" bytes 16 offset -64

// -----

// expected-error @+1 {{'tier.buffer' op expected bytes not to be negative, but got -5}}
tier.buffer @buffer_c3 : tensor<4xf32> level "dram" bytes -5 offset 64

// -----

module attributes {tier.machine = #tier.machine<"toy", levels = [<"sram", bytes = 1024>]>} {
  // expected-error @+1 {{'tier.buffer' op expected level to be one of}}
  tier.buffer @buffer_c4 : tensor<4xf32> level "dram" bytes 16 offset 64
}

// -----

module @plan_c1 {
  // expected-error @+1 {{'tier.plan' op expected minimum, arena and budget to ascend, but got 4096, 8192, 4096}}
  tier.plan "joint" level "dram" arena 8192 budget 4096 minimum 4096 workers 1 of 4096 at 0 kv 0 at 0
}

// -----

module @plan_c2 {
  // expected-error @+1 {{'tier.plan' op expected multiples of 4096, but got 64}}
  tier.plan "joint" level "dram" arena 8192 budget 0 minimum 4096 workers 1 of 4096 at 64 kv 0 at 0
}

// -----

module @plan_c1_home {
  // expected-error @+1 {{'tier.plan' op expected a home arena of at most 4096 bytes, but got 8192}}
  tier.plan "joint" level "hbm" arena 8192 budget 0 minimum 4096 workers 1 of 0 at 0 kv 0 at 0 home "dram" arena 8192 budget 4096 staging 0
}

// -----

module @plan_c2_staging {
  // expected-error @+1 {{'tier.plan' op expected at most 4096 bytes of staging}}
  tier.plan "joint" level "hbm" arena 8192 budget 0 minimum 4096 workers 1 of 0 at 0 kv 0 at 0 home "dram" arena 4096 budget 0 staging 8192
}

// -----

module @plan_c3 {
  // expected-error @+1 {{'tier.plan' op expected a home with an arena, a budget and staging, or none of them}}
  "tier.plan"() <{strategy = "joint", level = "hbm", arena = 8192 : i64, budget = 0 : i64, minimum = 4096 : i64, workers = 1 : i64, worker_bytes = 0 : i64, scratch = 0 : i64, kv_pages = 0 : i64, kv = 0 : i64, home = "dram"}> : () -> ()
}

// -----

module @pin_c1 {
  tier.buffer @scratch : tensor<?xi32> level "dram" bytes 64 offset 0
  // expected-error @+1 {{'tier.pin' op expected '@scratch' to name a weight or a buffer with a role}}
  tier.pin @scratch level "dram" offsets [0]
}

// -----

module @pin_c2 {
  tier.weight @w : tensor<2x4x4xf32> from [#tier.range<"f" at 0 bytes 128>]
  // expected-error @+1 {{'tier.pin' op expected 2 offsets, but got 1}}
  tier.pin @w level "dram" offsets [0]
}

// -----

module @pin_c3 {
  tier.weight @w : tensor<4x4xf32> from [#tier.range<"f" at 0 bytes 64>]
  // expected-error @+1 {{'tier.pin' op expected offsets that are multiples of 4096, but got 64}}
  tier.pin @w level "dram" offsets [64]
}

// -----

// expected-error @+1 {{'tier.pool' op expected at least one slot and no fewer than 'least', but got 1 and 2}}
tier.pool @pool_c1 ring level "dram" offset 0 slots 1 of 4096 least 2

// -----

// expected-error @+1 {{'tier.pool' op expected slots of whole pages at a page, but got 100 bytes at 0}}
tier.pool @pool_c2 ring level "dram" offset 0 slots 1 of 100 least 1

// -----

// expected-error @+1 {{'tier.pool' op expected a policy for a cache and for nothing else}}
tier.pool @pool_c3 cache level "dram" offset 0 slots 1 of 4096 least 1

// -----

tier.pool @pool ring level "dram" offset 0 slots 1 of 4096 least 1
tier.weight @w : tensor<4x4xf32> from [#tier.range<"f" at 0 bytes 64>]
// expected-error @+1 {{'tier.bundle' op expected '@pool' to name a pool with slots of 8192 bytes}}
tier.bundle @bundle_c1 in @pool weights [@w] offsets [0] bytes 8192

// -----

tier.pool @pool ring level "dram" offset 0 slots 1 of 4096 least 1
tier.weight @w : tensor<2x4x4xf32> from [#tier.range<"f" at 0 bytes 128>]
// expected-error @+1 {{'tier.bundle' op expected @w to name a weight of 1 matrices, but got 2}}
tier.bundle @bundle_c2 in @pool weights [@w] offsets [0] bytes 4096

// -----

tier.pool @pool ring level "dram" offset 0 slots 1 of 4096 least 1
tier.weight @w : tensor<4x4xf32> from [#tier.range<"f" at 0 bytes 64>]
// expected-error @+1 {{'tier.bundle' op expected one offset a weight, but got 2 for 1}}
tier.bundle @bundle_c3 in @pool weights [@w] offsets [0, 4096] bytes 4096

// -----

tier.pool @pool ring level "dram" offset 0 slots 1 of 4096 least 1
tier.weight @w : tensor<4x4xf32> from [#tier.range<"f" at 0 bytes 64>]
// expected-error @+1 {{'tier.bundle' op expected ascending multiples of 4096, but got 64}}
tier.bundle @bundle_c3_ascending in @pool weights [@w] offsets [64] bytes 4096

// -----

tier.pool @pool ring level "dram" offset 0 slots 1 of 4096 least 1
tier.weight @w : tensor<4x4xf32> from [#tier.range<"f" at 0 bytes 64>]
// expected-error @+1 {{'tier.bundle' op expected a home at a multiple of 4096, but got 64}}
tier.bundle @bundle_c3_home in @pool weights [@w] offsets [0] bytes 4096 home 64

// -----

tier.pool @pool cache policy lru level "dram" offset 0 slots 1 of 4096 least 1
tier.weight @w : tensor<4x4xf32> from [#tier.range<"f" at 0 bytes 64>]
tier.bundle @bundle in @pool weights [@w] offsets [0] bytes 4096
func.func @prefetch_c1() {
  // expected-error @+1 {{'tier.prefetch' op expected '@bundle' to name a bundle of a ring}}
  %t = tier.prefetch @bundle slot 0
  return
}

// -----

tier.pool @pool ring level "dram" offset 0 slots 1 of 4096 least 1
tier.weight @w : tensor<4x4xf32> from [#tier.range<"f" at 0 bytes 64>]
tier.bundle @bundle in @pool weights [@w] offsets [0] bytes 4096
func.func @prefetch_c2() {
  // expected-error @+1 {{'tier.prefetch' op expected one of 1 slots, but got 1}}
  %t = tier.prefetch @bundle slot 1
  return
}

// -----

// scaled_c1: rows and columns are positive.
// expected-error @+1 {{expected rows and columns of a scaled block to be positive, but got 0 and 32}}
func.func private @scaled_c1() attributes {test.s = #tier.scaled<rows = 0, columns = 32, scale = f32>}

// -----

// scaled_c2: scales are f32, bf16 or f8E8M0FNU.
// expected-error @+1 {{expected the scales of a weight to be f32, bf16 or f8E8M0FNU, but got 'f16'}}
func.func private @scaled_c2() attributes {test.s = #tier.scaled<rows = 1, columns = 32, scale = f16>}

// -----

// scaled_c3: matrices of 8-bit or 4-bit elements.
// expected-error @+1 {{expected a scaled weight to be matrices of static shape with elements of f8E4M3FN or f4E2M1FN, but got rank 2 and 'bf16'}}
func.func private @scaled_c3(tensor<64x64xbf16, #tier.scaled<rows = 1, columns = 32, scale = f32>>)

// -----

// expected-error @+1 {{expected a scaled weight to be matrices of static shape with elements of f8E4M3FN or f4E2M1FN, but got rank 1 and 'f8E4M3FN'}}
func.func private @scaled_c3_rank(tensor<64xf8E4M3FN, #tier.scaled<rows = 1, columns = 32, scale = f32>>)

// -----

// expected-error @+1 {{expected a scaled weight to be matrices of static shape with elements of f8E4M3FN or f4E2M1FN, but got rank 2 and 'f8E4M3FN'}}
func.func private @scaled_c3_dynamic(tensor<?x64xf8E4M3FN, #tier.scaled<rows = 1, columns = 32, scale = f32>>)

// -----

// scaled_c4: rows of whole bytes.
// expected-error @+1 {{expected rows of f4E2M1FN to be of whole bytes, but got 63 elements}}
func.func private @scaled_c4(tensor<64x63xf4E2M1FN, #tier.scaled<rows = 1, columns = 32, scale = f8E8M0FNU>>)

// -----

// weight_c1: elements of less than a byte need an encoding.
// expected-error @+1 {{'tier.weight' op expected elements of whole bytes, but got 'f4E2M1FN'}}
tier.weight @plain : tensor<64x64xf4E2M1FN> from [#tier.range<"m" at 0 bytes 2048>]

// -----

// weight_c2: elements and scales of all matrices: 2 (64 * 32 + 64 * 2).
// expected-error @+1 {{'tier.weight' op expected the ranges to add up to 4352 bytes of 'tensor<2x64x64xf4E2M1FN, #tier.scaled<rows = 1, columns = 32, scale = f8E8M0FNU>>', but got 4096}}
tier.weight @mxfp4 : tensor<2x64x64xf4E2M1FN, #tier.scaled<rows = 1, columns = 32, scale = f8E8M0FNU>> from [#tier.range<"m" at 0 bytes 4096>]

// -----

// weight_c2: blocks at the ends are smaller: 192 * 320 + 2 * 3 * 4.
// expected-error @+1 {{expected the ranges to add up to 61464 bytes}}
tier.weight @fp8 : tensor<192x320xf8E4M3FN, #tier.scaled<rows = 128, columns = 128, scale = f32>> from [#tier.range<"m" at 0 bytes 1>]

// -----

// expected-error @+1 {{to be fewer than 2^64}}
tier.weight @huge : tensor<4294967296x1073741824xf8E4M3FN, #tier.scaled<rows = 1, columns = 1, scale = f32>> from [#tier.range<"m" at 0 bytes 1>]

// -----

tier.pool @pool ring level "dram" offset 0 slots 1 of 4096 least 1
// expected-error @+1 {{'tier.pages' op expected '@pool' to name a ring with slots of 8192 bytes}}
tier.pages @pages_c1 in @pool layer 0 bytes 8192 home "disk" offset 0

// -----

tier.pool @cache cache policy lru level "dram" offset 0 slots 1 of 4096 least 1
// expected-error @+1 {{'tier.pages' op expected '@cache' to name a ring with slots of 4096 bytes}}
tier.pages @pages_c1_cache in @cache layer 0 bytes 4096 home "disk" offset 0

// -----

tier.pool @pool ring level "dram" offset 0 slots 1 of 4096 least 1
// expected-error @+1 {{'tier.pages' op expected offset to be a multiple of 4096, but got 64}}
tier.pages @pages_c2 in @pool layer 0 bytes 4096 home "disk" offset 64

// -----

tier.pool @pool ring level "dram" offset 0 slots 1 of 4096 least 1
tier.weight @w : tensor<4x4xf32> from [#tier.range<"f" at 0 bytes 64>]
tier.bundle @bundle in @pool weights [@w] offsets [0] bytes 4096
func.func @store_c1() {
  %t = tier.prefetch @bundle slot 0
  // expected-error @+1 {{'tier.store' op expected the token of a prefetch of tier.pages}}
  tier.store %t
  return
}
