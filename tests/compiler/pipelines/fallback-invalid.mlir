// What neither a family nor the fallback can do is an error with its place.
// RUN: split-file %s %t
// RUN: bash -c 'sed -i "s/ZEROS/$(head -c 33792 /dev/zero | tr "\\0" 0)/" %t/large.mlir'
// RUN: bash -c 'headrace compile %t/mixed.mlir -o %t/m.headrace; test $? -eq 1' 2>&1 | FileCheck %s --check-prefix=MIXED
// RUN: bash -c 'headrace compile %t/turned.mlir -o %t/m.headrace; test $? -eq 1' 2>&1 | FileCheck %s --check-prefix=TURNED
// RUN: bash -c 'headrace compile %t/weight.mlir -o %t/m.headrace; test $? -eq 1' 2>&1 | FileCheck %s --check-prefix=WEIGHT
// RUN: bash -c 'headrace compile %t/argument.mlir -o %t/m.headrace; test $? -eq 1' 2>&1 | FileCheck %s --check-prefix=ARGUMENT
// RUN: bash -c 'headrace compile %t/large.mlir -o %t/m.headrace; test $? -eq 1' 2>&1 | FileCheck %s --check-prefix=LARGE
// RUN: bash -c 'headrace compile %t/cut.mlir -o %t/m.headrace; test $? -eq 1' 2>&1 | FileCheck %s --check-prefix=CUT
// RUN: bash -c 'headrace compile %t/wide.mlir -o %t/m.headrace; test $? -eq 1' 2>&1 | FileCheck %s --check-prefix=WIDE
// RUN: bash -c 'headrace interpret %t/mixed.mlir --tokens=1; test $? -eq 1' 2>&1 | FileCheck %s --check-prefix=FORWARD
// RUN: bash -c 'headrace interpret %t/unknown.mlir --tokens=0; test $? -eq 1' 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// RUN: not ls %t/m.headrace

// The error is that of the op, by file, line and column.
// MIXED: error: {{.*}}mixed.mlir:6:8: 'linalg.reduce' op is known neither to a kernel family nor to the fallback lowering
// TURNED: error: {{.*}}turned.mlir:5:8: 'linalg.transpose' op is known neither to a kernel family nor to the fallback lowering
// WEIGHT: error: {{.*}}weight.mlir:4:8: 'arith.addf' op is known neither to a kernel family nor to the fallback lowering
// ARGUMENT: error: {{.*}}argument.mlir:1:1: 'func.func' op has an argument of type 'tensor<4x4xf32>', which is that of a weight; expected tier.use of a tier.weight instead
// LARGE: error: {{.*}}'arith.constant' op has more than 4096 elements, which belong into a tier.weight
// CUT: error: {{.*}}'tensor.extract_slice' op cuts rows, or where only a run can tell, which the fallback lowering does not know
// WIDE: error: {{.*}}'arith.addf' op is known neither to a kernel family nor to the fallback lowering
// FORWARD: error: {{.*}}mixed.mlir: the module has no function '@forward' with a body
// UNKNOWN: error: {{.*}}unknown.mlir:4:8: 'math.atan' is not known to the reference interpreter

//--- mixed.mlir
// A sum over the rows of a step.
func.func @layer(%x: tensor<?x4xf32>) -> tensor<4xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<4xf32>
  %i = linalg.fill ins(%zero : f32) outs(%e : tensor<4xf32>) -> tensor<4xf32>
  %r = linalg.reduce { arith.addf } ins(%x : tensor<?x4xf32>) outs(%i : tensor<4xf32>) dimensions = [0]
  return %r : tensor<4xf32>
}

//--- turned.mlir
func.func @layer(%x: tensor<?x4xf32>) -> tensor<4x?xf32> {
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : tensor<?x4xf32>
  %e = tensor.empty(%n) : tensor<4x?xf32>
  %r = linalg.transpose ins(%x : tensor<?x4xf32>) outs(%e : tensor<4x?xf32>) permutation = [1, 0]
  return %r : tensor<4x?xf32>
}

//--- weight.mlir
tier.weight @w : tensor<4xf32> from [#tier.range<"w" at 0 bytes 16>]
func.func @layer(%x: tensor<?x4xf32>) -> tensor<4xf32> {
  %w = tier.use @w : tensor<4xf32>
  %r = arith.addf %w, %w : tensor<4xf32>
  return %r : tensor<4xf32>
}

//--- argument.mlir
func.func @layer(%x: tensor<?x4xf32>, %w: tensor<4x4xf32>) -> tensor<?x4xf32> {
  %r = nn.linear %x, %w : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
  return %r : tensor<?x4xf32>
}

//--- large.mlir
func.func @layer(%x: tensor<?x65xf32>) -> tensor<?x65xf32> {
  %w = arith.constant dense<"0x0000803FZEROS"> : tensor<65x65xf32>
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %n = tensor.dim %x, %c0 : tensor<?x65xf32>
  %e = tensor.empty(%n) : tensor<?x65xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<?x65xf32>) -> tensor<?x65xf32>
  %r = linalg.matmul ins(%x, %w : tensor<?x65xf32>, tensor<65x65xf32>) outs(%f : tensor<?x65xf32>) -> tensor<?x65xf32>
  return %r : tensor<?x65xf32>
}

//--- cut.mlir
func.func @layer(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : tensor<?x4xf32>
  %s = tensor.extract_slice %x[1, 0] [%n, 4] [1, 1] : tensor<?x4xf32> to tensor<?x4xf32>
  %r = arith.negf %s : tensor<?x4xf32>
  return %r : tensor<?x4xf32>
}

//--- wide.mlir
func.func @layer(%x: tensor<?x4xf64>) -> tensor<?x4xf64> {
  %r = arith.addf %x, %x : tensor<?x4xf64>
  return %r : tensor<?x4xf64>
}

//--- unknown.mlir
func.func @forward(%t: tensor<?xi32> {headrace.role = "tokens"}) -> tensor<?x1xf32> {
  %c = arith.constant dense<1.0> : tensor<1x1xf32>
  %x = nn.embed %t, %c : tensor<?xi32>, tensor<1x1xf32> -> tensor<?x1xf32>
  %r = math.atan %x : tensor<?x1xf32>
  return %r : tensor<?x1xf32>
}
