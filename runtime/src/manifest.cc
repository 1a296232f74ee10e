// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Manifest: structural and semantic checks of a package's manifest.
#include "runtime/src/manifest.h"

#include "runtime/abi/kernel_abi.h"
#include "runtime/abi/package_format.h"
#include "runtime/src/manifest_gpu.h"
#include "runtime/src/manifest_plan.h"
#include "runtime/src/sizes.h"
#include "runtime/src/structs.h"

#include <cinttypes>
#include <string_view>

namespace headrace::runtime {
namespace {

/// Tables nest three deep; more is no manifest of this version.
constexpr uint32_t kMaxDepth = 8;
constexpr uint32_t kMaxTables = 4u << 20;
/// Tasks of one launch; the thread pool counts them in 40 bits.
constexpr uint64_t kMaxTasks = uint64_t(1) << 39;
constexpr uint64_t kMaxScratch = uint64_t(1) << 32;
constexpr uint32_t kMaxStepRows = 1u << 24;
constexpr uint64_t kKnownFeatures =
    HEADRACE_CPU_AVX2 | HEADRACE_CPU_AVX512 | HEADRACE_CPU_AVX512_BF16;

uint64_t ElementBytes(abi::ElementType type) {
  switch (type) {
  case abi::ElementType::f32:
  case abi::ElementType::i32:
    return 4;
  case abi::ElementType::bf16:
  case abi::ElementType::f16:
    return 2;
  case abi::ElementType::u8:
    return 1;
  case abi::ElementType::none:
    return 0;
  }
  return 0;
}

/// A macro, so that the compiler checks the format. Uses the checker's
/// allocator.
#define DAMAGED(...)                                                           \
  MakeStatus(allocator, HEADRACE_STATUS_DATA_LOSS, __VA_ARGS__)

/// A range of the file that only one section may use.
struct Section {
  uint64_t offset;
  uint64_t bytes;
  const char *kind;
  uint32_t index;
};

class Checker {
public:
  Checker(const Allocator &allocator, const abi::Manifest &manifest,
          uint64_t manifest_bytes, uint64_t manifest_end, uint64_t file_bytes,
          ManifestSummary *summary)
      : allocator(allocator), manifest(manifest),
        manifest_bytes(manifest_bytes), manifest_end(manifest_end),
        file_bytes(file_bytes), summary(summary),
        buffer_count(manifest.buffers()->size()), limits(*manifest.limits()) {}

  Status Run() {
    HEADRACE_RETURN_IF_ERROR(CheckLimits());
    HEADRACE_RETURN_IF_ERROR(CheckSections());
    HEADRACE_RETURN_IF_ERROR(CheckKv());
    HEADRACE_RETURN_IF_ERROR(CheckBuffers());
    HEADRACE_RETURN_IF_ERROR(CheckKernels());
    HEADRACE_RETURN_IF_ERROR(CheckEntries());
    HEADRACE_RETURN_IF_ERROR(CheckLanguageModel());
    return CheckPlan(allocator, manifest, manifest_bytes, summary);
  }

private:
  /// Vectors of a FlatBuffer may share bytes, so a small file could describe
  /// endless work. Nothing a compiler writes does: the parts together never
  /// need more bytes than the manifest has.
  Status Spend(uint64_t bytes) {
    spent += bytes;
    if (spent > manifest_bytes)
      return DAMAGED("manifest: parts describe more than its %" PRIu64
                     " bytes can hold",
                     manifest_bytes);
    return Status();
  }

  Status CheckLimits() {
    if (limits.max_tokens() == 0 || limits.max_tokens() > kMaxStepRows)
      return DAMAGED("manifest: expected max_tokens in 1..%u, but got %u",
                     kMaxStepRows, limits.max_tokens());
    if (limits.max_sequences() == 0 ||
        limits.max_sequences() > limits.max_tokens())
      return DAMAGED("manifest: expected max_sequences in 1..%u, but got %u",
                     limits.max_tokens(), limits.max_sequences());
    if (limits.max_context() > INT32_MAX || limits.vocabulary() > INT32_MAX)
      return DAMAGED("manifest: expected max_context and vocabulary of 31 "
                     "bits, but got %u and %u",
                     limits.max_context(), limits.vocabulary());
    if (const auto *end_tokens = manifest.end_tokens()) {
      HEADRACE_RETURN_IF_ERROR(Spend(uint64_t(end_tokens->size()) * 4));
      for (uint32_t i = 0; i < end_tokens->size(); ++i)
        if (end_tokens->Get(i) < 0 ||
            uint32_t(end_tokens->Get(i)) >= limits.vocabulary())
          return DAMAGED("manifest: end token #%u: %d in a vocabulary of %u", i,
                         end_tokens->Get(i), limits.vocabulary());
    }
    uint32_t levels = manifest.levels()->size();
    summary->arena_bytes.assign(levels, 0);
    summary->peak_bytes.assign(levels, 0);
    for (uint32_t i = 0; i < manifest.certificate()->size(); ++i) {
      const abi::Peak *peak = manifest.certificate()->Get(i);
      if (peak->level() >= levels)
        return DAMAGED("manifest: certificate #%u: level %u of %u", i,
                       peak->level(), levels);
      uint64_t capacity = manifest.levels()->Get(peak->level())->bytes();
      if (peak->bytes() > capacity)
        return DAMAGED("manifest: certificate #%u: peak of %" PRIu64
                       " bytes in a level of %" PRIu64,
                       i, peak->bytes(), capacity);
      summary->peak_bytes[peak->level()] =
          std::max(summary->peak_bytes[peak->level()], peak->bytes());
    }
    return Status();
  }

  Status CheckSections() {
    Vector<Section> sections{StdAllocator<Section>(allocator)};
    uint32_t code_count = manifest.code()->size();
    uint32_t blob_count = manifest.blobs()->size();
    sections.reserve(size_t(code_count) + blob_count);

    HEADRACE_RETURN_IF_ERROR(CheckGpuCode(allocator, manifest));
    uint32_t found = kNoIndex, gpu = kNoIndex;
    for (uint32_t i = 0; i < code_count; ++i) {
      const abi::Code *code = manifest.code()->Get(i);
      if (code->bytes() == 0)
        return DAMAGED("manifest: code #%u: no bytes", i);
      sections.push_back({code->offset(), code->bytes(), "code", i});
      if (IsGpuCode(manifest, i) && gpu == kNoIndex)
        gpu = i;
      if (code->target()->string_view() != "cpu")
        continue;
      if (found != kNoIndex)
        return DAMAGED("manifest: code #%u and #%u are both for 'cpu'", found,
                       i);
      found = i;
      if (code->features() & ~kKnownFeatures)
        return MakeStatus(allocator, HEADRACE_STATUS_UNIMPLEMENTED,
                          "manifest: code #%u needs instruction sets this "
                          "version does not know (0x%" PRIx64 ")",
                          i, code->features() & ~kKnownFeatures);
    }
    if (found == kNoIndex && gpu == kNoIndex)
      return MakeStatus(allocator, HEADRACE_STATUS_UNIMPLEMENTED,
                        "manifest: no code for target 'cpu' or 'cuda'");
    cpu = found != kNoIndex;
    summary->code = cpu ? found : gpu;

    uint64_t chunk = manifest.chunk_bytes();
    if (blob_count &&
        (chunk < HEADRACE_PACKAGE_ALIGNMENT || chunk > (uint64_t(1) << 30)))
      return DAMAGED("manifest: chunk_bytes is %" PRIu64, chunk);
    for (uint32_t i = 0; i < blob_count; ++i) {
      const abi::Blob *blob = manifest.blobs()->Get(i);
      sections.push_back({blob->offset(), blob->bytes(), "blob", i});
      if (blob->bytes() == 0)
        return DAMAGED("manifest: blob #%u: no bytes", i);
      if (blob->blake3()->size() != 32)
        return DAMAGED("manifest: blob #%u: digest of %u bytes", i,
                       blob->blake3()->size());
      uint64_t chunks = (blob->bytes() - 1) / chunk + 1;
      if (blob->chunk_xxh3()->size() != chunks)
        return DAMAGED("manifest: blob #%u: %u chunk digests for %" PRIu64
                       " chunks",
                       i, blob->chunk_xxh3()->size(), chunks);
      HEADRACE_RETURN_IF_ERROR(Spend(chunks * 8 + 32));
    }

    for (const Section &section : sections) {
      if (section.offset % HEADRACE_PACKAGE_ALIGNMENT)
        return DAMAGED("manifest: %s #%u: offset %" PRIu64
                       " is not aligned to %u",
                       section.kind, section.index, section.offset,
                       HEADRACE_PACKAGE_ALIGNMENT);
      if (section.offset < manifest_end ||
          !Fits(section.offset, section.bytes, file_bytes))
        return DAMAGED("manifest: %s #%u: bytes %" PRIu64 " + %" PRIu64
                       " lie outside %" PRIu64 "..%" PRIu64,
                       section.kind, section.index, section.offset,
                       section.bytes, manifest_end, file_bytes);
    }
    std::sort(
        sections.begin(), sections.end(),
        [](const Section &a, const Section &b) { return a.offset < b.offset; });
    for (size_t i = 1; i < sections.size(); ++i)
      if (sections[i - 1].offset + sections[i - 1].bytes > sections[i].offset)
        return DAMAGED("manifest: %s #%u and %s #%u overlap",
                       sections[i - 1].kind, sections[i - 1].index,
                       sections[i].kind, sections[i].index);
    // The file ends with its last section, so a cut or a tail is seen.
    const Section &last = sections.back();
    if (last.offset + last.bytes != file_bytes &&
        file_bytes - (last.offset + last.bytes) >= HEADRACE_PACKAGE_ALIGNMENT)
      return DAMAGED("manifest: %s #%u ends at %" PRIu64
                     ", but the file has %" PRIu64 " bytes",
                     last.kind, last.index, last.offset + last.bytes,
                     file_bytes);

    for (uint32_t i = 0; i < blob_count; ++i)
      summary->blob_bytes += manifest.blobs()->Get(i)->bytes();
    for (uint32_t i = 0; i < manifest.weights()->size(); ++i)
      if (manifest.weights()->Get(i)->blob() >= blob_count)
        return DAMAGED("manifest: weight #%u: blob %u of %u", i,
                       manifest.weights()->Get(i)->blob(), blob_count);
    return Status();
  }

  Status CheckKv() {
    const abi::KvCache *kv = manifest.kv();
    if (!kv)
      return Status();
    if (kv->element_type() != abi::ElementType::f32 &&
        kv->element_type() != abi::ElementType::bf16 &&
        kv->element_type() != abi::ElementType::f16)
      return DAMAGED("manifest: kv: element type %u",
                     static_cast<unsigned>(kv->element_type()));
    uint64_t least = Product(
        Product(Product(kv->layers(), kv->heads()), kv->head_dim()),
        2 * HEADRACE_KV_PAGE_POSITIONS * ElementBytes(kv->element_type()));
    if (least == 0 || kv->page_bytes() < least ||
        kv->page_bytes() > (uint64_t(1) << 40) ||
        kv->page_bytes() % (uint64_t(kv->layers()) * kCacheLine))
      return DAMAGED("manifest: kv: page of %" PRIu64
                     " bytes for %u layers, %u heads of %u",
                     kv->page_bytes(), kv->layers(), kv->heads(),
                     kv->head_dim());
    uint64_t pages =
        (uint64_t(limits.max_context()) + HEADRACE_KV_PAGE_POSITIONS - 1) /
        HEADRACE_KV_PAGE_POSITIONS;
    if (pages == 0 || kv->max_pages() != pages)
      return DAMAGED("manifest: kv: %u pages for a context of %u",
                     kv->max_pages(), limits.max_context());
    return Status();
  }

  Status CheckBuffers() {
    for (uint32_t i = 0; i < buffer_count; ++i) {
      const abi::Buffer *buffer = manifest.buffers()->Get(i);
      if (buffer->kind() > abi::BufferKind::MAX ||
          buffer->element_type() > abi::ElementType::MAX ||
          buffer->rows() > abi::RowKind::MAX)
        return MakeStatus(allocator, HEADRACE_STATUS_UNIMPLEMENTED,
                          "manifest: buffer #%u: kind %u, element type %u or "
                          "rows %u is of a newer version",
                          i, static_cast<unsigned>(buffer->kind()),
                          static_cast<unsigned>(buffer->element_type()),
                          static_cast<unsigned>(buffer->rows()));
      if (buffer->level() >= manifest.levels()->size())
        return DAMAGED("manifest: buffer #%u: level %u of %u", i,
                       buffer->level(), manifest.levels()->size());
      if (buffer->kind() == abi::BufferKind::view) {
        if (buffer->base() >= buffer_count ||
            manifest.buffers()->Get(buffer->base())->kind() ==
                abi::BufferKind::view)
          return DAMAGED("manifest: buffer #%u: a view of buffer %u", i,
                         buffer->base());
        uint64_t whole = manifest.buffers()->Get(buffer->base())->bytes();
        if (buffer->offset() >= whole)
          return DAMAGED("manifest: buffer #%u: a view from %" PRIu64
                         " of %" PRIu64 " bytes",
                         i, buffer->offset(), whole);
      }
      if (buffer->kind() != abi::BufferKind::scratch)
        continue; // with a plan, CheckPlan looks at the others
      uint64_t capacity = manifest.levels()->Get(buffer->level())->bytes();
      if (buffer->offset() % kCacheLine)
        return DAMAGED("manifest: buffer #%u: offset %" PRIu64
                       " is not aligned to %zu",
                       i, buffer->offset(), kCacheLine);
      if (!Fits(buffer->offset(), buffer->bytes(), capacity))
        return DAMAGED("manifest: buffer #%u: bytes %" PRIu64 " + %" PRIu64
                       " in a level of %" PRIu64,
                       i, buffer->offset(), buffer->bytes(), capacity);
      uint64_t &arena = summary->arena_bytes[buffer->level()];
      arena = std::max(arena, buffer->offset() + buffer->bytes());
    }
    return Status();
  }

  Status CheckKernels() {
    uint64_t code_bytes = manifest.code()->Get(summary->code)->bytes();
    for (uint32_t i = 0; i < manifest.kernels()->size(); ++i) {
      const abi::Kernel *kernel = manifest.kernels()->Get(i);
      if (kernel->symbol()) {
        if (kernel->resources())
          HEADRACE_RETURN_IF_ERROR(
              Spend(uint64_t(kernel->resources()->size()) * 4));
        HEADRACE_RETURN_IF_ERROR(CheckGpuKernel(allocator, manifest, i));
        continue;
      }
      if (!cpu)
        return DAMAGED("manifest: kernel #%u: in no code section", i);
      if (kernel->entry_offset() >= code_bytes)
        return DAMAGED("manifest: kernel #%u: entry at %" PRIu64 " of %" PRIu64
                       " bytes of code",
                       i, kernel->entry_offset(), code_bytes);
      if (kernel->scratch_bytes() > kMaxScratch)
        return DAMAGED("manifest: kernel #%u: %" PRIu64 " bytes of scratch", i,
                       kernel->scratch_bytes());
      summary->max_scratch_bytes =
          std::max(summary->max_scratch_bytes, kernel->scratch_bytes());
      if (const auto *slots = kernel->weight_slots())
        HEADRACE_RETURN_IF_ERROR(Spend(uint64_t(slots->size()) * 4));
    }
    return Status();
  }

  /// Marks the buffers of one argument list as reachable in `entry`.
  Status CheckArguments(uint32_t entry,
                        const flatbuffers::Vector<uint32_t> *list,
                        abi::BufferKind kind, const char *what,
                        Vector<uint32_t> *argument_of) {
    HEADRACE_RETURN_IF_ERROR(Spend(uint64_t(list->size()) * 4));
    for (uint32_t i = 0; i < list->size(); ++i) {
      uint32_t index = list->Get(i);
      if (index >= buffer_count)
        return DAMAGED("manifest: entry #%u: %s #%u: buffer %u of %u", entry,
                       what, i, index, buffer_count);
      if (manifest.buffers()->Get(index)->kind() != kind)
        return DAMAGED("manifest: entry #%u: %s #%u: buffer %u is of another "
                       "kind",
                       entry, what, i, index);
      if ((*argument_of)[index] == entry)
        return DAMAGED("manifest: entry #%u: %s #%u: buffer %u appears twice",
                       entry, what, i, index);
      (*argument_of)[index] = entry;
    }
    return Status();
  }

  Status CheckLaunch(uint32_t entry, uint32_t index, const abi::Launch &launch,
                     const Vector<uint32_t> &argument_of) {
    if (launch.kind() > abi::LaunchKind::MAX)
      return MakeStatus(allocator, HEADRACE_STATUS_UNIMPLEMENTED,
                        "manifest: entry #%u: launch #%u: kind %u is of a "
                        "newer version",
                        entry, index, static_cast<unsigned>(launch.kind()));
    if (launch.kernel() >= manifest.kernels()->size())
      return DAMAGED("manifest: entry #%u: launch #%u: kernel %u of %u", entry,
                     index, launch.kernel(), manifest.kernels()->size());
    HEADRACE_RETURN_IF_ERROR(Spend(
        (uint64_t(launch.buffers()->size()) + launch.weights()->size()) * 4));
    for (uint32_t i = 0; i < launch.buffers()->size(); ++i) {
      uint32_t buffer = launch.buffers()->Get(i);
      if (buffer >= buffer_count)
        return DAMAGED("manifest: entry #%u: launch #%u: buffer %u of %u",
                       entry, index, buffer, buffer_count);
      const abi::Buffer *named = manifest.buffers()->Get(buffer);
      if (named->kind() == abi::BufferKind::view)
        buffer = named->base();
      if (manifest.buffers()->Get(buffer)->kind() != abi::BufferKind::scratch &&
          argument_of[buffer] != entry)
        return DAMAGED("manifest: entry #%u: launch #%u: buffer %u is no "
                       "argument of the entry",
                       entry, index, buffer);
    }
    const auto *slots =
        launch.kind() == abi::LaunchKind::kernel
            ? manifest.kernels()->Get(launch.kernel())->weight_slots()
            : nullptr; // a library's product reads one slot an operand
    if (slots && slots->size() != launch.weights()->size())
      return DAMAGED("manifest: entry #%u: launch #%u: %u weights for a kernel "
                     "of %u",
                     entry, index, launch.weights()->size(), slots->size());
    for (uint32_t i = 0; i < launch.weights()->size(); ++i) {
      uint32_t first = launch.weights()->Get(i);
      uint32_t count = slots ? slots->Get(i) : 1;
      if (count == 0 || !Fits(first, count, manifest.weights()->size()))
        return DAMAGED("manifest: entry #%u: launch #%u: weights %u + %u of %u",
                       entry, index, first, count, manifest.weights()->size());
    }

    if (launch.grid_kind() > abi::GridKind::MAX)
      return MakeStatus(allocator, HEADRACE_STATUS_UNIMPLEMENTED,
                        "manifest: entry #%u: launch #%u: grid kind %u is of "
                        "a newer version",
                        entry, index,
                        static_cast<unsigned>(launch.grid_kind()));
    if (launch.grid_kind() == abi::GridKind::per_token_block &&
        (launch.grid_block() == 0 || launch.grid_block() > kMaxStepRows))
      return DAMAGED("manifest: entry #%u: launch #%u: blocks of %" PRIu64
                     " tokens",
                     entry, index, launch.grid_block());
    // The largest of each count bounds every grid; products are checked wide.
    uint64_t factor = limits.max_tokens();
    if (launch.grid_kind() == abi::GridKind::fixed)
      factor = 1;
    else if (launch.grid_kind() == abi::GridKind::per_routed)
      factor = std::min(launch.grid_limit(),
                        Product(launch.grid_block(), limits.max_tokens()));
    if (Product(launch.grid_base(), factor) > kMaxTasks)
      return DAMAGED("manifest: entry #%u: launch #%u: grid of %" PRIu64
                     " * %" PRIu64 " tasks",
                     entry, index, launch.grid_base(), factor);
    return Status();
  }

  Status CheckEntries() {
    Vector<uint32_t> argument_of(buffer_count, kNoIndex,
                                 StdAllocator<uint32_t>(allocator));
    uint32_t entry_count = manifest.entries()->size();
    Vector<std::string_view> names{StdAllocator<std::string_view>(allocator)};
    names.reserve(entry_count);
    for (uint32_t i = 0; i < entry_count; ++i) {
      const abi::Entry *entry = manifest.entries()->Get(i);
      names.push_back(entry->name()->string_view());
      HEADRACE_RETURN_IF_ERROR(Spend(entry->name()->size()));
      HEADRACE_RETURN_IF_ERROR(CheckArguments(
          i, entry->inputs(), abi::BufferKind::input, "input", &argument_of));
      HEADRACE_RETURN_IF_ERROR(CheckArguments(i, entry->outputs(),
                                              abi::BufferKind::output, "output",
                                              &argument_of));
      HEADRACE_RETURN_IF_ERROR(Spend(uint64_t(entry->launches()->size()) * 4));
      for (uint32_t j = 0; j < entry->launches()->size(); ++j) {
        const abi::Launch &launch = *entry->launches()->Get(j);
        HEADRACE_RETURN_IF_ERROR(CheckLaunch(i, j, launch, argument_of));
        if (launch.kind() != abi::LaunchKind::kernel ||
            manifest.kernels()->Get(launch.kernel())->symbol())
          return DAMAGED("manifest: entry #%u: launch #%u: runs no code of a "
                         "CPU",
                         i, j);
      }
      if (const auto *classes = entry->classes()) {
        HEADRACE_RETURN_IF_ERROR(Spend(uint64_t(classes->size()) * 4));
        for (const abi::StepClass *one : *classes) {
          HEADRACE_RETURN_IF_ERROR(
              Spend(uint64_t(one->launches()->size()) * 4));
          for (uint32_t j = 0; j < one->launches()->size(); ++j)
            HEADRACE_RETURN_IF_ERROR(
                CheckLaunch(i, j, *one->launches()->Get(j), argument_of));
        }
      }
      HEADRACE_RETURN_IF_ERROR(CheckStepClasses(allocator, manifest, i));
      if (names.back() == "forward")
        summary->model.entry = i;
    }
    std::sort(names.begin(), names.end());
    for (size_t i = 1; i < names.size(); ++i)
      if (names[i] == names[i - 1])
        return DAMAGED("manifest: two entries are called '%.*s'",
                       static_cast<int>(std::min<size_t>(names[i].size(), 64)),
                       names[i].data());
    return Status();
  }

  /// Finds the buffer slot of the language model that `role` names.
  uint32_t *RoleSlot(std::string_view role, abi::BufferKind kind) {
    LanguageModel &model = summary->model;
    if (kind == abi::BufferKind::output)
      return role == HEADRACE_ROLE_LOGITS ? &model.logits : nullptr;
    const struct {
      std::string_view name;
      uint32_t *slot;
    } roles[] = {{HEADRACE_ROLE_TOKENS, &model.tokens},
                 {HEADRACE_ROLE_POSITIONS, &model.positions},
                 {HEADRACE_ROLE_SEQUENCES, &model.sequences},
                 {HEADRACE_ROLE_OUTPUT_ROWS, &model.output_rows},
                 {HEADRACE_ROLE_KV_POOL, &model.kv_pool},
                 {HEADRACE_ROLE_KV_TABLE, &model.kv_table}};
    for (const auto &entry : roles)
      if (entry.name == role)
        return entry.slot;
    return nullptr;
  }

  Status CheckRoles(const flatbuffers::Vector<uint32_t> *list) {
    for (uint32_t i = 0; i < list->size(); ++i) {
      uint32_t index = list->Get(i);
      const abi::Buffer *buffer = manifest.buffers()->Get(index);
      std::string_view role =
          buffer->role() ? buffer->role()->string_view() : std::string_view();
      uint32_t *slot = RoleSlot(role, buffer->kind());
      if (!slot)
        return MakeStatus(allocator, HEADRACE_STATUS_UNIMPLEMENTED,
                          "manifest: 'forward': buffer %u has the role "
                          "'%.*s', unknown to this version",
                          index,
                          static_cast<int>(std::min<size_t>(role.size(), 64)),
                          role.data());
      if (*slot != kNoIndex)
        return DAMAGED("manifest: 'forward': buffers %u and %u share a role",
                       *slot, index);
      *slot = index;
    }
    return Status();
  }

  Status CheckRoleBytes(uint32_t index, uint64_t bytes, const char *role) {
    if (index != kNoIndex && manifest.buffers()->Get(index)->bytes() < bytes)
      return DAMAGED("manifest: 'forward': '%s' has %" PRIu64
                     " bytes, expected at least %" PRIu64,
                     role, manifest.buffers()->Get(index)->bytes(), bytes);
    return Status();
  }

  /// Views of the key-value pool are its layers.
  Status CheckKvViews() {
    for (uint32_t i = 0; i < buffer_count; ++i) {
      const abi::Buffer *view = manifest.buffers()->Get(i);
      if (view->kind() != abi::BufferKind::view ||
          view->base() != summary->model.kv_pool)
        continue;
      const abi::KvCache &kv = *manifest.kv();
      const uint64_t page = kv.page_bytes() / kv.layers();
      if (view->offset() % page || view->offset() / page >= kv.layers())
        return DAMAGED("manifest: buffer #%u: a view of the key-value pool "
                       "from %" PRIu64 ", expected one of %u times %" PRIu64,
                       i, view->offset(), kv.layers(), page);
    }
    return Status();
  }

  Status CheckLanguageModel() {
    LanguageModel &model = summary->model;
    if (model.entry == kNoIndex)
      return Status();
    const abi::Entry *entry = manifest.entries()->Get(model.entry);
    HEADRACE_RETURN_IF_ERROR(CheckRoles(entry->inputs()));
    HEADRACE_RETURN_IF_ERROR(CheckRoles(entry->outputs()));
    if (model.tokens == kNoIndex || model.output_rows == kNoIndex ||
        model.logits == kNoIndex)
      return DAMAGED("manifest: 'forward' lacks tokens, output_rows or logits");
    if ((model.kv_pool == kNoIndex) != (model.kv_table == kNoIndex) ||
        (model.kv_pool != kNoIndex && !manifest.kv()))
      return DAMAGED("manifest: 'forward' has part of a key-value cache");
    if (limits.vocabulary() == 0 || limits.max_context() == 0)
      return DAMAGED("manifest: 'forward' without vocabulary or context");
    HEADRACE_RETURN_IF_ERROR(CheckKvViews());

    uint64_t max_tokens = limits.max_tokens();
    HEADRACE_RETURN_IF_ERROR(
        CheckRoleBytes(model.tokens, max_tokens * 4, "tokens"));
    HEADRACE_RETURN_IF_ERROR(
        CheckRoleBytes(model.positions, max_tokens * 4, "positions"));
    HEADRACE_RETURN_IF_ERROR(CheckRoleBytes(
        model.sequences, (uint64_t(limits.max_sequences()) + 1) * 4,
        "sequences"));
    if (model.kv_table != kNoIndex)
      HEADRACE_RETURN_IF_ERROR(
          CheckRoleBytes(model.kv_table,
                         Product(uint64_t(limits.max_sequences()) * 4,
                                 manifest.kv()->max_pages()),
                         "kv_table"));

    const abi::Buffer *logits = manifest.buffers()->Get(model.logits);
    if (logits->element_type() != abi::ElementType::f32)
      return DAMAGED("manifest: 'forward': logits are not float32");
    uint64_t outputs = logits->bytes() / (uint64_t(limits.vocabulary()) * 4);
    outputs = std::min(outputs,
                       manifest.buffers()->Get(model.output_rows)->bytes() / 4);
    outputs = std::min(outputs, max_tokens);
    if (outputs == 0)
      return DAMAGED("manifest: 'forward': logits of %" PRIu64 " bytes",
                     logits->bytes());
    model.max_outputs = static_cast<uint32_t>(outputs);
    return Status();
  }

  const Allocator &allocator;
  const abi::Manifest &manifest;
  const uint64_t manifest_bytes;
  const uint64_t manifest_end;
  const uint64_t file_bytes;
  ManifestSummary *summary;
  const uint32_t buffer_count;
  const abi::Limits &limits;
  uint64_t spent = 0;
  bool cpu = false; // whether there is code for a CPU
};

} // namespace

Status CheckManifest(const Allocator &allocator, const uint8_t *manifest,
                     uint64_t manifest_bytes, uint64_t manifest_end,
                     uint64_t file_bytes, ManifestSummary *summary) {
  flatbuffers::Verifier verifier(manifest, manifest_bytes, kMaxDepth,
                                 kMaxTables);
  if (manifest_bytes < 16 || !abi::VerifyManifestBuffer(verifier))
    return MakeStatus(allocator, HEADRACE_STATUS_DATA_LOSS,
                      "manifest: not a well-formed FlatBuffer");
  return Checker(allocator, *abi::GetManifest(manifest), manifest_bytes,
                 manifest_end, file_bytes, summary)
      .Run();
}

uint64_t GridTasks(abi::GridKind kind, uint64_t base, uint64_t block,
                   uint64_t limit, const int64_t *counts) {
  uint64_t tokens = static_cast<uint64_t>(counts[HEADRACE_COUNT_TOKENS]);
  switch (kind) {
  case abi::GridKind::fixed:
    return base;
  case abi::GridKind::per_token:
    return base * tokens;
  case abi::GridKind::per_sequence:
    return base * static_cast<uint64_t>(counts[HEADRACE_COUNT_SEQUENCES]);
  case abi::GridKind::per_output:
    return base * static_cast<uint64_t>(counts[HEADRACE_COUNT_OUTPUTS]);
  case abi::GridKind::per_token_block:
    return base * ((tokens + block - 1) / block);
  case abi::GridKind::per_routed: {
    uint64_t routed = std::min(limit, Product(block, tokens));
    auto bound = [&](int64_t active) {
      return std::min(routed, static_cast<uint64_t>(active));
    };
    uint64_t first = bound(counts[HEADRACE_COUNT_FIRST_ACTIVE]);
    uint64_t end = bound(counts[HEADRACE_COUNT_END_ACTIVE]);
    return first < end ? base * (end - first) : 0;
  }
  }
  return 0;
}

} // namespace headrace::runtime
