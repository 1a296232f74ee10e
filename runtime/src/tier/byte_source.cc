// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Byte source: memory and files.
#include "runtime/src/tier/byte_source.h"

#include "runtime/src/tier/stream_copy.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

namespace headrace::runtime {
namespace {

/// What is smaller is still in a cache when a kernel reads it.
constexpr uint64_t kLeastStreamed = 256u << 10;

void Copy(void *to, const void *from, uint64_t bytes) {
  if (bytes < kLeastStreamed)
    std::memcpy(to, from, bytes);
  else
    StreamCopy(to, from, bytes);
}

} // namespace

int64_t ByteSource::TryRead(uint64_t offset, void *out, uint64_t bytes) {
  return CanTry() ? Read(offset, out, bytes) : -EAGAIN;
}

int64_t ByteSource::Write(uint64_t /*offset*/, const void * /*data*/,
                          uint64_t /*bytes*/) {
  return -EROFS;
}

int64_t MemorySource::Read(uint64_t offset, void *out, uint64_t bytes) {
  bytes = std::min(bytes, size - std::min(offset, size));
  if (bytes)
    std::memcpy(out, data + offset, bytes);
  return static_cast<int64_t>(bytes);
}

int64_t HomeMemory::Read(uint64_t offset, void *out, uint64_t bytes) {
  bytes = std::min(bytes, size - std::min(offset, size));
  if (bytes)
    Copy(out, data + offset, bytes);
  return static_cast<int64_t>(bytes);
}

int64_t HomeMemory::Write(uint64_t offset, const void *from, uint64_t bytes) {
  if (offset >= size || bytes > size - offset)
    return -ENOSPC;
  Copy(data + offset, from, bytes);
  return static_cast<int64_t>(bytes);
}

FileSource::~FileSource() {
  if (direct >= 0)
    close(direct);
}

void FileSource::Open(int file, bool want_direct) {
  cached = file;
  if (!want_direct)
    return;
  // A descriptor of its own: the flag belongs to the open file, which others
  // read through the cache. Fails where /proc is missing or the file system
  // has no direct reads, and then everything is cached.
  char path[32];
  std::snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
  direct = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
}

int FileSource::Descriptor(uint64_t offset, const void *out,
                           uint64_t bytes) const {
  const bool aligned =
      (offset | reinterpret_cast<uintptr_t>(out) | bytes) % kDirectAlignment ==
      0;
  return direct >= 0 && aligned ? direct : cached;
}

int64_t FileSource::TryRead(uint64_t offset, void *out, uint64_t bytes) {
  iovec place = {out, bytes};
  ssize_t got =
      preadv2(cached, &place, 1, static_cast<off_t>(offset), RWF_NOWAIT);
  return got >= 0 ? got : -errno;
}

int64_t FileSource::Read(uint64_t offset, void *out, uint64_t bytes) {
  for (;;) {
    ssize_t got = pread(Descriptor(offset, out, bytes), out, bytes,
                        static_cast<off_t>(offset));
    if (got >= 0)
      return got;
    if (errno != EINTR)
      return -errno;
  }
}

} // namespace headrace::runtime
