// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Plans for a GPU without a GPU: packages with weights that move, run by the
// driver `cuda` on the fake of libcuda, whose machine computes what is
// launched. Not a bit of the logits may change, however little memory there is;
// and the fake gives garbage to whoever reads too early or writes too early.
#include "compiler/codegen/gpu/GpuTarget.h"
#include "tests/integration/EmulatedMachine.h"
#include "tests/integration/PackageModel.h"
#include "tools/headrace/Compile.h"
#include "tools/package-reader/PackageReader.h"
#include "tools/plan-check/PlanChecker.h"
#include "llvm/Support/FileSystem.h"
#include <unistd.h>

using namespace headrace;
using namespace headrace::testing;
using namespace headrace::tests;

namespace {

class EmulatedTiers : public ::testing::TestWithParam<const char *> {
protected:
  void SetUp() override {
    auto ptxas = findPtxas();
    if (!ptxas)
      GTEST_SKIP() << llvm::toString(ptxas.takeError());
    directory =
        ::testing::TempDir() + "headrace-tiers-" + std::to_string(getpid());
    ASSERT_FALSE(llvm::sys::fs::create_directories(directory));
    path = directory + "/model.headrace";
    fake_cuda::Reset();
    fake_cuda::SetMachine([this](const fake_cuda::Launch &launch) {
      return machine.run(launch);
    });
    request.checkpoint = std::string("tests/data/families/") + GetParam();
    request.target = "sm_90a";
    request.output = path;
    request.dumpDirectory = directory;
    request.maxTokens = 24; // Two classes of steps.
    request.maxSequences = 4;
    request.maxContext = 64;
    request.quiet = true;
  }
  void TearDown() override {
    fake_cuda::SetStrict(false);
    fake_cuda::SetMachine(nullptr);
    llvm::sys::fs::remove_directories(directory);
  }

  /// Compiles; the machine takes the kernels of the same run, and the plan
  /// holds to every rule of the checker.
  void compile() {
    llvm::Error error = tools::compile(request);
    ASSERT_FALSE(bool(error)) << llvm::toString(std::move(error));
    error = machine.open(directory + "/4-kernels.mlir");
    ASSERT_FALSE(bool(error)) << llvm::toString(std::move(error));
    std::string wrong;
    ASSERT_TRUE(reader.open(path, &wrong)) << wrong;
    for (const plancheck::Violation &found :
         plancheck::checkPlan(reader.manifest()))
      ADD_FAILURE() << plancheck::ruleName(found.rule) << ": " << found.text;
  }

  /// Bytes of the fast level's arena in the package.
  uint64_t arenaBytes() {
    const headrace::abi::Manifest &manifest = reader.manifest();
    return manifest.levels()->Get(manifest.plan()->fast_level())->arena_bytes();
  }

  /// The least memory, which the refusal of far too little names: of the
  /// device, or of the host.
  uint64_t least(bool host = false) {
    tools::CompileRequest tiny = request;
    (host ? tiny.hostMemory : tiny.fastMemory) = 4096;
    std::string refusal = llvm::toString(tools::compile(tiny));
    const std::string before = "expected at least ";
    size_t at = refusal.find(before);
    EXPECT_NE(at, std::string::npos) << refusal;
    return at == std::string::npos
               ? 0
               : std::stoull(refusal.substr(at + before.size()));
  }

  /// A prompt beside another sequence, then tokens of both.
  std::vector<float> run(uint64_t budget, bool strict) {
    std::vector<float> logits;
    fake_cuda::SetStrict(strict);
    Model model;
    model.openOnGpu(path, nullptr, budget);
    if (HasFatalFailure())
      return logits;
    headrace_sequence_t *first = model.sequence(), *second = model.sequence();
    std::vector<int32_t> prompt;
    for (int32_t i = 0; i < 11; ++i)
      prompt.push_back((7 * i + 3) % 250);
    model.step({first, second}, {prompt, {5, 9}}, {&logits, &logits});
    for (int32_t token = 10; token < 13; ++token)
      model.step({first, second}, {{token}, {token + 40}}, {&logits, &logits});
    const uint32_t count = request.keyValues == "streamed" ? 3 : 2;
    for (uint32_t i = 0; budget && i < count; ++i) {
      links[i].struct_size = sizeof(links[i]);
      headrace_status_t status =
          headrace_session_link(model.session, i, &links[i]);
      EXPECT_FALSE(bool(status)) << headrace_status_message(status);
    }
    headrace_sequence_release(first);
    headrace_sequence_release(second);
    fake_cuda::SetStrict(false);
    EXPECT_EQ(machine.failure(), "");
    return logits;
  }

  tools::CompileRequest request;
  plancheck::PackageReader reader;
  EmulatedMachine machine;
  headrace_link_usage_t links[3] = {};
  std::string directory, path;
};

TEST_P(EmulatedTiers, GiveTheSameBitsInAnyMemory) {
  compile();
  ASSERT_FALSE(HasFailure());
  const std::vector<float> expected = run(0, false);
  ASSERT_FALSE(expected.empty());
  for (float value : expected)
    ASSERT_TRUE(std::isfinite(value));
  EXPECT_NE(expected.front(), expected.back());

  const uint64_t minimum = least();
  request.fastMemory = uint64_t(1) << 30;
  compile();
  ASSERT_FALSE(HasFailure());
  const uint64_t all = arenaBytes();
  ASSERT_GT(all, minimum);
  EXPECT_EQ(run(all, true), expected) << "all of " << all;
  for (int quarters : {2, 1, 0}) {
    request.fastMemory = minimum + (all - minimum) / 4 * uint64_t(quarters);
    compile();
    ASSERT_FALSE(HasFailure());
    const headrace::abi::Plan &plan = *reader.manifest().plan();
    EXPECT_GT(plan.bundles()->size(), 0u);
    EXPECT_EQ(run(request.fastMemory, /*strict=*/true), expected) << quarters;
    EXPECT_STREQ(links[0].name, "pcie");
    EXPECT_GT(links[0].bytes, 0u);
    if (quarters == 0) {
      EXPECT_EQ(run(request.fastMemory, /*strict=*/false), expected) << "late";
      EXPECT_EQ(run(0, false), expected) << "mapped";
    }
  }
}

/// With hardly any memory of the host, weights come through it.
TEST_P(EmulatedTiers, GiveTheSameBitsFromThePackage) {
  request.keyValues = "resident";
  request.fastMemory = least();
  request.hostMemory = least(/*host=*/true);
  compile();
  ASSERT_FALSE(HasFailure());
  EXPECT_GT(reader.manifest().plan()->staging_bytes(), 0u);
  const std::vector<float> expected = run(0, false);
  EXPECT_EQ(run(request.fastMemory, true), expected);
  EXPECT_STREQ(links[1].name, "disk");
  // More than what stays, which is read once.
  EXPECT_GT(links[1].transfers, 1u);
}

/// All layers' key-value pages leave, and at the least memory take turns in one
/// slot.
TEST_P(EmulatedTiers, GiveTheSameBitsWherePagesLeave) {
  request.keyValues = "streamed";
  const uint64_t minimum = least();
  for (uint64_t memory : {minimum, uint64_t(1) << 30}) {
    request.fastMemory = memory;
    compile();
    ASSERT_FALSE(HasFailure());
    const std::vector<float> expected = run(0, false);
    for (bool strict : {true, false}) {
      EXPECT_EQ(run(memory, strict), expected) << memory;
      EXPECT_STREQ(links[2].name, "pages");
      EXPECT_GT(links[2].bytes, 0u);
      EXPECT_GT(links[2].stored_bytes, 0u);
    }
  }
}

using EmulatedPredictions = EmulatedTiers;

TEST_P(EmulatedPredictions, ChangeNoBit) {
  request.predict = "on";
  request.fastMemory = least() + 80000;
  compile();
  ASSERT_FALSE(HasFailure());
  const std::vector<float> expected = run(0, false);
  EXPECT_EQ(run(request.fastMemory, true), expected);
}

INSTANTIATE_TEST_SUITE_P(Families, EmulatedPredictions,
                         ::testing::Values("olmoe-bf16"),
                         [](const auto &) { return "olmoe"; });
INSTANTIATE_TEST_SUITE_P(Families, EmulatedTiers,
                         ::testing::Values("llama-bf16", "olmoe-bf16"),
                         [](const auto &info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

} // namespace
