//===- test_util.cc - Shared by the tokenizer tests -----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/tools/tokenizers/test_util.h"

#include <filesystem>
#include <random>

namespace headrace::tokenizers {

ScratchDirectory::ScratchDirectory() {
  std::random_device random;
  root = testing::TempDir() + "headrace-tokenizers-" +
         std::to_string(random()) + std::to_string(random());
  std::filesystem::create_directories(root);
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(root, ignored);
}

void ScratchDirectory::write(const std::string &name,
                             std::string_view bytes) const {
  std::ofstream file(root + "/" + name, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  EXPECT_TRUE(file) << name;
}

} // namespace headrace::tokenizers
