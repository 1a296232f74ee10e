// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Norms that no product reads.
tier.weight @w : tensor<12xf32> from [#tier.range<"f32.bin" at 0 bytes 48>]
tier.weight @b : tensor<12xbf16> from [#tier.range<"bf16.bin" at 0 bytes 24>]
func.func @layer(%x: tensor<?x12xf32>)
    -> (tensor<?x12xf32>, tensor<?x12xf32>, tensor<?x12xf32>) {
  %w = tier.use @w : tensor<12xf32>
  %b = tier.use @b : tensor<12xbf16>
  %r = nn.norm rms %x eps 1.0e-5 groups 3 : tensor<?x12xf32>
  %l = nn.norm layer %x, %w bias %b eps 1.0e-3 : tensor<?x12xf32>, tensor<12xf32> bias tensor<12xbf16>
  %s = nn.norm l2 %x, %w eps 0.0 : tensor<?x12xf32>, tensor<12xf32>
  %a = arith.addf %r, %l : tensor<?x12xf32>
  %t = nn.act gelu %s : tensor<?x12xf32>
  return %a, %t, %s : tensor<?x12xf32>, tensor<?x12xf32>, tensor<?x12xf32>
}
