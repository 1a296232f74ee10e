// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A softmax written out, and a mean over columns.
func.func @layer(%x: tensor<?x11xf32>) -> (tensor<?x11xf32>, tensor<?xf32>) {
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : tensor<?x11xf32>
  %lowest = arith.constant -1.0e30 : f32
  %zero = arith.constant 0.0 : f32
  %e1 = tensor.empty(%n) : tensor<?xf32>
  %e2 = tensor.empty(%n) : tensor<?x11xf32>
  %i1 = linalg.fill ins(%lowest : f32) outs(%e1 : tensor<?xf32>) -> tensor<?xf32>
  %i2 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<?xf32>) -> tensor<?xf32>
  %top = linalg.reduce { arith.maximumf } ins(%x : tensor<?x11xf32>) outs(%i1 : tensor<?xf32>) dimensions = [1]
  %wide = linalg.broadcast ins(%top : tensor<?xf32>) outs(%e2 : tensor<?x11xf32>) dimensions = [1]
  %d = arith.subf %x, %wide : tensor<?x11xf32>
  %p = math.exp %d : tensor<?x11xf32>
  %sum = linalg.reduce { arith.addf } ins(%p : tensor<?x11xf32>) outs(%i2 : tensor<?xf32>) dimensions = [1]
  %r = linalg.generic {
      indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i)>,
                       affine_map<(i, j) -> (i, j)>],
      iterator_types = ["parallel", "parallel"]}
      ins(%p, %sum : tensor<?x11xf32>, tensor<?xf32>) outs(%e2 : tensor<?x11xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %q = arith.divf %a, %b : f32
    linalg.yield %q : f32
  } -> tensor<?x11xf32>
  return %r, %sum : tensor<?x11xf32>, tensor<?xf32>
}
