// RUN: headrace-opt %s --headrace-cut-tasks --split-input-file | FileCheck %s

// Four workers. Each of them gets two tasks as long as a task has 64 KiB.
module attributes {tier.machine = #tier.machine<"four", levels = [<"l2", bytes = 1048576, count = 4>, <"dram", bytes = 1073741824>]>} {
  // 4 panels of 2 KiB: one task.
  // CHECK: flow.kernel @small "linear" tasks <fixed, base = 1>
  flow.kernel @small "linear" : (tensor<?x32xf32>, tensor<128x32xbf16, #flow.panels<columns = 32, pack = 2>>) -> tensor<?x128xf32> {
  ^bb0(%x: tensor<?x32xf32>, %w: tensor<128x32xbf16, #flow.panels<columns = 32, pack = 2>>):
    %y = nn.linear %x, %w inputs bf16 : tensor<?x32xf32>, tensor<128x32xbf16, #flow.panels<columns = 32, pack = 2>> -> tensor<?x128xf32>
    flow.yield %y : tensor<?x128xf32>
  }
  // 32 panels of 64 KiB, 2 MiB: two tasks a worker.
  // CHECK: flow.kernel @busy "linear" tasks <fixed, base = 8>
  flow.kernel @busy "linear" : (tensor<?x1024xf32>, tensor<1024x1024xbf16, #flow.panels<columns = 32, pack = 2>>) -> tensor<?x1024xf32> {
  ^bb0(%x: tensor<?x1024xf32>, %w: tensor<1024x1024xbf16, #flow.panels<columns = 32, pack = 2>>):
    %y = nn.linear %x, %w inputs bf16 : tensor<?x1024xf32>, tensor<1024x1024xbf16, #flow.panels<columns = 32, pack = 2>> -> tensor<?x1024xf32>
    flow.yield %y : tensor<?x1024xf32>
  }
  // 1024 panels of 64 KiB, 64 MiB: tasks of some MiB, more than two a worker.
  // CHECK: flow.kernel @large "linear" tasks <fixed, base = {{16|32}}>
  flow.kernel @large "linear" : (tensor<?x1024xf32>, tensor<32768x1024xbf16, #flow.panels<columns = 32, pack = 2>>) -> tensor<?x32768xf32> {
  ^bb0(%x: tensor<?x1024xf32>, %w: tensor<32768x1024xbf16, #flow.panels<columns = 32, pack = 2>>):
    %y = nn.linear %x, %w inputs bf16 : tensor<?x1024xf32>, tensor<32768x1024xbf16, #flow.panels<columns = 32, pack = 2>> -> tensor<?x32768xf32>
    flow.yield %y : tensor<?x32768xf32>
  }
  // 9 panels: one of the 8 tasks has two of them.
  // CHECK: flow.kernel @uneven "linear" tasks <fixed, base = 8>
  flow.kernel @uneven "linear" : (tensor<?x1024xf32>, tensor<288x1024xbf16, #flow.panels<columns = 32, pack = 2>>) -> tensor<?x288xf32> {
  ^bb0(%x: tensor<?x1024xf32>, %w: tensor<288x1024xbf16, #flow.panels<columns = 32, pack = 2>>):
    %y = nn.linear %x, %w inputs bf16 : tensor<?x1024xf32>, tensor<288x1024xbf16, #flow.panels<columns = 32, pack = 2>> -> tensor<?x288xf32>
    flow.yield %y : tensor<?x288xf32>
  }
  // One group of columns a picked expert; at most all experts are.
  // CHECK: flow.kernel @up "routed_up" tasks <per_routed, base = 1, block = 2, limit = 16>
  flow.kernel @up "routed_up" : (tensor<?x32xf32>, !moe.routing<experts = 16, slots = 2>, tensor<16x64x32xf32, #flow.panels<columns = 32, pack = 1>>) -> !moe.buckets<experts = 16, slots = 2, width = 64, element = f32> {
  ^bb0(%x: tensor<?x32xf32>, %r: !moe.routing<experts = 16, slots = 2>, %w: tensor<16x64x32xf32, #flow.panels<columns = 32, pack = 1>>):
    %b = moe.dispatch %x, %r : tensor<?x32xf32>, !moe.routing<experts = 16, slots = 2> -> !moe.buckets<experts = 16, slots = 2, width = 32, element = f32>
    %h = moe.experts %b weights(%w) : !moe.buckets<experts = 16, slots = 2, width = 32, element = f32>, (tensor<16x64x32xf32, #flow.panels<columns = 32, pack = 1>>) -> !moe.buckets<experts = 16, slots = 2, width = 64, element = f32> {
    ^bb0(%rows: tensor<?x32xf32>, %one: tensor<64x32xf32, #flow.panels<columns = 32, pack = 1>>):
      %y = nn.linear %rows, %one : tensor<?x32xf32>, tensor<64x32xf32, #flow.panels<columns = 32, pack = 1>> -> tensor<?x64xf32>
      moe.yield %y : tensor<?x64xf32>
    }
    flow.yield %h : !moe.buckets<experts = 16, slots = 2, width = 64, element = f32>
  }
  // CHECK: flow.kernel @rows "embed" tasks <per_token, base = 1>
  flow.kernel @rows "embed" : () -> () {
    flow.yield
  }
  // CHECK: flow.kernel @route "router" tasks <per_token_block, base = 1, block = 16>
  flow.kernel @route "router" : () -> () {
    flow.yield
  }
  // A task for each sequence and each head of the cache, not of the queries.
  // CHECK: flow.kernel @attend "attention" tasks <per_sequence, base = 2>
  flow.kernel @attend "attention" : (tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !nn.kv_cache<layers = 1, heads = 2, head_dim = 16, element = f32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x64xf32> {
  ^bb0(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %v: tensor<?x32xf32>, %cache: !nn.kv_cache<layers = 1, heads = 2, head_dim = 16, element = f32>, %p: tensor<?xi32>, %s: tensor<?xi32>):
    %o, %c = nn.attention %q, %k, %v cache %cache layer 0 at %p of %s heads 4 scale 0.25 : tensor<?x64xf32>, tensor<?x32xf32>, !nn.kv_cache<layers = 1, heads = 2, head_dim = 16, element = f32>
    flow.yield %o : tensor<?x64xf32>
  }
}

// -----

// Without a machine two workers are assumed.
// CHECK: flow.kernel @busy "linear" tasks <fixed, base = 4>
flow.kernel @busy "linear" : (tensor<?x1024xf32>, tensor<1024x1024xbf16, #flow.panels<columns = 32, pack = 2>>) -> tensor<?x1024xf32> {
^bb0(%x: tensor<?x1024xf32>, %w: tensor<1024x1024xbf16, #flow.panels<columns = 32, pack = 2>>):
  %y = nn.linear %x, %w inputs bf16 : tensor<?x1024xf32>, tensor<1024x1024xbf16, #flow.panels<columns = 32, pack = 2>> -> tensor<?x1024xf32>
  flow.yield %y : tensor<?x1024xf32>
}
