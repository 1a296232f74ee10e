// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Every element of both encodings but NaN, subnormal ones, too.
!fp8 = tensor<64x32xf8E4M3FN, #tier.scaled<rows = 64, columns = 32, scale = f32>>
!mxfp4 = tensor<32x64xf4E2M1FN, #tier.scaled<rows = 1, columns = 32, scale = f8E8M0FNU>>
tier.weight @w : !fp8 from [#tier.range<"codes.bin" at 0 bytes 2048>, #tier.range<"f32.bin" at 0 bytes 4>]
tier.weight @v : !mxfp4 from [#tier.range<"codes.bin" at 0 bytes 1024>, #tier.range<"exponents.bin" at 0 bytes 64>]
func.func @layer(%x: tensor<?x32xf32>, %y: tensor<?x64xf32>)
    -> (tensor<?x64xf32>, tensor<?x32xf32>) {
  %w = tier.use @w : !fp8
  %v = tier.use @v : !mxfp4
  %a = nn.linear %x, %w inputs bf16 : tensor<?x32xf32>, !fp8 -> tensor<?x64xf32>
  %b = nn.linear %y, %v inputs bf16 : tensor<?x64xf32>, !mxfp4 -> tensor<?x32xf32>
  return %a, %b : tensor<?x64xf32>, tensor<?x32xf32>
}
