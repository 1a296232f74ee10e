// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A file written in blocks against the same pieces put down one by one.
#include "compiler/package/BlockWriter.h"
#include "compiler/support/OutputFile.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

#include <cstring>
#include <gtest/gtest.h>
#include <random>
#include <string>

using namespace headrace;

namespace {

void succeed(llvm::Error error) {
  if (error)
    FAIL() << llvm::toString(std::move(error));
}

/// Pieces of any size with gaps between them; at times the last one is taken
/// back, as the package writer does with bytes it has already.
void check(uint64_t begin, uint64_t largest, uint32_t seed) {
  SCOPED_TRACE(testing::Message() << "from " << begin << ", up to " << largest
                                  << " bytes, seed " << seed);
  llvm::SmallString<128> path;
  ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("block-writer", path));
  std::string directory = path.str().str();
  llvm::sys::path::append(path, "file");
  std::mt19937_64 random(seed);
  std::string wanted(begin, '\0');
  {
    OutputFile file;
    succeed(file.create(path));
    BlockWriter writer(file, begin);
    for (int i = 0; i < 24; ++i) {
      uint64_t gap = random() % 3 ? 0 : random() % 9000;
      std::string piece(random() % (largest + 1), '\0');
      for (size_t at = 0; at + 8 <= piece.size(); at += 8) {
        uint64_t word = random();
        memcpy(&piece[at], &word, 8);
      }
      uint64_t before = wanted.size();
      wanted.append(gap, '\0');
      succeed(writer.write(piece.data(), piece.size(), wanted.size()));
      wanted += piece;
      if (random() % 4 == 0) {
        succeed(writer.truncate(before));
        wanted.resize(before);
      }
    }
    succeed(writer.finish());
    succeed(file.truncate(wanted.size()));
    succeed(file.finish());
  }
  auto read = llvm::MemoryBuffer::getFile(path);
  ASSERT_TRUE(read);
  EXPECT_TRUE((*read)->getBuffer() == wanted);
  llvm::sys::fs::remove_directories(directory);
}

} // namespace

TEST(BlockWriter, KeepsEveryByteInPlace) {
  const uint64_t block = BlockWriter::kBlock;
  uint32_t seed = 1;
  for (uint64_t begin : {uint64_t(0), uint64_t(4096), block - 1, block + 12345})
    for (uint64_t largest : {uint64_t(1000), block / 2, 2 * block + 77})
      check(begin, largest, seed++);
}

TEST(BlockWriter, NothingWrittenIsAnEmptyFile) {
  llvm::SmallString<128> path;
  ASSERT_FALSE(llvm::sys::fs::createTemporaryFile("block-writer", "", path));
  {
    OutputFile file;
    succeed(file.create(path));
    BlockWriter writer(file, 4096);
    succeed(writer.finish());
    succeed(file.finish());
  }
  uint64_t size = 1;
  ASSERT_FALSE(llvm::sys::fs::file_size(path, size));
  EXPECT_EQ(size, 0u);
  llvm::sys::fs::remove(path);
}
