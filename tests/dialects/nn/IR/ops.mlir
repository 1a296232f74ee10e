// RUN: headrace-opt %s --verify-roundtrip | FileCheck %s
// RUN: headrace-opt %s --mlir-print-op-generic | headrace-opt | FileCheck %s

!cache = !nn.kv_cache<layers = 2, heads = 2, head_dim = 16, element = bf16>

// CHECK-LABEL: func.func private @types
// CHECK-SAME: !nn.kv_cache<layers = 2, heads = 2, head_dim = 16, element = bf16>
// CHECK-SAME: !nn.kv_cache<layers = 1, heads = 4, head_dim = 64, element = f32>
// CHECK-SAME: !nn.kv_cache<layers = 1, heads = 4, head_dim = 64, element = f16>
func.func private @types(!cache, !nn.kv_cache<layers = 1, heads = 4, head_dim = 64, element = f32>,
  !nn.kv_cache<layers = 1, heads = 4, head_dim = 64, element = f16>)

// Parameters at their default are not printed.
// CHECK-LABEL: func.func private @rope_tables
// CHECK-SAME: a = #nn.rope_table<default, dim = 64, theta = 1.000000e+04>
// CHECK-SAME: b = #nn.rope_table<linear, dim = 64, theta = 1.000000e+04, factor = 4.000000e+00>
// CHECK-SAME: c = #nn.rope_table<llama3, dim = 64, theta = 5.000000e+05, factor = 8.000000e+00, high = 4.000000e+00, original = 8192>
// CHECK-SAME: d = #nn.rope_table<yarn, dim = 64, theta = 1.500000e+05, factor = 3.200000e+01, high = 3.200000e+01, original = 4096, attention_factor = 1.250000e+00>
// CHECK-SAME: e = #nn.rope_table<yarn, dim = 64, theta = 1.500000e+05, factor = 3.200000e+01, high = 3.200000e+01, original = 4096, truncate = false>
func.func private @rope_tables() attributes {
  test.a = #nn.rope_table<default, dim = 64, theta = 1.0e4, factor = 1.0>,
  test.b = #nn.rope_table<linear, dim = 64, theta = 1.0e4, factor = 4.0>,
  test.c = #nn.rope_table<llama3, dim = 64, theta = 5.0e5, factor = 8.0, low = 1.0, high = 4.0, original = 8192>,
  test.d = #nn.rope_table<yarn, dim = 64, theta = 1.5e5, factor = 32.0, low = 1.0, high = 32.0, original = 4096, attention_factor = 1.25>,
  test.e = #nn.rope_table<yarn, dim = 64, theta = 1.5e5, factor = 32.0, low = 1.0, high = 32.0, original = 4096, truncate = false>
}

// CHECK-LABEL: func.func @embed
func.func @embed(%ids: tensor<?xi32>, %table: tensor<300x64xbf16>) -> tensor<?x64xf32> {
  // CHECK: nn.embed %{{.*}}, %{{.*}} : tensor<?xi32>, tensor<300x64xbf16> -> tensor<?x64xf32>
  %x = nn.embed %ids, %table : tensor<?xi32>, tensor<300x64xbf16> -> tensor<?x64xf32>
  return %x : tensor<?x64xf32>
}

// CHECK-LABEL: func.func @embed_static_rows
func.func @embed_static_rows(%ids: tensor<3xi32>, %table: tensor<300x64xf32>) -> tensor<3x64xf32> {
  // CHECK: nn.embed %{{.*}}, %{{.*}} : tensor<3xi32>, tensor<300x64xf32> -> tensor<3x64xf32>
  %x = nn.embed %ids, %table : tensor<3xi32>, tensor<300x64xf32> -> tensor<3x64xf32>
  return %x : tensor<3x64xf32>
}

// CHECK-LABEL: func.func @norm
// CHECK-SAME: %[[X:.*]]: tensor<?x64xf32>, %[[W:.*]]: tensor<64xbf16>, %[[B:.*]]: tensor<64xf16>, %[[G:.*]]: tensor<16xf32>
func.func @norm(%x: tensor<?x64xf32>, %w: tensor<64xbf16>, %b: tensor<64xf16>, %g: tensor<16xf32>) {
  // CHECK: nn.norm l2 %[[X]] eps 0.000000e+00 : tensor<?x64xf32>
  %0 = nn.norm l2 %x eps 0.0 : tensor<?x64xf32>
  // CHECK: nn.norm rms %[[X]], %[[W]] eps 1.000000e-05 : tensor<?x64xf32>, tensor<64xbf16>
  %1 = nn.norm rms %x, %w eps 1.0e-5 : tensor<?x64xf32>, tensor<64xbf16>
  // CHECK: nn.norm layer %[[X]], %[[W]] bias %[[B]] eps 1.000000e-05 : tensor<?x64xf32>, tensor<64xbf16> bias tensor<64xf16>
  %2 = nn.norm layer %x, %w bias %b eps 1.0e-5 : tensor<?x64xf32>, tensor<64xbf16> bias tensor<64xf16>
  // CHECK: nn.norm layer %[[X]] bias %[[B]] eps 1.000000e-05 : tensor<?x64xf32> bias tensor<64xf16>
  %3 = nn.norm layer %x bias %b eps 1.0e-5 : tensor<?x64xf32> bias tensor<64xf16>
  // CHECK: nn.norm rms %[[X]], %[[G]] eps {{.*}} groups 4 : tensor<?x64xf32>, tensor<16xf32>
  %4 = nn.norm rms %x, %g eps 1.0e-6 groups 4 : tensor<?x64xf32>, tensor<16xf32>
  return
}

// CHECK-LABEL: func.func @linear
// CHECK-SAME: %[[X:.*]]: tensor<?x64xf32>, %[[W:.*]]: tensor<96x64xbf16>, %[[B:.*]]: tensor<96xbf16>
func.func @linear(%x: tensor<?x64xf32>, %w: tensor<96x64xbf16>, %b: tensor<96xbf16>,
    %p: tensor<96x64xbf16, #flow.panels<columns = 32, pack = 2>>) {
  // CHECK: nn.linear %[[X]], %[[W]] : tensor<?x64xf32>, tensor<96x64xbf16> -> tensor<?x96xf32>
  %0 = nn.linear %x, %w : tensor<?x64xf32>, tensor<96x64xbf16> -> tensor<?x96xf32>
  // CHECK: nn.linear %[[X]], %[[W]] bias %[[B]] inputs bf16 : tensor<?x64xf32>, tensor<96x64xbf16>, tensor<96xbf16> -> tensor<?x96xf32>
  %1 = nn.linear %x, %w bias %b inputs bf16 : tensor<?x64xf32>, tensor<96x64xbf16>, tensor<96xbf16> -> tensor<?x96xf32>
  // CHECK: nn.linear %[[X]], %[[W]] inputs f16
  %2 = nn.linear %x, %w inputs f16 : tensor<?x64xf32>, tensor<96x64xbf16> -> tensor<?x96xf32>
  // A packed weight is the same matrix with an encoding.
  // CHECK: tensor<96x64xbf16, #flow.panels<columns = 32, pack = 2>> -> tensor<?x96xf32>
  %3 = nn.linear %x, %p inputs bf16 : tensor<?x64xf32>, tensor<96x64xbf16, #flow.panels<columns = 32, pack = 2>> -> tensor<?x96xf32>
  return
}

// CHECK-LABEL: func.func @rope
func.func @rope(%q: tensor<?x64xf32>, %positions: tensor<?xi32>) -> tensor<?x64xf32> {
  // CHECK: nn.rope %{{.*}} at %{{.*}} heads 4 table <default, dim = 16, theta = 1.000000e+04> : tensor<?x64xf32>
  %r = nn.rope %q at %positions heads 4 table <default, dim = 16, theta = 1.0e4> : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// CHECK-LABEL: func.func @rope_partial
func.func @rope_partial(%q: tensor<?x64xf32>, %positions: tensor<?xi32>) -> tensor<?x64xf32> {
  // CHECK: heads 2 table <default, dim = 8,
  %r = nn.rope %q at %positions heads 2 table <default, dim = 8, theta = 1.0e4> : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// CHECK-LABEL: func.func @rotate
// CHECK-SAME: %[[Q:.*]]: tensor<?x64xf32>, %[[POS:.*]]: tensor<?xi32>
func.func @rotate(%q: tensor<?x64xf32>, %positions: tensor<?xi32>) -> tensor<?x64xf32> {
  // CHECK: %[[A:.*]] = nn.angles %[[POS]] table <default, dim = 16, theta = 1.000000e+04> : tensor<?x16xf32>
  %a = nn.angles %positions table <default, dim = 16, theta = 1.0e4> : tensor<?x16xf32>
  // CHECK: nn.rotate %[[Q]] by %[[A]] heads 4 : tensor<?x64xf32>, tensor<?x16xf32>
  %r = nn.rotate %q by %a heads 4 : tensor<?x64xf32>, tensor<?x16xf32>
  return %r : tensor<?x64xf32>
}

// CHECK-LABEL: func.func @attention
// CHECK-SAME: %[[Q:.*]]: tensor<?x64xf32>, %[[KV:.*]]: tensor<?x32xf32>, %[[C0:.*]]: !nn.kv_cache<{{.*}}>, %[[POS:.*]]: tensor<?xi32>, %[[SEQ:.*]]: tensor<?xi32>
func.func @attention(%q: tensor<?x64xf32>, %kv: tensor<?x32xf32>, %c0: !cache,
    %positions: tensor<?xi32>, %sequences: tensor<?xi32>) -> (tensor<?x64xf32>, !cache) {
  // CHECK: %[[A:.*]], %[[C1:.*]] = nn.attention %[[Q]], %[[KV]], %[[KV]] cache %[[C0]] layer 0 at %[[POS]] of %[[SEQ]] heads 4 scale 2.500000e-01 : tensor<?x64xf32>, tensor<?x32xf32>, !nn.kv_cache<layers = 2, heads = 2, head_dim = 16, element = bf16>
  %a, %c1 = nn.attention %q, %kv, %kv cache %c0 layer 0 at %positions of %sequences heads 4 scale 0.25
    : tensor<?x64xf32>, tensor<?x32xf32>, !cache
  // CHECK: %[[B:.*]], %[[C2:.*]] = nn.attention %[[A]], %[[KV]], %[[KV]] cache %[[C1]] layer 1 {{.*}} scale 2.500000e-01 window 128 :
  %b, %c2 = nn.attention %a, %kv, %kv cache %c1 layer 1 at %positions of %sequences heads 4 scale 0.25 window 128
    : tensor<?x64xf32>, tensor<?x32xf32>, !cache
  // CHECK: return %[[B]], %[[C2]]
  return %b, %c2 : tensor<?x64xf32>, !cache
}

// One score more for each head.
// CHECK-LABEL: func.func @sinks
// CHECK-SAME: %[[Q:.*]]: tensor<?x64xf32>, %[[KV:.*]]: tensor<?x32xf32>, %[[C0:.*]]: !nn.kv_cache<{{.*}}>, %[[POS:.*]]: tensor<?xi32>, %[[SEQ:.*]]: tensor<?xi32>, %[[S:.*]]: tensor<4xbf16>
func.func @sinks(%q: tensor<?x64xf32>, %kv: tensor<?x32xf32>, %c0: !cache,
    %positions: tensor<?xi32>, %sequences: tensor<?xi32>, %s: tensor<4xbf16>) -> (tensor<?x64xf32>, !cache) {
  // CHECK: nn.attention %[[Q]], %[[KV]], %[[KV]] cache %[[C0]] layer 1 at %[[POS]] of %[[SEQ]] heads 4 scale 2.500000e-01 window 8 sinks %[[S]] : tensor<?x64xf32>, tensor<?x32xf32>, !nn.kv_cache<layers = 2, heads = 2, head_dim = 16, element = bf16>, tensor<4xbf16>
  %a, %c1 = nn.attention %q, %kv, %kv cache %c0 layer 1 at %positions of %sequences heads 4 scale 0.25 window 8 sinks %s
    : tensor<?x64xf32>, tensor<?x32xf32>, !cache, tensor<4xbf16>
  return %a, %c1 : tensor<?x64xf32>, !cache
}

// CHECK-LABEL: func.func @act
func.func @act(%x: tensor<?x64xf32>) {
  // CHECK: nn.act silu %{{.*}} : tensor<?x64xf32>
  %0 = nn.act silu %x : tensor<?x64xf32>
  // CHECK: nn.act gelu %{{.*}} :
  %1 = nn.act gelu %x : tensor<?x64xf32>
  // CHECK: nn.act gelu_tanh %{{.*}} :
  %2 = nn.act gelu_tanh %x : tensor<?x64xf32>
  // CHECK: nn.act relu %{{.*}} :
  %3 = nn.act relu %x : tensor<?x64xf32>
  // CHECK: nn.act sigmoid %{{.*}} :
  %4 = nn.act sigmoid %x : tensor<?x64xf32>
  return
}

// CHECK-LABEL: func.func @glu
func.func @glu(%g: tensor<?x40xf32>, %u: tensor<?x40xf32>) -> tensor<?x40xf32> {
  // CHECK: nn.glu silu %{{.*}}, %{{.*}} : tensor<?x40xf32>
  %h = nn.glu silu %g, %u : tensor<?x40xf32>
  // CHECK: nn.glu silu %{{.*}}, %{{.*}} alpha 1.702000e+00 limit 7.000000e+00 offset 1.000000e+00 : tensor<?x40xf32>
  %o = nn.glu silu %g, %u alpha 1.702 limit 7.0 offset 1.0 : tensor<?x40xf32>
  return %h : tensor<?x40xf32>
}

// CHECK-LABEL: func.func @clamp
func.func @clamp(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // CHECK: nn.clamp %{{.*}} low -8.000000e+00 high 8.000000e+00 : tensor<?x64xf32>
  %y = nn.clamp %x low -8.0 high 8.0 : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// CHECK-LABEL: func.func @scale
func.func @scale(%x: tensor<?x64xf32>, %g: tensor<?x1xf32>) -> tensor<?x64xf32> {
  // CHECK: nn.scale %{{.*}} by %{{.*}} : tensor<?x64xf32>, tensor<?x1xf32>
  %y = nn.scale %x by %g : tensor<?x64xf32>, tensor<?x1xf32>
  return %y : tensor<?x64xf32>
}

// The examples of the spec, as far as no function above holds them.
// CHECK-LABEL: func.func @examples
func.func @examples(%x: tensor<?x64xf32>, %w: tensor<96x64xbf16>, %gate: tensor<?x1xf32>,
    %q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %v: tensor<?x32xf32>,
    %c0: !nn.kv_cache<layers = 2, heads = 2, head_dim = 16, element = f32>,
    %positions: tensor<?xi32>, %sequences: tensor<?xi32>, %s: tensor<4xbf16>,
    %c: !nn.kv_cache<layers = 2, heads = 4, head_dim = 64, element = bf16>) attributes {
    // CHECK-SAME: #nn.rope_table<default, dim = 64, theta = 1.000000e+04>
    test.t = #nn.rope_table<default, dim = 64, theta = 10000.0>} {
  // CHECK: nn.linear {{.*}} inputs bf16
  %p = nn.linear %x, %w inputs bf16 : tensor<?x64xf32>, tensor<96x64xbf16> -> tensor<?x96xf32>
  // CHECK: nn.attention {{.*}} heads 4 scale 2.500000e-01
  %a, %c1 = nn.attention %q, %k, %v cache %c0 layer 0 at %positions of %sequences
    heads 4 scale 2.5e-01 : tensor<?x64xf32>, tensor<?x32xf32>,
    !nn.kv_cache<layers = 2, heads = 2, head_dim = 16, element = f32>
  // CHECK: nn.attention {{.*}} window 8 sinks
  %b, %c2 = nn.attention %q, %k, %v cache %c1 layer 1 at %positions of %sequences
    heads 4 scale 2.5e-01 window 8 sinks %s : tensor<?x64xf32>, tensor<?x32xf32>,
    !nn.kv_cache<layers = 2, heads = 2, head_dim = 16, element = f32>, tensor<4xbf16>
  // CHECK: nn.act sigmoid
  %y = nn.act sigmoid %gate : tensor<?x1xf32>
  return
}

// CHECK-LABEL: func.func @linear_encoded
func.func @linear_encoded(%x: tensor<?x64xf32>, %w: tensor<96x64xbf16>, %e: tensor<96x64xf8E4M3FN, #tier.scaled<rows = 32, columns = 32, scale = f32>>,
    %f: tensor<96x64xf4E2M1FN, #tier.scaled<rows = 1, columns = 32, scale = f8E8M0FNU>>) {
    %q = nn.linear %x, %w inputs bf16 : tensor<?x64xf32>, tensor<96x64xbf16> -> tensor<?x96xf32>
    // CHECK: nn.linear %{{.*}}, %{{.*}} inputs bf16 : tensor<?x64xf32>, tensor<96x64xf8E4M3FN, #tier.scaled<rows = 32, columns = 32, scale = f32>> -> tensor<?x96xf32>
    %k = nn.linear %x, %e inputs bf16 : tensor<?x64xf32>,
      tensor<96x64xf8E4M3FN, #tier.scaled<rows = 32, columns = 32, scale = f32>> -> tensor<?x96xf32>
    // CHECK: nn.linear %{{.*}}, %{{.*}} : tensor<?x64xf32>, tensor<96x64xf4E2M1FN, #tier.scaled<rows = 1, columns = 32, scale = f8E8M0FNU>> -> tensor<?x96xf32>
    %l = nn.linear %x, %f : tensor<?x64xf32>, tensor<96x64xf4E2M1FN, #tier.scaled<rows = 1, columns = 32, scale = f8E8M0FNU>> -> tensor<?x96xf32>
    return
}
