// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Package: opening, checking and describing a package file.
#include "runtime/src/package.h"

#include "runtime/abi/kernel_abi.h"
#include "runtime/abi/package_format.h"
#include "runtime/drivers/cpu/cpu_features.h"
#include "runtime/src/digest.h"
#include "runtime/src/guard.h"
#include "runtime/src/manifest_gpu.h"
#include "runtime/src/structs.h"

#include <cerrno>
#include <cinttypes>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace headrace::runtime;
namespace abi = headrace::abi;

//===----------------------------------------------------------------------===//
// Opening
//===----------------------------------------------------------------------===//

headrace_package_t::headrace_package_t(headrace_instance_t *instance)
    : instance(InstanceRef::Share(instance)),
      manifest_words(StdAllocator<uint64_t>(instance->allocator)),
      summary(instance->allocator) {}

headrace_package_t::~headrace_package_t() {
  if (source.file >= 0)
    close(source.file);
}

Status headrace_package_t::Read(uint64_t offset, void *out, uint64_t bytes,
                                const char *what) {
  if (source.memory) {
    std::memcpy(out, source.memory + offset, bytes);
    return Status();
  }
  auto *cursor = static_cast<uint8_t *>(out);
  while (bytes) {
    ssize_t got = pread(source.file, cursor, bytes, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return MakeErrnoStatus(HostAllocator(), errno, what);
    if (got == 0)
      return MakeStatus(HostAllocator(), HEADRACE_STATUS_DATA_LOSS,
                        "%s: the file ended while it was read", what);
    cursor += got;
    offset += static_cast<uint64_t>(got);
    bytes -= static_cast<uint64_t>(got);
  }
  return Status();
}

Status headrace_package_t::ReadHeader(uint64_t *out_manifest_bytes,
                                      uint64_t *out_digest) {
  headrace_package_header_t header;
  if (source.bytes < sizeof(header))
    return MakeStatus(HostAllocator(), HEADRACE_STATUS_DATA_LOSS,
                      "header: the file has %" PRIu64 " bytes", source.bytes);
  HEADRACE_RETURN_IF_ERROR(Read(0, &header, sizeof(header), "header"));
  if (std::memcmp(header.magic, HEADRACE_PACKAGE_MAGIC, sizeof(header.magic)))
    return MakeStatus(HostAllocator(), HEADRACE_STATUS_DATA_LOSS,
                      "header: not a headrace package");
  // Version before digest: another version may have another header.
  if (header.version != HEADRACE_PACKAGE_VERSION)
    return MakeStatus(HostAllocator(), HEADRACE_STATUS_UNIMPLEMENTED,
                      "header: package version %u, this library reads %u",
                      header.version, HEADRACE_PACKAGE_VERSION);
  if (header.header_xxh3 !=
      Digest(&header, offsetof(headrace_package_header_t, header_xxh3)))
    return MakeStatus(HostAllocator(), HEADRACE_STATUS_DATA_LOSS,
                      "header: digest does not match");
  if (header.header_bytes != sizeof(header))
    return MakeStatus(HostAllocator(), HEADRACE_STATUS_DATA_LOSS,
                      "header: %u bytes, expected %zu", header.header_bytes,
                      sizeof(header));
  if (header.file_bytes != source.bytes)
    return MakeStatus(HostAllocator(), HEADRACE_STATUS_DATA_LOSS,
                      "header: the file has %" PRIu64
                      " bytes, expected %" PRIu64,
                      source.bytes, header.file_bytes);
  if (header.manifest_bytes == 0 ||
      header.manifest_bytes > HEADRACE_PACKAGE_MAX_MANIFEST_BYTES ||
      header.manifest_bytes > source.bytes - sizeof(header))
    return MakeStatus(HostAllocator(), HEADRACE_STATUS_DATA_LOSS,
                      "header: manifest of %" PRIu64
                      " bytes in a file of %" PRIu64,
                      header.manifest_bytes, source.bytes);
  *out_manifest_bytes = header.manifest_bytes;
  *out_digest = header.manifest_xxh3;
  return Status();
}

Status headrace_package_t::CheckProcessor() {
  const abi::Code &section = Code();
  if (section.format() != abi::CodeFormat::image)
    return MakeStatus(HostAllocator(), HEADRACE_STATUS_FAILED_PRECONDITION,
                      "code: compiled for target '%.64s' (%.64s) alone, and "
                      "this device is the processor",
                      section.target()->c_str(), section.cpu()->c_str());
  if (section.kernel_abi_version() != HEADRACE_KERNEL_ABI_VERSION)
    return MakeStatus(HostAllocator(), HEADRACE_STATUS_FAILED_PRECONDITION,
                      "code: kernel ABI %u, this library runs %u",
                      section.kernel_abi_version(),
                      HEADRACE_KERNEL_ABI_VERSION);
  uint64_t missing =
      section.features() & ~(cpu::Features() & ~disabled_features);
  if (missing) {
    char names[128];
    cpu::FeatureNames(missing, names, sizeof(names));
    return MakeStatus(HostAllocator(), HEADRACE_STATUS_FAILED_PRECONDITION,
                      "code: compiled for '%.64s', which needs %s; this "
                      "processor or its operating system lacks it",
                      section.cpu()->c_str(), names);
  }
  return Status();
}

Status headrace_package_t::MapCode() {
  const abi::Code &section = Code();
  if (section.format() != abi::CodeFormat::image)
    return Status();
  if (source.memory) {
    HEADRACE_RETURN_IF_ERROR(Mapping::Anonymous(
        HostAllocator(), section.bytes(), "the code", &code));
    std::memcpy(code.Data(), source.memory + section.offset(), section.bytes());
    HEADRACE_RETURN_IF_ERROR(code.MakeExecutable(HostAllocator()));
  } else {
    HEADRACE_RETURN_IF_ERROR(Mapping::File(
        HostAllocator(), source.file, section.offset(), section.bytes(),
        PROT_READ | PROT_EXEC, MAP_PRIVATE, "mapping the code", &code));
  }
  if (Digest(code.Data(), section.bytes()) != section.xxh3())
    return MakeStatus(HostAllocator(), HEADRACE_STATUS_DATA_LOSS,
                      "code: digest does not match");
  return Status();
}

/// A package that only processors can run is refused where this one cannot. One
/// with code for GPUs too may still find a device.
Status headrace_package_t::CheckMachine() {
  for (uint32_t i = 0; i < manifest->code()->size(); ++i)
    if (IsGpuCode(*manifest, i))
      return Status();
  return CheckProcessor();
}

/// Compares the digest of the code that is not mapped for execution.
Status headrace_package_t::CheckGpuCode() {
  for (uint32_t i = 0; i < manifest->code()->size(); ++i) {
    const abi::Code &section = *manifest->code()->Get(i);
    if (IsGpuCode(*manifest, i) &&
        Digest(FileBytes(section.offset()), section.bytes()) != section.xxh3())
      return MakeStatus(HostAllocator(), HEADRACE_STATUS_DATA_LOSS,
                        "code: section #%u: digest does not match", i);
  }
  return Status();
}

Status headrace_package_t::Open(const PackageSource &from,
                                const headrace_package_options_t &options) {
  source = from;
  inspect_only = options.inspect_only != 0;
  disabled_features = options.disabled_features;
  uint64_t digest;
  HEADRACE_RETURN_IF_ERROR(ReadHeader(&manifest_bytes, &digest));
  // A copy: what has been checked cannot change under us, and is aligned.
  manifest_words.resize((manifest_bytes + 7) / 8);
  auto *bytes = reinterpret_cast<uint8_t *>(manifest_words.data());
  HEADRACE_RETURN_IF_ERROR(Read(sizeof(headrace_package_header_t), bytes,
                                manifest_bytes, "manifest"));
  if (Digest(bytes, manifest_bytes) != digest)
    return MakeStatus(HostAllocator(), HEADRACE_STATUS_DATA_LOSS,
                      "manifest: digest does not match");
  HEADRACE_RETURN_IF_ERROR(
      CheckManifest(HostAllocator(), bytes, manifest_bytes,
                    sizeof(headrace_package_header_t) + manifest_bytes,
                    source.bytes, &summary));
  manifest = abi::GetManifest(bytes);
  if (!inspect_only)
    HEADRACE_RETURN_IF_ERROR(CheckMachine());
  HEADRACE_RETURN_IF_ERROR(MapCode());
  if (!source.memory)
    HEADRACE_RETURN_IF_ERROR(Mapping::File(HostAllocator(), source.file, 0,
                                           source.bytes, PROT_READ, MAP_SHARED,
                                           "mapping the weights", &file));
  return CheckGpuCode();
}

namespace {

/// Opens the file at `path` for reading; `source` is ready for Open().
Status OpenFile(const Allocator &allocator, const char *path,
                PackageSource *source) {
  // Without O_NONBLOCK a pipe would wait for a writer for ever.
  source->file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (source->file < 0)
    return MakeErrnoStatus(allocator, errno, "cannot open");
  struct stat attributes;
  if (fstat(source->file, &attributes) != 0)
    return MakeErrnoStatus(allocator, errno, "cannot stat");
  if (!S_ISREG(attributes.st_mode))
    return MakeStatus(allocator, HEADRACE_STATUS_INVALID_ARGUMENT,
                      "not a regular file");
  source->bytes = static_cast<uint64_t>(attributes.st_size);
  return Status();
}

/// Puts the path before the message.
Status AtPath(const Allocator &allocator, const char *path, Status status) {
  if (status.IsOk())
    return status;
  return MakeStatus(allocator, status.Code(), "%.700s: %s", path,
                    status.Message());
}

struct FileCloser {
  ~FileCloser() {
    if (file >= 0)
      close(file);
  }
  int file = -1;
};

} // namespace

Status headrace::runtime::OpenPackageFromMemory(
    headrace_instance_t *instance, const uint8_t *data, uint64_t bytes,
    const headrace_package_options_t &options,
    headrace_package_t **out_package) {
  *out_package = nullptr;
  PackageSource source;
  source.memory = data;
  source.bytes = bytes;
  auto package =
      PackageRef::Adopt(New<headrace_package_t>(instance->allocator, instance));
  HEADRACE_RETURN_IF_ERROR(package->Open(source, options));
  *out_package = package.Release();
  return Status();
}

headrace_status_t
headrace_package_open(headrace_instance_t *instance, const char *path,
                      const headrace_package_options_t *options,
                      headrace_package_t **out_package) {
  if (out_package)
    *out_package = nullptr;
  if (!instance || !path || !out_package)
    return InvalidArgument("package: an argument is null");
  const Allocator &allocator = instance->allocator;
  return Guard(allocator, [&]() -> Status {
    headrace_package_options_t read;
    HEADRACE_RETURN_IF_ERROR(ReadOptions(allocator, options, &read));
    PackageSource source;
    Status opened = OpenFile(allocator, path, &source);
    FileCloser closer{source.file};
    if (!opened.IsOk())
      return AtPath(allocator, path, std::move(opened));
    auto package =
        PackageRef::Adopt(New<headrace_package_t>(allocator, instance));
    closer.file = -1; // the package's from here on
    HEADRACE_RETURN_IF_ERROR(
        AtPath(allocator, path, package->Open(source, read)));
    *out_package = package.Release();
    return Status();
  });
}

void headrace_package_retain(headrace_package_t *package) {
  if (package)
    package->Retain();
}

void headrace_package_release(headrace_package_t *package) {
  if (!package || !package->Drop())
    return;
  // The instance must outlive the memory that the package itself lies in.
  auto instance = InstanceRef::Share(package->instance.Get());
  Delete(instance->allocator, package);
}

//===----------------------------------------------------------------------===//
// Verification
//===----------------------------------------------------------------------===//

Status headrace_package_t::VerifyRange(uint64_t begin, uint64_t end,
                                       Vector<uint8_t> &chunk) {
  while (begin < end) {
    uint64_t bytes = std::min<uint64_t>(end - begin, chunk.size());
    HEADRACE_RETURN_IF_ERROR(Read(begin, chunk.data(), bytes, "padding"));
    for (uint64_t i = 0; i < bytes; ++i)
      if (chunk[i])
        return MakeStatus(HostAllocator(), HEADRACE_STATUS_DATA_LOSS,
                          "padding: byte %" PRIu64 " is not zero", begin + i);
    begin += bytes;
  }
  return Status();
}

Status headrace_package_t::Verify(const headrace_verify_options_t &options) {
  const Allocator &allocator = HostAllocator();
  struct Range {
    uint64_t begin, end;
    uint32_t blob;
  };
  Vector<Range> ranges{StdAllocator<Range>(allocator)};
  for (uint32_t i = 0; i < manifest->code()->size(); ++i) {
    const abi::Code *section = manifest->code()->Get(i);
    ranges.push_back(
        {section->offset(), section->offset() + section->bytes(), kNoIndex});
  }
  for (uint32_t i = 0; i < manifest->blobs()->size(); ++i) {
    const abi::Blob *blob = manifest->blobs()->Get(i);
    ranges.push_back({blob->offset(), blob->offset() + blob->bytes(), i});
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const Range &a, const Range &b) { return a.begin < b.begin; });

  uint64_t chunk_bytes =
      std::max<uint64_t>(manifest->chunk_bytes(), HEADRACE_PACKAGE_ALIGNMENT);
  Vector<uint8_t> chunk(std::min(chunk_bytes, source.bytes), 0,
                        StdAllocator<uint8_t>(allocator));
  uint64_t position = sizeof(headrace_package_header_t) + manifest_bytes;
  for (const Range &range : ranges) {
    HEADRACE_RETURN_IF_ERROR(VerifyRange(position, range.begin, chunk));
    position = range.end;
    if (range.blob == kNoIndex)
      continue; // code was compared when it was opened
    const auto *digests = manifest->blobs()->Get(range.blob)->chunk_xxh3();
    uint64_t begin = range.begin;
    for (uint32_t i = 0; begin < range.end; ++i) {
      if (IsCancelled(options.cancel))
        return MakeStatus(allocator, HEADRACE_STATUS_CANCELLED,
                          "verification was cancelled");
      uint64_t bytes = std::min(range.end - begin, chunk_bytes);
      HEADRACE_RETURN_IF_ERROR(Read(begin, chunk.data(), bytes, "blob"));
      if (Digest(chunk.data(), bytes) != digests->Get(i)) {
        const char *weight = "no weight";
        for (const abi::Weight *candidate : *manifest->weights())
          if (candidate->blob() == range.blob) {
            weight = candidate->name()->c_str();
            break;
          }
        return MakeStatus(allocator, HEADRACE_STATUS_DATA_LOSS,
                          "blob #%u ('%.200s'): chunk %u at byte %" PRIu64
                          ": digest does not match",
                          range.blob, weight, i, begin);
      }
      begin += bytes;
      if (options.progress)
        options.progress(options.user_data, begin, source.bytes);
    }
  }
  return VerifyRange(position, source.bytes, chunk);
}

headrace_status_t
headrace_package_verify(headrace_package_t *package,
                        const headrace_verify_options_t *options) {
  if (!package)
    return InvalidArgument("package: 'package' is null");
  return Guard(package->HostAllocator(), [&]() -> Status {
    headrace_verify_options_t read;
    HEADRACE_RETURN_IF_ERROR(
        ReadOptions(package->HostAllocator(), options, &read));
    return package->Verify(read);
  });
}

//===----------------------------------------------------------------------===//
// Queries
//===----------------------------------------------------------------------===//

namespace {

const char *Text(const flatbuffers::String *string) {
  return string ? string->c_str() : "";
}

/// Fills `*out` through `fill` when `index` is below `count`.
template <typename T, typename Fill>
headrace_status_t Describe(const headrace_package_t *package, uint32_t index,
                           uint32_t count, T *out, Fill &&fill) {
  const Allocator &allocator = package->HostAllocator();
  return Guard(allocator, [&]() -> Status {
    if (index >= count)
      return MakeStatus(allocator, HEADRACE_STATUS_OUT_OF_RANGE,
                        "%s: index %u of %u", FirstVersion<T>::kName, index,
                        count);
    T value = {};
    fill(value);
    return WriteStruct(allocator, value, out);
  });
}

} // namespace

headrace_status_t headrace_package_info(const headrace_package_t *package,
                                        headrace_package_info_t *out) {
  if (!package)
    return InvalidArgument("package: 'package' is null");
  return Describe(package, 0, 1, out, [&](headrace_package_info_t &value) {
    const abi::Manifest &manifest = *package->manifest;
    value.producer = Text(manifest.producer());
    value.model = Text(manifest.model());
    value.target = Text(package->Code().target());
    value.cpu = Text(package->Code().cpu());
    value.features = package->Code().features();
    value.kernel_abi_version = package->Code().kernel_abi_version();
    value.level_count = manifest.levels()->size();
    value.blob_count = manifest.blobs()->size();
    value.weight_count = manifest.weights()->size();
    value.buffer_count = manifest.buffers()->size();
    value.kernel_count = manifest.kernels()->size();
    value.entry_count = manifest.entries()->size();
    value.max_tokens = manifest.limits()->max_tokens();
    value.max_sequences = manifest.limits()->max_sequences();
    value.max_context = manifest.limits()->max_context();
    value.vocabulary = manifest.limits()->vocabulary();
    if (const abi::KvCache *kv = manifest.kv()) {
      value.kv_layers = kv->layers();
      value.kv_heads = kv->heads();
      value.kv_head_dim = kv->head_dim();
      value.kv_element_type = static_cast<uint32_t>(kv->element_type());
      value.kv_max_pages = kv->max_pages();
      value.kv_page_bytes = kv->page_bytes();
    }
    value.file_bytes = package->source.bytes;
    value.manifest_bytes = package->manifest_bytes;
    value.code_bytes = package->Code().bytes();
    value.blob_bytes = package->summary.blob_bytes;
    value.chunk_bytes = manifest.chunk_bytes();
    if (const abi::Plan *plan = manifest.plan()) {
      value.has_plan = 1;
      value.fast_level = plan->fast_level();
    }
    if (const auto *end_tokens = manifest.end_tokens();
        end_tokens && end_tokens->size()) {
      value.end_tokens = end_tokens->data();
      value.end_token_count = end_tokens->size();
    }
  });
}

headrace_status_t headrace_package_level(const headrace_package_t *package,
                                         uint32_t index,
                                         headrace_level_info_t *out) {
  if (!package)
    return InvalidArgument("package: 'package' is null");
  const auto *levels = package->manifest->levels();
  return Describe(package, index, levels->size(), out,
                  [&](headrace_level_info_t &value) {
                    value.name = Text(levels->Get(index)->name());
                    value.bytes = levels->Get(index)->bytes();
                    value.arena_bytes = package->summary.arena_bytes[index];
                    value.peak_bytes = package->summary.peak_bytes[index];
                  });
}

headrace_status_t headrace_package_blob(const headrace_package_t *package,
                                        uint32_t index,
                                        headrace_blob_info_t *out) {
  if (!package)
    return InvalidArgument("package: 'package' is null");
  const auto *blobs = package->manifest->blobs();
  return Describe(package, index, blobs->size(), out,
                  [&](headrace_blob_info_t &value) {
                    value.offset = blobs->Get(index)->offset();
                    value.bytes = blobs->Get(index)->bytes();
                    value.blake3 = blobs->Get(index)->blake3()->data();
                  });
}

headrace_status_t headrace_package_weight(const headrace_package_t *package,
                                          uint32_t index,
                                          headrace_weight_info_t *out) {
  if (!package)
    return InvalidArgument("package: 'package' is null");
  const auto *weights = package->manifest->weights();
  return Describe(package, index, weights->size(), out,
                  [&](headrace_weight_info_t &value) {
                    value.name = Text(weights->Get(index)->name());
                    value.type = Text(weights->Get(index)->type());
                    value.blob = weights->Get(index)->blob();
                  });
}

headrace_status_t headrace_package_buffer(const headrace_package_t *package,
                                          uint32_t index,
                                          headrace_buffer_info_t *out) {
  if (!package)
    return InvalidArgument("package: 'package' is null");
  const auto *buffers = package->manifest->buffers();
  return Describe(
      package, index, buffers->size(), out, [&](headrace_buffer_info_t &value) {
        const abi::Buffer &buffer = *buffers->Get(index);
        value.name = Text(buffer.name());
        value.role = Text(buffer.role());
        value.type = Text(buffer.type());
        value.kind = static_cast<headrace_buffer_kind_t>(buffer.kind());
        value.element_type =
            static_cast<headrace_element_type_t>(buffer.element_type());
        value.rows = static_cast<headrace_rows_t>(buffer.rows());
        value.level = buffer.level();
        value.offset = buffer.offset();
        value.bytes = buffer.bytes();
      });
}

headrace_status_t headrace_package_kernel(const headrace_package_t *package,
                                          uint32_t index,
                                          headrace_kernel_info_t *out) {
  if (!package)
    return InvalidArgument("package: 'package' is null");
  const auto *kernels = package->manifest->kernels();
  return Describe(package, index, kernels->size(), out,
                  [&](headrace_kernel_info_t &value) {
                    const abi::Kernel &kernel = *kernels->Get(index);
                    value.name = Text(kernel.name());
                    value.family = Text(kernel.family());
                    value.entry_offset = kernel.entry_offset();
                    value.scratch_bytes = kernel.scratch_bytes();
                  });
}

headrace_status_t headrace_package_entry(const headrace_package_t *package,
                                         uint32_t index,
                                         headrace_entry_info_t *out) {
  if (!package)
    return InvalidArgument("package: 'package' is null");
  const auto *entries = package->manifest->entries();
  return Describe(package, index, entries->size(), out,
                  [&](headrace_entry_info_t &value) {
                    const abi::Entry &entry = *entries->Get(index);
                    value.name = Text(entry.name());
                    value.inputs = entry.inputs()->data();
                    value.outputs = entry.outputs()->data();
                    value.input_count = entry.inputs()->size();
                    value.output_count = entry.outputs()->size();
                    value.launch_count = entry.launches()->size();
                  });
}

headrace_status_t headrace_package_launch(const headrace_package_t *package,
                                          uint32_t entry, uint32_t launch,
                                          headrace_launch_info_t *out) {
  if (!package)
    return InvalidArgument("package: 'package' is null");
  const auto *entries = package->manifest->entries();
  uint32_t count =
      entry < entries->size() ? entries->Get(entry)->launches()->size() : 0;
  return Describe(package, launch, count, out,
                  [&](headrace_launch_info_t &value) {
                    const abi::Launch &found =
                        *entries->Get(entry)->launches()->Get(launch);
                    value.buffers = found.buffers()->data();
                    value.weights = found.weights()->data();
                    value.buffer_count = found.buffers()->size();
                    value.weight_count = found.weights()->size();
                    value.kernel = found.kernel();
                    value.grid_kind = static_cast<uint32_t>(found.grid_kind());
                    value.grid_base = found.grid_base();
                    value.grid_block = found.grid_block();
                    value.grid_limit = found.grid_limit();
                  });
}

headrace_status_t headrace_package_find_entry(const headrace_package_t *package,
                                              const char *name,
                                              uint32_t *out_index) {
  if (!package || !name || !out_index)
    return InvalidArgument("package: an argument is null");
  return Guard(package->HostAllocator(), [&]() -> Status {
    const auto *entries = package->manifest->entries();
    for (uint32_t i = 0; i < entries->size(); ++i)
      if (entries->Get(i)->name()->string_view() == name) {
        *out_index = i;
        return Status();
      }
    return MakeStatus(package->HostAllocator(), HEADRACE_STATUS_NOT_FOUND,
                      "package: no entry is called '%.200s'", name);
  });
}
