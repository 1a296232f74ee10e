// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Self-checking programs: each function runs on its arguments' `test.value`
// (a cache: for `test.sequences` new sequences) and must give `test.expected`.

func.func @embed(
    %ids: tensor<?xi32> {test.value = dense<[2, 0]> : tensor<2xi32>},
    %table: tensor<3x2xbf16> {test.value = dense<[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]> : tensor<3x2xbf16>})
    -> (tensor<?x2xf32> {test.expected = dense<[[5.0, 6.0], [1.0, 2.0]]> : tensor<2x2xf32>}) {
  %0 = nn.embed %ids, %table : tensor<?xi32>, tensor<3x2xbf16> -> tensor<?x2xf32>
  return %0 : tensor<?x2xf32>
}

func.func @norm_rms(
    %x: tensor<?x2xf32> {test.value = dense<[[3.0, 4.0]]> : tensor<1x2xf32>},
    %w: tensor<2xf32> {test.value = dense<[2.0, -1.0]> : tensor<2xf32>})
    -> (tensor<?x2xf32> {test.expected = dense<[[1.5, -1.0]]> : tensor<1x2xf32>}) {
  %0 = nn.norm rms %x, %w eps 3.5 : tensor<?x2xf32>, tensor<2xf32>
  return %0 : tensor<?x2xf32>
}

func.func @norm_layer_bias(
    %x: tensor<?x2xf32> {test.value = dense<[[1.0, 3.0]]> : tensor<1x2xf32>},
    %w: tensor<2xf16> {test.value = dense<[2.0, 3.0]> : tensor<2xf16>},
    %b: tensor<2xf32> {test.value = dense<[10.0, 20.0]> : tensor<2xf32>})
    -> (tensor<?x2xf32> {test.expected = dense<[[8.0, 23.0]]> : tensor<1x2xf32>}) {
  %0 = nn.norm layer %x, %w bias %b eps 0.0 : tensor<?x2xf32>, tensor<2xf16> bias tensor<2xf32>
  return %0 : tensor<?x2xf32>
}

func.func @norm_l2_groups(
    %x: tensor<?x4xf32> {test.value = dense<[[3.0, 4.0, 0.0, 5.0]]> : tensor<1x4xf32>})
    -> (tensor<?x4xf32> {test.expected = dense<[[0.6, 0.8, 0.0, 1.0]]> : tensor<1x4xf32>}) {
  %0 = nn.norm l2 %x eps 0.0 groups 2 : tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}

func.func @linear_bias_inputs_bf16(
    // 1.00390625 is half way between two bf16 values and rounds to 1.
    %x: tensor<?x2xf32> {test.value = dense<[[1.00390625, 2.0]]> : tensor<1x2xf32>},
    %w: tensor<3x2xf32> {test.value = dense<[[1.0, 0.0], [0.0, 1.0], [10.0, 100.0]]> : tensor<3x2xf32>},
    %b: tensor<3xf32> {test.value = dense<[0.5, 0.0, -1.0]> : tensor<3xf32>})
    -> (tensor<?x3xf32> {test.expected = dense<[[1.5, 2.0, 209.0]]> : tensor<1x3xf32>}) {
  %0 = nn.linear %x, %w bias %b inputs bf16 : tensor<?x2xf32>, tensor<3x2xf32>, tensor<3xf32> -> tensor<?x3xf32>
  return %0 : tensor<?x3xf32>
}

// A packing changes where values lie, not what they are.
func.func @linear_panels(
    %x: tensor<?x2xf32> {test.value = dense<[[1.0, 2.0]]> : tensor<1x2xf32>},
    %w: tensor<3x2xf32, #flow.panels<columns = 16, pack = 1>>
      {test.value = dense<[[1.0, 0.0], [0.0, 1.0], [10.0, 100.0]]> : tensor<3x2xf32>})
    -> (tensor<?x3xf32> {test.expected = dense<[[1.0, 2.0, 210.0]]> : tensor<1x3xf32>}) {
  %0 = nn.linear %x, %w : tensor<?x2xf32>, tensor<3x2xf32, #flow.panels<columns = 16, pack = 1>> -> tensor<?x3xf32>
  return %0 : tensor<?x3xf32>
}

func.func @rope(
    %x: tensor<?x4xf32> {test.value = dense<[[1.0, 10.0, 0.0, 0.0]]> : tensor<1x4xf32>},
    %p: tensor<?xi32> {test.value = dense<[2]> : tensor<1xi32>})
    -> (tensor<?x4xf32> {test.expected = dense<[[-0.41614684, 9.80066578, 0.90929743, 1.98669331]]> : tensor<1x4xf32>}) {
  %0 = nn.rope %x at %p heads 1 table <default, dim = 4, theta = 100.0> : tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}

// Columns of the angles' row: both cosines, then both sines.
func.func @angles_rotate(
    %x: tensor<?x4xf32> {test.value = dense<[[1.0, 10.0, 0.0, 0.0]]> : tensor<1x4xf32>},
    %p: tensor<?xi32> {test.value = dense<[2]> : tensor<1xi32>})
    -> (tensor<?x4xf32> {test.expected = dense<[[-0.41614684, 0.98006658, 0.90929743, 0.19866933]]> : tensor<1x4xf32>},
        tensor<?x4xf32> {test.expected = dense<[[-0.41614684, 9.80066578, 0.90929743, 1.98669331]]> : tensor<1x4xf32>}) {
  %a = nn.angles %p table <default, dim = 4, theta = 100.0> : tensor<?x4xf32>
  %0 = nn.rotate %x by %a heads 1 : tensor<?x4xf32>, tensor<?x4xf32>
  return %a, %0 : tensor<?x4xf32>, tensor<?x4xf32>
}

// Keys of zero: each row gives the mean of the values in its window.
func.func @attention(
    %q: tensor<?x2xf32> {test.value = dense<1.0> : tensor<3x2xf32>},
    %k: tensor<?x1xf32> {test.value = dense<0.0> : tensor<3x1xf32>},
    %v: tensor<?x1xf32> {test.value = dense<[[3.0], [5.0], [10.0]]> : tensor<3x1xf32>},
    %c: !nn.kv_cache<layers = 2, heads = 1, head_dim = 1, element = bf16> {test.sequences = 1 : i64},
    %p: tensor<?xi32> {test.value = dense<[0, 1, 2]> : tensor<3xi32>},
    %s: tensor<?xi32> {test.value = dense<[0, 3]> : tensor<2xi32>})
    -> (tensor<?x2xf32> {test.expected = dense<[[3.0, 3.0], [4.0, 4.0], [7.5, 7.5]]> : tensor<3x2xf32>}) {
  %0, %c1 = nn.attention %q, %k, %v cache %c layer 1 at %p of %s heads 2 scale 1.0 window 2
    : tensor<?x2xf32>, tensor<?x1xf32>, !nn.kv_cache<layers = 2, heads = 1, head_dim = 1, element = bf16>
  return %0 : tensor<?x2xf32>
}

func.func @act_glu_clamp_scale(
    %x: tensor<?x2xf32> {test.value = dense<[[-3.0, 4.0]]> : tensor<1x2xf32>},
    %f: tensor<?x1xf32> {test.value = dense<[[10.0]]> : tensor<1x1xf32>})
    -> (tensor<?x2xf32> {test.expected = dense<[[0.0, 120.0]]> : tensor<1x2xf32>}) {
  %0 = nn.act relu %x : tensor<?x2xf32>
  %1 = nn.clamp %x low -1.0 high 3.0 : tensor<?x2xf32>
  %2 = nn.glu relu %0, %1 : tensor<?x2xf32>
  %3 = nn.scale %2 by %f : tensor<?x2xf32>, tensor<?x1xf32>
  return %3 : tensor<?x2xf32>
}
