// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Picked by a score with a bias, weighed without it, which the family of
// routers knows; the experts, which square what is positive and have a bias
// each, are loops.
!selection = !moe.selection<experts = 5, slots = 2>
!routing = !moe.routing<experts = 5, slots = 2>
!buckets = !moe.buckets<experts = 5, slots = 2, width = 8, element = f32>
tier.weight @router : tensor<5x8xf32> from [#tier.range<"f32.bin" at 0 bytes 160>]
tier.weight @balance : tensor<5xf32> from [#tier.range<"f32.bin" at 512 bytes 20>]
tier.weight @up : tensor<5x14x8xf32> from [#tier.range<"f32.bin" at 1024 bytes 2240>]
tier.weight @shift : tensor<5x14xf32> from [#tier.range<"f32.bin" at 4096 bytes 280>]
tier.weight @down : tensor<5x8x14xbf16> from [#tier.range<"bf16.bin" at 0 bytes 1120>]
func.func @layer(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %wr = tier.use @router : tensor<5x8xf32>
  %wb = tier.use @balance : tensor<5xf32>
  %wu = tier.use @up : tensor<5x14x8xf32>
  %ws = tier.use @shift : tensor<5x14xf32>
  %wd = tier.use @down : tensor<5x8x14xbf16>
  %n = nn.norm rms %x eps 1.0e-5 : tensor<?x8xf32>
  %l = nn.linear %n, %wr : tensor<?x8xf32>, tensor<5x8xf32> -> tensor<?x5xf32>
  %p = moe.squash sigmoid %l : tensor<?x5xf32>
  %c0 = arith.constant 0 : index
  %m = tensor.dim %p, %c0 : tensor<?x5xf32>
  %e = tensor.empty(%m) : tensor<?x5xf32>
  %c = linalg.generic {
      indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (j)>,
                       affine_map<(i, j) -> (i, j)>],
      iterator_types = ["parallel", "parallel"]}
      ins(%p, %wb : tensor<?x5xf32>, tensor<5xf32>) outs(%e : tensor<?x5xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %s = arith.addf %a, %b : f32
    linalg.yield %s : f32
  } -> tensor<?x5xf32>
  %sel = moe.select top_k 2 %c : tensor<?x5xf32> -> !selection
  %r = moe.weigh %sel, %p norm sum scale 2.5 : !selection, tensor<?x5xf32> -> !routing
  %d = moe.dispatch %n, %r : tensor<?x8xf32>, !routing -> !buckets
  %y = moe.experts %d weights(%wu, %ws, %wd) : !buckets,
      (tensor<5x14x8xf32>, tensor<5x14xf32>, tensor<5x8x14xbf16>) -> !buckets {
  ^bb0(%t: tensor<?x8xf32>, %u: tensor<14x8xf32>, %s: tensor<14xf32>, %w: tensor<8x14xbf16>):
    %h = nn.linear %t, %u bias %s : tensor<?x8xf32>, tensor<14x8xf32>, tensor<14xf32> -> tensor<?x14xf32>
    %a = nn.act relu %h : tensor<?x14xf32>
    %q = arith.mulf %a, %a : tensor<?x14xf32>
    %o = nn.linear %q, %w inputs bf16 : tensor<?x14xf32>, tensor<8x14xbf16> -> tensor<?x8xf32>
    moe.yield %o : tensor<?x8xf32>
  }
  %z = moe.combine %y, %r base(%x, %n) : !buckets, !routing, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return %z : tensor<?x8xf32>
}
