// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Self-checking programs of calls and of upstream ops; see nn.mlir.

func.func @elementwise(
    %x: tensor<?x2xf32> {test.value = dense<[[1.0, 4.0]]> : tensor<1x2xf32>},
    %y: tensor<?x2xf32> {test.value = dense<[[2.0, 0.5]]> : tensor<1x2xf32>})
    -> (tensor<?x2xf32> {test.expected = dense<[[-1.0, 3.5]]> : tensor<1x2xf32>},
        tensor<?x2xf32> {test.expected = dense<[[6.0, 2.25]]> : tensor<1x2xf32>}) {
  %0 = arith.subf %x, %y : tensor<?x2xf32>
  %1 = arith.addf %x, %y : tensor<?x2xf32>
  %2 = arith.mulf %1, %y : tensor<?x2xf32>
  return %0, %2 : tensor<?x2xf32>, tensor<?x2xf32>
}

func.func @narrow(
    %x: tensor<?x2xf32> {test.value = dense<[[1.00390625, 1.01171875]]> : tensor<1x2xf32>})
    -> (tensor<?x2xf32> {test.expected = dense<[[1.0, 1.015625]]> : tensor<1x2xf32>}) {
  %0 = arith.truncf %x : tensor<?x2xf32> to tensor<?x2xbf16>
  %1 = arith.extf %0 : tensor<?x2xbf16> to tensor<?x2xf32>
  return %1 : tensor<?x2xf32>
}

func.func @columns(
    %x: tensor<?x4xf32> {test.value = dense<[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]> : tensor<2x4xf32>})
    -> (tensor<?x2xf32> {test.expected = dense<[[2.0, 3.0], [6.0, 7.0]]> : tensor<2x2xf32>}) {
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : tensor<?x4xf32>
  %0 = tensor.extract_slice %x[0, 1] [%n, 2] [1, 1] : tensor<?x4xf32> to tensor<?x2xf32>
  return %0 : tensor<?x2xf32>
}

func.func @one_expert(
    %w: tensor<2x1x2xf32> {test.value = dense<[[[1.0, 2.0]], [[3.0, 4.0]]]> : tensor<2x1x2xf32>})
    -> (tensor<1x2xf32> {test.expected = dense<[[3.0, 4.0]]> : tensor<1x2xf32>}) {
  %0 = tensor.extract_slice %w[1, 0, 0] [1, 1, 2] [1, 1, 1] : tensor<2x1x2xf32> to tensor<1x2xf32>
  return %0 : tensor<1x2xf32>
}

flow.kernel @double "map" : (tensor<?x2xf32>) -> tensor<?x2xf32> {
^bb0(%x: tensor<?x2xf32>):
  %0 = arith.addf %x, %x : tensor<?x2xf32>
  flow.yield %0 : tensor<?x2xf32>
}

func.func private @four_times(%x: tensor<?x2xf32>) -> tensor<?x2xf32> {
  %0 = flow.call @double(%x) : (tensor<?x2xf32>) -> tensor<?x2xf32>
  %1 = flow.call @double(%0) : (tensor<?x2xf32>) -> tensor<?x2xf32>
  return %1 : tensor<?x2xf32>
}

func.func @calls(
    %x: tensor<?x2xf32> {test.value = dense<[[1.0, 3.0]]> : tensor<1x2xf32>})
    -> (tensor<?x2xf32> {test.expected = dense<[[4.0, 12.0]]> : tensor<1x2xf32>}) {
  %0 = call @four_times(%x) : (tensor<?x2xf32>) -> tensor<?x2xf32>
  return %0 : tensor<?x2xf32>
}
