// RUN: headrace-opt %s --split-input-file --verify-diagnostics

// expected-error @+1 {{expected slots to be between 1 and the number of experts 8, but got 9}}
func.func private @selection_c1(!moe.selection<experts = 8, slots = 9>)

// -----

// expected-error @+1 {{expected slots to be between 1 and the number of experts 8, but got 0}}
func.func private @selection_c1_zero(!moe.selection<experts = 8, slots = 0>)

// -----

// expected-error @+1 {{expected slots to be between 1 and the number of experts 2, but got 3}}
func.func private @routing_c1(!moe.routing<experts = 2, slots = 3>)

// -----

// expected-error @+1 {{expected slots to be between 1 and the number of experts 2, but got 3}}
func.func private @buckets_c1_slots(!moe.buckets<experts = 2, slots = 3, width = 64, element = f32>)

// -----

// expected-error @+1 {{expected width to be positive, but got 0}}
func.func private @buckets_c1_width(!moe.buckets<experts = 2, slots = 1, width = 0, element = f32>)

// -----

// expected-error @+1 {{expected element to be f32, bf16 or f16, but got 'f64'}}
func.func private @buckets_c2(!moe.buckets<experts = 2, slots = 1, width = 64, element = f64>)

// -----

func.func @select_c1(%p: tensor<?x8xf32>) {
  // expected-error @+1 {{'moe.select' op expected experts of the result to equal the columns of 'choice', but got 16 and 8}}
  %s = moe.select top_k 2 %p : tensor<?x8xf32> -> !moe.selection<experts = 16, slots = 2>
  return
}

// -----

func.func @select_c2(%p: tensor<?x8xf32>) {
  // expected-error @+1 {{'moe.select' op expected slots of the result to equal 'top_k', but got 2 and 3}}
  %s = moe.select top_k 3 %p : tensor<?x8xf32> -> !moe.selection<experts = 8, slots = 2>
  return
}

// -----

!s = !moe.selection<experts = 8, slots = 2>
!r = !moe.routing<experts = 8, slots = 2>
func.func @weigh_c1(%s: !s, %v: tensor<?x16xf32>) {
  // expected-error @+1 {{'moe.weigh' op expected experts of 'selection' to equal the columns of 'value', but got 8 and 16}}
  %w = moe.weigh %s, %v norm none : !s, tensor<?x16xf32> -> !r
  return
}

// -----

!s = !moe.selection<experts = 8, slots = 2>
func.func @weigh_c2(%s: !s, %v: tensor<?x8xf32>) {
  // expected-error @+1 {{'moe.weigh' op expected experts and slots of the result to equal those of 'selection', but got 8 and 3 against 8 and 2}}
  %w = moe.weigh %s, %v norm none : !s, tensor<?x8xf32> -> !moe.routing<experts = 8, slots = 3>
  return
}

// -----

!s = !moe.selection<experts = 8, slots = 2>
!r = !moe.routing<experts = 8, slots = 2>
func.func @weigh_c3_without(%s: !s, %v: tensor<?x8xf32>) {
  // expected-error @+1 {{'moe.weigh' op expected 'p' exactly with norm pnorm, but got norm pnorm without 'p'}}
  %w = moe.weigh %s, %v norm pnorm : !s, tensor<?x8xf32> -> !r
  return
}

// -----

!s = !moe.selection<experts = 8, slots = 2>
!r = !moe.routing<experts = 8, slots = 2>
func.func @weigh_c3_with(%s: !s, %v: tensor<?x8xf32>) {
  // expected-error @+1 {{'moe.weigh' op expected 'p' exactly with norm pnorm, but got norm sum with 'p'}}
  %w = moe.weigh %s, %v norm sum p 2.0 : !s, tensor<?x8xf32> -> !r
  return
}

// -----

!s = !moe.selection<experts = 8, slots = 2>
!r = !moe.routing<experts = 8, slots = 2>
func.func @weigh_c3_small(%s: !s, %v: tensor<?x8xf32>) {
  // expected-error-re @+1 {{'moe.weigh' op expected 'p' to be at least 1, but got 5{{.*}}e-01}}
  %w = moe.weigh %s, %v norm pnorm p 0.5 : !s, tensor<?x8xf32> -> !r
  return
}

// -----

!s = !moe.selection<experts = 8, slots = 2>
!r = !moe.routing<experts = 8, slots = 2>
func.func @weigh_c4_norm(%s: !s, %v: tensor<?x8xf32>) {
  // expected-error @+1 {{'moe.weigh' op expected 'eps' only with norm sum, but got norm softmax}}
  %w = moe.weigh %s, %v norm softmax eps 1.0 : !s, tensor<?x8xf32> -> !r
  return
}

// -----

!s = !moe.selection<experts = 8, slots = 2>
!r = !moe.routing<experts = 8, slots = 2>
func.func @weigh_c4_negative(%s: !s, %v: tensor<?x8xf32>) {
  // expected-error-re @+1 {{'moe.weigh' op expected 'eps' not to be negative, but got -1{{.*}}}}
  %w = moe.weigh %s, %v norm sum eps -1.0 : !s, tensor<?x8xf32> -> !r
  return
}

// -----

func.func @dispatch_c1(%x: tensor<?x64xf32>, %r: !moe.routing<experts = 8, slots = 2>) {
  // expected-error @+1 {{'moe.dispatch' op expected experts and slots of the result to equal those of 'routing', but got 4 and 2 against 8 and 2}}
  %b = moe.dispatch %x, %r : tensor<?x64xf32>, !moe.routing<experts = 8, slots = 2>
    -> !moe.buckets<experts = 4, slots = 2, width = 64, element = f32>
  return
}

// -----

func.func @dispatch_c2(%x: tensor<?x64xf32>, %r: !moe.routing<experts = 8, slots = 2>) {
  // expected-error @+1 {{'moe.dispatch' op expected width of the result to equal that of 'input', but got 32 and 64}}
  %b = moe.dispatch %x, %r : tensor<?x64xf32>, !moe.routing<experts = 8, slots = 2>
    -> !moe.buckets<experts = 8, slots = 2, width = 32, element = f32>
  return
}

// -----

!b = !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>
func.func @experts_c1(%b: !b, %w: tensor<4x32x64xf32>) {
  // expected-error @+1 {{'moe.experts' op expected leading dimension of weight #0 to equal the number of experts, but got 'tensor<4x32x64xf32>' and 8}}
  %y = moe.experts %b weights(%w) : !b, (tensor<4x32x64xf32>) -> !b {
  ^bb0(%x: tensor<?x64xf32>, %e: tensor<32x64xf32>):
    moe.yield %x : tensor<?x64xf32>
  }
  return
}

// -----

!b = !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>
func.func @experts_c1_rank(%b: !b, %w: tensor<8xf32>) {
  // expected-error @+1 {{'moe.experts' op expected leading dimension of weight #0 to equal the number of experts, but got 'tensor<8xf32>' and 8}}
  %y = moe.experts %b weights(%w) : !b, (tensor<8xf32>) -> !b {
  ^bb0(%x: tensor<?x64xf32>, %e: tensor<f32>):
    moe.yield %x : tensor<?x64xf32>
  }
  return
}

// -----

!b = !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>
func.func @experts_c2_count(%b: !b, %w: tensor<8x32x64xf32>) {
  // expected-error @+1 {{'moe.experts' op expected one region argument for the rows and one a weight, but got 1 for 1 weights}}
  %y = moe.experts %b weights(%w) : !b, (tensor<8x32x64xf32>) -> !b {
  ^bb0(%x: tensor<?x64xf32>):
    moe.yield %x : tensor<?x64xf32>
  }
  return
}

// -----

!b = !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>
func.func @experts_c2_rows(%b: !b) {
  // expected-error @+1 {{'moe.experts' op expected region argument #0 to be 'tensor<?x64xf32>', but got 'tensor<?x32xf32>'}}
  %y = moe.experts %b : !b -> !b {
  ^bb0(%x: tensor<?x32xf32>):
    moe.yield %x : tensor<?x32xf32>
  }
  return
}

// -----

!b = !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>
func.func @experts_c2_slice(%b: !b, %w: tensor<8x32x64xf32>) {
  // expected-error @+1 {{'moe.experts' op expected region argument #1 to be 'tensor<32x64xf32>', but got 'tensor<32x64xbf16>'}}
  %y = moe.experts %b weights(%w) : !b, (tensor<8x32x64xf32>) -> !b {
  ^bb0(%x: tensor<?x64xf32>, %e: tensor<32x64xbf16>):
    moe.yield %x : tensor<?x64xf32>
  }
  return
}

// -----

!b = !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>
func.func @experts_c3(%b: !b, %w: tensor<8x32x64xf32>) {
  // expected-error @+1 {{'moe.experts' op expected the region to yield 'tensor<?x64xf32>', but got 'tensor<?x32xf32>'}}
  %y = moe.experts %b weights(%w) : !b, (tensor<8x32x64xf32>) -> !b {
  ^bb0(%x: tensor<?x64xf32>, %e: tensor<32x64xf32>):
    %h = nn.linear %x, %e : tensor<?x64xf32>, tensor<32x64xf32> -> tensor<?x32xf32>
    moe.yield %h : tensor<?x32xf32>
  }
  return
}

// -----

!b = !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>
func.func @experts_c3_terminator(%b: !b) {
  // expected-error @+1 {{'moe.experts' op expected the region to end with moe.yield, but got llvm.unreachable}}
  %y = moe.experts %b : !b -> !b {
  ^bb0(%x: tensor<?x64xf32>):
    llvm.unreachable
  }
  return
}

// -----

!b = !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>
func.func @experts_c4(%b: !b) {
  // expected-error @+1 {{'moe.experts' op expected experts and slots of the result to equal those of 'buckets', but got 8 and 1 against 8 and 2}}
  %y = moe.experts %b : !b -> !moe.buckets<experts = 8, slots = 1, width = 64, element = f32> {
  ^bb0(%x: tensor<?x64xf32>):
    moe.yield %x : tensor<?x64xf32>
  }
  return
}

// -----

// A body sees only its arguments.
!b = !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>
func.func @experts_isolated(%b: !b, %outer: tensor<?x64xf32>) {
  // expected-note @+1 {{required by region isolation constraints}}
  %y = moe.experts %b : !b -> !b {
  ^bb0(%x: tensor<?x64xf32>):
    // expected-error @+1 {{op using value defined outside the region}}
    moe.yield %outer : tensor<?x64xf32>
  }
  return
}

// -----

func.func @yield_parent(%x: tensor<?x64xf32>) {
  // expected-error @+1 {{'moe.yield' op expects parent op 'moe.experts'}}
  moe.yield %x : tensor<?x64xf32>
}

// -----

!b = !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>
func.func @combine_c1(%b: !b, %r: !moe.routing<experts = 4, slots = 2>) {
  // expected-error @+1 {{'moe.combine' op expected experts and slots of 'buckets' to equal those of 'routing', but got 8 and 2 against 4 and 2}}
  %y = moe.combine %b, %r : !b, !moe.routing<experts = 4, slots = 2> -> tensor<?x64xf32>
  return
}

// -----

!b = !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>
!r = !moe.routing<experts = 8, slots = 2>
func.func @combine_c2_result(%b: !b, %r: !r) {
  // expected-error @+1 {{'moe.combine' op expected width of the result to equal that of 'buckets', but got 32 and 64}}
  %y = moe.combine %b, %r : !b, !r -> tensor<?x32xf32>
  return
}

// -----

!b = !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>
!r = !moe.routing<experts = 8, slots = 2>
func.func @combine_c2_base(%b: !b, %r: !r, %x: tensor<?x64xf32>, %z: tensor<4x64xf32>) {
  // expected-error @+1 {{'moe.combine' op expected every base addend to be 'tensor<?x64xf32>', but got 'tensor<4x64xf32>'}}
  %y = moe.combine %b, %r base(%x, %z) : !b, !r, tensor<?x64xf32>, tensor<4x64xf32> -> tensor<?x64xf32>
  return
}

// -----

func.func @scores_width(%x: tensor<?x?xf32>) {
  // expected-error @+1 {{'moe.squash' op operand #0 must be rows of float32 of a static width, but got 'tensor<?x?xf32>'}}
  %p = moe.squash softmax %x : tensor<?x?xf32>
  return
}

// -----

!b = !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>
!r = !moe.routing<experts = 8, slots = 2>
func.func @dispatch_rows_width(%x: tensor<?x?xf32>, %r: !r) {
  // expected-error @+1 {{'moe.dispatch' op operand #0 must be rows of floats of a static width, but got 'tensor<?x?xf32>'}}
  %b = moe.dispatch %x, %r : tensor<?x?xf32>, !r -> !b
  return
}

// -----

!b = !moe.buckets<experts = 8, slots = 2, width = 64, element = f32>
!r = !moe.routing<experts = 8, slots = 2>
func.func @combine_rows_width(%b: !b, %r: !r) {
  // expected-error @+1 {{'moe.combine' op result #0 must be rows of float32 of a static width, but got 'tensor<?x?xf32>'}}
  %y = moe.combine %b, %r : !b, !r -> tensor<?x?xf32>
  return
}
