// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The same choice written otherwise, from logits and a bias of bf16, which
// a softmax of the picked logits does not see.
!selection = !moe.selection<experts = 40, slots = 6>
!routing = !moe.routing<experts = 40, slots = 6>
!buckets = !moe.buckets<experts = 40, slots = 6, width = 8, element = f32>
tier.weight @router : tensor<40x8xbf16> from [#tier.range<"bf16.bin" at 0 bytes 640>]
tier.weight @shift : tensor<40xf32> from [#tier.range<"f32.bin" at 0 bytes 160>]
tier.weight @balance : tensor<40xbf16> from [#tier.range<"bf16.bin" at 1024 bytes 80>]
func.func @layer(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %wr = tier.use @router : tensor<40x8xbf16>
  %ws = tier.use @shift : tensor<40xf32>
  %wb = tier.use @balance : tensor<40xbf16>
  %n = nn.norm rms %x eps 1.0e-5 : tensor<?x8xf32>
  %l = nn.linear %n, %wr bias %ws : tensor<?x8xf32>, tensor<40x8xbf16>, tensor<40xf32> -> tensor<?x40xf32>
  %c0 = arith.constant 0 : index
  %m = tensor.dim %x, %c0 : tensor<?x8xf32>
  %e = tensor.empty(%m) : tensor<?x40xf32>
  %c = linalg.generic {
      indexing_maps = [affine_map<(i, j) -> (j)>, affine_map<(i, j) -> (i, j)>,
                       affine_map<(i, j) -> (i, j)>],
      iterator_types = ["parallel", "parallel"]}
      ins(%wb, %l : tensor<40xbf16>, tensor<?x40xf32>) outs(%e : tensor<?x40xf32>) {
  ^bb0(%a: bf16, %b: f32, %o: f32):
    %w = arith.extf %a : bf16 to f32
    %s = arith.addf %w, %b : f32
    linalg.yield %s : f32
  } -> tensor<?x40xf32>
  %sel = moe.select top_k 6 %c : tensor<?x40xf32> -> !selection
  %r = moe.weigh %sel, %l norm softmax : !selection, tensor<?x40xf32> -> !routing
  %d = moe.dispatch %n, %r : tensor<?x8xf32>, !routing -> !buckets
  %y = moe.experts %d : !buckets -> !buckets {
  ^bb0(%t: tensor<?x8xf32>):
    %h = nn.act relu %t : tensor<?x8xf32>
    moe.yield %h : tensor<?x8xf32>
  }
  %z = moe.combine %y, %r base(%x) : !buckets, !routing, tensor<?x8xf32> -> tensor<?x8xf32>
  return %z : tensor<?x8xf32>
}
