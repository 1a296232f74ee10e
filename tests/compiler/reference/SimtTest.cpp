// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The machine that runs GPU kernels on the CPU: planted mistakes are found, and
// matrix instructions multiply as the tables of the PTX ISA say.
#include "compiler/reference/simt/Simt.h"
#include "dialects/RegisterAll.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"

#include <cstring>
#include <gtest/gtest.h>

using namespace headrace;
using namespace mlir;

namespace {

/// A module with one kernel of this body. %in and %out are buffers, %t and %b
/// the thread and the block as i32, %s is shared memory.
std::string kernel(const std::string &body) {
  return R"(
gpu.module @k {
  llvm.mlir.global external @shared() {addr_space = 3 : i32} : !llvm.array<0 x i8>
  gpu.func @k(%in: !llvm.ptr<1>, %out: !llvm.ptr<1>) kernel {
    %t = nvvm.read.ptx.sreg.tid.x : i32
    %b = nvvm.read.ptx.sreg.ctaid.x : i32
    %s = llvm.mlir.addressof @shared : !llvm.ptr<3>
    %c0 = arith.constant 0 : i32
    %c1 = arith.constant 1 : i32
    %c4 = arith.constant 4 : i32
    %c16 = arith.constant 16 : i32
    %c31 = arith.constant 31 : i32
)" + body +
         "\n    gpu.return\n  }\n}\n";
}

struct SimtTest : ::testing::Test {
  MLIRContext context;
  simt::Memory memory;
  OwningOpRef<ModuleOp> module;
  uint64_t in = 0, out = 0;

  void SetUp() override {
    DialectRegistry registry;
    registerAllDialects(registry);
    context.appendDialectRegistry(registry);
    in = memory.allocate("in", 1024);
    out = memory.allocate("out", 1024);
    std::vector<uint32_t> numbers(256);
    for (uint32_t i = 0; i < 256; ++i)
      numbers[i] = i;
    memory.write(in, numbers.data(), 1024);
  }
  std::string run(const std::string &body, uint64_t blocks = 1,
                  uint64_t threads = 32) {
    module = parseSourceString<ModuleOp>(kernel(body), ParserConfig(&context));
    if (!module)
      return "does not parse";
    simt::Launch launch;
    launch.module = *module->getOps<gpu::GPUModuleOp>().begin();
    launch.blocks = blocks;
    launch.threads = threads;
    launch.sharedBytes = 1024;
    launch.parameters = {in, out};
    return llvm::toString(simt::run(memory, launch));
  }
};

#define EXPECT_FINDS(body, what)                                               \
  EXPECT_NE(run(body).find(what), std::string::npos) << run(body)

const char *kWriteOwn = R"(
    %own = llvm.getelementptr %s[%t] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i32
    llvm.store %t, %own : i32, !llvm.ptr<3>
)";
const char *kReadOther = R"(
    %r = arith.subi %c31, %t : i32
    %other = llvm.getelementptr %s[%r] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i32
    %x = llvm.load %other : !llvm.ptr<3> -> i32
    %to = llvm.getelementptr %out[%t] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    llvm.store %x, %to : i32, !llvm.ptr<1>
)";

TEST_F(SimtTest, SharedMemoryNeedsABarrier) {
  EXPECT_FINDS(std::string(kWriteOwn) + kReadOther, "without a barrier");
  EXPECT_EQ(run(std::string(kWriteOwn) + "    gpu.barrier\n" + kReadOther), "");
  uint32_t got[32];
  ASSERT_FALSE(bool(memory.read(out, got, sizeof(got))));
  for (uint32_t i = 0; i < 32; ++i)
    EXPECT_EQ(got[i], 31 - i);
  // A warp's own barrier does, within a warp.
  EXPECT_EQ(run(std::string(kWriteOwn) +
                "    %m = arith.constant -1 : i32\n    nvvm.bar.warp.sync %m : "
                "i32\n" +
                kReadOther),
            "");
}

TEST_F(SimtTest, SharedMemoryIsNotOverwrittenInUse) {
  EXPECT_FINDS(std::string(kWriteOwn) + "    gpu.barrier\n" + kReadOther + R"(
    llvm.store %c0, %own : i32, !llvm.ptr<3>
)",
               "which others read");
}

TEST_F(SimtTest, BytesNobodyWroteAreNotRead) {
  EXPECT_FINDS(R"(
    %x = llvm.load %s : !llvm.ptr<3> -> i32
)",
               "nobody wrote");
  EXPECT_FINDS(R"(
    %x = llvm.load %out : !llvm.ptr<1> -> i32
)",
               "which nobody wrote");
}

TEST_F(SimtTest, AddressesLieInABuffer) {
  EXPECT_FINDS(R"(
    %far = arith.constant 256 : i32
    %at = llvm.getelementptr %in[%far] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    %x = llvm.load %at : !llvm.ptr<1> -> i32
)",
               "no buffer has");
  EXPECT_FINDS(R"(
    %odd = llvm.getelementptr %in[2] : (!llvm.ptr<1>) -> !llvm.ptr<1>, i8
    %x = llvm.load %odd : !llvm.ptr<1> -> i32
)",
               "not aligned");
  EXPECT_FINDS(R"(
    %far = arith.constant 256 : i32
    %at = llvm.getelementptr %s[%far] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i32
    llvm.store %c0, %at : i32, !llvm.ptr<3>
)",
               "of shared memory");
}

TEST_F(SimtTest, BlocksDoNotWriteOneByte) {
  std::string body = R"(
    %to = llvm.getelementptr %out[%t] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    llvm.store %b, %to : i32, !llvm.ptr<1>
)";
  EXPECT_EQ(run(body), "");
  EXPECT_NE(run(body, 2).find("which block 0 wrote"), std::string::npos);
}

TEST_F(SimtTest, BlocksReadEachOtherBehindAnAtomic) {
  std::string read = R"(
    %first = arith.cmpi eq, %b, %c0 : i32
    scf.if %first {
      %to = llvm.getelementptr %out[%t] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
      llvm.store %t, %to : i32, !llvm.ptr<1>
    } else {
      %from = llvm.getelementptr %out[%t] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
      %x = llvm.load %from : !llvm.ptr<1> -> i32
    }
)";
  EXPECT_NE(run(read, 2).find("wrote in this launch"), std::string::npos);
  EXPECT_EQ(run(R"(
    %n = llvm.atomicrmw add %in, %c1 syncscope("device") acq_rel : !llvm.ptr<1>, i32
)" + read,
                2),
            "");
}

const char *kStoreOwn = R"(
    %own = llvm.getelementptr %out[%t] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    llvm.store %t, %own : i32, !llvm.ptr<1>
)";
const char *kLoadOther = R"(
    %r = arith.subi %c31, %t : i32
    %other = llvm.getelementptr %out[%r] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    %x = llvm.load %other : !llvm.ptr<1> -> i32
)";

TEST_F(SimtTest, ThreadsMeetBeforeTheyReadEachOthersGlobalWrites) {
  EXPECT_FINDS(std::string(kStoreOwn) + kLoadOther, "without a barrier");
  EXPECT_EQ(run(std::string(kStoreOwn) + "    gpu.barrier\n" + kLoadOther), "");
  EXPECT_EQ(run(std::string(kStoreOwn) +
                "    %m = arith.constant -1 : i32\n    nvvm.bar.warp.sync %m : "
                "i32\n" +
                kLoadOther),
            "");
  EXPECT_FINDS(std::string(kStoreOwn) + R"(
    llvm.store %t, %out : i32, !llvm.ptr<1>
)",
               "without a barrier");
}

TEST_F(SimtTest, ConstantsAreNotWritten) {
  EXPECT_FINDS(R"(
    %to = llvm.getelementptr %in[%t] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    llvm.store %t, %to : i32, !llvm.ptr<1>
    %x = llvm.load %to invariant : !llvm.ptr<1> -> i32
)",
               "as a constant");
}

const char *kCopy = R"(
    %at = arith.muli %t, %c16 : i32
    %slot = llvm.getelementptr %s[%at] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i8
    %from = llvm.getelementptr %in[%at] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i8
    nvvm.cp.async.shared.global %slot, %from, 16, cache = cg : !llvm.ptr<3>, !llvm.ptr<1>
    nvvm.cp.async.commit.group
)";
const char *kUse = R"(
    %word = arith.muli %t, %c4 : i32
    %there = llvm.getelementptr %s[%word] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i32
    %x = llvm.load %there : !llvm.ptr<3> -> i32
    %to = llvm.getelementptr %out[%t] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    llvm.store %x, %to : i32, !llvm.ptr<1>
)";

TEST_F(SimtTest, CopiesAreAwaited) {
  std::string await = "    nvvm.cp.async.wait.group 0\n";
  EXPECT_FINDS(std::string(kCopy) + kUse, "has not arrived");
  EXPECT_EQ(run(kCopy + await + "    gpu.barrier\n" + kUse), "");
  // Waiting for another group is not enough.
  EXPECT_FINDS(std::string(kCopy) + "    nvvm.cp.async.wait.group 1\n" + kUse,
               "has not arrived");
}

TEST_F(SimtTest, CopiesDoNotLandInASlotInUse) {
  std::string await = "    nvvm.cp.async.wait.group 0\n    gpu.barrier\n";
  std::string again = R"(
    %r = arith.subi %c31, %t : i32
    %rat = arith.muli %r, %c16 : i32
    %rslot = llvm.getelementptr %s[%rat] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i8
    nvvm.cp.async.shared.global %rslot, %from, 16, cache = cg : !llvm.ptr<3>, !llvm.ptr<1>
)";
  EXPECT_FINDS(kCopy + await + kUse + again, "which others read");
  EXPECT_EQ(run(kCopy + await + kUse + "    gpu.barrier\n" + again), "");
}

TEST_F(SimtTest, BarriersAreReachedByAll) {
  std::string body = R"(
    %low = arith.cmpi slt, %t, %c16 : i32
    scf.if %low {
      gpu.barrier
    }
)";
  EXPECT_FINDS(body, "not reached by the whole block");
  EXPECT_FINDS(R"(
    %low = arith.cmpi slt, %t, %c16 : i32
    scf.if %low {
      %w = arith.constant 32 : i32
      %v, %ok = gpu.shuffle xor %t, %c1, %w : i32
    }
)",
               "a part of a warp");
}

/// D = A B + C with numbers that tell every place apart, A through the
/// fragments of the ISA's table, B through ldmatrix.
TEST_F(SimtTest, MatricesMultiplyAsTheIsaSays) {
  auto bf16 = [](float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    return uint16_t(bits >> 16);
  };
  float a[16][16], b[16][8];
  for (int i = 0; i < 16; ++i)
    for (int k = 0; k < 16; ++k)
      a[i][k] = float((i * 5 + k * 3) % 13 - 6);
  for (int k = 0; k < 16; ++k)
    for (int n = 0; n < 8; ++n)
      b[k][n] = float((k * 7 + n * 2) % 11 - 5);
  // in: 32 lanes of 4 words of A, then B's columns as rows of 16 values.
  std::vector<uint16_t> data(512, 0);
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 8; ++i) {
      int row = lane / 4 + (i / 2 % 2) * 8;
      int k = lane % 4 * 2 + i % 2 + (i / 4) * 8;
      data[size_t(lane * 8 + i)] = bf16(a[row][k]);
    }
  for (int n = 0; n < 8; ++n)
    for (int k = 0; k < 16; ++k)
      data[size_t(256 + n * 16 + k)] = bf16(b[k][n]);
  memory.write(in, data.data(), data.size() * 2);
  std::string body = R"(
    %zero = arith.constant 0.0 : f32
    %la = llvm.getelementptr %in[%t] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, vector<4xi32>
    %av = llvm.load %la {alignment = 16 : i64} : !llvm.ptr<1> -> vector<4xi32>
    %c2 = arith.constant 2 : i32
    %c3 = arith.constant 3 : i32
    %c8 = arith.constant 8 : i32
    %a0 = llvm.extractelement %av[%c0 : i32] : vector<4xi32>
    %a1 = llvm.extractelement %av[%c1 : i32] : vector<4xi32>
    %a2 = llvm.extractelement %av[%c2 : i32] : vector<4xi32>
    %a3 = llvm.extractelement %av[%c3 : i32] : vector<4xi32>
    // B: 16 units of 16 bytes, lane t copies unit t % 16 to its place.
    %u = arith.remui %t, %c16 : i32
    %c32 = arith.constant 32 : i32
    %from16 = arith.addi %u, %c32 : i32
    %bsrc = llvm.getelementptr %in[%from16] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, vector<4xi32>
    %bdst = llvm.getelementptr %s[%u] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, vector<4xi32>
    %mine = arith.cmpi slt, %t, %c16 : i32
    scf.if %mine {
      nvvm.cp.async.shared.global %bdst, %bsrc, 16, cache = cg : !llvm.ptr<3>, !llvm.ptr<1>
    }
    nvvm.cp.async.commit.group
    nvvm.cp.async.wait.group 0
    gpu.barrier
    // Lane l names row l % 8 of matrix l / 8; only two matrices are there.
    %row = arith.remui %t, %c8 : i32
    %half = arith.divui %u, %c8 : i32
    %r2 = arith.muli %row, %c2 : i32
    %unit = arith.addi %r2, %half : i32
    %bat = llvm.getelementptr %s[%unit] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, vector<4xi32>
    %bm = nvvm.ldmatrix %bat {eltType = #nvvm.ld_st_matrix_elt_type<b16>, layout = #nvvm.mma_layout<row>, num = 4 : i32, shape = #nvvm.ld_st_matrix_shape<m = 8, n = 8>} : (!llvm.ptr<3>) -> !llvm.struct<(i32, i32, i32, i32)>
    %b0 = llvm.extractvalue %bm[0] : !llvm.struct<(i32, i32, i32, i32)>
    %b1 = llvm.extractvalue %bm[1] : !llvm.struct<(i32, i32, i32, i32)>
    %d = nvvm.mma.sync A[%a0, %a1, %a2, %a3] B[%b0, %b1] C[%zero, %zero, %zero, %zero] {layoutA = #nvvm.mma_layout<row>, layoutB = #nvvm.mma_layout<col>, multiplicandAPtxType = #nvvm.mma_type<bf16>, multiplicandBPtxType = #nvvm.mma_type<bf16>, shape = #nvvm.shape<m = 16, n = 8, k = 16>} : (i32, i32, f32) -> !llvm.struct<(f32, f32, f32, f32)>
    %base = arith.muli %t, %c4 : i32
)";
  for (int i = 0; i < 4; ++i) {
    std::string n = std::to_string(i);
    body += "    %d" + n + " = llvm.extractvalue %d[" + n +
            "] : !llvm.struct<(f32, f32, f32, f32)>\n    %p" + n +
            " = llvm.getelementptr %out[%base] : (!llvm.ptr<1>, i32) -> "
            "!llvm.ptr<1>, f32\n    %q" +
            n + " = llvm.getelementptr %p" + n + "[" + n +
            "] : (!llvm.ptr<1>) -> !llvm.ptr<1>, f32\n    llvm.store %d" + n +
            ", %q" + n + " : f32, !llvm.ptr<1>\n";
  }
  ASSERT_EQ(run(body), "");
  std::vector<float> all(128);
  ASSERT_FALSE(bool(memory.read(out, all.data(), 512)));
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) {
      int row = lane / 4 + i / 2 * 8, n = lane % 4 * 2 + i % 2;
      float sum = 0;
      for (int k = 0; k < 16; ++k)
        sum += a[row][k] * b[k][n];
      EXPECT_EQ(all[size_t(lane * 4 + i)], sum) << lane << " " << i;
    }
}

} // namespace
