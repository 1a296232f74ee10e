// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Byte source: where a link reads from.
#ifndef HEADRACE_RUNTIME_SRC_TIER_BYTE_SOURCE_H
#define HEADRACE_RUNTIME_SRC_TIER_BYTE_SOURCE_H

#include <cstddef>
#include <cstdint>

namespace headrace::runtime {

/// Alignment of offsets, addresses and sizes that direct reads need on every
/// block device with sectors of up to 4 KiB.
constexpr uint64_t kDirectAlignment = 4096;

/// The bytes of a package, or of a session, at a slower level. Used by several
/// threads at once; tests put faults in its place.
class ByteSource {
public:
  virtual ~ByteSource() = default;

  /// Reads up to `bytes` bytes from `offset` on. Returns how many were read, 0
  /// at the end, or a negative errno. May block, for ever where a device hangs.
  virtual int64_t Read(uint64_t offset, void *out, uint64_t bytes) = 0;

  /// Writes up to `bytes` bytes from `offset` on. Returns how many were written
  /// or a negative errno. May block as Read() may.
  virtual int64_t Write(uint64_t offset, const void *data, uint64_t bytes);

  /// Whether TryRead() is worth a call; where it is not overridden, whether
  /// Read() never blocks.
  virtual bool CanTry() const { return false; }
  /// Reads as Read() does where that cannot block, or returns -EAGAIN.
  virtual int64_t TryRead(uint64_t offset, void *out, uint64_t bytes);

  /// The descriptor through which a kernel ring may read the same bytes, or -1
  /// where only Read() can. Ends in the page cache unless all three are
  /// aligned.
  virtual int Descriptor(uint64_t /*offset*/, const void * /*out*/,
                         uint64_t /*bytes*/) const {
    return -1;
  }
};

/// Memory that outlives the source: a package that was opened from memory.
class MemorySource final : public ByteSource {
public:
  MemorySource(const uint8_t *data, uint64_t size) : data(data), size(size) {}
  int64_t Read(uint64_t offset, void *out, uint64_t bytes) override;
  bool CanTry() const override { return true; }

private:
  const uint8_t *const data;
  const uint64_t size;
};

/// Memory of a session that holds what is not in fast memory. What is large is
/// copied around the caches.
class HomeMemory final : public ByteSource {
public:
  /// The memory outlives the source.
  void Place(uint8_t *memory, uint64_t bytes) {
    data = memory;
    size = bytes;
  }
  int64_t Read(uint64_t offset, void *out, uint64_t bytes) override;
  int64_t Write(uint64_t offset, const void *from, uint64_t bytes) override;
  bool CanTry() const override { return true; }

private:
  uint8_t *data = nullptr;
  uint64_t size = 0;
};

/// A file, past the page cache where that is possible and wanted.
class FileSource final : public ByteSource {
public:
  FileSource() = default;
  ~FileSource() override;
  FileSource(const FileSource &) = delete;
  FileSource &operator=(const FileSource &) = delete;

  /// Reads from `file`, which outlives the source. With `direct`, aligned reads
  /// go around the page cache if the file system lets them.
  void Open(int file, bool direct);
  bool IsDirect() const { return direct >= 0; }

  int64_t Read(uint64_t offset, void *out, uint64_t bytes) override;
  bool CanTry() const override { return direct < 0; }
  /// Out of the page cache, what is in it.
  int64_t TryRead(uint64_t offset, void *out, uint64_t bytes) override;
  int Descriptor(uint64_t offset, const void *out,
                 uint64_t bytes) const override;

private:
  int cached = -1; // borrowed
  int direct = -1; // owned; -1: none
};

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_TIER_BYTE_SOURCE_H
