// RUN: headrace-opt %s --headrace-pack-weights | FileCheck %s

// Weights of products get panels: pairs for bf16, single values otherwise. A
// weight that no product reads keeps its type; one without any use goes.
// CHECK-DAG: tier.weight @norm : tensor<64xf32> from
// CHECK-DAG: tier.weight @bf16 : tensor<96x64xbf16, #flow.panels<columns = 32, pack = 2>>
// CHECK-DAG: tier.weight @f16 : tensor<96x64xf16, #flow.panels<columns = 32, pack = 1>>
// CHECK-DAG: tier.weight @f32 : tensor<96x64xf32, #flow.panels<columns = 32, pack = 1>>
// CHECK-DAG: tier.weight @halves : tensor<96x64xbf16, #flow.panels<columns = 32, pack = 2, halves = 2>>
// CHECK-DAG: tier.weight @slices : tensor<96x64xbf16, #flow.panels<columns = 32, pack = 2>>
// CHECK-DAG: tier.weight @experts : tensor<8x48x64xbf16, #flow.panels<columns = 32, pack = 2>>
// CHECK-NOT: tier.weight @unused
tier.weight @norm : tensor<64xf32> from [#tier.range<"m" at 0 bytes 256>]
tier.weight @bf16 : tensor<96x64xbf16> from [#tier.range<"m" at 0 bytes 12288>]
tier.weight @f16 : tensor<96x64xf16> from [#tier.range<"m" at 0 bytes 12288>]
tier.weight @f32 : tensor<96x64xf32> from [#tier.range<"m" at 0 bytes 24576>]
tier.weight @halves : tensor<96x64xbf16> from [#tier.range<"m" at 0 bytes 12288>]
tier.weight @slices : tensor<96x64xbf16> from [#tier.range<"m" at 0 bytes 12288>]
tier.weight @experts : tensor<8x48x64xbf16> from [#tier.range<"m" at 0 bytes 49152>]
tier.weight @fp8 : tensor<96x64xf8E4M3FN, #tier.scaled<rows = 128, columns = 128, scale = f32>> from [#tier.range<"m" at 0 bytes 6148>]
tier.weight @unused : tensor<96x64xbf16> from [#tier.range<"m" at 0 bytes 12288>]

// CHECK-LABEL: func.func @products
func.func @products(%x: tensor<?x64xf32>) -> (tensor<?x96xf32>, tensor<?x96xf32>, tensor<?x96xf32>) {
  // CHECK-NOT: tier.use @unused
  %unused = tier.use @unused : tensor<96x64xbf16>
  %wn = tier.use @norm : tensor<64xf32>
  // CHECK-DAG: %[[W:.*]] = tier.use @bf16 : tensor<96x64xbf16, #flow.panels<columns = 32, pack = 2>>
  %w0 = tier.use @bf16 : tensor<96x64xbf16>
  %w1 = tier.use @f16 : tensor<96x64xf16>
  %w2 = tier.use @f32 : tensor<96x64xf32>
  %n = nn.norm rms %x, %wn eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32>
  // CHECK: nn.linear %{{.*}}, %[[W]] inputs bf16 : tensor<?x64xf32>, tensor<96x64xbf16, #flow.panels<columns = 32, pack = 2>>
  %0 = nn.linear %n, %w0 inputs bf16 : tensor<?x64xf32>, tensor<96x64xbf16> -> tensor<?x96xf32>
  %1 = nn.linear %n, %w1 inputs f16 : tensor<?x64xf32>, tensor<96x64xf16> -> tensor<?x96xf32>
  %2 = nn.linear %n, %w2 : tensor<?x64xf32>, tensor<96x64xf32> -> tensor<?x96xf32>
  return %0, %1, %2 : tensor<?x96xf32>, tensor<?x96xf32>, tensor<?x96xf32>
}

// Two halves that meet in a gated unit alternate; other slices do not.
func.func @halves_body(%x: tensor<?x64xf32>) -> (tensor<?x48xf32>, tensor<?x48xf32>) {
  %c0 = arith.constant 0 : index
  %w0 = tier.use @halves : tensor<96x64xbf16>
  %0 = nn.linear %x, %w0 inputs bf16 : tensor<?x64xf32>, tensor<96x64xbf16> -> tensor<?x96xf32>
  %rows = tensor.dim %0, %c0 : tensor<?x96xf32>
  %gate = tensor.extract_slice %0[0, 0] [%rows, 48] [1, 1] : tensor<?x96xf32> to tensor<?x48xf32>
  %up = tensor.extract_slice %0[0, 48] [%rows, 48] [1, 1] : tensor<?x96xf32> to tensor<?x48xf32>
  %1 = nn.glu silu %gate, %up : tensor<?x48xf32>
  %w1 = tier.use @slices : tensor<96x64xbf16>
  %2 = nn.linear %x, %w1 inputs bf16 : tensor<?x64xf32>, tensor<96x64xbf16> -> tensor<?x96xf32>
  %low = tensor.extract_slice %2[0, 0] [%rows, 48] [1, 1] : tensor<?x96xf32> to tensor<?x48xf32>
  %high = tensor.extract_slice %2[0, 48] [%rows, 48] [1, 1] : tensor<?x96xf32> to tensor<?x48xf32>
  %3 = nn.act silu %low : tensor<?x48xf32>
  %4 = arith.addf %3, %high : tensor<?x48xf32>
  return %1, %4 : tensor<?x48xf32>, tensor<?x48xf32>
}

// In an expert's body the product reads a slice; the op's operand is packed.
// CHECK-LABEL: func.func @experts_body
func.func @experts_body(%b: !moe.buckets<experts = 8, slots = 2, width = 64, element = bf16>) -> !moe.buckets<experts = 8, slots = 2, width = 48, element = f32> {
  %w = tier.use @experts : tensor<8x48x64xbf16>
  // CHECK: moe.experts
  // CHECK-NEXT: ^bb0(%{{.*}}: tensor<?x64xbf16>, %{{.*}}: tensor<48x64xbf16, #flow.panels<columns = 32, pack = 2>>):
  %0 = moe.experts %b weights(%w) : !moe.buckets<experts = 8, slots = 2, width = 64, element = bf16>, (tensor<8x48x64xbf16>) -> !moe.buckets<experts = 8, slots = 2, width = 48, element = f32> {
  ^bb0(%x: tensor<?x64xbf16>, %one: tensor<48x64xbf16>):
    %wide = arith.extf %x : tensor<?x64xbf16> to tensor<?x64xf32>
    %y = nn.linear %wide, %one inputs bf16 : tensor<?x64xf32>, tensor<48x64xbf16> -> tensor<?x48xf32>
    moe.yield %y : tensor<?x48xf32>
  }
  return %0 : !moe.buckets<experts = 8, slots = 2, width = 48, element = f32>
}

// An encoded weight keeps its scales; panels are of pairs.
// CHECK-LABEL: func.func @encoded
func.func @encoded(%x: tensor<?x64xf32>) -> tensor<?x96xf32> {
  // CHECK: tier.use @fp8 : tensor<96x64xf8E4M3FN, #tier.scaled<rows = 128, columns = 128, scale = f32, packing = #flow.panels<columns = 32, pack = 2>>>
  %w = tier.use @fp8 : tensor<96x64xf8E4M3FN, #tier.scaled<rows = 128, columns = 128, scale = f32>>
  %0 = nn.linear %x, %w inputs bf16 : tensor<?x64xf32>, tensor<96x64xf8E4M3FN, #tier.scaled<rows = 128, columns = 128, scale = f32>> -> tensor<?x96xf32>
  return %0 : tensor<?x96xf32>
}
