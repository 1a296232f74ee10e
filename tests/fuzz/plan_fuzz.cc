// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Fuzz target: the plan checker, on manifests as they come.
#include "runtime/abi/package_format.h"
#include "tools/package-reader/PackageReader.h"
#include "tools/plan-check/PlanChecker.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstddef>
#include <cstring>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  using namespace headrace::plancheck;
  PackageReader reader;
  std::string error;
  if (reader.read(data, size, &error))
    checkPlan(reader.manifest());
  // The same bytes as a manifest behind a header that is right for them.
  headrace_package_header_t header = {};
  std::memcpy(header.magic, HEADRACE_PACKAGE_MAGIC, sizeof(header.magic));
  header.version = HEADRACE_PACKAGE_VERSION;
  header.header_bytes = sizeof(header);
  header.manifest_bytes = size;
  header.file_bytes = sizeof(header) + size;
  header.manifest_xxh3 = XXH3_64bits(data, size);
  header.header_xxh3 =
      XXH3_64bits(&header, offsetof(headrace_package_header_t, header_xxh3));
  std::vector<uint8_t> file(sizeof(header) + size);
  std::memcpy(file.data(), &header, sizeof(header));
  if (size)
    std::memcpy(file.data() + sizeof(header), data, size);
  if (reader.read(file.data(), file.size(), &error))
    checkPlan(reader.manifest());
  return 0;
}
