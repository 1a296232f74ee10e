// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Manifest: the checks after which every number in a package can be trusted.
#ifndef HEADRACE_RUNTIME_SRC_MANIFEST_H
#define HEADRACE_RUNTIME_SRC_MANIFEST_H

#include "runtime/abi/package_generated.h"
#include "runtime/src/status.h"

namespace headrace::runtime {

constexpr uint32_t kNoIndex = UINT32_MAX;

/// Buffers of the entry point "forward", by role; kNoIndex where absent.
struct LanguageModel {
  uint32_t entry = kNoIndex;
  uint32_t tokens = kNoIndex;
  uint32_t positions = kNoIndex;
  uint32_t sequences = kNoIndex;
  uint32_t output_rows = kNoIndex;
  uint32_t kv_pool = kNoIndex;
  uint32_t kv_table = kNoIndex;
  uint32_t logits = kNoIndex;
  uint32_t max_outputs = 0; // rows that fit in output_rows and logits
};

/// What the checks found out on the way.
struct ManifestSummary {
  explicit ManifestSummary(const Allocator &allocator)
      : arena_bytes(StdAllocator<uint64_t>(allocator)),
        peak_bytes(StdAllocator<uint64_t>(allocator)) {}

  Vector<uint64_t> arena_bytes; // by level
  Vector<uint64_t> peak_bytes;  // by level
  uint32_t code = 0;            // index of the CPU's code, else the first GPU's
  uint64_t blob_bytes = 0;
  uint64_t max_scratch_bytes = 0; // of any kernel
  LanguageModel model;
};

/// Checks the structure of the FlatBuffer and then every index, offset, size
/// and sum in it. `manifest` is aligned to 8 bytes and lies in the file right
/// before `manifest_end`.
/// Codes: data loss, unimplemented, resource exhausted.
Status CheckManifest(const Allocator &allocator, const uint8_t *manifest,
                     uint64_t manifest_bytes, uint64_t manifest_end,
                     uint64_t file_bytes, ManifestSummary *summary);

/// Number of tasks of a launch; `counts` is [HEADRACE_COUNT_COUNT].
uint64_t GridTasks(abi::GridKind kind, uint64_t base, uint64_t block,
                   uint64_t limit, const int64_t *counts);

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_MANIFEST_H
