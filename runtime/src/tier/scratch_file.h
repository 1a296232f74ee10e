// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Scratch file: bytes of a session in a file that nobody else can name.
#ifndef HEADRACE_RUNTIME_SRC_TIER_SCRATCH_FILE_H
#define HEADRACE_RUNTIME_SRC_TIER_SCRATCH_FILE_H

#include "runtime/src/instance.h"
#include "runtime/src/status.h"
#include "runtime/src/tier/byte_source.h"

namespace headrace::runtime {

/// An unnamed file of its owner alone, read and written through the page cache:
/// free memory keeps it, and where there is none it goes to the disk.
class ScratchFile final : public ByteSource {
public:
  ScratchFile() = default;
  ~ScratchFile() override;
  ScratchFile(const ScratchFile &) = delete;
  ScratchFile &operator=(const ScratchFile &) = delete;

  /// Makes a file of `bytes` zero bytes in `directory`; they take room on the
  /// disk when they are written.
  /// Codes: io.
  Status Create(const Allocator &allocator, const char *directory,
                uint64_t bytes);

  int64_t Read(uint64_t offset, void *out, uint64_t bytes) override;
  int64_t Write(uint64_t offset, const void *data, uint64_t bytes) override;
  bool CanTry() const override { return true; }
  int64_t TryRead(uint64_t offset, void *out, uint64_t bytes) override;

private:
  int file = -1;
};

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_TIER_SCRATCH_FILE_H
