// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A directory for large files that must not outlive the command.
#include "tools/headrace/bench/TempDirectory.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

using namespace headrace::tools::bench;

namespace {

// What a signal handler may read: it can neither allocate nor list a directory.
constexpr int kMostFiles = 8;
char directoryPath[512];
char filePaths[kMostFiles][512];
volatile sig_atomic_t fileCount = 0;

void removeAndDie(int signal) {
  for (int i = 0; i < fileCount; ++i)
    unlink(filePaths[i]);
  if (directoryPath[0])
    rmdir(directoryPath);
  std::signal(signal, SIG_DFL);
  raise(signal);
}

} // namespace

llvm::Expected<std::unique_ptr<TempDirectory>>
TempDirectory::create(uint64_t bytes) {
  llvm::SmallString<256> path;
  llvm::sys::path::system_temp_directory(/*ErasedOnReboot=*/true, path);
  struct statvfs space;
  if (statvfs(path.c_str(), &space) != 0)
    return llvm::createStringError("%s: cannot tell its free space: %s",
                                   path.c_str(), strerror(errno));
  uint64_t free = uint64_t(space.f_bavail) * space.f_frsize;
  if (free < bytes)
    return llvm::createStringError(
        "%s: needs %llu bytes of disk, but %llu are free; TMPDIR names another "
        "place",
        path.c_str(), (unsigned long long)bytes, (unsigned long long)free);
  std::string name = std::string(path.str()) + "/headrace-bench-XXXXXX";
  if (name.size() + 64 > sizeof(directoryPath))
    return llvm::createStringError("%s: is too long a path", name.c_str());
  // Before the directory is there, so that none is missed.
  for (int signal : {SIGINT, SIGTERM, SIGHUP})
    std::signal(signal, removeAndDie);
  if (!mkdtemp(name.data()))
    return llvm::createStringError("%s: cannot be created: %s", name.c_str(),
                                   strerror(errno));
  memcpy(directoryPath, name.c_str(), name.size() + 1);
  return std::unique_ptr<TempDirectory>(new TempDirectory(std::move(name)));
}

std::string TempDirectory::file(const std::string &name) {
  std::string path = directory + "/" + name;
  if (fileCount < kMostFiles && path.size() < sizeof(filePaths[0])) {
    memcpy(filePaths[fileCount], path.c_str(), path.size() + 1);
    fileCount = fileCount + 1;
  }
  return path;
}

void TempDirectory::remove() {
  if (!directory.empty())
    llvm::sys::fs::remove_directories(directory);
  directory.clear();
  fileCount = 0;
  directoryPath[0] = 0;
}

void headrace::tools::bench::flushFile(const std::string &path) {
  int descriptor = open(path.c_str(), O_RDONLY);
  if (descriptor < 0)
    return;
  fdatasync(descriptor);
  close(descriptor);
}
