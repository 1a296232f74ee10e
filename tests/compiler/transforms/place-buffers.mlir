// RUN: headrace-opt %s --headrace-place-buffers --split-input-file --verify-diagnostics | FileCheck %s

// Rows of 64 float32 at 8 tokens are 2048 bytes. %a and %b live at once; %c gets
// the bytes of %a, which ended a launch before. A weight counts with whole pages.
// CHECK: module attributes
// CHECK-SAME: headrace.peaks = {dram = {activations = 4096 : i64, weights = 20480 : i64}}
module attributes {headrace.limits = {max_context = 64 : i64, max_sequences = 2 : i64, max_tokens = 8 : i64}, tier.machine = #tier.machine<"m", levels = [<"dram", bytes = 1048576>]>} {
  tier.weight @w : tensor<64x64xf32> from [#tier.range<"m" at 0 bytes 16384>]
  tier.weight @n : tensor<64xf32> from [#tier.range<"m" at 16384 bytes 256>]
  flow.kernel @product "linear" : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32> {
  ^bb0(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>):
    %y = nn.linear %x, %w : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
    flow.yield %y : tensor<?x64xf32>
  }
  // What the host gives or reads has a role and no offset.
  // CHECK-DAG: tier.buffer @tokens : tensor<?x64xf32> level "dram" bytes 2048 role "tokens"
  // CHECK-DAG: tier.buffer @logits : tensor<?x64xf32> level "dram" bytes 2048 role "logits" output
  // CHECK-DAG: tier.buffer @scratch0 : tensor<?x64xf32> level "dram" bytes 2048 offset 0
  // CHECK-DAG: tier.buffer @scratch1 : tensor<?x64xf32> level "dram" bytes 2048 offset 2048
  // CHECK-DAG: tier.buffer @scratch2 : tensor<?x64xf32> level "dram" bytes 2048 offset 0
  // CHECK: flow.schedule @forward inputs [@tokens] outputs [@logits] {
  // CHECK-NEXT: flow.launch @product operands [@tokens, @w] results [@scratch0]
  // CHECK-NEXT: flow.launch @product operands [@scratch0, @w] results [@scratch1]
  // CHECK-NEXT: flow.launch @product operands [@scratch1, @w] results [@scratch2]
  // CHECK-NEXT: flow.launch @product operands [@scratch2, @w] results [@logits]
  // CHECK-NEXT: }
  // CHECK-NOT: func.func
  func.func @forward(%x: tensor<?x64xf32> {headrace.role = "tokens"}) -> tensor<?x64xf32> {
    %w = tier.use @w : tensor<64x64xf32>
    %a = flow.call @product(%x, %w) : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %b = flow.call @product(%a, %w) : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %c = flow.call @product(%b, %w) : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %d = flow.call @product(%c, %w) : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    return %d : tensor<?x64xf32>
  }
}

// -----

// A result takes the place of an operand that ends there and that its kernel only
// adds to, so %b is %a's buffer. %c may not: its kernel multiplies the operand.
module attributes {headrace.limits = {max_context = 64 : i64, max_sequences = 2 : i64, max_tokens = 8 : i64}, tier.machine = #tier.machine<"m", levels = [<"dram", bytes = 1048576>]>} {
  tier.weight @w : tensor<64x64xf32> from [#tier.range<"m" at 0 bytes 16384>]
  flow.kernel @product "linear" : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32> {
  ^bb0(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>):
    %y = nn.linear %x, %w : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
    flow.yield %y : tensor<?x64xf32>
  }
  flow.kernel @add "linear" : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32> {
  ^bb0(%x: tensor<?x64xf32>, %base: tensor<?x64xf32>, %w: tensor<64x64xf32>):
    %y = nn.linear %x, %w : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
    %z = arith.addf %base, %y : tensor<?x64xf32>
    flow.yield %z : tensor<?x64xf32>
  }
  // CHECK: flow.schedule @forward
  // CHECK-NEXT: flow.launch @product operands [@tokens, @w] results [@[[A:.*]]]
  // CHECK-NEXT: flow.launch @add operands [@tokens, @[[A]], @w] results [@[[A]]]
  // CHECK-NEXT: flow.launch @product operands [@[[A]], @w] results [@[[C:.*]]]
  // CHECK-NEXT: flow.launch @product operands [@[[C]], @w] results [@logits]
  func.func @forward(%x: tensor<?x64xf32> {headrace.role = "tokens"}) -> tensor<?x64xf32> {
    %w = tier.use @w : tensor<64x64xf32>
    %a = flow.call @product(%x, %w) : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %b = flow.call @add(%x, %a, %w) : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %c = flow.call @product(%b, %w) : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %d = flow.call @product(%c, %w) : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    return %d : tensor<?x64xf32>
  }
}

// -----

// A routing keeps its counter between launches: %c, which is made when the
// routing has ended, lies behind it all the same.
module attributes {headrace.limits = {max_context = 64 : i64, max_sequences = 2 : i64, max_tokens = 8 : i64}, tier.machine = #tier.machine<"m", levels = [<"dram", bytes = 1048576>]>} {
  flow.kernel @route "router" : (tensor<?x64xf32>) -> !moe.routing<experts = 8, slots = 2> {
  ^bb0(%x: tensor<?x64xf32>):
    %r = builtin.unrealized_conversion_cast %x : tensor<?x64xf32> to !moe.routing<experts = 8, slots = 2>
    flow.yield %r : !moe.routing<experts = 8, slots = 2>
  }
  flow.kernel @spend "linear" : (!moe.routing<experts = 8, slots = 2>) -> tensor<?x64xf32> {
  ^bb0(%r: !moe.routing<experts = 8, slots = 2>):
    %y = builtin.unrealized_conversion_cast %r : !moe.routing<experts = 8, slots = 2> to tensor<?x64xf32>
    flow.yield %y : tensor<?x64xf32>
  }
  flow.kernel @copy "linear" : (tensor<?x64xf32>) -> tensor<?x64xf32> {
  ^bb0(%x: tensor<?x64xf32>):
    flow.yield %x : tensor<?x64xf32>
  }
  // CHECK-DAG: tier.buffer @{{.*}} : !moe.routing<experts = 8, slots = 2> level "dram" bytes [[BYTES:[0-9]+]] offset 0
  // CHECK-DAG: tier.buffer @{{.*}} : tensor<?x64xf32> level "dram" bytes 2048 offset [[BYTES]]
  // CHECK: flow.schedule
  func.func @forward(%x: tensor<?x64xf32> {headrace.role = "tokens"}) -> tensor<?x64xf32> {
    %r = flow.call @route(%x) : (tensor<?x64xf32>) -> !moe.routing<experts = 8, slots = 2>
    %a = flow.call @spend(%r) : (!moe.routing<experts = 8, slots = 2>) -> tensor<?x64xf32>
    %b = flow.call @copy(%a) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    %c = flow.call @copy(%b) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    return %c : tensor<?x64xf32>
  }
}

// -----

// A cache is one buffer a layer, each at its layer's bytes of a page, and the
// table of pages. One head of 16 has 32 positions of keys and 32 of values, which
// are padded to 32 channels: (16 + 32) * 32 * 4 bytes a layer.
// CHECK: module attributes {headrace.kv_cache = !nn.kv_cache<layers = 2, heads = 1, head_dim = 16, element = f32>
module attributes {headrace.limits = {max_context = 64 : i64, max_sequences = 2 : i64, max_tokens = 8 : i64}, tier.machine = #tier.machine<"m", levels = [<"dram", bytes = 1048576>]>} {
  flow.kernel @attention "attention" : (tensor<?x16xf32>, !nn.kv_cache<layers = 2, heads = 1, head_dim = 16, element = f32>, tensor<?xi32>) -> (tensor<?x16xf32>, !nn.kv_cache<layers = 2, heads = 1, head_dim = 16, element = f32>) {
  ^bb0(%x: tensor<?x16xf32>, %cache: !nn.kv_cache<layers = 2, heads = 1, head_dim = 16, element = f32>, %s: tensor<?xi32>):
    %o, %c = nn.attention %x, %x, %x cache %cache layer 0 at %s of %s heads 1 scale 0.25 : tensor<?x16xf32>, tensor<?x16xf32>, !nn.kv_cache<layers = 2, heads = 1, head_dim = 16, element = f32>
    flow.yield %o, %c : tensor<?x16xf32>, !nn.kv_cache<layers = 2, heads = 1, head_dim = 16, element = f32>
  }
  // CHECK-DAG: tier.buffer @kv_pool : tensor<?xf32> level "dram" bytes 12288 role "kv_pool"
  // CHECK-DAG: tier.buffer @kv_pool.1 : tensor<?xf32> level "dram" bytes 12288 offset 6144 role "kv_pool"
  // CHECK-DAG: tier.buffer @kv_table : tensor<?x2xi32> level "dram" bytes 16 role "kv_table"
  // CHECK: flow.schedule @forward inputs [@tokens, @kv_pool, @kv_table, @sequences] outputs [@logits]
  // CHECK-NEXT: flow.launch @attention operands [@tokens, @kv_pool, @kv_table, @sequences] results [@[[A:.*]]]
  // CHECK-NEXT: flow.launch @attention operands [@[[A]], @kv_pool.1, @kv_table, @sequences] results [@logits]
  func.func @forward(%x: tensor<?x16xf32> {headrace.role = "tokens"}, %cache: !nn.kv_cache<layers = 2, heads = 1, head_dim = 16, element = f32>, %s: tensor<?xi32> {headrace.role = "sequences"}) -> (tensor<?x16xf32>, !nn.kv_cache<layers = 2, heads = 1, head_dim = 16, element = f32>) {
    %a, %c1 = flow.call @attention(%x, %cache, %s) {layer = 0 : i64} : (tensor<?x16xf32>, !nn.kv_cache<layers = 2, heads = 1, head_dim = 16, element = f32>, tensor<?xi32>) -> (tensor<?x16xf32>, !nn.kv_cache<layers = 2, heads = 1, head_dim = 16, element = f32>)
    %b, %c2 = flow.call @attention(%a, %c1, %s) {layer = 1 : i64} : (tensor<?x16xf32>, !nn.kv_cache<layers = 2, heads = 1, head_dim = 16, element = f32>, tensor<?xi32>) -> (tensor<?x16xf32>, !nn.kv_cache<layers = 2, heads = 1, head_dim = 16, element = f32>)
    return %b, %c2 : tensor<?x16xf32>, !nn.kv_cache<layers = 2, heads = 1, head_dim = 16, element = f32>
  }
}
