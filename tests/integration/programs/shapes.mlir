// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
func.func @layer(%x: tensor<?x12xf32>, %y: tensor<?x3xf32>) -> tensor<?x15xf32> {
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : tensor<?x12xf32>
  %h = tensor.expand_shape %x [[0], [1, 2]] output_shape [%n, 3, 4] : tensor<?x12xf32> into tensor<?x3x4xf32>
  %e = tensor.empty(%n) : tensor<?x4x3xf32>
  %t = linalg.transpose ins(%h : tensor<?x3x4xf32>) outs(%e : tensor<?x4x3xf32>) permutation = [0, 2, 1]
  %f = tensor.collapse_shape %t [[0], [1, 2]] : tensor<?x4x3xf32> into tensor<?x12xf32>
  %g = arith.mulf %f, %x : tensor<?x12xf32>
  %s = tensor.extract_slice %g[0, 1] [%n, 6] [1, 2] : tensor<?x12xf32> to tensor<?x6xf32>
  %r = tensor.concat dim(1) %y, %s, %s : (tensor<?x3xf32>, tensor<?x6xf32>, tensor<?x6xf32>) -> tensor<?x15xf32>
  return %r : tensor<?x15xf32>
}
