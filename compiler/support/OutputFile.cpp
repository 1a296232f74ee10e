// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Files that are there whole or not at all.
#include "compiler/support/OutputFile.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Signals.h"
#include "llvm/Support/raw_ostream.h"
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

using namespace headrace;
namespace fs = llvm::sys::fs;

static constexpr llvm::StringLiteral kInfix = ".part-";
static constexpr size_t kDigits = 8;
static constexpr int kMode = 0644; // What the process masks is taken away.

static std::string directoryOf(llvm::StringRef path) {
  llvm::StringRef parent = llvm::sys::path::parent_path(path);
  return parent.empty() ? "." : parent.str();
}

static bool isSpecial(llvm::StringRef path) {
  fs::file_status status;
  return !fs::status(path, status) && fs::exists(status) &&
         !fs::is_regular_file(status);
}

static std::string temporaryName(llvm::StringRef path) {
  llvm::SmallString<256> name;
  fs::createUniquePath(path + kInfix + std::string(kDigits, '%'), name,
                       /*MakeAbsolute=*/false);
  return std::string(name);
}

/// The path of a link to an open file, by which it can be named.
static std::string pathOf(int descriptor) {
  return "/proc/self/fd/" + std::to_string(descriptor);
}

OutputFile::~OutputFile() {
  if (descriptor < 0)
    return;
  if (!temporary.empty()) {
    unlink(temporary.c_str());
    llvm::sys::DontRemoveFileOnSignal(temporary);
  }
  close(descriptor);
}

llvm::Error OutputFile::failed(const char *what, int code) const {
  return llvm::createStringError("%s: %s: %s", shown.c_str(), what,
                                 strerror(code));
}

llvm::Error OutputFile::create(llvm::StringRef givenPath, bool named) {
  shown = givenPath.str();
  // A name is given by replacing what has it, which would make a device a file.
  if (isSpecial(givenPath))
    return llvm::createStringError("%s: is not a regular file", shown.c_str());
  llvm::SmallString<256> real;
  path = fs::real_path(givenPath, real) ? shown : std::string(real);
  removeAbandoned(path);
  if (!named && openUnnamed())
    return llvm::Error::success();
  return openNamed();
}

bool OutputFile::openUnnamed() {
  descriptor =
      open(directoryOf(path).c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, kMode);
  if (descriptor < 0)
    return false;
  // Until it has its own name it has a temporary one, for a moment.
  flock(descriptor, LOCK_EX | LOCK_NB);
  if (access(pathOf(descriptor).c_str(), F_OK) == 0)
    return true;
  close(descriptor);
  descriptor = -1;
  return false;
}

llvm::Error OutputFile::openNamed() {
  for (;;) {
    temporary = temporaryName(path);
    // Before the file is there, so that no signal finds it unknown.
    llvm::sys::RemoveFileOnSignal(temporary);
    descriptor =
        open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, kMode);
    struct stat status;
    if (descriptor >= 0) {
      // The lock tells other writers that this one lives. One of them may have
      // removed the file before it was there.
      flock(descriptor, LOCK_EX | LOCK_NB);
      if (fstat(descriptor, &status) == 0 && status.st_nlink)
        return llvm::Error::success();
      close(descriptor);
      descriptor = -1;
      errno = EEXIST;
    }
    int code = errno;
    llvm::sys::DontRemoveFileOnSignal(temporary);
    temporary.clear();
    if (code != EEXIST)
      return failed("cannot be created", code);
  }
}

llvm::Error OutputFile::checkSpace(uint64_t bytes) const {
  struct statvfs space;
  if (fstatvfs(descriptor, &space) != 0)
    return failed("cannot tell its free space", errno);
  uint64_t free = uint64_t(space.f_bavail) * space.f_frsize;
  if (free >= bytes)
    return llvm::Error::success();
  return llvm::createStringError(
      "%s: needs %llu bytes of disk, but %llu are free", shown.c_str(),
      (unsigned long long)bytes, (unsigned long long)free);
}

llvm::Error OutputFile::write(const char *data, uint64_t bytes,
                              uint64_t offset) {
  while (bytes) {
    ssize_t count = pwrite(descriptor, data, bytes, off_t(offset));
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0)
      return failed("cannot be written", count ? errno : ENOSPC);
    data += count;
    bytes -= uint64_t(count);
    offset += uint64_t(count);
  }
  return llvm::Error::success();
}

llvm::Error OutputFile::truncate(uint64_t bytes) {
  if (ftruncate(descriptor, off_t(bytes)) != 0)
    return failed("cannot be sized", errno);
  return llvm::Error::success();
}

/// Gives a file without a name a temporary one, unless `path` is free.
llvm::Error OutputFile::link() {
  std::string self = pathOf(descriptor);
  auto linkTo = [&](const std::string &name) {
    return linkat(AT_FDCWD, self.c_str(), AT_FDCWD, name.c_str(),
                  AT_SYMLINK_FOLLOW) == 0;
  };
  if (linkTo(path))
    return llvm::Error::success();
  while (errno == EEXIST) {
    std::string name = temporaryName(path);
    llvm::sys::RemoveFileOnSignal(name);
    if (linkTo(name)) {
      temporary = name;
      return llvm::Error::success();
    }
    int code = errno;
    llvm::sys::DontRemoveFileOnSignal(name);
    errno = code;
  }
  return failed("cannot be named", errno);
}

llvm::Error OutputFile::finish() {
  if (temporary.empty())
    if (llvm::Error error = link())
      return error;
  if (!temporary.empty()) {
    if (rename(temporary.c_str(), path.c_str()) != 0)
      return failed("cannot be named", errno);
    llvm::sys::DontRemoveFileOnSignal(temporary);
    temporary.clear();
  }
  int closing = descriptor;
  descriptor = -1;
  // Some file systems tell only now that their server's disk is full.
  if (close(closing) == 0 || errno == EINTR)
    return llvm::Error::success();
  int code = errno;
  unlink(path.c_str());
  return failed("cannot be written", code);
}

void OutputFile::removeAbandoned(llvm::StringRef path) {
  std::string prefix = (llvm::sys::path::filename(path) + kInfix).str();
  std::error_code error;
  for (fs::directory_iterator it(directoryOf(path), error,
                                 /*follow_symlinks=*/false),
       end;
       it != end && !error; it.increment(error)) {
    llvm::StringRef name = llvm::sys::path::filename(it->path());
    if (!name.consume_front(prefix) || name.size() != kDigits ||
        !llvm::all_of(name, [](char c) { return llvm::isHexDigit(c); }))
      continue;
    int file = open(it->path().c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0)
      continue;
    // Its writer holds the lock for as long as it lives.
    if (flock(file, LOCK_EX | LOCK_NB) == 0)
      fs::remove_directories(it->path());
    close(file);
  }
}

OutputDirectory::~OutputDirectory() {
  if (!temporary.empty())
    fs::remove_directories(temporary);
  if (descriptor >= 0)
    close(descriptor);
}

llvm::Error OutputDirectory::create(llvm::StringRef finalPath) {
  path = finalPath.str();
  OutputFile::removeAbandoned(path);
  std::string name = temporaryName(path);
  if (std::error_code code = fs::create_directory(
          name, /*IgnoreExisting=*/false, fs::perms::all_all))
    return llvm::createStringError("%s: cannot be created: %s", path.c_str(),
                                   code.message().c_str());
  temporary = name;
  descriptor = open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor >= 0)
    flock(descriptor, LOCK_EX | LOCK_NB);
  return llvm::Error::success();
}

llvm::Error OutputDirectory::finish() {
  if (std::error_code code = fs::rename(temporary, path))
    return llvm::createStringError("%s: cannot be named: %s", path.c_str(),
                                   code.message().c_str());
  temporary.clear();
  return llvm::Error::success();
}

llvm::Error
headrace::writeText(llvm::StringRef path,
                    llvm::function_ref<void(llvm::raw_ostream &)> body) {
  auto print = [&](llvm::raw_fd_ostream &stream) -> llvm::Error {
    body(stream);
    stream.flush();
    if (!stream.has_error())
      return llvm::Error::success();
    std::string why = stream.error().message();
    stream.clear_error();
    std::string name = path == "-" ? "standard output" : path.str();
    return llvm::createStringError("%s: cannot be written: %s", name.c_str(),
                                   why.c_str());
  };
  if (path == "-" || isSpecial(path)) {
    std::error_code code;
    llvm::raw_fd_ostream stream(path, code);
    if (code)
      return llvm::createStringError("%s: cannot be written: %s",
                                     path.str().c_str(),
                                     code.message().c_str());
    return print(stream);
  }
  OutputFile file;
  if (llvm::Error error = file.create(path))
    return error;
  {
    llvm::raw_fd_ostream stream(file.descriptor, /*shouldClose=*/false);
    if (llvm::Error error = print(stream))
      return error;
  }
  return file.finish();
}
