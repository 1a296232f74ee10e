// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of the manifest's checks: one wrong number at a time.
#include "tests/runtime/harness.h"

#include "runtime/src/package.h"

#include <functional>

namespace headrace::tests {
namespace {

using Change = std::function<void(abi::ManifestT &)>;

/// Opens the toy after `change`.
headrace_status_t OpenChanged(const Change &change, bool lay_out = true) {
  std::unique_ptr<abi::ManifestT> manifest = ToyManifest();
  if (!lay_out)
    ToyFile(*manifest); // fills in the offsets
  change(*manifest);
  std::vector<uint8_t> file = ToyFile(*manifest, lay_out);
  Instance instance = MakeInstance();
  headrace_package_t *package;
  headrace_status_t status =
      runtime::OpenPackageFromMemory(instance.get(), file.data(), file.size(),
                                     {}, &package)
          .Release();
  headrace_package_release(package);
  return status;
}

TEST(Manifest, TheToyIsFine) {
  EXPECT_TRUE(IsOk(OpenChanged([](abi::ManifestT &) {})));
}

struct Case {
  const char *name;
  Change change;
  const char *message;
  headrace_status_code_t code = HEADRACE_STATUS_DATA_LOSS;
};

class ManifestDamage : public ::testing::TestWithParam<Case> {};

TEST_P(ManifestDamage, IsRefused) {
  EXPECT_TRUE(FailsWith(OpenChanged(GetParam().change), GetParam().code,
                        GetParam().message));
}

#define CHANGE(Statement) [](abi::ManifestT &m) { Statement; }
constexpr uint64_t kHuge = UINT64_MAX - 100;

INSTANTIATE_TEST_SUITE_P(
    Fields, ManifestDamage,
    ::testing::Values(
        Case{"no_tokens", CHANGE(m.limits->max_tokens = 0), "max_tokens"},
        Case{"many_tokens", CHANGE(m.limits->max_tokens = 1u << 30),
             "max_tokens"},
        Case{"no_sequences", CHANGE(m.limits->max_sequences = 0),
             "max_sequences"},
        Case{"many_sequences", CHANGE(m.limits->max_sequences = 9),
             "max_sequences"},
        Case{"context", CHANGE(m.limits->max_context = UINT32_MAX),
             "max_context"},
        Case{"no_vocabulary", CHANGE(m.limits->vocabulary = 0), "vocabulary"},
        Case{"end_token", CHANGE(m.end_tokens[1] = TOY_VOCABULARY),
             "end token #1"},
        Case{"end_token_negative", CHANGE(m.end_tokens[0] = -1),
             "end token #0"},
        Case{"peak_level", CHANGE(m.certificate[0]->level = 1),
             "certificate #0"},
        Case{"peak_bytes", CHANGE(m.certificate[0]->bytes = 2 << 20),
             "certificate #0"},
        Case{"chunk_zero", CHANGE(m.chunk_bytes = 0), "chunk_bytes"},
        Case{"chunk_small", CHANGE(m.chunk_bytes = 1), "chunk_bytes"},
        Case{"chunk_count", CHANGE(m.blobs[1]->chunk_xxh3.pop_back()),
             "blob #1"},
        Case{"blake3", CHANGE(m.blobs[1]->blake3.pop_back()), "blob #1"},
        Case{"blob_empty", CHANGE(m.blobs[0]->bytes = 0), "blob #0"},
        Case {
          "blob_huge",
              CHANGE(m.blobs[1]->bytes = kHuge;
                     m.blobs[1]->chunk_xxh3.resize(3)),
              "blob #1"
        },
        Case{"weight_blob", CHANGE(m.weights[1]->blob = 2), "weight #1"},
        Case{"code_empty", CHANGE(m.code[0]->bytes = 0), "code #0"},
        Case{"code_long", CHANGE(m.code[0]->bytes += 4096), "overlap"},
        Case{"code_huge", CHANGE(m.code[0]->bytes = kHuge), "code #0"},
        Case{"code_digest", CHANGE(m.code[0]->xxh3 ^= 1), "code: digest"},
        Case{"code_target", CHANGE(m.code[0]->target = "tpu"), "no code",
             HEADRACE_STATUS_UNIMPLEMENTED},
        Case{"features", CHANGE(m.code[0]->features = 1 << 20),
             "instruction sets", HEADRACE_STATUS_UNIMPLEMENTED},
        Case{"kernel_abi", CHANGE(m.code[0]->kernel_abi_version = 99),
             "kernel ABI 99", HEADRACE_STATUS_FAILED_PRECONDITION},
        Case{"kv_type", CHANGE(m.kv->element_type = abi::ElementType::none),
             "kv:"},
        Case{"kv_page", CHANGE(m.kv->page_bytes = 192), "kv:"},
        Case{"kv_page_alignment", CHANGE(m.kv->page_bytes = 257), "kv:"},
        Case {
          "kv_layers", CHANGE(m.kv->layers = 3; m.kv->page_bytes = 1024), "kv:"
        },
        Case{"kv_heads", CHANGE(m.kv->heads = UINT32_MAX), "kv:"},
        Case {
          "kv_overflow",
              CHANGE(m.kv->heads = 1u << 31; m.kv->layers = 1u << 31;
                     m.kv->head_dim = 1u << 31),
              "kv:"
        },
        Case{"kv_pages", CHANGE(m.kv->max_pages = 5), "kv:"},
        Case{"kv_missing", CHANGE(m.kv = nullptr), "key-value cache"},
        Case{"buffer_level", CHANGE(m.buffers[0]->level = 1), "buffer #0"},
        Case{"buffer_offset", CHANGE(m.buffers[0]->offset = 8), "buffer #0"},
        Case{"buffer_far", CHANGE(m.buffers[0]->offset = 1 << 20), "buffer #0"},
        Case{"buffer_huge", CHANGE(m.buffers[0]->bytes = kHuge), "buffer #0"},
        Case {
          "buffer_sum",
              CHANGE(m.buffers[0]->offset = kHuge / 64 * 64;
                     m.buffers[0]->bytes = 1 << 20),
              "buffer #0"
        },
        Case{"buffer_kind",
             CHANGE(m.buffers[0]->kind = static_cast<abi::BufferKind>(9)),
             "buffer #0", HEADRACE_STATUS_UNIMPLEMENTED},
        Case{"buffer_rows",
             CHANGE(m.buffers[0]->rows = static_cast<abi::RowKind>(9)),
             "buffer #0", HEADRACE_STATUS_UNIMPLEMENTED},
        Case{"kernel_offset", CHANGE(m.kernels[1]->entry_offset = 1 << 20),
             "kernel #1"},
        Case{"kernel_scratch", CHANGE(m.kernels[1]->scratch_bytes = kHuge),
             "kernel #1"},
        Case{"input_index", CHANGE(m.entries[0]->inputs[0] = 99),
             "entry #0: input #0"},
        Case{"input_kind", CHANGE(m.entries[0]->inputs[0] = 0),
             "entry #0: input #0"},
        Case{"input_twice",
             CHANGE(m.entries[0]->inputs[1] = m.entries[0]->inputs[0]),
             "appears twice"},
        Case{"output_kind", CHANGE(m.entries[0]->outputs[0] = 1),
             "entry #0: output #0"},
        Case{"same_names", CHANGE(m.entries[2]->name = "scale"), "two entries"},
        Case{"launch_kernel", CHANGE(m.entries[0]->launches[1]->kernel = 99),
             "launch #1: kernel"},
        Case{"launch_buffer",
             CHANGE(m.entries[0]->launches[1]->buffers[0] = 99),
             "launch #1: buffer"},
        Case{"launch_foreign_buffer",
             CHANGE(m.entries[0]->launches[1]->buffers[0] = 9), "no argument"},
        Case{"kernel_weight_count",
             CHANGE(m.kernels[2]->weight_slots.assign(2, 1)),
             "launch #2: 1 weights for a kernel of 2"},
        Case{"launch_stacked_weight",
             CHANGE(m.kernels[2]->weight_slots.assign(1, 3)),
             "launch #2: weights 0 + 3 of 2"},
        Case{"launch_no_slots", CHANGE(m.kernels[2]->weight_slots.assign(1, 0)),
             "launch #2: weights 0 + 0 of 2"},
        Case{"launch_weight", CHANGE(m.entries[0]->launches[2]->weights[0] = 2),
             "launch #2: weight"},
        Case{"grid_kind",
             CHANGE(m.entries[0]->launches[0]->grid_kind =
                        static_cast<abi::GridKind>(77)),
             "grid kind", HEADRACE_STATUS_UNIMPLEMENTED},
        Case{"grid_huge", CHANGE(m.entries[0]->launches[0]->grid_base = kHuge),
             "grid of"},
        Case{"grid_block_zero",
             CHANGE(m.entries[1]->launches[0]->grid_block = 0), "blocks of"},
        Case{"grid_block_huge",
             CHANGE(m.entries[1]->launches[0]->grid_block = kHuge),
             "blocks of"},
        Case{"role_unknown", CHANGE(m.buffers[2]->role = "mood"), "'mood'",
             HEADRACE_STATUS_UNIMPLEMENTED},
        Case{"role_twice", CHANGE(m.buffers[2]->role = "tokens"),
             "share a role"},
        Case {
          "no_logits",
              CHANGE(m.entries[0]->outputs.clear();
                     m.entries[0]->launches.pop_back()),
              "lacks"
        },
        Case{"tokens_small", CHANGE(m.buffers[1]->bytes = 31), "'tokens'"},
        Case{"positions_small", CHANGE(m.buffers[2]->bytes = 31),
             "'positions'"},
        Case{"sequences_small", CHANGE(m.buffers[3]->bytes = 15),
             "'sequences'"},
        Case{"output_rows_small", CHANGE(m.buffers[4]->bytes = 3), "logits of"},
        Case{"kv_table_small", CHANGE(m.buffers[6]->bytes = 47), "'kv_table'"},
        Case{"logits_small", CHANGE(m.buffers[7]->bytes = 255), "logits of"},
        Case{"logits_type",
             CHANGE(m.buffers[7]->element_type = abi::ElementType::bf16),
             "float32"}),
    [](const ::testing::TestParamInfo<Case> &info) {
      return std::string(info.param.name);
    });

TEST(Manifest, MissingInstructionsAreNamed) {
  Instance instance = MakeInstance();
  std::unique_ptr<abi::ManifestT> manifest = ToyManifest();
  manifest->code[0]->features = HEADRACE_CPU_AVX2 | HEADRACE_CPU_AVX512;
  TemporaryFile file(ToyFile(*manifest));
  auto options = sized<headrace_package_options_t>();
  options.disabled_features = HEADRACE_CPU_AVX512;
  headrace_package_t *package;
  EXPECT_TRUE(FailsWith(
      headrace_package_open(instance.get(), file.Path(), &options, &package),
      HEADRACE_STATUS_FAILED_PRECONDITION, "needs "));
  options.inspect_only = 1;
  ASSERT_TRUE(IsOk(
      headrace_package_open(instance.get(), file.Path(), &options, &package)));
  Package owner(package);
  Device device = MakeCpu(instance.get());
  headrace_session_t *session;
  EXPECT_TRUE(FailsWith(
      headrace_session_create(device.get(), package, nullptr, &session),
      HEADRACE_STATUS_FAILED_PRECONDITION, "inspection"));
}

/// Every section's offset and end, one byte and one page off.
TEST(Manifest, SectionEndsAreChecked) {
  auto refused = [](const Change &change) {
    return OpenChanged(change, false);
  };
  for (uint64_t step : {uint64_t(1), ~uint64_t(0)}) {
    const auto loss = HEADRACE_STATUS_DATA_LOSS;
    EXPECT_TRUE(FailsWith(
        refused([&](abi::ManifestT &m) { m.code[0]->offset += step; }), loss,
        "code #0"));
    EXPECT_TRUE(
        FailsWith(refused([&](abi::ManifestT &m) { m.code[0]->bytes += step; }),
                  loss, "code"));
    for (size_t blob : {0, 1})
      EXPECT_TRUE(FailsWith(
          refused([&](abi::ManifestT &m) { m.blobs[blob]->offset += step; }),
          loss, "blob #"));
    EXPECT_TRUE(FailsWith(
        refused([&](abi::ManifestT &m) { m.code[0]->offset += step * 4096; }),
        loss));
  }
  EXPECT_TRUE(
      FailsWith(refused([](abi::ManifestT &m) { m.blobs[0]->offset -= 4096; }),
                HEADRACE_STATUS_DATA_LOSS, "overlap"));
  EXPECT_TRUE(
      FailsWith(refused([](abi::ManifestT &m) { m.blobs[1]->bytes += 1; }),
                HEADRACE_STATUS_DATA_LOSS, "blob #1"));
}

/// FlatBuffers vectors may share bytes; that must not multiply work.
TEST(Manifest, SharedVectorsAreRefused) {
  std::unique_ptr<abi::ManifestT> toy = ToyManifest();
  toy->blobs.clear();
  toy->weights.clear();
  toy->code[0]->offset = 1 << 20;
  flatbuffers::FlatBufferBuilder builder;
  auto operands = builder.CreateVector(std::vector<uint32_t>(5000, 0));
  auto none = builder.CreateVector(std::vector<uint32_t>());
  auto launch = abi::CreateLaunch(builder, 0, operands, none,
                                  abi::GridKind::fixed, 1, 0, 0);
  auto launches = builder.CreateVector(
      std::vector<flatbuffers::Offset<abi::Launch>>(5000, launch));
  auto entries = builder.CreateVector(std::vector{abi::CreateEntry(
      builder, builder.CreateString("shared"), none, none, launches)});
  auto levels = builder.CreateVector(
      std::vector{abi::CreateLevel(builder, toy->levels[0].get())});
  auto buffers = builder.CreateVector(
      std::vector{abi::CreateBuffer(builder, toy->buffers[0].get())});
  auto kernels = builder.CreateVector(
      std::vector{abi::CreateKernel(builder, toy->kernels[0].get())});
  auto code = builder.CreateVector(
      std::vector{abi::CreateCode(builder, toy->code[0].get())});
  auto blobs =
      builder.CreateVector(std::vector<flatbuffers::Offset<abi::Blob>>());
  auto weights =
      builder.CreateVector(std::vector<flatbuffers::Offset<abi::Weight>>());
  auto certificate =
      builder.CreateVector(std::vector<flatbuffers::Offset<abi::Peak>>());
  auto limits = abi::CreateLimits(builder, toy->limits.get());
  auto producer = builder.CreateString("toy");
  abi::FinishManifestBuffer(
      builder, abi::CreateManifest(builder, producer, producer, levels, blobs,
                                   weights, buffers, kernels, entries, code, 0,
                                   limits, certificate, 4096));
  runtime::ManifestSummary summary(runtime::DefaultAllocator());
  EXPECT_TRUE(FailsWith(
      runtime::CheckManifest(runtime::DefaultAllocator(),
                             builder.GetBufferPointer(), builder.GetSize(), 48,
                             (1 << 20) + toy->code[0]->bytes, &summary)
          .Release(),
      HEADRACE_STATUS_DATA_LOSS, "can hold"));
}

} // namespace
} // namespace headrace::tests
