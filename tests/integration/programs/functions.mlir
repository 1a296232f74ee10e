// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
func.func @layer(%x: tensor<?x5xf32>) -> tensor<?x5xf32> {
  %a = math.absf %x : tensor<?x5xf32>
  %b = math.log1p %a : tensor<?x5xf32>
  %c = math.exp2 %b : tensor<?x5xf32>
  %d = math.powf %c, %a : tensor<?x5xf32>
  %e = math.rsqrt %d : tensor<?x5xf32>
  %f = math.floor %c : tensor<?x5xf32>
  %g = arith.addf %e, %f : tensor<?x5xf32>
  return %g : tensor<?x5xf32>
}
