// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Output files are whole or absent, whoever is killed when.
#include "compiler/support/OutputFile.h"

#include "tests/compiler/import/Files.h"
#include <csignal>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace headrace;
using headrace::test::errorOf;
using headrace::test::TempDir;

namespace {

std::vector<std::string> filesIn(const TempDir &directory) {
  std::vector<std::string> names;
  std::error_code code;
  for (llvm::sys::fs::directory_iterator it(directory.path(), code), end;
       it != end && !code; it.increment(code))
    names.push_back(llvm::sys::path::filename(it->path()).str());
  llvm::sort(names);
  return names;
}

using Names = std::vector<std::string>;

/// With and without a temporary name.
class OutputFileTest : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Naming, OutputFileTest, ::testing::Bool());

TEST_P(OutputFileTest, IsThereWhenFinished) {
  TempDir directory;
  for (std::string bytes : {"first", "2nd"}) { // The second replaces.
    OutputFile file;
    ASSERT_EQ(errorOf(file.create(directory.file("out"), GetParam())), "");
    EXPECT_EQ(errorOf(file.checkSpace(1)), "");
    EXPECT_EQ(errorOf(file.write(bytes.data() + 1, bytes.size() - 1, 1)), "");
    EXPECT_EQ(errorOf(file.write(bytes.data(), 1, 0)), "");
    EXPECT_EQ(errorOf(file.write("beyond", 6, bytes.size())), "");
    EXPECT_EQ(errorOf(file.truncate(bytes.size())), "");
    EXPECT_NE(directory.read("out"), bytes);
    EXPECT_EQ(errorOf(file.finish()), "");
    EXPECT_EQ(directory.read("out"), bytes);
    EXPECT_EQ(filesIn(directory), Names{"out"});
  }
}

TEST_P(OutputFileTest, IsDroppedUnfinished) {
  TempDir directory;
  directory.write("out", "old");
  {
    OutputFile file;
    ASSERT_EQ(errorOf(file.create(directory.file("out"), GetParam())), "");
    EXPECT_EQ(errorOf(file.write("new", 3, 0)), "");
  }
  EXPECT_EQ(filesIn(directory), Names{"out"});
  EXPECT_EQ(directory.read("out"), "old");
}

TEST_P(OutputFileTest, GoesThroughLinks) {
  TempDir directory;
  directory.write("real", "old");
  ASSERT_EQ(symlink("real", directory.file("link").c_str()), 0);
  OutputFile file;
  ASSERT_EQ(errorOf(file.create(directory.file("link"), GetParam())), "");
  EXPECT_EQ(errorOf(file.write("new", 3, 0)), "");
  EXPECT_EQ(errorOf(file.finish()), "");
  EXPECT_EQ(directory.read("real"), "new");
  EXPECT_TRUE(llvm::sys::fs::is_symlink_file(directory.file("link")));
}

TEST_P(OutputFileTest, Failures) {
  TempDir directory;
  std::string missing = directory.file("none/out");
  EXPECT_EQ(errorOf(OutputFile().create(missing, GetParam())),
            missing + ": cannot be created: No such file or directory");
  EXPECT_EQ(errorOf(OutputFile().create("/dev/full", GetParam())),
            "/dev/full: is not a regular file");
  OutputFile file;
  ASSERT_EQ(errorOf(file.create(directory.file("out"), GetParam())), "");
  EXPECT_TRUE(llvm::StringRef(errorOf(file.checkSpace(UINT64_MAX)))
                  .starts_with(directory.file("out") +
                               ": needs 18446744073709551615 bytes of disk"));
}

TEST_P(OutputFileTest, ReachesItsLimit) {
  TempDir directory;
  rlimit old, limit;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  limit = old;
  limit.rlim_cur = 4096;
  auto handler = signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  {
    OutputFile file;
    EXPECT_EQ(errorOf(file.create(directory.file("out"), GetParam())), "");
    std::string bytes(8192, 'x');
    EXPECT_EQ(errorOf(file.write(bytes.data(), bytes.size(), 0)),
              directory.file("out") + ": cannot be written: File too large");
  }
  setrlimit(RLIMIT_FSIZE, &old);
  signal(SIGXFSZ, handler);
  EXPECT_EQ(filesIn(directory), Names{});
}

/// Runs `body` in a process that is killed where it ends.
template <typename Body> void killedAfter(Body body) {
  pid_t child = fork();
  ASSERT_GE(child, 0);
  if (!child) {
    body();
    raise(SIGKILL);
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
}

TEST(OutputFile, KilledWithoutANameLeavesNothing) {
  TempDir directory;
  killedAfter([&] {
    OutputFile file;
    llvm::consumeError(file.create(directory.file("out")));
    llvm::consumeError(file.write("new", 3, 0));
    raise(SIGKILL);
  });
  Names left = filesIn(directory);
  if (!left.empty())
    GTEST_SKIP() << "the file system of temporary files has no O_TMPFILE";
}

TEST(OutputFile, WhatTheKilledLeftIsRemoved) {
  TempDir directory;
  killedAfter([&] {
    OutputFile file;
    llvm::consumeError(file.create(directory.file("out"), /*named=*/true));
    llvm::consumeError(file.write("new", 3, 0));
    raise(SIGKILL);
  });
  EXPECT_EQ(filesIn(directory).size(), 1u);
  // Others of such names stay: those of another file, those of the user.
  for (const char *name :
       {"out.part-notours", "other.part-00000000", "out.part-"})
    directory.write(name, "");
  OutputFile living, next;
  ASSERT_EQ(errorOf(living.create(directory.file("out"), /*named=*/true)), "");
  ASSERT_EQ(errorOf(next.create(directory.file("out"), /*named=*/true)), "");
  EXPECT_EQ(filesIn(directory).size(), 5u);
  EXPECT_EQ(errorOf(living.finish()), "");
  EXPECT_EQ(errorOf(next.finish()), "");
  EXPECT_EQ(filesIn(directory), (Names{"other.part-00000000", "out",
                                       "out.part-", "out.part-notours"}));
}

TEST(OutputDirectory, IsThereWhenFinished) {
  TempDir directory;
  {
    OutputDirectory output;
    ASSERT_EQ(errorOf(output.create(directory.file("out"))), "");
    EXPECT_TRUE(llvm::sys::fs::is_directory(output.temporaryPath()));
  }
  EXPECT_EQ(filesIn(directory), Names{});
  killedAfter([&] {
    OutputDirectory output;
    llvm::consumeError(output.create(directory.file("out")));
    llvm::consumeError(writeText((output.temporaryPath() + "/file").str(),
                                 [](llvm::raw_ostream &os) { os << "text"; }));
    raise(SIGKILL);
  });
  EXPECT_EQ(filesIn(directory).size(), 1u);
  OutputDirectory output;
  ASSERT_EQ(errorOf(output.create(directory.file("out"))), "");
  EXPECT_EQ(filesIn(directory).size(), 1u);
  EXPECT_EQ(errorOf(output.finish()), "");
  EXPECT_EQ(filesIn(directory), Names{"out"});
}

TEST(WriteText, FilesAndDevices) {
  TempDir directory;
  auto body = [](llvm::raw_ostream &os) { os << "text"; };
  EXPECT_EQ(errorOf(writeText(directory.file("out"), body)), "");
  EXPECT_EQ(directory.read("out"), "text");
  EXPECT_EQ(errorOf(writeText("/dev/null", body)), "");
  EXPECT_FALSE(llvm::sys::fs::is_regular_file("/dev/null"));
  EXPECT_EQ(errorOf(writeText("/dev/full", body)),
            "/dev/full: cannot be written: No space left on device");
}

} // namespace
