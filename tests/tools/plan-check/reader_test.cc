// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the reader of packages lets through, and what it says of the rest.
#include "tests/tools/plan-check/valid_plan.h"
#include "tools/package-reader/PackageReader.h"
#include "tools/plan-check/PlanChecker.h"

#include "runtime/abi/package_format.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <gtest/gtest.h>
#include <unistd.h>

namespace headrace::plancheck {
namespace {

class ReaderTest : public testing::Test {
protected:
  ReaderTest() {
    Random random(1);
    std::vector<uint8_t> manifest = bytesOf(validPlan(random));
    std::memcpy(header.magic, HEADRACE_PACKAGE_MAGIC, 8);
    header.version = HEADRACE_PACKAGE_VERSION;
    header.header_bytes = sizeof(header);
    header.manifest_bytes = manifest.size();
    header.file_bytes = sizeof(header) + manifest.size();
    file.resize(sizeof(header));
    file.insert(file.end(), manifest.begin(), manifest.end());
    seal();
  }
  void seal() {
    header.manifest_xxh3 =
        XXH3_64bits(file.data() + sizeof(header), file.size() - sizeof(header));
    header.header_xxh3 =
        XXH3_64bits(&header, offsetof(headrace_package_header_t, header_xxh3));
    std::memcpy(file.data(), &header, sizeof(header));
  }
  std::string read() {
    std::string error;
    EXPECT_EQ(reader.read(file.data(), file.size(), &error), error.empty());
    return error;
  }

  headrace_package_header_t header = {};
  std::vector<uint8_t> file;
  PackageReader reader;
};

TEST_F(ReaderTest, ReadsAManifest) {
  EXPECT_EQ(read(), "");
  EXPECT_TRUE(checkPlan(reader.manifest()).empty());
  file.resize(file.size() + 100); // Code and blobs follow.
  EXPECT_EQ(read(), "");
}

TEST_F(ReaderTest, SaysWhatIsWrong) {
  std::vector<uint8_t> whole = file;
  for (size_t size = 0; size < sizeof(header); ++size) {
    file.resize(size);
    EXPECT_EQ(read(), "is no package");
  }
  file = whole;
  file.pop_back();
  EXPECT_EQ(read(), "ends inside its manifest");
  file = whole;
  file.back() ^= 1;
  EXPECT_EQ(read(), "has a damaged manifest");
  file = whole;
  file[0] ^= 1;
  EXPECT_EQ(read(), "is no package");
  file = whole;
  file[offsetof(headrace_package_header_t, file_bytes)] ^= 1;
  EXPECT_EQ(read(), "has a damaged header");
  file = whole;
  ++header.version;
  seal();
  EXPECT_EQ(read(), "is a package of another version");
  --header.version;
  file = whole;
  std::memset(file.data() + sizeof(header), 0xff, 64);
  seal();
  EXPECT_EQ(read(), "has a manifest that is no well-formed FlatBuffer");
  file = whole;
  header.manifest_bytes = HEADRACE_PACKAGE_MAX_MANIFEST_BYTES + 1;
  seal();
  EXPECT_EQ(read(), "has a manifest of a size that cannot be");
}

TEST_F(ReaderTest, ReadsAFile) {
  std::string path = testing::TempDir() + "/reader-" + std::to_string(getpid());
  std::string error;
  EXPECT_FALSE(reader.open(path, &error));
  EXPECT_EQ(error, path + ": cannot be read: No such file or directory");
  for (size_t size : {file.size(), file.size() - 1, size_t(10)}) {
    FILE *out = std::fopen(path.c_str(), "wb");
    ASSERT_TRUE(out);
    EXPECT_EQ(std::fwrite(file.data(), 1, size, out), size);
    std::fclose(out);
    error.clear();
    EXPECT_EQ(reader.open(path, &error), size == file.size());
    EXPECT_EQ(error, size == file.size() ? ""
                     : size == 10        ? path + ": is no package"
                                         : path + ": ends inside its manifest");
  }
  std::remove(path.c_str());
}

} // namespace
} // namespace headrace::plancheck
