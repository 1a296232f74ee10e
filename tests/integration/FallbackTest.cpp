// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What no kernel family knows compiles to loops, gives what the interpreter
// gives, and is listed as such. On a GPU, too, whose kernels run thread by
// thread behind a fake of its driver.
#include "compiler/codegen/gpu/GpuTarget.h"
#include "compiler/reference/Interpreter.h"
#include "dialects/RegisterAll.h"
#include "headrace/handles.hpp"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "tests/integration/EmulatedMachine.h"
#include "tools/headrace/Compile.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <gtest/gtest.h>
#include <random>
#include <set>

using namespace headrace;
using namespace headrace::testing;
using namespace headrace::tests;
using namespace mlir;

namespace {

/// A function of rows, and how many kernels it has beside those of families.
struct Case {
  const char *name;
  int fallbackKernels;
  const char *module;
};

const Case kCases[] = {
    {"elementwise", 4, R"(
func.func @layer(%x: tensor<?x37xf32>, %y: tensor<?x37xf32>, %s: tensor<?x1xf32>)
    -> tensor<?x37xf32> {
  %a = arith.mulf %x, %y : tensor<?x37xf32>
  %b = math.tanh %a : tensor<?x37xf32>
  %c = nn.scale %b by %s : tensor<?x37xf32>, tensor<?x1xf32>
  %d = nn.glu silu %c, %x : tensor<?x37xf32>
  return %d : tensor<?x37xf32>
})"},
    {"functions", 7, R"(
func.func @layer(%x: tensor<?x5xf32>) -> tensor<?x5xf32> {
  %a = math.absf %x : tensor<?x5xf32>
  %b = math.log1p %a : tensor<?x5xf32>
  %c = math.exp2 %b : tensor<?x5xf32>
  %d = math.powf %c, %a : tensor<?x5xf32>
  %e = math.rsqrt %d : tensor<?x5xf32>
  %f = math.floor %c : tensor<?x5xf32>
  %g = arith.addf %e, %f : tensor<?x5xf32>
  return %g : tensor<?x5xf32>
})"},
    {"narrow", 3, R"(
func.func @layer(%x: tensor<?x9xf32>, %y: tensor<?x9xf32>) -> tensor<?x9xf32> {
  %a = arith.truncf %x : tensor<?x9xf32> to tensor<?x9xbf16>
  %b = arith.truncf %y : tensor<?x9xf32> to tensor<?x9xbf16>
  %c = arith.addf %a, %b : tensor<?x9xbf16>
  %d = arith.extf %c : tensor<?x9xbf16> to tensor<?x9xf32>
  return %d : tensor<?x9xf32>
})"},
    {"masks", 3, R"(
func.func @layer(%x: tensor<?x7xf32>, %y: tensor<?x7xf32>) -> tensor<?x7xf32> {
  %low = arith.constant dense<-0.25> : tensor<7xf32>
  %a = arith.cmpf ogt, %x, %y : tensor<?x7xf32>
  %b = arith.select %a, %x, %y : tensor<?x7xi1>, tensor<?x7xf32>
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : tensor<?x7xf32>
  %e = tensor.empty(%n) : tensor<?x7xf32>
  %c = linalg.generic {
      indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (j)>,
                       affine_map<(i, j) -> (i, j)>],
      iterator_types = ["parallel", "parallel"]}
      ins(%b, %low : tensor<?x7xf32>, tensor<7xf32>) outs(%e : tensor<?x7xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %m = arith.maximumf %p, %q : f32
    linalg.yield %m : f32
  } -> tensor<?x7xf32>
  return %c : tensor<?x7xf32>
})"},
    // Norms that no product reads.
    {"norms", 5, R"(
tier.weight @w : tensor<12xf32> from [#tier.range<"f32.bin" at 0 bytes 48>]
tier.weight @b : tensor<12xbf16> from [#tier.range<"bf16.bin" at 0 bytes 24>]
func.func @layer(%x: tensor<?x12xf32>)
    -> (tensor<?x12xf32>, tensor<?x12xf32>, tensor<?x12xf32>) {
  %w = tier.use @w : tensor<12xf32>
  %b = tier.use @b : tensor<12xbf16>
  %r = nn.norm rms %x eps 1.0e-5 groups 3 : tensor<?x12xf32>
  %l = nn.norm layer %x, %w bias %b eps 1.0e-3 : tensor<?x12xf32>, tensor<12xf32> bias tensor<12xbf16>
  %s = nn.norm l2 %x, %w eps 0.0 : tensor<?x12xf32>, tensor<12xf32>
  %a = arith.addf %r, %l : tensor<?x12xf32>
  %t = nn.act gelu %s : tensor<?x12xf32>
  return %a, %t, %s : tensor<?x12xf32>, tensor<?x12xf32>, tensor<?x12xf32>
})"},
    // Products whose rows or weights no family stages.
    {"linears", 3, R"(
tier.weight @u : tensor<20x12xf32> from [#tier.range<"f32.bin" at 0 bytes 960>]
tier.weight @v : tensor<6x20xbf16> from [#tier.range<"bf16.bin" at 0 bytes 240>]
tier.weight @w : tensor<6x6xf32> from [#tier.range<"f32.bin" at 1024 bytes 144>]
tier.weight @b : tensor<6xf32> from [#tier.range<"f32.bin" at 2048 bytes 24>]
func.func @layer(%x: tensor<?x12xf32>) -> tensor<?x6xf32> {
  %u = tier.use @u : tensor<20x12xf32>
  %v = tier.use @v : tensor<6x20xbf16>
  %w = tier.use @w : tensor<6x6xf32>
  %b = tier.use @b : tensor<6xf32>
  %n = nn.norm rms %x eps 1.0e-5 groups 2 : tensor<?x12xf32>
  %h = nn.linear %n, %u : tensor<?x12xf32>, tensor<20x12xf32> -> tensor<?x20xf32>
  %c = nn.clamp %h low -0.5 high 0.5 : tensor<?x20xf32>
  %p = nn.linear %c, %v bias %b inputs bf16 : tensor<?x20xf32>, tensor<6x20xbf16>, tensor<6xf32> -> tensor<?x6xf32>
  %q = nn.linear %p, %w : tensor<?x6xf32>, tensor<6x6xf32> -> tensor<?x6xf32>
  %c0 = arith.constant 0 : index
  %m = tensor.dim %q, %c0 : tensor<?x6xf32>
  %e = tensor.empty(%m) : tensor<?x6xf32>
  %zero = arith.constant 0.0 : f32
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<?x6xf32>) -> tensor<?x6xf32>
  %r = linalg.matmul ins(%q, %w : tensor<?x6xf32>, tensor<6x6xf32>) outs(%f : tensor<?x6xf32>) -> tensor<?x6xf32>
  return %r : tensor<?x6xf32>
})"},
    // Every element of both encodings but NaN, subnormal ones, too.
    {"encoded", 0, R"(
tier.weight @w : tensor<64x32xf8E4M3FN, #tier.scaled<rows = 64, columns = 32, scale = f32>> from [#tier.range<"codes.bin" at 0 bytes 2048>, #tier.range<"f32.bin" at 0 bytes 4>]
tier.weight @v : tensor<32x64xf4E2M1FN, #tier.scaled<rows = 1, columns = 32, scale = f8E8M0FNU>> from [#tier.range<"codes.bin" at 0 bytes 1024>, #tier.range<"exponents.bin" at 0 bytes 64>]
func.func @layer(%x: tensor<?x32xf32>, %y: tensor<?x64xf32>)
    -> (tensor<?x64xf32>, tensor<?x32xf32>) {
  %w = tier.use @w : tensor<64x32xf8E4M3FN, #tier.scaled<rows = 64, columns = 32, scale = f32>>
  %v = tier.use @v : tensor<32x64xf4E2M1FN, #tier.scaled<rows = 1, columns = 32, scale = f8E8M0FNU>>
  %a = nn.linear %x, %w inputs bf16 : tensor<?x32xf32>, tensor<64x32xf8E4M3FN, #tier.scaled<rows = 64, columns = 32, scale = f32>> -> tensor<?x64xf32>
  %b = nn.linear %y, %v inputs bf16 : tensor<?x64xf32>, tensor<32x64xf4E2M1FN, #tier.scaled<rows = 1, columns = 32, scale = f8E8M0FNU>> -> tensor<?x32xf32>
  return %a, %b : tensor<?x64xf32>, tensor<?x32xf32>
})"},
    // A softmax written out, and a mean over columns.
    {"reductions", 6, R"(
func.func @layer(%x: tensor<?x11xf32>) -> (tensor<?x11xf32>, tensor<?xf32>) {
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : tensor<?x11xf32>
  %lowest = arith.constant -1.0e30 : f32
  %zero = arith.constant 0.0 : f32
  %e1 = tensor.empty(%n) : tensor<?xf32>
  %e2 = tensor.empty(%n) : tensor<?x11xf32>
  %i1 = linalg.fill ins(%lowest : f32) outs(%e1 : tensor<?xf32>) -> tensor<?xf32>
  %i2 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<?xf32>) -> tensor<?xf32>
  %top = linalg.reduce { arith.maximumf } ins(%x : tensor<?x11xf32>) outs(%i1 : tensor<?xf32>) dimensions = [1]
  %wide = linalg.broadcast ins(%top : tensor<?xf32>) outs(%e2 : tensor<?x11xf32>) dimensions = [1]
  %d = arith.subf %x, %wide : tensor<?x11xf32>
  %p = math.exp %d : tensor<?x11xf32>
  %sum = linalg.reduce { arith.addf } ins(%p : tensor<?x11xf32>) outs(%i2 : tensor<?xf32>) dimensions = [1]
  %r = linalg.generic {
      indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i)>,
                       affine_map<(i, j) -> (i, j)>],
      iterator_types = ["parallel", "parallel"]}
      ins(%p, %sum : tensor<?x11xf32>, tensor<?xf32>) outs(%e2 : tensor<?x11xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %q = arith.divf %a, %b : f32
    linalg.yield %q : f32
  } -> tensor<?x11xf32>
  return %r, %sum : tensor<?x11xf32>, tensor<?xf32>
})"},
    {"shapes", 3, R"(
func.func @layer(%x: tensor<?x12xf32>, %y: tensor<?x3xf32>) -> tensor<?x15xf32> {
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : tensor<?x12xf32>
  %h = tensor.expand_shape %x [[0], [1, 2]] output_shape [%n, 3, 4] : tensor<?x12xf32> into tensor<?x3x4xf32>
  %e = tensor.empty(%n) : tensor<?x4x3xf32>
  %t = linalg.transpose ins(%h : tensor<?x3x4xf32>) outs(%e : tensor<?x4x3xf32>) permutation = [0, 2, 1]
  %f = tensor.collapse_shape %t [[0], [1, 2]] : tensor<?x4x3xf32> into tensor<?x12xf32>
  %g = arith.mulf %f, %x : tensor<?x12xf32>
  %s = tensor.extract_slice %g[0, 1] [%n, 6] [1, 2] : tensor<?x12xf32> to tensor<?x6xf32>
  %r = tensor.concat dim(1) %y, %s, %s : (tensor<?x3xf32>, tensor<?x6xf32>, tensor<?x6xf32>) -> tensor<?x15xf32>
  return %r : tensor<?x15xf32>
})"},
    {"rotations", 1, R"(
func.func @layer(%x: tensor<?x12xf32>, %a: tensor<?x4xf32>) -> tensor<?x12xf32> {
  %r = nn.rotate %x by %a heads 2 : tensor<?x12xf32>, tensor<?x4xf32>
  return %r : tensor<?x12xf32>
})"},
    // Picked by a score with a bias, weighed without it, which the family of
    // routers knows; the experts, which square what is positive and have a bias
    // each, are loops.
    {"router", 2, R"(
tier.weight @router : tensor<5x8xf32> from [#tier.range<"f32.bin" at 0 bytes 160>]
tier.weight @balance : tensor<5xf32> from [#tier.range<"f32.bin" at 512 bytes 20>]
tier.weight @up : tensor<5x14x8xf32> from [#tier.range<"f32.bin" at 1024 bytes 2240>]
tier.weight @shift : tensor<5x14xf32> from [#tier.range<"f32.bin" at 4096 bytes 280>]
tier.weight @down : tensor<5x8x14xbf16> from [#tier.range<"bf16.bin" at 0 bytes 1120>]
func.func @layer(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %wr = tier.use @router : tensor<5x8xf32>
  %wb = tier.use @balance : tensor<5xf32>
  %wu = tier.use @up : tensor<5x14x8xf32>
  %ws = tier.use @shift : tensor<5x14xf32>
  %wd = tier.use @down : tensor<5x8x14xbf16>
  %n = nn.norm rms %x eps 1.0e-5 : tensor<?x8xf32>
  %l = nn.linear %n, %wr : tensor<?x8xf32>, tensor<5x8xf32> -> tensor<?x5xf32>
  %p = moe.squash sigmoid %l : tensor<?x5xf32>
  %c0 = arith.constant 0 : index
  %m = tensor.dim %p, %c0 : tensor<?x5xf32>
  %e = tensor.empty(%m) : tensor<?x5xf32>
  %c = linalg.generic {
      indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (j)>,
                       affine_map<(i, j) -> (i, j)>],
      iterator_types = ["parallel", "parallel"]}
      ins(%p, %wb : tensor<?x5xf32>, tensor<5xf32>) outs(%e : tensor<?x5xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %s = arith.addf %a, %b : f32
    linalg.yield %s : f32
  } -> tensor<?x5xf32>
  %sel = moe.select top_k 2 %c : tensor<?x5xf32> -> !moe.selection<experts = 5, slots = 2>
  %r = moe.weigh %sel, %p norm sum scale 2.5 : !moe.selection<experts = 5, slots = 2>, tensor<?x5xf32> -> !moe.routing<experts = 5, slots = 2>
  %d = moe.dispatch %n, %r : tensor<?x8xf32>, !moe.routing<experts = 5, slots = 2> -> !moe.buckets<experts = 5, slots = 2, width = 8, element = f32>
  %y = moe.experts %d weights(%wu, %ws, %wd) : !moe.buckets<experts = 5, slots = 2, width = 8, element = f32>,
      (tensor<5x14x8xf32>, tensor<5x14xf32>, tensor<5x8x14xbf16>) -> !moe.buckets<experts = 5, slots = 2, width = 8, element = f32> {
  ^bb0(%t: tensor<?x8xf32>, %u: tensor<14x8xf32>, %s: tensor<14xf32>, %w: tensor<8x14xbf16>):
    %h = nn.linear %t, %u bias %s : tensor<?x8xf32>, tensor<14x8xf32>, tensor<14xf32> -> tensor<?x14xf32>
    %a = nn.act relu %h : tensor<?x14xf32>
    %q = arith.mulf %a, %a : tensor<?x14xf32>
    %o = nn.linear %q, %w inputs bf16 : tensor<?x14xf32>, tensor<8x14xbf16> -> tensor<?x8xf32>
    moe.yield %o : tensor<?x8xf32>
  }
  %z = moe.combine %y, %r base(%x, %n) : !moe.buckets<experts = 5, slots = 2, width = 8, element = f32>, !moe.routing<experts = 5, slots = 2>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return %z : tensor<?x8xf32>
})"},
    // The same choice written otherwise, from logits and a bias of bf16, which
    // a softmax of the picked logits does not see.
    {"logits_with_bias", 2, R"(
tier.weight @router : tensor<40x8xbf16> from [#tier.range<"bf16.bin" at 0 bytes 640>]
tier.weight @shift : tensor<40xf32> from [#tier.range<"f32.bin" at 0 bytes 160>]
tier.weight @balance : tensor<40xbf16> from [#tier.range<"bf16.bin" at 1024 bytes 80>]
func.func @layer(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %wr = tier.use @router : tensor<40x8xbf16>
  %ws = tier.use @shift : tensor<40xf32>
  %wb = tier.use @balance : tensor<40xbf16>
  %n = nn.norm rms %x eps 1.0e-5 : tensor<?x8xf32>
  %l = nn.linear %n, %wr bias %ws : tensor<?x8xf32>, tensor<40x8xbf16>, tensor<40xf32> -> tensor<?x40xf32>
  %c0 = arith.constant 0 : index
  %m = tensor.dim %x, %c0 : tensor<?x8xf32>
  %e = tensor.empty(%m) : tensor<?x40xf32>
  %c = linalg.generic {
      indexing_maps = [affine_map<(i, j) -> (j)>, affine_map<(i, j) -> (i, j)>,
                       affine_map<(i, j) -> (i, j)>],
      iterator_types = ["parallel", "parallel"]}
      ins(%wb, %l : tensor<40xbf16>, tensor<?x40xf32>) outs(%e : tensor<?x40xf32>) {
  ^bb0(%a: bf16, %b: f32, %o: f32):
    %w = arith.extf %a : bf16 to f32
    %s = arith.addf %w, %b : f32
    linalg.yield %s : f32
  } -> tensor<?x40xf32>
  %sel = moe.select top_k 6 %c : tensor<?x40xf32> -> !moe.selection<experts = 40, slots = 6>
  %r = moe.weigh %sel, %l norm softmax : !moe.selection<experts = 40, slots = 6>, tensor<?x40xf32> -> !moe.routing<experts = 40, slots = 6>
  %d = moe.dispatch %n, %r : tensor<?x8xf32>, !moe.routing<experts = 40, slots = 6> -> !moe.buckets<experts = 40, slots = 6, width = 8, element = f32>
  %y = moe.experts %d : !moe.buckets<experts = 40, slots = 6, width = 8, element = f32> -> !moe.buckets<experts = 40, slots = 6, width = 8, element = f32> {
  ^bb0(%t: tensor<?x8xf32>):
    %h = nn.act relu %t : tensor<?x8xf32>
    moe.yield %h : tensor<?x8xf32>
  }
  %z = moe.combine %y, %r base(%x) : !moe.buckets<experts = 40, slots = 6, width = 8, element = f32>, !moe.routing<experts = 40, slots = 6>, tensor<?x8xf32> -> tensor<?x8xf32>
  return %z : tensor<?x8xf32>
})"},
    // The bias spread over the rows by an op of its own.
    {"spread_bias", 1, R"(
tier.weight @router : tensor<5x8xf32> from [#tier.range<"f32.bin" at 0 bytes 160>]
tier.weight @balance : tensor<5xf32> from [#tier.range<"f32.bin" at 512 bytes 20>]
func.func @layer(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %wr = tier.use @router : tensor<5x8xf32>
  %wb = tier.use @balance : tensor<5xf32>
  %l = nn.linear %x, %wr : tensor<?x8xf32>, tensor<5x8xf32> -> tensor<?x5xf32>
  %p = moe.squash softmax %l : tensor<?x5xf32>
  %c0 = arith.constant 0 : index
  %m = tensor.dim %p, %c0 : tensor<?x5xf32>
  %e = tensor.empty(%m) : tensor<?x5xf32>
  %b = linalg.broadcast ins(%wb : tensor<5xf32>) outs(%e : tensor<?x5xf32>) dimensions = [0]
  %c = arith.addf %p, %b : tensor<?x5xf32>
  %sel = moe.select top_k 2 %c : tensor<?x5xf32> -> !moe.selection<experts = 5, slots = 2>
  %r = moe.weigh %sel, %p norm none : !moe.selection<experts = 5, slots = 2>, tensor<?x5xf32> -> !moe.routing<experts = 5, slots = 2>
  %d = moe.dispatch %x, %r : tensor<?x8xf32>, !moe.routing<experts = 5, slots = 2> -> !moe.buckets<experts = 5, slots = 2, width = 8, element = f32>
  %y = moe.experts %d : !moe.buckets<experts = 5, slots = 2, width = 8, element = f32> -> !moe.buckets<experts = 5, slots = 2, width = 8, element = f32> {
  ^bb0(%t: tensor<?x8xf32>):
    %h = nn.act relu %t : tensor<?x8xf32>
    moe.yield %h : tensor<?x8xf32>
  }
  %z = moe.combine %y, %r base(%x) : !moe.buckets<experts = 5, slots = 2, width = 8, element = f32>, !moe.routing<experts = 5, slots = 2>, tensor<?x8xf32> -> tensor<?x8xf32>
  return %z : tensor<?x8xf32>
})"},
    // A choice that the family does not know: from scores times a vector.
    {"scaled_choice", 3, R"(
tier.weight @router : tensor<5x8xf32> from [#tier.range<"f32.bin" at 0 bytes 160>]
tier.weight @factor : tensor<5xf32> from [#tier.range<"f32.bin" at 512 bytes 20>]
func.func @layer(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %wr = tier.use @router : tensor<5x8xf32>
  %wf = tier.use @factor : tensor<5xf32>
  %l = nn.linear %x, %wr : tensor<?x8xf32>, tensor<5x8xf32> -> tensor<?x5xf32>
  %p = moe.squash sigmoid %l : tensor<?x5xf32>
  %c0 = arith.constant 0 : index
  %m = tensor.dim %p, %c0 : tensor<?x5xf32>
  %e = tensor.empty(%m) : tensor<?x5xf32>
  %c = linalg.generic {
      indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (j)>,
                       affine_map<(i, j) -> (i, j)>],
      iterator_types = ["parallel", "parallel"]}
      ins(%p, %wf : tensor<?x5xf32>, tensor<5xf32>) outs(%e : tensor<?x5xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %s = arith.mulf %a, %b : f32
    linalg.yield %s : f32
  } -> tensor<?x5xf32>
  %sel = moe.select top_k 2 %c : tensor<?x5xf32> -> !moe.selection<experts = 5, slots = 2>
  %r = moe.weigh %sel, %p norm sum : !moe.selection<experts = 5, slots = 2>, tensor<?x5xf32> -> !moe.routing<experts = 5, slots = 2>
  %d = moe.dispatch %x, %r : tensor<?x8xf32>, !moe.routing<experts = 5, slots = 2> -> !moe.buckets<experts = 5, slots = 2, width = 8, element = f32>
  %y = moe.experts %d : !moe.buckets<experts = 5, slots = 2, width = 8, element = f32> -> !moe.buckets<experts = 5, slots = 2, width = 8, element = f32> {
  ^bb0(%t: tensor<?x8xf32>):
    %h = nn.act relu %t : tensor<?x8xf32>
    moe.yield %h : tensor<?x8xf32>
  }
  %z = moe.combine %y, %r base(%x) : !moe.buckets<experts = 5, slots = 2, width = 8, element = f32>, !moe.routing<experts = 5, slots = 2>, tensor<?x8xf32> -> tensor<?x8xf32>
  return %z : tensor<?x8xf32>
})"},
    // A router as families know it, and a body as none does: a bottleneck with
    // a softmax over its channels.
    {"experts", 1, R"(
tier.weight @router : tensor<4x6xbf16> from [#tier.range<"bf16.bin" at 0 bytes 48>]
tier.weight @in : tensor<4x3x6xbf16> from [#tier.range<"bf16.bin" at 64 bytes 144>]
tier.weight @out : tensor<4x6x3xf32> from [#tier.range<"f32.bin" at 256 bytes 288>]
func.func @layer(%x: tensor<?x6xf32>) -> tensor<?x6xf32> {
  %wr = tier.use @router : tensor<4x6xbf16>
  %wi = tier.use @in : tensor<4x3x6xbf16>
  %wo = tier.use @out : tensor<4x6x3xf32>
  %l = nn.linear %x, %wr : tensor<?x6xf32>, tensor<4x6xbf16> -> tensor<?x4xf32>
  %p = moe.squash softmax %l : tensor<?x4xf32>
  %sel = moe.select top_k 3 %p : tensor<?x4xf32> -> !moe.selection<experts = 4, slots = 3>
  %r = moe.weigh %sel, %p norm none : !moe.selection<experts = 4, slots = 3>, tensor<?x4xf32> -> !moe.routing<experts = 4, slots = 3>
  %d = moe.dispatch %x, %r : tensor<?x6xf32>, !moe.routing<experts = 4, slots = 3> -> !moe.buckets<experts = 4, slots = 3, width = 6, element = f32>
  %y = moe.experts %d weights(%wi, %wo) : !moe.buckets<experts = 4, slots = 3, width = 6, element = f32>,
      (tensor<4x3x6xbf16>, tensor<4x6x3xf32>) -> !moe.buckets<experts = 4, slots = 3, width = 6, element = f32> {
  ^bb0(%t: tensor<?x6xf32>, %i: tensor<3x6xbf16>, %o: tensor<6x3xf32>):
    %n = nn.norm layer %t eps 1.0e-5 : tensor<?x6xf32>
    %h = nn.linear %n, %i inputs bf16 : tensor<?x6xf32>, tensor<3x6xbf16> -> tensor<?x3xf32>
    %s = moe.squash softmax %h : tensor<?x3xf32>
    %q = nn.linear %s, %o : tensor<?x3xf32>, tensor<6x3xf32> -> tensor<?x6xf32>
    moe.yield %q : tensor<?x6xf32>
  }
  %z = moe.combine %y, %r base(%x) : !moe.buckets<experts = 4, slots = 3, width = 6, element = f32>, !moe.routing<experts = 4, slots = 3>, tensor<?x6xf32> -> tensor<?x6xf32>
  return %z : tensor<?x6xf32>
})"},
};

constexpr int64_t kRows = 11;

#define REQUIRE_OK(expression)                                                 \
  do {                                                                         \
    headrace_status_t status = (expression);                                   \
    ASSERT_FALSE(bool(status)) << headrace_status_message(status);             \
  } while (false)

/// Memory as headrace_session_invoke wants it.
struct Aligned {
  explicit Aligned(size_t count)
      : data(static_cast<float *>(
            aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64))),
        bytes(count * sizeof(float)) {}
  Aligned(Aligned &&other) : data(other.data), bytes(other.bytes) {
    other.data = nullptr;
  }
  ~Aligned() { free(data); }
  size_t size() const { return bytes / sizeof(float); }
  float *data;
  uint64_t bytes;
};

class Fallback : public ::testing::TestWithParam<Case> {
protected:
  Fallback() {
    EXPECT_FALSE(
        llvm::sys::fs::createUniqueDirectory("headrace-fallback", directory));
    writeNumbers("f32.bin", [](llvm::raw_ostream &os, float value) {
      os.write(reinterpret_cast<const char *>(&value), 4);
    });
    writeNumbers("bf16.bin", [](llvm::raw_ostream &os, float value) {
      uint16_t bits = reference::floatToBf16(value);
      os.write(reinterpret_cast<const char *>(&bits), 2);
    });
    int number = 0;
    writeNumbers("codes.bin", [&](llvm::raw_ostream &os, float) {
      int code = number++ % 256;
      os << char(code % 128 == 127 ? 0 : code); // No NaN.
    });
    writeNumbers("exponents.bin", [&](llvm::raw_ostream &os, float) {
      os << char(120 + number++ % 8);
    });
  }
  ~Fallback() override { llvm::sys::fs::remove_directories(directory); }

  std::string file(const char *name) const {
    return (directory + "/" + name).str();
  }
  float draw() { return normal(random); }

  /// Draws inputs and notes what the interpreter makes of them.
  void evaluate();
  /// Expects the same of a package for `target`.
  void compileAndRun(const std::string &target);

  std::vector<Aligned> inputs, outputs;
  std::vector<std::vector<float>> expected;
  EmulatedMachine machine; ///< Behind the fake driver.

private:
  template <typename Write> void writeNumbers(const char *name, Write write) {
    std::error_code code;
    llvm::raw_fd_ostream stream(file(name), code);
    ASSERT_FALSE(code);
    for (int i = 0; i < 2048; ++i)
      write(stream, 0.4f * draw());
  }
  llvm::SmallString<128> directory;
  std::mt19937 random{std::random_device{}()};
  std::normal_distribution<float> normal;
};

void Fallback::evaluate() {
  MLIRContext context;
  DialectRegistry registry;
  registerAllDialects(registry);
  context.appendDialectRegistry(registry);
  auto module = parseSourceString<ModuleOp>(GetParam().module, &context);
  ASSERT_TRUE(module);
  auto function = module->lookupSymbol<func::FuncOp>("layer");
  auto shapeOf = [](Type type) {
    std::vector<int64_t> shape = cast<RankedTensorType>(type).getShape().vec();
    shape[0] = kRows;
    return shape;
  };
  std::vector<RuntimeValue> values;
  for (Type type : function.getArgumentTypes()) {
    FloatTensor count(shapeOf(type), {});
    std::vector<float> numbers(size_t(count.size()));
    for (float &number : numbers)
      number = draw();
    inputs.emplace_back(numbers.size());
    memcpy(inputs.back().data, numbers.data(), inputs.back().bytes);
    values.push_back(FloatTensor(count.shape, std::move(numbers)));
  }
  for (Type type : function.getResultTypes()) {
    outputs.emplace_back(size_t(FloatTensor(shapeOf(type), {}).size()));
    std::fill_n(outputs.back().data, outputs.back().size(), NAN);
  }
  auto interpreter = Interpreter::create(*module, file(""));
  ASSERT_TRUE(bool(interpreter));
  auto results = interpreter->runFunction("layer", values);
  if (!results)
    FAIL() << llvm::toString(results.takeError());
  for (const RuntimeValue &value : *results) {
    const auto &tensor = std::get<FloatTensor>(value);
    expected.emplace_back(tensor.values.get(),
                          tensor.values.get() + tensor.size());
  }
}

void Fallback::compileAndRun(const std::string &target) {
  tools::CompileRequest request;
  request.moduleText = GetParam().module;
  request.weights = file("");
  request.output = file("layer.headrace");
  request.target = target;
  request.dumpDirectory = file("");
  request.quiet = true;
  if (llvm::Error error = tools::compile(request))
    FAIL() << llvm::toString(std::move(error));
  bool gpu = target != "cpu";
  if (gpu) {
    llvm::Error error = machine.open(file("4-kernels.mlir"));
    ASSERT_FALSE(bool(error)) << llvm::toString(std::move(error));
  }

  Instance instance;
  Device device;
  Package package;
  Session session;
  REQUIRE_OK(make(instance, [](headrace_instance_t **out) {
    return headrace_instance_create(nullptr, out);
  }));
  REQUIRE_OK(make(device, [&](headrace_device_t **out) {
    return gpu ? headrace_device_create_cuda(instance.get(), nullptr, out)
               : headrace_device_create_cpu(instance.get(), nullptr, out);
  }));
  REQUIRE_OK(make(package, [&](headrace_package_t **out) {
    return headrace_package_open(instance.get(), request.output.c_str(),
                                 nullptr, out);
  }));
  REQUIRE_OK(make(session, [&](headrace_session_t **out) {
    return headrace_session_create(device.get(), package.get(), nullptr, out);
  }));
  auto info = sized<headrace_package_info_t>();
  REQUIRE_OK(headrace_package_info(package.get(), &info));
  std::set<std::string> fallback;
  for (uint32_t i = 0; i < info.kernel_count; ++i) {
    auto kernel = sized<headrace_kernel_info_t>();
    REQUIRE_OK(headrace_package_kernel(package.get(), i, &kernel));
    if (!strcmp(kernel.family, "upstream"))
      fallback.insert(kernel.name);
  }
  // A GPU's products take less than a CPU's.
  if (gpu)
    EXPECT_GE(int(fallback.size()), GetParam().fallbackKernels);
  else
    EXPECT_EQ(int(fallback.size()), GetParam().fallbackKernels);

  std::vector<const void *> in;
  std::vector<void *> out;
  std::vector<uint64_t> inBytes, outBytes;
  for (Aligned &input : inputs) {
    in.push_back(input.data);
    inBytes.push_back(input.bytes);
  }
  for (Aligned &output : outputs) {
    out.push_back(output.data);
    outBytes.push_back(output.bytes);
  }
  auto options = sized<headrace_invoke_options_t>();
  options.tokens = kRows;
  options.inputs = in.data();
  options.input_bytes = inBytes.data();
  options.input_count = in.size();
  options.outputs_data = out.data();
  options.output_bytes = outBytes.data();
  options.output_count = out.size();
  REQUIRE_OK(headrace_session_invoke(session.get(), &options));
  EXPECT_EQ(machine.failure(), "");
  ASSERT_EQ(outputs.size(), expected.size());
  for (size_t n = 0; n < outputs.size(); ++n) {
    ASSERT_EQ(outputs[n].size(), expected[n].size());
    for (size_t i = 0; i < expected[n].size(); ++i)
      EXPECT_NEAR(outputs[n].data[i], expected[n][i],
                  1e-4 * (1 + std::fabs(expected[n][i])))
          << "element " << i;
  }
}

TEST_P(Fallback, AgreesWithTheInterpreter) {
  evaluate();
  if (!HasFatalFailure())
    compileAndRun("cpu");
}

TEST_P(Fallback, AgreesWithTheInterpreterOnAGpu) {
  auto ptxas = findPtxas();
  if (!ptxas)
    GTEST_SKIP() << llvm::toString(ptxas.takeError());
  fake_cuda::Reset();
  fake_cuda::SetMachine(
      [this](const fake_cuda::Launch &launch) { return machine.run(launch); });
  evaluate();
  if (!HasFatalFailure())
    compileAndRun("sm_90a");
  fake_cuda::SetMachine(nullptr);
}

INSTANTIATE_TEST_SUITE_P(Ops, Fallback, ::testing::ValuesIn(kCases),
                         [](const auto &info) {
                           return std::string(info.param.name);
                         });

} // namespace
