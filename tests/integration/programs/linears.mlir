// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Products whose rows or weights no family stages.
tier.weight @u : tensor<20x12xf32> from [#tier.range<"f32.bin" at 0 bytes 960>]
tier.weight @v : tensor<6x20xbf16> from [#tier.range<"bf16.bin" at 0 bytes 240>]
tier.weight @w : tensor<6x6xf32> from [#tier.range<"f32.bin" at 1024 bytes 144>]
tier.weight @b : tensor<6xf32> from [#tier.range<"f32.bin" at 2048 bytes 24>]
func.func @layer(%x: tensor<?x12xf32>) -> tensor<?x6xf32> {
  %u = tier.use @u : tensor<20x12xf32>
  %v = tier.use @v : tensor<6x20xbf16>
  %w = tier.use @w : tensor<6x6xf32>
  %b = tier.use @b : tensor<6xf32>
  %n = nn.norm rms %x eps 1.0e-5 groups 2 : tensor<?x12xf32>
  %h = nn.linear %n, %u : tensor<?x12xf32>, tensor<20x12xf32> -> tensor<?x20xf32>
  %c = nn.clamp %h low -0.5 high 0.5 : tensor<?x20xf32>
  %p = nn.linear %c, %v bias %b inputs bf16 : tensor<?x20xf32>, tensor<6x20xbf16>, tensor<6xf32> -> tensor<?x6xf32>
  %q = nn.linear %p, %w : tensor<?x6xf32>, tensor<6x6xf32> -> tensor<?x6xf32>
  %c0 = arith.constant 0 : index
  %m = tensor.dim %q, %c0 : tensor<?x6xf32>
  %e = tensor.empty(%m) : tensor<?x6xf32>
  %zero = arith.constant 0.0 : f32
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<?x6xf32>) -> tensor<?x6xf32>
  %r = linalg.matmul ins(%q, %w : tensor<?x6xf32>, tensor<6x6xf32>) outs(%f : tensor<?x6xf32>) -> tensor<?x6xf32>
  return %r : tensor<?x6xf32>
}
