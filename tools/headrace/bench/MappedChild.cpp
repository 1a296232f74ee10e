// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The child, its pipes and its control group.
#include "tools/headrace/bench/MappedChild.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace headrace::tools;
using namespace headrace::tools::bench;

namespace {

llvm::Error writeText(const std::string &path, const std::string &text) {
  int file = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  bool written = file >= 0 &&
                 write(file, text.data(), text.size()) == ssize_t(text.size());
  int error = errno;
  if (file >= 0)
    close(file);
  if (written)
    return llvm::Error::success();
  return llvm::createStringError(path + ": " + strerror(error));
}

/// What the child says: seconds, or negative and why.
struct Answer {
  double seconds = -1;
  char reason[256] = {};
};

/// Gives the pages of a file back, so that the next reader reads the disk.
void dropPages(const std::string &path) {
  int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0)
    return;
  fsync(file);
  posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  close(file);
}

} // namespace

llvm::Expected<std::unique_ptr<MappedChild>>
MappedChild::fork(const std::string &package,
                  std::function<llvm::Expected<double>()> measure) {
  std::unique_ptr<MappedChild> child(new MappedChild());
  int down[2], up[2];
  if (pipe2(down, O_CLOEXEC) != 0 || pipe2(up, O_CLOEXEC) != 0)
    return llvm::createStringError(std::string("a pipe: ") + strerror(errno));
  child->pid = ::fork();
  if (child->pid < 0)
    return llvm::createStringError(std::string("a process: ") +
                                   strerror(errno));
  if (child->pid == 0) {
    close(down[1]);
    close(up[0]);
    char go;
    if (read(down[0], &go, 1) != 1)
      _exit(0); // nobody wants it
    dropPages(package);
    Answer answer;
    auto seconds = measure();
    if (seconds)
      answer.seconds = *seconds;
    else
      snprintf(answer.reason, sizeof(answer.reason), "%s",
               llvm::toString(seconds.takeError()).c_str());
    _exit(write(up[1], &answer, sizeof(answer)) == sizeof(answer) ? 0 : 1);
  }
  close(down[0]);
  close(up[1]);
  child->toChild = down[1];
  child->fromChild = up[0];
  return child;
}

MappedChild::~MappedChild() {
  if (toChild >= 0)
    close(toChild);
  if (fromChild >= 0)
    close(fromChild);
  if (pid > 0) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
  if (!group.empty())
    rmdir(group.c_str());
}

llvm::Expected<double> MappedChild::run(uint64_t bytes) {
  std::string limit = "memory.limit_in_bytes";
  std::string root = "/sys/fs/cgroup/memory";
  if (access((root + "/" + limit).c_str(), F_OK) != 0) {
    root = "/sys/fs/cgroup";
    limit = "memory.max";
  }
  std::string directory = root + "/headrace-bench-" + std::to_string(pid);
  if (mkdir(directory.c_str(), 0755) != 0)
    return llvm::createStringError(directory + ": " + strerror(errno));
  group = directory;
  if (llvm::Error error = writeText(group + "/" + limit, std::to_string(bytes)))
    return std::move(error);
  if (llvm::Error error =
          writeText(group + "/cgroup.procs", std::to_string(pid)))
    return std::move(error);
  char go = 1;
  Answer answer;
  if (write(toChild, &go, 1) != 1 ||
      read(fromChild, &answer, sizeof(answer)) != sizeof(answer))
    return llvm::createStringError("the process with mapped weights ended");
  if (answer.seconds < 0)
    return llvm::createStringError(answer.reason);
  return answer.seconds;
}
