// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reads the manifest of a package.
#include "tools/package-reader/PackageReader.h"

#include "runtime/abi/package_format.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

using namespace headrace;
using namespace headrace::plancheck;

namespace {

constexpr size_t kHeader = sizeof(headrace_package_header_t);
/// Tables nest five deep.
constexpr uint32_t kMaxDepth = 16;
constexpr uint32_t kMaxTables = 16u << 20;

/// What is wrong with a header, or null.
const char *wrong(const headrace_package_header_t &header) {
  if (std::memcmp(header.magic, HEADRACE_PACKAGE_MAGIC, 8) != 0)
    return "is no package";
  if (header.version != HEADRACE_PACKAGE_VERSION ||
      header.header_bytes != kHeader)
    return "is a package of another version";
  if (XXH3_64bits(&header, offsetof(headrace_package_header_t, header_xxh3)) !=
      header.header_xxh3)
    return "has a damaged header";
  if (header.manifest_bytes < 16 ||
      header.manifest_bytes > HEADRACE_PACKAGE_MAX_MANIFEST_BYTES)
    return "has a manifest of a size that cannot be";
  return nullptr;
}

} // namespace

bool PackageReader::open(const std::string &path, std::string *error) {
  std::unique_ptr<FILE, int (*)(FILE *)> file(std::fopen(path.c_str(), "rb"),
                                              std::fclose);
  if (!file) {
    *error = path + ": cannot be read: " + std::strerror(errno);
    return false;
  }
  headrace_package_header_t header = {};
  std::vector<uint8_t> data(kHeader);
  data.resize(std::fread(data.data(), 1, kHeader, file.get()));
  std::memcpy(&header, data.data(), data.size());
  if (!wrong(header)) {
    data.resize(kHeader + header.manifest_bytes);
    data.resize(kHeader + std::fread(data.data() + kHeader, 1,
                                     header.manifest_bytes, file.get()));
  }
  if (read(data.data(), data.size(), error))
    return true;
  *error = path + ": " + *error;
  return false;
}

bool PackageReader::read(const uint8_t *data, size_t size, std::string *error) {
  headrace_package_header_t header;
  const char *what = "is no package";
  if (size >= kHeader) {
    std::memcpy(&header, data, kHeader);
    what = wrong(header);
    if (!what && size - kHeader < header.manifest_bytes)
      what = "ends inside its manifest";
  }
  if (!what) {
    bytes.assign(data + kHeader, data + kHeader + header.manifest_bytes);
    flatbuffers::Verifier verifier(bytes.data(), bytes.size(), kMaxDepth,
                                   kMaxTables);
    if (XXH3_64bits(bytes.data(), bytes.size()) != header.manifest_xxh3)
      what = "has a damaged manifest";
    else if (!abi::VerifyManifestBuffer(verifier))
      what = "has a manifest that is no well-formed FlatBuffer";
  }
  if (what)
    *error = what;
  return !what;
}
