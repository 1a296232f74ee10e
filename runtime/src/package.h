// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Package: an opened file whose header, manifest and code have been checked.
#ifndef HEADRACE_RUNTIME_SRC_PACKAGE_H
#define HEADRACE_RUNTIME_SRC_PACKAGE_H

#include "headrace/package.h"
#include "runtime/src/instance.h"
#include "runtime/src/manifest.h"
#include "runtime/src/mapping.h"

namespace headrace::runtime {

/// Where the bytes of a package are: a file, or memory that outlives it.
struct PackageSource {
  int file = -1;
  const uint8_t *memory = nullptr;
  uint64_t bytes = 0;
};

} // namespace headrace::runtime

struct headrace_package_t final : headrace::runtime::RefCounted {
  using Status = headrace::runtime::Status;

  explicit headrace_package_t(headrace_instance_t *instance);
  ~headrace_package_t();

  /// Takes over `source.file`, checks everything and maps what runs.
  Status Open(const headrace::runtime::PackageSource &source,
              const headrace_package_options_t &options);

  /// Whether this processor can run the package.
  /// Codes: failed precondition, which names what is missing.
  Status CheckProcessor();

  /// Compares every digest of the blobs and the bytes between sections.
  Status Verify(const headrace_verify_options_t &options);

  const headrace::runtime::Allocator &HostAllocator() const {
    return instance->allocator;
  }
  const headrace::abi::Code &Code() const {
    return *manifest->code()->Get(summary.code);
  }
  /// The bytes of the file from `offset` on, as mapped.
  const uint8_t *FileBytes(uint64_t offset) const {
    return (source.memory ? source.memory : file.Data()) + offset;
  }

  const headrace::runtime::InstanceRef instance;
  headrace::runtime::PackageSource source;
  headrace::runtime::Vector<uint64_t> manifest_words; // aligned copy
  uint64_t manifest_bytes = 0;
  const headrace::abi::Manifest *manifest = nullptr;
  headrace::runtime::ManifestSummary summary;
  headrace::runtime::Mapping code; // executable
  headrace::runtime::Mapping file; // read-only, the whole file
  bool inspect_only = false;
  uint64_t disabled_features = 0;

private:
  Status Read(uint64_t offset, void *out, uint64_t bytes, const char *what);
  Status ReadHeader(uint64_t *out_manifest_bytes, uint64_t *out_digest);
  Status CheckMachine();
  Status CheckGpuCode();
  Status MapCode();
  Status VerifyRange(uint64_t begin, uint64_t end,
                     headrace::runtime::Vector<uint8_t> &chunk);
};

namespace headrace::runtime {

using PackageRef = Ref<headrace_package_t, headrace_package_release>;

/// Opens a package in memory, which must outlive it; for tests and fuzzing.
Status OpenPackageFromMemory(headrace_instance_t *instance, const uint8_t *data,
                             uint64_t bytes,
                             const headrace_package_options_t &options,
                             headrace_package_t **out_package);

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_PACKAGE_H
