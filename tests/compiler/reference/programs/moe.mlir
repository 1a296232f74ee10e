// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Self-checking programs of the moe ops; see nn.mlir.

func.func @squash(
    %x: tensor<?x2xf32> {test.value = dense<[[0.0, 0.69314718]]> : tensor<1x2xf32>})
    -> (tensor<?x2xf32> {test.expected = dense<[[0.33333333, 0.66666667]]> : tensor<1x2xf32>},
        tensor<?x2xf32> {test.expected = dense<[[0.5, 0.66666667]]> : tensor<1x2xf32>}) {
  %0 = moe.squash softmax %x : tensor<?x2xf32>
  %1 = moe.squash sigmoid %x : tensor<?x2xf32>
  return %0, %1 : tensor<?x2xf32>, tensor<?x2xf32>
}

// Three rows of one channel, three experts that multiply by 1, 10 and 100, two
// slots. Choice and value are other scores. Row 0 picks experts 1 and 2 (a tie
// that expert 0 loses), row 1 experts 0 and 2, row 2 experts 0 and 1.
func.func @mixture(
    %x: tensor<?x1xf32> {test.value = dense<[[1.0], [2.0], [3.0]]> : tensor<3x1xf32>},
    %choice: tensor<?x3xf32> {test.value = dense<[[1.0, 2.0, 1.5], [4.0, 0.0, 3.0], [5.0, 5.0, 5.0]]> : tensor<3x3xf32>},
    %value: tensor<?x3xf32> {test.value = dense<[[9.0, 3.0, 1.0], [1.0, 9.0, 1.0], [0.0, 0.0, 9.0]]> : tensor<3x3xf32>},
    %w: tensor<3x1x1xbf16> {test.value = dense<[[[1.0]], [[10.0]], [[100.0]]]> : tensor<3x1x1xbf16>})
    -> (tensor<?x1xf32> {test.expected = dense<[[33.5], [103.0], [3.0]]> : tensor<3x1xf32>}) {
  %sel = moe.select top_k 2 %choice : tensor<?x3xf32> -> !moe.selection<experts = 3, slots = 2>
  %r = moe.weigh %sel, %value norm sum
    : !moe.selection<experts = 3, slots = 2>, tensor<?x3xf32> -> !moe.routing<experts = 3, slots = 2>
  %b = moe.dispatch %x, %r : tensor<?x1xf32>, !moe.routing<experts = 3, slots = 2>
    -> !moe.buckets<experts = 3, slots = 2, width = 1, element = f32>
  %y = moe.experts %b weights(%w) : !moe.buckets<experts = 3, slots = 2, width = 1, element = f32>,
      (tensor<3x1x1xbf16>) -> !moe.buckets<experts = 3, slots = 2, width = 1, element = f32> {
  ^bb0(%rows: tensor<?x1xf32>, %we: tensor<1x1xbf16>):
    %h = nn.linear %rows, %we : tensor<?x1xf32>, tensor<1x1xbf16> -> tensor<?x1xf32>
    moe.yield %h : tensor<?x1xf32>
  }
  // 1 + (3/4 10 + 1/4 100) = 33.5; 2 + (1/2 2 + 1/2 200) = 103; 3 + 0, since
  // the weights' sum is zero.
  %z = moe.combine %y, %r base(%x) : !moe.buckets<experts = 3, slots = 2, width = 1, element = f32>,
    !moe.routing<experts = 3, slots = 2>, tensor<?x1xf32> -> tensor<?x1xf32>
  return %z : tensor<?x1xf32>
}

// Buckets of bf16 hold rounded rows: 1.00390625 becomes 1.
func.func @dispatch_rounds(
    %x: tensor<?x1xf32> {test.value = dense<[[1.00390625]]> : tensor<1x1xf32>},
    %s: tensor<?x1xf32> {test.value = dense<[[2.0]]> : tensor<1x1xf32>})
    -> (tensor<?x1xf32> {test.expected = dense<[[2.0]]> : tensor<1x1xf32>}) {
  %sel = moe.select top_k 1 %s : tensor<?x1xf32> -> !moe.selection<experts = 1, slots = 1>
  %r = moe.weigh %sel, %s norm none
    : !moe.selection<experts = 1, slots = 1>, tensor<?x1xf32> -> !moe.routing<experts = 1, slots = 1>
  %b = moe.dispatch %x, %r : tensor<?x1xf32>, !moe.routing<experts = 1, slots = 1>
    -> !moe.buckets<experts = 1, slots = 1, width = 1, element = bf16>
  %z = moe.combine %b, %r : !moe.buckets<experts = 1, slots = 1, width = 1, element = bf16>,
    !moe.routing<experts = 1, slots = 1> -> tensor<?x1xf32>
  return %z : tensor<?x1xf32>
}
