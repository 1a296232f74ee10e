// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Writes the toy package to the path given, for tests of programs.
#include "tests/runtime/toy_package.h"

#include <cstdio>

int main(int argc, char **argv) {
  if (argc != 2)
    return 2;
  const std::vector<uint8_t> bytes = headrace::tests::ToyFile();
  std::FILE *file = std::fopen(argv[1], "wb");
  if (!file)
    return 1;
  bool written =
      std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  return std::fclose(file) == 0 && written ? 0 : 1;
}
