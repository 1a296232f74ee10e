// RUN: headrace-opt %s --headrace-pack-weights --verify-diagnostics

// Kernels read scales in runs of 128 channels and steps of 32.
tier.weight @fp8 : tensor<96x96xf8E4M3FN, #tier.scaled<rows = 96, columns = 96, scale = f32>> from [#tier.range<"m" at 0 bytes 9220>]
func.func @blocks(%x: tensor<?x96xf32>) -> tensor<?x96xf32> {
  %w = tier.use @fp8 : tensor<96x96xf8E4M3FN, #tier.scaled<rows = 96, columns = 96, scale = f32>>
  // expected-error @+1 {{'nn.linear' op has a weight with blocks of 96 input channels; targets know blocks of 32, 64 and 128}}
  %0 = nn.linear %x, %w inputs bf16 : tensor<?x96xf32>, tensor<96x96xf8E4M3FN, #tier.scaled<rows = 96, columns = 96, scale = f32>> -> tensor<?x96xf32>
  return %0 : tensor<?x96xf32>
}
