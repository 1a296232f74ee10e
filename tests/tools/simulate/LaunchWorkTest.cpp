// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What launches read and multiply, on a manifest small enough to count by hand.
#include "tools/simulate/LaunchWork.h"

#include "runtime/abi/kernel_abi.h"
#include <gtest/gtest.h>

// Inside, where `abi` is ours and not that of the C++ library.
namespace headrace::simulate {
namespace {

/// Four experts of one 8 x 4 matrix each, two picked by a row; a linear and an
/// embedding of 16 x 4, a norm of 4; a cache of two layers with one head of 4.
class LaunchWorkTest : public testing::Test {
protected:
  enum Kernels { kEmbed, kLinear, kRouted, kAttention };
  enum Buffers { kPool, kPoolView, kRows, kLogits };
  enum Weights { kTable, kNorm, kMatrix, kExperts };

  LaunchWorkTest() {
    abi::ManifestT manifest;
    manifest.producer = manifest.model = "test";
    manifest.limits = std::make_unique<abi::LimitsT>();
    manifest.kv = std::make_unique<abi::KvCacheT>();
    manifest.kv->layers = 2;
    manifest.kv->heads = 1;
    manifest.kv->head_dim = 4;
    manifest.kv->element_type = abi::ElementType::bf16;
    addWeight(manifest, "tensor<16x4xbf16>", 128);
    addWeight(manifest, "tensor<4xf32>", 16);
    addWeight(manifest, "tensor<16x4xbf16, #flow.panels<columns = 32>>", 128);
    for (int i = 0; i < 4; ++i)
      addWeight(manifest, "tensor<8x4xbf16>", 64);
    for (const char *family : {"embed", "linear", "routed_up", "attention"}) {
      auto kernel = std::make_unique<abi::KernelT>();
      kernel->name = std::string(family) + "_0";
      kernel->family = family;
      if (kernel->family == "routed_up")
        kernel->weight_slots = {1, 4};
      manifest.kernels.push_back(std::move(kernel));
    }
    addBuffer(manifest, abi::BufferKind::input, HEADRACE_ROLE_KV_POOL, "");
    addBuffer(manifest, abi::BufferKind::view, "", "");
    manifest.buffers.back()->base = kPool;
    addBuffer(manifest, abi::BufferKind::scratch, "", "tensor<?x8xf32>");
    addBuffer(manifest, abi::BufferKind::output, HEADRACE_ROLE_LOGITS,
              "tensor<?x16xf32>");
    auto entry = std::make_unique<abi::EntryT>();
    entry->name = "forward";
    addLaunch(*entry, kEmbed, {kRows}, {kTable});
    addLaunch(*entry, kLinear, {kRows}, {kNorm, kMatrix});
    addLaunch(*entry, kLinear, {kLogits}, {kMatrix});
    addLaunch(*entry, kRouted, {kRows}, {kNorm, kExperts});
    entry->launches.back()->grid_kind = abi::GridKind::per_routed;
    entry->launches.back()->grid_block = 2;
    entry->launches.back()->grid_limit = 4;
    addLaunch(*entry, kAttention, {kPoolView, kRows}, {});
    manifest.entries.push_back(std::move(entry));
    flatbuffers::FlatBufferBuilder builder;
    abi::FinishManifestBuffer(builder, abi::CreateManifest(builder, &manifest));
    bytes.assign(builder.GetBufferPointer(),
                 builder.GetBufferPointer() + builder.GetSize());
  }

  static void addWeight(abi::ManifestT &manifest, const char *type,
                        uint64_t size) {
    auto weight = std::make_unique<abi::WeightT>();
    weight->name = "w" + std::to_string(manifest.weights.size());
    weight->type = type;
    weight->blob = uint32_t(manifest.blobs.size());
    manifest.weights.push_back(std::move(weight));
    manifest.blobs.push_back(std::make_unique<abi::BlobT>());
    manifest.blobs.back()->bytes = size;
  }
  static void addBuffer(abi::ManifestT &manifest, abi::BufferKind kind,
                        const char *role, const char *type) {
    auto buffer = std::make_unique<abi::BufferT>();
    buffer->name = "b" + std::to_string(manifest.buffers.size());
    buffer->kind = kind;
    buffer->role = role;
    buffer->type = type;
    manifest.buffers.push_back(std::move(buffer));
  }
  static void addLaunch(abi::EntryT &entry, uint32_t kernel,
                        std::vector<uint32_t> buffers,
                        std::vector<uint32_t> weights) {
    auto launch = std::make_unique<abi::LaunchT>();
    launch->kernel = kernel;
    launch->buffers = std::move(buffers);
    launch->weights = std::move(weights);
    entry.launches.push_back(std::move(launch));
  }

  const abi::Manifest &manifest() { return *abi::GetManifest(bytes.data()); }
  KernelWork work(uint32_t launch, const StepShape &shape, double active = 0) {
    return LaunchWork(manifest())
        .of(*manifest().entries()->Get(0)->launches()->Get(launch), shape,
            active);
  }

  std::vector<uint8_t> bytes;
};

TEST_F(LaunchWorkTest, AnEmbeddingReadsRows) {
  KernelWork w = work(0, {3, 1, 1, 0});
  EXPECT_DOUBLE_EQ(w.bytes, 3 * 8);
  EXPECT_DOUBLE_EQ(w.operations, 0);
  EXPECT_EQ(w.name, "embed_0");
}

TEST_F(LaunchWorkTest, ALinearReadsItsWeightsOnceAndMultipliesEachRow) {
  KernelWork w = work(1, {3, 1, 1, 0});
  EXPECT_DOUBLE_EQ(w.bytes, 16 + 128);
  EXPECT_DOUBLE_EQ(w.operations, 2 * 3 * 64);
  EXPECT_EQ(w.type, "bf16");
  EXPECT_EQ(w.detail, "w2");
}

TEST_F(LaunchWorkTest, LogitsAreMadeForWantedRowsOnly) {
  EXPECT_DOUBLE_EQ(work(2, {3, 1, 1, 0}).operations, 2 * 1 * 64);
}

TEST_F(LaunchWorkTest, ARoutedLaunchReadsActiveExperts) {
  KernelWork w = work(3, {3, 1, 1, 0}, 4);
  EXPECT_DOUBLE_EQ(w.bytes, 16 + 4 * 64);
  EXPECT_DOUBLE_EQ(w.operations, 2 * (3 * 2) * 32);
  EXPECT_DOUBLE_EQ(work(3, {1, 1, 1, 0}, 2).bytes, 16 + 2 * 64);
}

TEST_F(LaunchWorkTest, AttentionReadsWhatItsRowsSee) {
  // Keys and values of 4 bf16 each; 12 positions; row i of 2 sees 11 + i.
  KernelWork w = work(4, {2, 1, 1, 10});
  EXPECT_DOUBLE_EQ(w.bytes, 12 * 2 * 4 * 2);
  EXPECT_DOUBLE_EQ(w.operations, 4 * (11 + 12) * 8);
  EXPECT_EQ(w.type, "f32");
  // Two sequences of one row each: 11 positions twice.
  EXPECT_DOUBLE_EQ(work(4, {2, 2, 1, 10}).bytes, 22 * 2 * 4 * 2);
  EXPECT_DOUBLE_EQ(work(4, {2, 2, 1, 10}).operations, 4 * 22 * 8);
}

TEST_F(LaunchWorkTest, KnowsWhatIsRouted) {
  LaunchWork all(manifest());
  EXPECT_EQ(all.picks(), 2u);
  EXPECT_EQ(all.experts(), 4u);
  const auto &launches = *manifest().entries()->Get(0)->launches();
  EXPECT_TRUE(all.isRouted(*launches.Get(3)));
  EXPECT_FALSE(all.isRouted(*launches.Get(1)));
  EXPECT_EQ(all.slotsOf(*launches.Get(3), 1), 4u);
  EXPECT_EQ(all.slotsOf(*launches.Get(3), 0), 1u);
}

TEST(ExpectedDistinct, IsBetweenThePicksAndAll) {
  EXPECT_EQ(expectedDistinct(1, 8, 64), 8u);
  EXPECT_EQ(expectedDistinct(8, 8, 64), 42u); // 64 (1 - (7/8)^8) = 42.01
  EXPECT_EQ(expectedDistinct(512, 8, 64), 64u);
  EXPECT_EQ(expectedDistinct(5, 0, 0), 0u);
  EXPECT_EQ(expectedDistinct(1, 4, 4), 4u);
}

} // namespace
} // namespace headrace::simulate
