// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Scratch file: making one without a name, reading, writing.
#include "runtime/src/tier/scratch_file.h"

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

namespace headrace::runtime {

ScratchFile::~ScratchFile() {
  if (file >= 0)
    close(file);
}

Status ScratchFile::Create(const Allocator &allocator, const char *directory,
                           uint64_t bytes) {
  auto failed = [&](const char *what) {
    char reason[128];
    return MakeStatus(allocator, HEADRACE_STATUS_IO,
                      "session: %s a file of %" PRIu64
                      " bytes for key-value pages in '%.200s': %s",
                      what, bytes, directory,
                      strerror_r(errno, reason, sizeof(reason)));
  };
  file = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
  if (file < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
    // A file system without unnamed files: a name for a moment.
    char path[512];
    const int length =
        std::snprintf(path, sizeof(path), "%s/headrace-XXXXXX", directory);
    if (length < 0 || static_cast<size_t>(length) >= sizeof(path))
      errno = ENAMETOOLONG;
    else if ((file = mkostemp(path, O_CLOEXEC)) >= 0)
      unlink(path);
  }
  if (file < 0)
    return failed("cannot make");
  if (bytes > static_cast<uint64_t>(INT64_MAX))
    errno = EFBIG;
  else if (ftruncate(file, static_cast<off_t>(bytes)) == 0)
    return Status();
  return failed("cannot extend");
}

int64_t ScratchFile::Read(uint64_t offset, void *out, uint64_t bytes) {
  for (;;) {
    const ssize_t got = pread(file, out, bytes, static_cast<off_t>(offset));
    if (got >= 0)
      return got;
    if (errno != EINTR)
      return -errno;
  }
}

int64_t ScratchFile::Write(uint64_t offset, const void *data, uint64_t bytes) {
  for (;;) {
    const ssize_t put = pwrite(file, data, bytes, static_cast<off_t>(offset));
    if (put >= 0)
      return put;
    if (errno != EINTR)
      return -errno;
  }
}

int64_t ScratchFile::TryRead(uint64_t offset, void *out, uint64_t bytes) {
  iovec place = {out, bytes};
  const ssize_t got =
      preadv2(file, &place, 1, static_cast<off_t>(offset), RWF_NOWAIT);
  return got >= 0 ? got : -errno;
}

} // namespace headrace::runtime
