// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A router as families know it, and a body as none does: a bottleneck with
// a softmax over its channels.
!selection = !moe.selection<experts = 4, slots = 3>
!routing = !moe.routing<experts = 4, slots = 3>
!buckets = !moe.buckets<experts = 4, slots = 3, width = 6, element = f32>
tier.weight @router : tensor<4x6xbf16> from [#tier.range<"bf16.bin" at 0 bytes 48>]
tier.weight @in : tensor<4x3x6xbf16> from [#tier.range<"bf16.bin" at 64 bytes 144>]
tier.weight @out : tensor<4x6x3xf32> from [#tier.range<"f32.bin" at 256 bytes 288>]
func.func @layer(%x: tensor<?x6xf32>) -> tensor<?x6xf32> {
  %wr = tier.use @router : tensor<4x6xbf16>
  %wi = tier.use @in : tensor<4x3x6xbf16>
  %wo = tier.use @out : tensor<4x6x3xf32>
  %l = nn.linear %x, %wr : tensor<?x6xf32>, tensor<4x6xbf16> -> tensor<?x4xf32>
  %p = moe.squash softmax %l : tensor<?x4xf32>
  %sel = moe.select top_k 3 %p : tensor<?x4xf32> -> !selection
  %r = moe.weigh %sel, %p norm none : !selection, tensor<?x4xf32> -> !routing
  %d = moe.dispatch %x, %r : tensor<?x6xf32>, !routing -> !buckets
  %y = moe.experts %d weights(%wi, %wo) : !buckets,
      (tensor<4x3x6xbf16>, tensor<4x6x3xf32>) -> !buckets {
  ^bb0(%t: tensor<?x6xf32>, %i: tensor<3x6xbf16>, %o: tensor<6x3xf32>):
    %n = nn.norm layer %t eps 1.0e-5 : tensor<?x6xf32>
    %h = nn.linear %n, %i inputs bf16 : tensor<?x6xf32>, tensor<3x6xbf16> -> tensor<?x3xf32>
    %s = moe.squash softmax %h : tensor<?x3xf32>
    %q = nn.linear %s, %o : tensor<?x3xf32>, tensor<6x3xf32> -> tensor<?x6xf32>
    moe.yield %q : tensor<?x6xf32>
  }
  %z = moe.combine %y, %r base(%x) : !buckets, !routing, tensor<?x6xf32> -> tensor<?x6xf32>
  return %z : tensor<?x6xf32>
}
