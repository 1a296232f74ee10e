// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A choice that the family does not know: from scores times a vector.
!selection = !moe.selection<experts = 5, slots = 2>
!routing = !moe.routing<experts = 5, slots = 2>
!buckets = !moe.buckets<experts = 5, slots = 2, width = 8, element = f32>
tier.weight @router : tensor<5x8xf32> from [#tier.range<"f32.bin" at 0 bytes 160>]
tier.weight @factor : tensor<5xf32> from [#tier.range<"f32.bin" at 512 bytes 20>]
func.func @layer(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %wr = tier.use @router : tensor<5x8xf32>
  %wf = tier.use @factor : tensor<5xf32>
  %l = nn.linear %x, %wr : tensor<?x8xf32>, tensor<5x8xf32> -> tensor<?x5xf32>
  %p = moe.squash sigmoid %l : tensor<?x5xf32>
  %c0 = arith.constant 0 : index
  %m = tensor.dim %p, %c0 : tensor<?x5xf32>
  %e = tensor.empty(%m) : tensor<?x5xf32>
  %c = linalg.generic {
      indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (j)>,
                       affine_map<(i, j) -> (i, j)>],
      iterator_types = ["parallel", "parallel"]}
      ins(%p, %wf : tensor<?x5xf32>, tensor<5xf32>) outs(%e : tensor<?x5xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %s = arith.mulf %a, %b : f32
    linalg.yield %s : f32
  } -> tensor<?x5xf32>
  %sel = moe.select top_k 2 %c : tensor<?x5xf32> -> !selection
  %r = moe.weigh %sel, %p norm sum : !selection, tensor<?x5xf32> -> !routing
  %d = moe.dispatch %x, %r : tensor<?x8xf32>, !routing -> !buckets
  %y = moe.experts %d : !buckets -> !buckets {
  ^bb0(%t: tensor<?x8xf32>):
    %h = nn.act relu %t : tensor<?x8xf32>
    moe.yield %h : tensor<?x8xf32>
  }
  %z = moe.combine %y, %r base(%x) : !buckets, !routing, tensor<?x8xf32> -> tensor<?x8xf32>
  return %z : tensor<?x8xf32>
}
