// RUN: headrace-opt %s --headrace-place-buffers --split-input-file --verify-diagnostics

// expected-error @+1 {{expected the module to name its machine in 'tier.machine'}}
module {
}

// -----

// expected-error @+1 {{expected machine 'sram only' to have a level 'dram'}}
module attributes {tier.machine = #tier.machine<"sram only", levels = [<"sram", bytes = 65536>]>} {
}

// -----

// 16384 bytes of weights and two rows of 64 float32 at 8 tokens, of which the
// host holds one: 18432 bytes, and the machine has 16384.
// expected-error @+1 {{the program needs 18432 bytes of level 'dram' (16384 of weights, 2048 of activations), but machine 'tiny' has 16384: 2048 too few}}
module attributes {headrace.limits = {max_context = 64 : i64, max_sequences = 2 : i64, max_tokens = 8 : i64}, tier.machine = #tier.machine<"tiny", levels = [<"dram", bytes = 8192, count = 2>]>} {
  tier.weight @w : tensor<64x64xf32> from [#tier.range<"m" at 0 bytes 16384>]
  flow.kernel @product "linear" : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32> {
  ^bb0(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>):
    %y = nn.linear %x, %w : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
    flow.yield %y : tensor<?x64xf32>
  }
  func.func @forward(%x: tensor<?x64xf32> {headrace.role = "tokens"}) -> tensor<?x64xf32> {
    %w = tier.use @w : tensor<64x64xf32>
    %a = flow.call @product(%x, %w) : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %b = flow.call @product(%a, %w) : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    return %b : tensor<?x64xf32>
  }
}

// -----

module attributes {tier.machine = #tier.machine<"m", levels = [<"dram", bytes = 1048576>]>} {
  func.func @forward(%x: tensor<?x64xf32> {headrace.role = "tokens"}) -> tensor<?x64xf32> {
    // expected-error @+1 {{'arith.addf' op is outside of every kernel}}
    %y = arith.addf %x, %x : tensor<?x64xf32>
    return %y : tensor<?x64xf32>
  }
}

// -----

module attributes {tier.machine = #tier.machine<"m", levels = [<"dram", bytes = 1048576>]>} {
  // expected-error @+1 {{'func.func' op has an argument of type '!moe.selection<experts = 8, slots = 2>', which is never in memory}}
  func.func @forward(%s: !moe.selection<experts = 8, slots = 2>) {
    return
  }
}
