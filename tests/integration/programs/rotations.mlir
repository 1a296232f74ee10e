// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
func.func @layer(%x: tensor<?x12xf32>, %a: tensor<?x4xf32>) -> tensor<?x12xf32> {
  %r = nn.rotate %x by %a heads 2 : tensor<?x12xf32>, tensor<?x4xf32>
  return %r : tensor<?x12xf32>
}
