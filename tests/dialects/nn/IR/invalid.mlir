// RUN: headrace-opt %s --split-input-file --verify-diagnostics

// expected-error @+1 {{expected dim of a rope table to be positive and even, but got 7}}
func.func private @rope_table_c1_odd() attributes {test.t = #nn.rope_table<default, dim = 7, theta = 1.0e4>}

// -----

// expected-error @+1 {{expected dim of a rope table to be positive and even, but got 0}}
func.func private @rope_table_c1_zero() attributes {test.t = #nn.rope_table<default, dim = 0, theta = 1.0e4>}

// -----

// expected-error-re @+1 {{expected theta and factor of a rope table to be positive, but got 0{{.*}} and 1}}
func.func private @rope_table_c1_theta() attributes {test.t = #nn.rope_table<default, dim = 8, theta = 0.0>}

// -----

// expected-error-re @+1 {{expected theta and factor of a rope table to be positive, but got {{.*}} and -2}}
func.func private @rope_table_c1_factor() attributes {test.t = #nn.rope_table<linear, dim = 8, theta = 1.0e4, factor = -2.0>}

// -----

// expected-error @+1 {{expected original of a llama3 rope table to be positive, but got 0}}
func.func private @rope_table_c2_llama3() attributes {test.t = #nn.rope_table<llama3, dim = 8, theta = 1.0e4, high = 4.0>}

// -----

// expected-error @+1 {{expected original of a yarn rope table to be positive, but got -1}}
func.func private @rope_table_c2_yarn() attributes {test.t = #nn.rope_table<yarn, dim = 8, theta = 1.0e4, original = -1>}

// -----

// expected-error-re @+1 {{expected low of a llama3 rope table to be less than high, but got 4{{.*}} and 1}}
func.func private @rope_table_c3() attributes {test.t = #nn.rope_table<llama3, dim = 8, theta = 1.0e4, low = 4.0, original = 8>}

// -----

// expected-error @+1 {{expected truncate = false with kind yarn only, but got linear}}
func.func private @rope_table_c4() attributes {test.t = #nn.rope_table<linear, dim = 8, theta = 1.0e4, factor = 2.0, truncate = false>}

// -----

// expected-error @+1 {{expected layers, heads and head_dim of a KV cache to be positive, but got 0, 2 and 16}}
func.func private @kv_cache_c1_layers(!nn.kv_cache<layers = 0, heads = 2, head_dim = 16, element = f32>)

// -----

// expected-error @+1 {{expected layers, heads and head_dim of a KV cache to be positive, but got 1, -2 and 16}}
func.func private @kv_cache_c1_heads(!nn.kv_cache<layers = 1, heads = -2, head_dim = 16, element = f32>)

// -----

// expected-error @+1 {{expected layers, heads and head_dim of a KV cache to be positive, but got 1, 2 and 0}}
func.func private @kv_cache_c1_head_dim(!nn.kv_cache<layers = 1, heads = 2, head_dim = 0, element = f32>)

// -----

// expected-error @+1 {{expected the element of a KV cache to be f32, bf16 or f16, but got 'i8'}}
func.func private @kv_cache_c1_element(!nn.kv_cache<layers = 1, heads = 2, head_dim = 16, element = i8>)

// -----

func.func @embed_c1(%ids: tensor<?xi32>, %table: tensor<300x64xf32>) {
  // expected-error @+1 {{'nn.embed' op expected width of 'result' to equal that of 'table', but got 32 and 64}}
  %x = nn.embed %ids, %table : tensor<?xi32>, tensor<300x64xf32> -> tensor<?x32xf32>
  return
}

// -----

func.func @embed_c2(%ids: tensor<3xi32>, %table: tensor<300x64xf32>) {
  // expected-error @+1 {{'nn.embed' op expected leading dimension of 'result' to equal that of 'ids', but got 4 and 3}}
  %x = nn.embed %ids, %table : tensor<3xi32>, tensor<300x64xf32> -> tensor<4x64xf32>
  return
}

// -----

func.func @embed_ids(%ids: tensor<?xi64>, %table: tensor<300x64xf32>) {
  // expected-error @+1 {{'nn.embed' op operand #0 must be 1D tensor of 32-bit signless integer values, but got 'tensor<?xi64>'}}
  %x = nn.embed %ids, %table : tensor<?xi64>, tensor<300x64xf32> -> tensor<?x64xf32>
  return
}

// -----

func.func @norm_c1(%x: tensor<?x64xf32>) {
  // expected-error @+1 {{'nn.norm' op expected 'groups' to divide the row width 64, but got 3}}
  %n = nn.norm rms %x eps 1.0e-5 groups 3 : tensor<?x64xf32>
  return
}

// -----

func.func @norm_c1_zero(%x: tensor<?x64xf32>) {
  // expected-error @+1 {{'nn.norm' op expected 'groups' to divide the row width 64, but got 0}}
  %n = nn.norm rms %x eps 1.0e-5 groups 0 : tensor<?x64xf32>
  return
}

// -----

func.func @norm_c2_weight(%x: tensor<?x64xf32>, %w: tensor<64xf32>) {
  // expected-error @+1 {{'nn.norm' op expected size of 'weight' to equal the width of one group, but got 64 and 32}}
  %n = nn.norm rms %x, %w eps 1.0e-5 groups 2 : tensor<?x64xf32>, tensor<64xf32>
  return
}

// -----

func.func @norm_c2_bias(%x: tensor<?x64xf32>, %b: tensor<32xf32>) {
  // expected-error @+1 {{'nn.norm' op expected size of 'bias' to equal the width of one group, but got 32 and 64}}
  %n = nn.norm layer %x bias %b eps 1.0e-5 : tensor<?x64xf32> bias tensor<32xf32>
  return
}

// -----

func.func @norm_c3_negative(%x: tensor<?x64xf32>) {
  // expected-error-re @+1 {{'nn.norm' op expected 'eps' to be finite and not negative, but got -1{{.*}}}}
  %n = nn.norm rms %x eps -1.0 : tensor<?x64xf32>
  return
}

// -----

func.func @norm_c3_infinite(%x: tensor<?x64xf32>) {
  // expected-error @+1 {{'nn.norm' op expected 'eps' to be finite and not negative, but got INF}}
  %n = nn.norm rms %x eps 0x7FF0000000000000 : tensor<?x64xf32>
  return
}

// -----

func.func @linear_c1(%x: tensor<?x32xf32>, %w: tensor<96x64xf32>) {
  // expected-error @+1 {{'nn.linear' op expected width of 'input' to equal the input channels of 'weight', but got 32 and 64}}
  %y = nn.linear %x, %w : tensor<?x32xf32>, tensor<96x64xf32> -> tensor<?x96xf32>
  return
}

// -----

func.func @linear_c2(%x: tensor<?x64xf32>, %w: tensor<96x64xf32>) {
  // expected-error @+1 {{'nn.linear' op expected width of 'result' to equal the output channels of 'weight', but got 64 and 96}}
  %y = nn.linear %x, %w : tensor<?x64xf32>, tensor<96x64xf32> -> tensor<?x64xf32>
  return
}

// -----

func.func @linear_c3(%x: tensor<?x64xf32>, %w: tensor<96x64xf32>, %b: tensor<64xf32>) {
  // expected-error @+1 {{'nn.linear' op expected size of 'bias' to equal the output channels of 'weight', but got 64 and 96}}
  %y = nn.linear %x, %w bias %b : tensor<?x64xf32>, tensor<96x64xf32>, tensor<64xf32> -> tensor<?x96xf32>
  return
}

// -----

func.func @linear_c4(%x: tensor<?x64xf32>, %w: tensor<96x64xf32>) {
  // expected-error @+1 {{'nn.linear' op expected 'inputs' to be bf16 or f16, but got 'f32'}}
  %y = nn.linear %x, %w inputs f32 : tensor<?x64xf32>, tensor<96x64xf32> -> tensor<?x96xf32>
  return
}

// -----

func.func @rope_c1(%q: tensor<?x64xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{'nn.rope' op expected 'heads' to divide the row width 64, but got 3}}
  %r = nn.rope %q at %p heads 3 table <default, dim = 16, theta = 1.0e4> : tensor<?x64xf32>
  return
}

// -----

func.func @rope_c1_zero(%q: tensor<?x64xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{'nn.rope' op expected 'heads' to divide the row width 64, but got 0}}
  %r = nn.rope %q at %p heads 0 table <default, dim = 16, theta = 1.0e4> : tensor<?x64xf32>
  return
}

// -----

func.func @rope_c2(%q: tensor<?x64xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{'nn.rope' op expected dim of the table to be at most the width of a head 16, but got 32}}
  %r = nn.rope %q at %p heads 4 table <default, dim = 32, theta = 1.0e4> : tensor<?x64xf32>
  return
}

// -----

func.func @angles_c1(%p: tensor<?xi32>) {
  // expected-error @+1 {{'nn.angles' op expected width of 'result' to equal dim of the table, but got 8 and 16}}
  %a = nn.angles %p table <default, dim = 16, theta = 1.0e4> : tensor<?x8xf32>
  return
}

// -----

func.func @rotate_c1(%q: tensor<?x64xf32>, %a: tensor<?x16xf32>) {
  // expected-error @+1 {{'nn.rotate' op expected 'heads' to divide the row width 64, but got 3}}
  %r = nn.rotate %q by %a heads 3 : tensor<?x64xf32>, tensor<?x16xf32>
  return
}

// -----

func.func @rotate_c2(%q: tensor<?x64xf32>, %a: tensor<?x32xf32>) {
  // expected-error @+1 {{'nn.rotate' op expected 'angles' to be at most as wide as a head 16, but got 32}}
  %r = nn.rotate %q by %a heads 4 : tensor<?x64xf32>, tensor<?x32xf32>
  return
}

// -----

!cache = !nn.kv_cache<layers = 2, heads = 2, head_dim = 16, element = f32>
func.func @attention_c1(%q: tensor<?x48xf32>, %k: tensor<?x32xf32>, %c: !cache, %p: tensor<?xi32>) {
  // expected-error @+1 {{'nn.attention' op expected 'heads' to be a multiple of the cache's heads 2, but got 3}}
  %a, %d = nn.attention %q, %k, %k cache %c layer 0 at %p of %p heads 3 scale 1.0 : tensor<?x48xf32>, tensor<?x32xf32>, !cache
  return
}

// -----

!cache = !nn.kv_cache<layers = 2, heads = 2, head_dim = 16, element = f32>
func.func @attention_c2_query(%q: tensor<?x48xf32>, %k: tensor<?x32xf32>, %c: !cache, %p: tensor<?xi32>) {
  // expected-error @+1 {{'nn.attention' op expected width of 'query' to equal heads times head_dim, but got 48 and 64}}
  %a, %d = nn.attention %q, %k, %k cache %c layer 0 at %p of %p heads 4 scale 1.0 : tensor<?x48xf32>, tensor<?x32xf32>, !cache
  return
}

// -----

!cache = !nn.kv_cache<layers = 2, heads = 2, head_dim = 16, element = f32>
func.func @attention_c2_key(%q: tensor<?x64xf32>, %k: tensor<?x64xf32>, %c: !cache, %p: tensor<?xi32>) {
  // expected-error @+1 {{'nn.attention' op expected width of 'key' to equal the cache's heads times head_dim, but got 64 and 32}}
  %a, %d = nn.attention %q, %k, %k cache %c layer 0 at %p of %p heads 4 scale 1.0 : tensor<?x64xf32>, tensor<?x64xf32>, !cache
  return
}

// -----

!cache = !nn.kv_cache<layers = 2, heads = 2, head_dim = 16, element = f32>
func.func @attention_c3(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %c: !cache, %p: tensor<?xi32>) {
  // expected-error @+1 {{'nn.attention' op expected 'layer' to be less than the cache's layers 2, but got 2}}
  %a, %d = nn.attention %q, %k, %k cache %c layer 2 at %p of %p heads 4 scale 1.0 : tensor<?x64xf32>, tensor<?x32xf32>, !cache
  return
}

// -----

!cache = !nn.kv_cache<layers = 2, heads = 2, head_dim = 16, element = f32>
func.func @attention_c4(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %c: !cache, %p: tensor<?xi32>) {
  // expected-error @+1 {{'nn.attention' op expected 'window' to be positive, but got 0}}
  %a, %d = nn.attention %q, %k, %k cache %c layer 1 at %p of %p heads 4 scale 1.0 window 0 : tensor<?x64xf32>, tensor<?x32xf32>, !cache
  return
}

// -----

!cache = !nn.kv_cache<layers = 2, heads = 2, head_dim = 16, element = f32>
func.func @attention_c5(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %c: !cache, %p: tensor<?xi32>, %s: tensor<2xf32>) {
  // expected-error @+1 {{'nn.attention' op expected size of 'sinks' to equal 'heads', but got 2 and 4}}
  %a, %d = nn.attention %q, %k, %k cache %c layer 1 at %p of %p heads 4 scale 1.0 sinks %s : tensor<?x64xf32>, tensor<?x32xf32>, !cache, tensor<2xf32>
  return
}

// -----

func.func @glu_c1_kind(%x: tensor<?x40xf32>) {
  // expected-error @+1 {{'nn.glu' op expected 'alpha' with silu only, but got relu}}
  %h = nn.glu relu %x, %x alpha 1.5 : tensor<?x40xf32>
  return
}

// -----

func.func @glu_c1_value(%x: tensor<?x40xf32>) {
  // expected-error @+1 {{'nn.glu' op expected 'alpha' to be positive and finite, but got}}
  %h = nn.glu silu %x, %x alpha 0.0 : tensor<?x40xf32>
  return
}

// -----

func.func @glu_c2(%x: tensor<?x40xf32>) {
  // expected-error @+1 {{'nn.glu' op expected 'limit' to be positive, but got}}
  %h = nn.glu silu %x, %x limit -7.0 : tensor<?x40xf32>
  return
}

// -----

func.func @glu_c3(%x: tensor<?x40xf32>) {
  // expected-error @+1 {{'nn.glu' op expected 'offset' to be finite, but got INF}}
  %h = nn.glu silu %x, %x offset 0x7FF0000000000000 : tensor<?x40xf32>
  return
}

// -----

func.func @clamp_c1(%x: tensor<?x64xf32>) {
  // expected-error-re @+1 {{'nn.clamp' op expected 'low' to be at most 'high', but got 8{{.*}} and -8{{.*}}}}
  %y = nn.clamp %x low 8.0 high -8.0 : tensor<?x64xf32>
  return
}

// -----

func.func @clamp_c1_nan(%x: tensor<?x64xf32>) {
  // expected-error-re @+1 {{'nn.clamp' op expected 'low' to be at most 'high', but got {{[nN]}}{{.*}} and 8{{.*}}}}
  %y = nn.clamp %x low 0x7FF8000000000000 high 8.0 : tensor<?x64xf32>
  return
}

// -----

func.func @scale_c1(%x: tensor<?x64xf32>, %f: tensor<?x2xf32>) {
  // expected-error @+1 {{'nn.scale' op expected width of 'factor' to equal one, but got 2 and 1}}
  %y = nn.scale %x by %f : tensor<?x64xf32>, tensor<?x2xf32>
  return
}

// -----

func.func @glu_types(%g: tensor<?x40xf32>, %u: tensor<?x41xf32>) {
  // expected-error @+1 {{'nn.glu' op failed to verify that all of {gate, up, result} have same type}}
  %h = "nn.glu"(%g, %u) {kind = #nn<activation silu>} : (tensor<?x40xf32>, tensor<?x41xf32>) -> tensor<?x40xf32>
  return
}

// -----

func.func @rows_width(%x: tensor<?x?xf32>) {
  // expected-error @+1 {{'nn.act' op operand #0 must be rows of float32 of a static width, but got 'tensor<?x?xf32>'}}
  %y = nn.act relu %x : tensor<?x?xf32>
  return
}

// -----

func.func @linear_rows_width(%x: tensor<?x?xf32>, %w: tensor<?x?xf32>) {
  // expected-error @+1 {{'nn.linear' op operand #0 must be rows of float32 of a static width, but got 'tensor<?x?xf32>'}}
  %y = nn.linear %x, %w : tensor<?x?xf32>, tensor<?x?xf32> -> tensor<?x?xf32>
  return
}

// -----

func.func @linear_c5(%x: tensor<?x64xf32>, %w: tensor<96x64xf8E4M3FN>) {
  // expected-error @+1 {{'nn.linear' op expected a weight of 'f8E4M3FN' to be encoded by #tier.scaled, but got 'tensor<96x64xf8E4M3FN>'}}
  %y = nn.linear %x, %w : tensor<?x64xf32>, tensor<96x64xf8E4M3FN> -> tensor<?x96xf32>
  return
}
