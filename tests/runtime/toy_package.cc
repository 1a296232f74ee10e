// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Toy package: the writer that tests use in place of the compiler.
#include "tests/runtime/toy_package.h"

#include "runtime/abi/package_format.h"
#include "runtime/abi/schedule_digest.h"
#include "runtime/src/digest.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

namespace headrace::tests {
namespace {

using runtime::Digest;

constexpr uint64_t kChunkBytes = 4096;

/// Two blobs: the weights, and one that is larger than a chunk.
std::vector<std::vector<uint8_t>> Blobs() {
  std::vector<std::vector<uint8_t>> blobs(2);
  for (int32_t v = 0; v < TOY_VOCABULARY; ++v) {
    int32_t weight = 2 * v + 1;
    const auto *bytes = reinterpret_cast<const uint8_t *>(&weight);
    blobs[0].insert(blobs[0].end(), bytes, bytes + sizeof(weight));
  }
  blobs[1].assign(kChunkBytes + 100, 0x5a);
  return blobs;
}

uint32_t AddBuffer(abi::ManifestT &manifest, const char *name,
                   abi::BufferKind kind, const char *role,
                   abi::ElementType type, uint64_t bytes,
                   abi::RowKind rows = abi::RowKind::fixed) {
  auto buffer = std::make_unique<abi::BufferT>();
  buffer->name = name;
  buffer->kind = kind;
  buffer->role = role;
  buffer->type = "toy";
  buffer->element_type = type;
  buffer->bytes = bytes;
  buffer->rows = rows;
  manifest.buffers.push_back(std::move(buffer));
  return static_cast<uint32_t>(manifest.buffers.size() - 1);
}

uint32_t AddKernel(abi::ManifestT &manifest, const char *name,
                   headrace_kernel_fn_t function, uint64_t scratch_bytes = 0) {
  auto kernel = std::make_unique<abi::KernelT>();
  kernel->name = name;
  kernel->family = "toy";
  kernel->entry_offset = reinterpret_cast<uint64_t>(function) -
                         reinterpret_cast<uint64_t>(__start_toy_code);
  kernel->scratch_bytes = scratch_bytes;
  manifest.kernels.push_back(std::move(kernel));
  return static_cast<uint32_t>(manifest.kernels.size() - 1);
}

void AddLaunch(abi::EntryT &entry, uint32_t kernel,
               std::vector<uint32_t> buffers, std::vector<uint32_t> weights,
               abi::GridKind grid, uint64_t base = 1, uint64_t block = 0) {
  auto launch = std::make_unique<abi::LaunchT>();
  launch->kernel = kernel;
  launch->buffers = std::move(buffers);
  launch->weights = std::move(weights);
  launch->grid_kind = grid;
  launch->grid_base = base;
  launch->grid_block = block;
  entry.launches.push_back(std::move(launch));
}

abi::EntryT &AddEntry(abi::ManifestT &manifest, const char *name,
                      std::vector<uint32_t> inputs,
                      std::vector<uint32_t> outputs) {
  auto entry = std::make_unique<abi::EntryT>();
  entry->name = name;
  entry->inputs = std::move(inputs);
  entry->outputs = std::move(outputs);
  manifest.entries.push_back(std::move(entry));
  return *manifest.entries.back();
}

uint64_t AlignUp(uint64_t offset) {
  return (offset + HEADRACE_PACKAGE_ALIGNMENT - 1) /
         HEADRACE_PACKAGE_ALIGNMENT * HEADRACE_PACKAGE_ALIGNMENT;
}

} // namespace

std::unique_ptr<abi::ManifestT> ToyManifest() {
  using Kind = abi::BufferKind;
  using Type = abi::ElementType;
  using Grid = abi::GridKind;
  auto manifest = std::make_unique<abi::ManifestT>();
  manifest->producer = "toy";
  manifest->model = "toy model";
  manifest->chunk_bytes = kChunkBytes;

  auto level = std::make_unique<abi::LevelT>();
  level->name = "dram";
  level->bytes = 1 << 20;
  manifest->levels.push_back(std::move(level));
  auto peak = std::make_unique<abi::PeakT>();
  peak->bytes = 64;
  manifest->certificate.push_back(std::move(peak));

  manifest->limits = std::make_unique<abi::LimitsT>();
  manifest->limits->max_tokens = kToyMaxTokens;
  manifest->limits->max_sequences = kToyMaxSequences;
  manifest->limits->max_context = TOY_CONTEXT;
  manifest->limits->vocabulary = TOY_VOCABULARY;
  manifest->end_tokens = {TOY_VOCABULARY - 1, 2};
  manifest->kv = std::make_unique<abi::KvCacheT>();
  manifest->kv->layers = 1;
  manifest->kv->heads = 1;
  manifest->kv->head_dim = 1;
  manifest->kv->element_type = Type::f32;
  manifest->kv->page_bytes = TOY_PAGE_BYTES;
  manifest->kv->max_pages = TOY_MAX_PAGES;

  const std::vector<std::vector<uint8_t>> blobs = Blobs();
  for (size_t i = 0; i < blobs.size(); ++i) {
    auto blob = std::make_unique<abi::BlobT>();
    blob->bytes = blobs[i].size();
    blob->blake3.assign(32, static_cast<uint8_t>(i));
    for (size_t at = 0; at < blobs[i].size(); at += kChunkBytes)
      blob->chunk_xxh3.push_back(
          Digest(blobs[i].data() + at,
                 std::min<size_t>(kChunkBytes, blobs[i].size() - at)));
    manifest->blobs.push_back(std::move(blob));
    auto weight = std::make_unique<abi::WeightT>();
    weight->name = "weight." + std::to_string(i);
    weight->type = "toy";
    weight->blob = static_cast<uint32_t>(i);
    manifest->weights.push_back(std::move(weight));
  }

  auto code = std::make_unique<abi::CodeT>();
  code->target = "cpu";
  code->cpu = "x86-64";
  code->kernel_abi_version = HEADRACE_KERNEL_ABI_VERSION;
  code->bytes = static_cast<uint64_t>(__stop_toy_code - __start_toy_code);
  code->xxh3 = Digest(__start_toy_code, code->bytes);
  manifest->code.push_back(std::move(code));

  abi::ManifestT &m = *manifest;
  uint32_t hidden =
      AddBuffer(m, "hidden", Kind::scratch, "", Type::i32, kToyMaxTokens * 4);
  uint32_t tokens = AddBuffer(m, "tokens", Kind::input, HEADRACE_ROLE_TOKENS,
                              Type::i32, kToyMaxTokens * 4);
  uint32_t positions =
      AddBuffer(m, "positions", Kind::input, HEADRACE_ROLE_POSITIONS, Type::i32,
                kToyMaxTokens * 4);
  uint32_t sequences =
      AddBuffer(m, "sequences", Kind::input, HEADRACE_ROLE_SEQUENCES, Type::i32,
                (kToyMaxSequences + 1) * 4);
  uint32_t output_rows =
      AddBuffer(m, "output_rows", Kind::input, HEADRACE_ROLE_OUTPUT_ROWS,
                Type::i32, kToyMaxTokens * 4);
  uint32_t kv_pool = AddBuffer(m, "kv_pool", Kind::input, HEADRACE_ROLE_KV_POOL,
                               Type::u8, TOY_PAGE_BYTES);
  uint32_t kv_table =
      AddBuffer(m, "kv_table", Kind::input, HEADRACE_ROLE_KV_TABLE, Type::i32,
                kToyMaxSequences * TOY_MAX_PAGES * 4);
  uint32_t logits = AddBuffer(m, "logits", Kind::output, HEADRACE_ROLE_LOGITS,
                              Type::f32, kToyMaxOutputs * TOY_VOCABULARY * 4);
  uint32_t x = AddBuffer(m, "x", Kind::input, "", Type::f32,
                         kToyMaxTokens * TOY_WIDTH * 4, abi::RowKind::tokens);
  uint32_t y = AddBuffer(m, "y", Kind::output, "", Type::f32,
                         kToyMaxTokens * TOY_WIDTH * 4, abi::RowKind::tokens);

  uint32_t embed = AddKernel(m, "embed", toy_embed);
  uint32_t attend = AddKernel(m, "attend", toy_attend);
  uint32_t last = AddKernel(m, "logits", toy_logits, TOY_VOCABULARY * 4);
  uint32_t scale = AddKernel(m, "scale", toy_scale);
  uint32_t count = AddKernel(m, "count", toy_count);
  uint32_t stuck = AddKernel(m, "stuck", toy_stuck);
  uint32_t slow = AddKernel(m, "slow", toy_slow);
  uint32_t empty = AddKernel(m, "empty", toy_empty);
  uint32_t work = AddKernel(m, "busy", toy_busy, 64);

  abi::EntryT &forward = AddEntry(
      m, "forward",
      {tokens, positions, sequences, output_rows, kv_pool, kv_table}, {logits});
  AddLaunch(forward, embed, {tokens, hidden}, {}, Grid::per_token);
  AddLaunch(forward, attend, {hidden, positions, sequences, kv_pool, kv_table},
            {}, Grid::per_sequence);
  AddLaunch(forward, last, {hidden, output_rows, logits}, {0},
            Grid::per_output);
  AddLaunch(AddEntry(m, "scale", {x}, {y}), scale, {x, y}, {0},
            Grid::per_token_block, 1, 2);
  AddLaunch(AddEntry(m, "count", {x}, {y}), count, {x, y}, {}, Grid::fixed,
            1000);
  AddLaunch(AddEntry(m, "stuck", {x}, {y}), stuck, {x, y}, {}, Grid::fixed, 2);
  AddLaunch(AddEntry(m, "slow", {x}, {y}), slow, {x, y}, {}, Grid::fixed,
            uint64_t(1) << 30);
  abi::EntryT &launches = AddEntry(m, "empty", {x}, {y});
  for (int i = 0; i < 1000; ++i)
    AddLaunch(launches, empty, {x, y}, {}, Grid::fixed, 2);
  for (uint64_t tasks : {1, 2}) {
    abi::EntryT &busy = AddEntry(m, tasks == 1 ? "busy1" : "busy2", {x}, {y});
    for (int i = 0; i < 100; ++i)
      AddLaunch(busy, work, {x, y}, {}, Grid::fixed, tasks);
  }
  return manifest;
}

std::unique_ptr<abi::ManifestT> SmallToyManifest() {
  std::unique_ptr<abi::ManifestT> manifest = ToyManifest();
  manifest->entries.resize(kSlow + 1);
  return manifest;
}

std::unique_ptr<abi::StepT> ToyStep(abi::StepKind kind, uint32_t launch,
                                    uint32_t bundle, uint32_t slot) {
  auto step = std::make_unique<abi::StepT>();
  step->kind = kind;
  step->launch = launch;
  step->bundle = bundle;
  step->slot = slot;
  return step;
}

void SealPlan(abi::ManifestT *manifest) {
  flatbuffers::FlatBufferBuilder builder;
  abi::FinishManifestBuffer(builder, abi::Manifest::Pack(builder, manifest));
  std::vector<uint64_t> words;
  abi::ForEachScheduleWord(*abi::GetManifest(builder.GetBufferPointer()),
                           [&](uint64_t word) { words.push_back(word); });
  manifest->plan->digest = Digest(words.data(), words.size() * 8);
  for (auto &peak : manifest->certificate)
    peak->digest = manifest->plan->digest;
}

std::unique_ptr<abi::ManifestT> PlannedToyManifest() {
  using Kind = abi::StepKind;
  std::unique_ptr<abi::ManifestT> manifest = SmallToyManifest();
  manifest->plan = std::make_unique<abi::PlanT>();
  abi::PlanT &plan = *manifest->plan;
  uint64_t end = 0;
  auto take = [&](uint64_t bytes) {
    uint64_t offset = end;
    end += AlignUp(bytes);
    return offset;
  };
  for (auto &buffer : manifest->buffers)
    if (buffer->name != "kv_pool")
      buffer->offset = take(buffer->bytes);
  plan.strategy = "toy";
  plan.workers = 4;
  plan.worker_bytes = HEADRACE_PACKAGE_ALIGNMENT;
  plan.scratch_offset = take(plan.workers * plan.worker_bytes);
  plan.kv_pages = kToyMaxSequences * TOY_MAX_PAGES;
  plan.kv_offset = take(plan.kv_pages * manifest->kv->page_bytes);

  abi::WeightT &resident = *manifest->weights[1];
  resident.residency = abi::Residency::resident;
  resident.offset = take(manifest->blobs[resident.blob]->bytes);
  manifest->weights[0]->residency = abi::Residency::streamed;
  auto bundle = std::make_unique<abi::BundleT>();
  bundle->bytes = AlignUp(manifest->blobs[0]->bytes);
  bundle->weights = {0};
  bundle->offsets = {0};
  auto ring = std::make_unique<abi::PoolT>();
  ring->name = "ring";
  ring->slot_bytes = bundle->bytes;
  ring->min_slots = ring->slots = 2;
  ring->offset = take(ring->slots * ring->slot_bytes);
  plan.bundles.push_back(std::move(bundle));
  plan.pools.push_back(std::move(ring));

  auto &forward = manifest->entries[kForward]->steps;
  forward.push_back(ToyStep(Kind::fetch, 0, 0, 1));
  forward.push_back(ToyStep(Kind::launch, 0));
  forward.push_back(ToyStep(Kind::launch, 1));
  forward.push_back(ToyStep(Kind::wait, 0, 0, 1));
  forward.push_back(ToyStep(Kind::launch, 2));
  forward.push_back(ToyStep(Kind::release, 0, 0, 1));
  auto &scale = manifest->entries[kScale]->steps;
  scale.push_back(ToyStep(Kind::fetch, 0));
  scale.push_back(ToyStep(Kind::wait, 0));
  scale.push_back(ToyStep(Kind::launch, 0));
  scale.push_back(ToyStep(Kind::release, 0));

  manifest->levels[0]->arena_bytes = end;
  plan.budget = plan.minimum_bytes = end;
  abi::PeakT &peak = *manifest->certificate[0];
  peak.bytes = end;
  auto part = std::make_unique<abi::PartT>();
  part->kind = abi::PartKind::kv;
  part->offset = plan.kv_offset;
  part->bytes = plan.kv_pages * manifest->kv->page_bytes;
  peak.parts.push_back(std::move(part));
  peak.witness = std::make_unique<abi::WitnessT>();
  peak.witness->tokens = kToyMaxTokens;
  peak.witness->sequences = kToyMaxSequences;
  peak.witness->context = TOY_CONTEXT;
  SealPlan(manifest.get());
  return manifest;
}

std::unique_ptr<abi::ManifestT> PagedToyManifest() {
  using Kind = abi::StepKind;
  std::unique_ptr<abi::ManifestT> manifest = PlannedToyManifest();
  abi::PlanT &plan = *manifest->plan;
  auto home = std::make_unique<abi::LevelT>();
  home->name = "disk";
  home->bytes = 1 << 20;
  // Where the pages were is their slot now.
  auto bundle = std::make_unique<abi::BundleT>();
  bundle->pool = 1;
  bundle->bytes = AlignUp(plan.kv_pages * manifest->kv->page_bytes);
  bundle->layer = 0;
  bundle->home = 0;
  auto ring = std::make_unique<abi::PoolT>();
  ring->name = "pages";
  ring->slot_bytes = bundle->bytes;
  ring->min_slots = ring->slots = 1;
  ring->offset = plan.kv_offset;
  home->arena_bytes = bundle->bytes;
  auto peak = std::make_unique<abi::PeakT>();
  peak->level = 1;
  peak->bytes = bundle->bytes;
  peak->witness =
      std::make_unique<abi::WitnessT>(*manifest->certificate[0]->witness);
  manifest->certificate[0]->parts.clear();
  manifest->certificate.push_back(std::move(peak));
  manifest->levels.push_back(std::move(home));
  plan.home_level = 1;
  plan.pools.push_back(std::move(ring));
  plan.bundles.push_back(std::move(bundle));
  auto &forward = manifest->entries[kForward]->steps;
  auto insert = [&](size_t at, Kind kind) {
    forward.insert(forward.begin() + static_cast<ptrdiff_t>(at),
                   ToyStep(kind, 0, 1));
  };
  insert(0, Kind::fetch);
  insert(3, Kind::wait); // before launch 1, which reads and writes pages
  insert(5, Kind::store);
  insert(forward.size(), Kind::release);
  SealPlan(manifest.get());
  return manifest;
}

std::unique_ptr<abi::ManifestT> HousedToyManifest() {
  std::unique_ptr<abi::ManifestT> manifest = PagedToyManifest();
  abi::LevelT &level = *manifest->levels[1];
  abi::BundleT &weights = *manifest->plan->bundles[0];
  level.name = "home";
  weights.home = level.arena_bytes;
  level.arena_bytes += AlignUp(weights.bytes);
  manifest->certificate[1]->bytes = level.arena_bytes;
  manifest->plan->home_budget = level.arena_bytes;
  SealPlan(manifest.get());
  return manifest;
}

std::vector<uint8_t> ToyFile(abi::ManifestT &manifest, bool lay_out) {
  return ToyFile(manifest, ToyCode(), lay_out);
}

std::vector<uint8_t> ToyCode() {
  const auto *begin = reinterpret_cast<const uint8_t *>(__start_toy_code);
  return std::vector<uint8_t>(begin,
                              begin + (__stop_toy_code - __start_toy_code));
}

std::vector<uint8_t> ToyFile(abi::ManifestT &manifest,
                             const std::vector<uint8_t> &code, bool lay_out) {
  // The size of the manifest does not depend on the offsets in it, as long as
  // they are not zero, which FlatBuffers leaves out.
  auto pack = [&] {
    flatbuffers::FlatBufferBuilder builder;
    abi::FinishManifestBuffer(builder, abi::Manifest::Pack(builder, &manifest));
    return std::vector<uint8_t>(builder.GetBufferPointer(),
                                builder.GetBufferPointer() + builder.GetSize());
  };
  const std::vector<std::vector<uint8_t>> blobs = Blobs();
  uint64_t code_at = 0;
  std::vector<uint64_t> blob_at(blobs.size());
  uint64_t end = 0;
  std::vector<uint8_t> bytes;
  for (int round = 0; round < 2; ++round) {
    bytes = pack();
    code_at = AlignUp(sizeof(headrace_package_header_t) + bytes.size());
    end = code_at + code.size();
    for (size_t i = 0; i < blobs.size(); ++i) {
      blob_at[i] = AlignUp(end);
      end = blob_at[i] + blobs[i].size();
    }
    if (!lay_out)
      break;
    manifest.code[0]->offset = code_at;
    for (size_t i = 0; i < blobs.size(); ++i)
      manifest.blobs[i]->offset = blob_at[i];
    bytes = pack();
  }

  std::vector<uint8_t> file(end, 0);
  std::memcpy(file.data() + sizeof(headrace_package_header_t), bytes.data(),
              bytes.size());
  std::memcpy(file.data() + code_at, code.data(), code.size());
  for (size_t i = 0; i < blobs.size(); ++i)
    std::memcpy(file.data() + blob_at[i], blobs[i].data(), blobs[i].size());
  SealToyFile(&file, bytes.size());
  return file;
}

std::vector<uint8_t> ToyFile() { return ToyFile(*ToyManifest()); }

std::vector<uint8_t> SmallToyFile() { return ToyFile(*SmallToyManifest()); }

void SealToyFile(std::vector<uint8_t> *file, uint64_t manifest_bytes) {
  headrace_package_header_t header = {};
  std::memcpy(header.magic, HEADRACE_PACKAGE_MAGIC, sizeof(header.magic));
  header.version = HEADRACE_PACKAGE_VERSION;
  header.header_bytes = sizeof(header);
  header.file_bytes = file->size();
  header.manifest_bytes = manifest_bytes;
  header.manifest_xxh3 = Digest(file->data() + sizeof(header), manifest_bytes);
  header.header_xxh3 =
      Digest(&header, offsetof(headrace_package_header_t, header_xxh3));
  std::memcpy(file->data(), &header, sizeof(header));
}

std::vector<float> ToyLogits(const std::vector<int32_t> &tokens) {
  int32_t sum = 0;
  for (size_t i = 0; i < tokens.size(); ++i)
    sum += static_cast<int32_t>(i + 1) * (tokens[i] + 1);
  std::vector<float> logits(TOY_VOCABULARY);
  for (int64_t v = 0; v < TOY_VOCABULARY; ++v)
    logits[static_cast<size_t>(v)] =
        static_cast<float>((int64_t(sum) * 31 + v * (2 * v + 1)) % 97);
  return logits;
}

int32_t ToyNext(const std::vector<int32_t> &tokens) {
  std::vector<float> logits = ToyLogits(tokens);
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) -
                              logits.begin());
}

TemporaryFile::TemporaryFile(const std::vector<uint8_t> &bytes) {
  char name[] = "/tmp/headrace-test-XXXXXX";
  int file = mkstemp(name);
  if (file < 0)
    std::abort();
  close(file);
  path = name;
  Write(bytes);
}

TemporaryFile::~TemporaryFile() { unlink(path.c_str()); }

void TemporaryFile::Write(const std::vector<uint8_t> &bytes) {
  std::FILE *file = std::fopen(path.c_str(), "wb");
  if (!file || std::fwrite(bytes.data(), 1, bytes.size(), file) != bytes.size())
    std::abort();
  std::fclose(file);
}

} // namespace headrace::tests
