// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
func.func @layer(%x: tensor<?x9xf32>, %y: tensor<?x9xf32>) -> tensor<?x9xf32> {
  %a = arith.truncf %x : tensor<?x9xf32> to tensor<?x9xbf16>
  %b = arith.truncf %y : tensor<?x9xf32> to tensor<?x9xbf16>
  %c = arith.addf %a, %b : tensor<?x9xbf16>
  %d = arith.extf %c : tensor<?x9xbf16> to tensor<?x9xf32>
  return %d : tensor<?x9xf32>
}
