// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The whole path of a GPU's package without a GPU: compiled, opened by the
// runtime, and run through the C API by the driver `cuda`, on a fake of libcuda
// whose machine runs each kernel thread by thread. Logits are compared with
// other people's.
#include "compiler/codegen/gpu/GpuTarget.h"
#include "tests/compiler/reference/Goldens.h"
#include "tests/integration/EmulatedMachine.h"
#include "tests/integration/PackageModel.h"
#include "tools/headrace/Compile.h"
#include "llvm/Support/FileSystem.h"
#include <gtest/gtest.h>
#include <unistd.h>

using namespace headrace;
using namespace headrace::testing;
using namespace headrace::tests;

namespace {

class EmulatedDriver : public ::testing::TestWithParam<std::string> {
protected:
  void SetUp() override {
    auto ptxas = findPtxas();
    if (!ptxas)
      GTEST_SKIP() << llvm::toString(ptxas.takeError());
    auto read = readGolden(GetParam());
    ASSERT_TRUE(bool(read)) << llvm::toString(read.takeError());
    golden = std::move(*read);
    directory =
        ::testing::TempDir() + "headrace-emulated-" + std::to_string(getpid());
    ASSERT_FALSE(llvm::sys::fs::create_directories(directory));
    fake_cuda::Reset();
    fake_cuda::SetMachine([this](const fake_cuda::Launch &launch) {
      return machine.run(launch);
    });
  }
  void TearDown() override {
    fake_cuda::SetMachine(nullptr);
    llvm::sys::fs::remove_directories(directory);
  }

  /// Compiles for `chip`; the machine takes the kernels of the same run.
  void compile(const std::string &chip, bool library = false,
               int64_t maxTokens = 80) {
    tools::CompileRequest request;
    request.checkpoint = GetParam();
    request.target = chip;
    request.output = directory + "/model.headrace";
    request.dumpDirectory = directory;
    request.library = library;
    request.maxTokens = maxTokens;
    request.maxSequences = 8;
    request.quiet = true;
    llvm::Error error = tools::compile(request);
    ASSERT_FALSE(bool(error)) << llvm::toString(std::move(error));
    error = machine.open(directory + "/4-kernels.mlir");
    ASSERT_FALSE(bool(error)) << llvm::toString(std::move(error));
  }
  /// Feeds all tokens in steps of the sizes given, over and over.
  std::vector<float> feed(const std::vector<size_t> &sizes) {
    Model model;
    model.openOnGpu(directory + "/model.headrace");
    std::vector<float> logits;
    if (HasFatalFailure())
      return logits;
    std::vector<int32_t> tokens = golden.tokens();
    headrace_sequence_t *mine = model.sequence(), *other = model.sequence();
    size_t at = 0;
    for (size_t i = 0; at < tokens.size(); ++i) {
      size_t count = std::min(sizes[i % sizes.size()], tokens.size() - at);
      std::vector<int32_t> piece(tokens.begin() + int64_t(at),
                                 tokens.begin() + int64_t(at + count));
      // Another sequence is beside it every other time.
      if (i % 2)
        model.step({other, mine},
                   {{tokens.rbegin(), tokens.rbegin() + 2}, piece},
                   {nullptr, &logits});
      else
        model.step({mine}, {piece}, {&logits});
      at += count;
    }
    headrace_sequence_release(mine);
    headrace_sequence_release(other);
    return logits;
  }
  void expectGolden(const std::vector<float> &logits) {
    EXPECT_EQ(machine.failure(), "");
    ASSERT_EQ(logits.size(),
              golden.tokens().size() * size_t(golden.vocabulary));
    GoldenReport report = compareWithGolden(golden, logits, golden.closeness());
    printf("%s\n", report.text.c_str());
    EXPECT_TRUE(report.ok) << report.text;
  }

  Golden golden;
  EmulatedMachine machine;
  std::string directory;
};

TEST_P(EmulatedDriver, LogitsAreThoseOfTransformers) {
  compile("sm_90a");
  if (HasFatalFailure())
    return;
  expectGolden(feed({30, 4, 1}));
  EXPECT_GT(machine.launches(), 0u);
  // Every step was captured once and replayed.
  for (const fake_cuda::Launched &launched : fake_cuda::Launches())
    EXPECT_TRUE(launched.replayed) << launched.kernel;
}

using EmulatedNewerDriver = EmulatedDriver;

TEST_P(EmulatedNewerDriver, PortableCodeGivesTheseLogitsToo) {
  fake_cuda::SetCapability(100);
  compile("sm_80");
  if (HasFatalFailure())
    return;
  expectGolden(feed({80}));
}

INSTANTIATE_TEST_SUITE_P(
    Families, EmulatedDriver,
    ::testing::ValuesIn(listNarrowGoldens("tests/data/families")),
    [](const auto &info) { return testNameOf(info.param); });
using EmulatedLibrary = EmulatedDriver;

/// Steps of so many tokens leave dense products to cuBLASLt.
TEST_P(EmulatedLibrary, ProductsGiveTheseLogitsToo) {
  compile("sm_90a", /*library=*/true, 512);
  if (HasFatalFailure())
    return;
  Model model;
  model.openOnGpu(directory + "/model.headrace", "libcuda.so.1");
  if (HasFatalFailure())
    return;
  // The same tokens in several sequences, so that the step is large.
  std::vector<int32_t> tokens = golden.tokens();
  std::vector<headrace_sequence_t *> sequences;
  for (int i = 0; i < 4; ++i)
    sequences.push_back(model.sequence());
  std::vector<float> first, last;
  model.step(sequences, {tokens, tokens, tokens, tokens},
             {&first, nullptr, nullptr, &last});
  EXPECT_GT(fake_cuda::Calls("cublasLtMatmul"), 0);
  expectGolden(first);
  EXPECT_EQ(first, last);
  for (headrace_sequence_t *sequence : sequences)
    headrace_sequence_release(sequence);
}

INSTANTIATE_TEST_SUITE_P(Families, EmulatedLibrary,
                         ::testing::Values("tests/data/families/olmoe-bf16",
                                           "tests/data/families/qwen2-bf16",
                                           "tests/data/families/qwen3_moe-bf16",
                                           "tests/data/families/gpt_oss-bf16"),
                         [](const auto &info) {
                           return testNameOf(info.param);
                         });
INSTANTIATE_TEST_SUITE_P(Families, EmulatedNewerDriver,
                         ::testing::Values("tests/data/families/mixtral-bf16",
                                           "tests/data/families/gpt_oss-bf16",
                                           "tests/data/families/qwen3-bf16"),
                         [](const auto &info) {
                           return testNameOf(info.param);
                         });

} // namespace
