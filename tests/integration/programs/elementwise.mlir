// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
func.func @layer(%x: tensor<?x37xf32>, %y: tensor<?x37xf32>, %s: tensor<?x1xf32>)
    -> tensor<?x37xf32> {
  %a = arith.mulf %x, %y : tensor<?x37xf32>
  %b = math.tanh %a : tensor<?x37xf32>
  %c = nn.scale %b by %s : tensor<?x37xf32>, tensor<?x1xf32>
  %d = nn.glu silu %c, %x : tensor<?x37xf32>
  return %d : tensor<?x37xf32>
}
