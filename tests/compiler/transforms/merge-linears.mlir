// RUN: headrace-opt %s --headrace-merge-linears --split-input-file | FileCheck %s

// Query, key and value become one product: the new weight strings their ranges
// together, and what works on one of them works on a slice.
// CHECK: tier.weight @"q+k+v" : tensor<128x64xbf16> from
// CHECK-SAME: [#tier.range<"m" at 0 bytes 8192>, #tier.range<"m" at 8192 bytes 4096>, #tier.range<"m" at 12288 bytes 4096>]
// CHECK: tier.weight @"qb+kb+vb" : tensor<128xf32> from
// CHECK-SAME: [#tier.range<"m" at 20000 bytes 256>, #tier.range<"m" at 21000 bytes 128>, #tier.range<"m" at 22000 bytes 128>]
tier.weight @q : tensor<64x64xbf16> from [#tier.range<"m" at 0 bytes 8192>]
tier.weight @k : tensor<32x64xbf16> from [#tier.range<"m" at 8192 bytes 4096>]
tier.weight @v : tensor<32x64xbf16> from [#tier.range<"m" at 12288 bytes 4096>]
tier.weight @qb : tensor<64xf32> from [#tier.range<"m" at 20000 bytes 256>]
tier.weight @kb : tensor<32xf32> from [#tier.range<"m" at 21000 bytes 128>]
tier.weight @vb : tensor<32xf32> from [#tier.range<"m" at 22000 bytes 128>]

// CHECK-LABEL: func.func @attention
// CHECK-SAME: %[[X:.*]]: tensor<?x64xf32>, %[[A:.*]]: tensor<?x16xf32>
func.func @attention(%x: tensor<?x64xf32>, %a: tensor<?x16xf32>, %cache: !nn.kv_cache<layers = 1, heads = 2, head_dim = 16, element = bf16>, %p: tensor<?xi32>, %s: tensor<?xi32>) -> tensor<?x64xf32> {
  %wq = tier.use @q : tensor<64x64xbf16>
  %wk = tier.use @k : tensor<32x64xbf16>
  %wv = tier.use @v : tensor<32x64xbf16>
  %bq = tier.use @qb : tensor<64xf32>
  %bk = tier.use @kb : tensor<32xf32>
  %bv = tier.use @vb : tensor<32xf32>
  // CHECK-DAG: %[[W:.*]] = tier.use @"q+k+v"
  // CHECK-DAG: %[[B:.*]] = tier.use @"qb+kb+vb"
  // CHECK: %[[M:.*]] = nn.linear %[[X]], %[[W]] bias %[[B]] inputs bf16
  // CHECK-SAME: -> tensor<?x128xf32>
  // CHECK-NOT: nn.linear
  // CHECK-DAG: %[[Q:.*]] = tensor.extract_slice %[[M]][0, 0] [%{{.*}}, 64] [1, 1]
  // CHECK-DAG: %[[K:.*]] = tensor.extract_slice %[[M]][0, 64] [%{{.*}}, 32] [1, 1]
  // CHECK-DAG: %[[V:.*]] = tensor.extract_slice %[[M]][0, 96] [%{{.*}}, 32] [1, 1]
  // CHECK-DAG: %[[RQ:.*]] = nn.rotate %[[Q]] by %[[A]]
  // CHECK-DAG: %[[RK:.*]] = nn.rotate %[[K]] by %[[A]]
  // CHECK: nn.attention %[[RQ]], %[[RK]], %[[V]]
  %q = nn.linear %x, %wq bias %bq inputs bf16 : tensor<?x64xf32>, tensor<64x64xbf16>, tensor<64xf32> -> tensor<?x64xf32>
  %rq = nn.rotate %q by %a heads 4 : tensor<?x64xf32>, tensor<?x16xf32>
  %k = nn.linear %x, %wk bias %bk inputs bf16 : tensor<?x64xf32>, tensor<32x64xbf16>, tensor<32xf32> -> tensor<?x32xf32>
  %rk = nn.rotate %k by %a heads 2 : tensor<?x32xf32>, tensor<?x16xf32>
  %v = nn.linear %x, %wv bias %bv inputs bf16 : tensor<?x64xf32>, tensor<32x64xbf16>, tensor<32xf32> -> tensor<?x32xf32>
  %o, %c = nn.attention %rq, %rk, %v cache %cache layer 0 at %p of %s heads 4 scale 0.25 : tensor<?x64xf32>, tensor<?x32xf32>, !nn.kv_cache<layers = 1, heads = 2, head_dim = 16, element = bf16>
  return %o : tensor<?x64xf32>
}

// -----

// Gate and up of a dense feed-forward. A second pair of the same weights reads
// the weight that the first one made.
// CHECK: tier.weight @"gate+up" : tensor<96x64xbf16>
// CHECK-NOT: gate+up
tier.weight @gate : tensor<48x64xbf16> from [#tier.range<"m" at 0 bytes 6144>]
tier.weight @up : tensor<48x64xbf16> from [#tier.range<"m" at 6144 bytes 6144>]

// CHECK-LABEL: func.func @glu
func.func @glu(%x: tensor<?x64xf32>, %y: tensor<?x64xf32>) -> (tensor<?x48xf32>, tensor<?x48xf32>) {
  %wg = tier.use @gate : tensor<48x64xbf16>
  %wu = tier.use @up : tensor<48x64xbf16>
  // CHECK-COUNT-2: tier.use @"gate+up" : tensor<96x64xbf16>
  %0 = nn.linear %x, %wg inputs bf16 : tensor<?x64xf32>, tensor<48x64xbf16> -> tensor<?x48xf32>
  %1 = nn.linear %x, %wu inputs bf16 : tensor<?x64xf32>, tensor<48x64xbf16> -> tensor<?x48xf32>
  %2 = nn.glu silu %0, %1 : tensor<?x48xf32>
  %3 = nn.linear %y, %wg inputs bf16 : tensor<?x64xf32>, tensor<48x64xbf16> -> tensor<?x48xf32>
  %4 = nn.linear %y, %wu inputs bf16 : tensor<?x64xf32>, tensor<48x64xbf16> -> tensor<?x48xf32>
  %5 = nn.glu silu %3, %4 : tensor<?x48xf32>
  return %2, %5 : tensor<?x48xf32>, tensor<?x48xf32>
}

// -----

// Products of different rows, roundings or element types, or of weights that
// are no symbols, stay apart.
tier.weight @gate : tensor<48x64xbf16> from [#tier.range<"m" at 0 bytes 6144>]
tier.weight @up : tensor<48x64xbf16> from [#tier.range<"m" at 6144 bytes 6144>]
tier.weight @wide : tensor<48x64xf32> from [#tier.range<"m" at 20480 bytes 12288>]

// CHECK-LABEL: func.func @apart
// CHECK-NOT: tensor.extract_slice
// CHECK: return
func.func @apart(%x: tensor<?x64xf32>, %y: tensor<?x64xf32>, %w: tensor<48x64xbf16>) {
  %wg = tier.use @gate : tensor<48x64xbf16>
  %wu = tier.use @up : tensor<48x64xbf16>
  %ww = tier.use @wide : tensor<48x64xf32>
  %0 = nn.linear %x, %wg inputs bf16 : tensor<?x64xf32>, tensor<48x64xbf16> -> tensor<?x48xf32>
  %1 = nn.linear %y, %wu inputs bf16 : tensor<?x64xf32>, tensor<48x64xbf16> -> tensor<?x48xf32>
  %rows = nn.glu silu %0, %1 : tensor<?x48xf32>
  %2 = nn.linear %x, %wu : tensor<?x64xf32>, tensor<48x64xbf16> -> tensor<?x48xf32>
  %rounding = nn.glu silu %0, %2 : tensor<?x48xf32>
  %3 = nn.linear %x, %ww inputs bf16 : tensor<?x64xf32>, tensor<48x64xf32> -> tensor<?x48xf32>
  %element = nn.glu silu %0, %3 : tensor<?x48xf32>
  %4 = nn.linear %x, %w inputs bf16 : tensor<?x64xf32>, tensor<48x64xbf16> -> tensor<?x48xf32>
  %symbol = nn.glu silu %0, %4 : tensor<?x48xf32>
  return
}

// -----

// Of encoded weights the elements come first, then the scales. The first part
// ends within a block of scales, so the blocks become as low as both parts
// admit, and their scales are named more than once: two rows of scales for 128
// and 64 rows become three for 64 each.
// CHECK: tier.weight @"gate+up" : tensor<384x64xf8E4M3FN, #tier.scaled<rows = 64, columns = 128, scale = f32>> from
// CHECK-SAME: [#tier.range<"m" at 0 bytes 12288>, #tier.range<"m" at 20000 bytes 12288>,
// CHECK-SAME: #tier.range<"m" at 12288 bytes 4>, #tier.range<"m" at 12288 bytes 4>, #tier.range<"m" at 12292 bytes 4>,
// CHECK-SAME: #tier.range<"m" at 40000 bytes 4>, #tier.range<"m" at 40000 bytes 4>, #tier.range<"m" at 40004 bytes 4>]
tier.weight @gate : tensor<192x64xf8E4M3FN, #tier.scaled<rows = 128, columns = 128, scale = f32>> from [#tier.range<"m" at 0 bytes 12296>]
tier.weight @up : tensor<192x64xf8E4M3FN, #tier.scaled<rows = 128, columns = 128, scale = f32>> from [#tier.range<"m" at 20000 bytes 12288>, #tier.range<"m" at 40000 bytes 8>]

// CHECK-LABEL: func.func @encoded
func.func @encoded(%x: tensor<?x64xf32>) -> tensor<?x192xf32> {
  %wg = tier.use @gate : tensor<192x64xf8E4M3FN, #tier.scaled<rows = 128, columns = 128, scale = f32>>
  %wu = tier.use @up : tensor<192x64xf8E4M3FN, #tier.scaled<rows = 128, columns = 128, scale = f32>>
  // CHECK: nn.linear {{.*}} -> tensor<?x384xf32>
  // CHECK-NOT: nn.linear
  %0 = nn.linear %x, %wg inputs bf16 : tensor<?x64xf32>, tensor<192x64xf8E4M3FN, #tier.scaled<rows = 128, columns = 128, scale = f32>> -> tensor<?x192xf32>
  %1 = nn.linear %x, %wu inputs bf16 : tensor<?x64xf32>, tensor<192x64xf8E4M3FN, #tier.scaled<rows = 128, columns = 128, scale = f32>> -> tensor<?x192xf32>
  %2 = nn.glu silu %0, %1 : tensor<?x192xf32>
  return %2 : tensor<?x192xf32>
}

// -----

// Encodings that differ stay apart.
tier.weight @gate : tensor<64x64xf8E4M3FN, #tier.scaled<rows = 128, columns = 128, scale = f32>> from [#tier.range<"m" at 0 bytes 4100>]
tier.weight @up : tensor<64x64xf8E4M3FN, #tier.scaled<rows = 64, columns = 64, scale = f32>> from [#tier.range<"m" at 5000 bytes 4100>]

// CHECK-LABEL: func.func @apart
func.func @apart(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // CHECK-COUNT-2: nn.linear
  %wg = tier.use @gate : tensor<64x64xf8E4M3FN, #tier.scaled<rows = 128, columns = 128, scale = f32>>
  %wu = tier.use @up : tensor<64x64xf8E4M3FN, #tier.scaled<rows = 64, columns = 64, scale = f32>>
  %0 = nn.linear %x, %wg inputs bf16 : tensor<?x64xf32>, tensor<64x64xf8E4M3FN, #tier.scaled<rows = 128, columns = 128, scale = f32>> -> tensor<?x64xf32>
  %1 = nn.linear %x, %wu inputs bf16 : tensor<?x64xf32>, tensor<64x64xf8E4M3FN, #tier.scaled<rows = 64, columns = 64, scale = f32>> -> tensor<?x64xf32>
  %2 = nn.glu silu %0, %1 : tensor<?x64xf32>
  return %2 : tensor<?x64xf32>
}
