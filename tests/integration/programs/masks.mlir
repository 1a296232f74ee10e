// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
func.func @layer(%x: tensor<?x7xf32>, %y: tensor<?x7xf32>) -> tensor<?x7xf32> {
  %low = arith.constant dense<-0.25> : tensor<7xf32>
  %a = arith.cmpf ogt, %x, %y : tensor<?x7xf32>
  %b = arith.select %a, %x, %y : tensor<?x7xi1>, tensor<?x7xf32>
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : tensor<?x7xf32>
  %e = tensor.empty(%n) : tensor<?x7xf32>
  %c = linalg.generic {
      indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (j)>,
                       affine_map<(i, j) -> (i, j)>],
      iterator_types = ["parallel", "parallel"]}
      ins(%b, %low : tensor<?x7xf32>, tensor<7xf32>) outs(%e : tensor<?x7xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %m = arith.maximumf %p, %q : f32
    linalg.yield %m : f32
  } -> tensor<?x7xf32>
  return %c : tensor<?x7xf32>
}
