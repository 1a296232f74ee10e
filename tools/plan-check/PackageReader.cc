// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reads the manifest of a package.
#include "tools/plan-check/PackageReader.h"

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
      header.manifest_bytes > HEADRACE_PACKAGE_MAX_MANIFEST_BYTES ||
      header.manifest_bytes > header.file_bytes - kHeader)
    return "has a manifest of a size that cannot be";
  return nullptr;
}

/// What is wrong with a manifest, or null.
const char *wrong(const headrace_package_header_t &header,
                  const std::vector<uint8_t> &manifest) {
  if (XXH3_64bits(manifest.data(), manifest.size()) != header.manifest_xxh3)
    return "has a damaged manifest";
  flatbuffers::Verifier verifier(manifest.data(), manifest.size(), kMaxDepth,
                                 kMaxTables);
  if (!abi::VerifyManifestBuffer(verifier))
    return "has a manifest that is no well-formed FlatBuffer";
  return nullptr;
}

} // namespace

bool PackageReader::open(const std::string &path, std::string *error) {
  auto fail = [&](const std::string &what) {
    *error = path + ": " + what;
    return false;
  };
  std::unique_ptr<FILE, int (*)(FILE *)> file(std::fopen(path.c_str(), "rb"),
                                              std::fclose);
  if (!file)
    return fail(std::string("cannot be read: ") + std::strerror(errno));
  headrace_package_header_t header;
  if (std::fread(&header, 1, kHeader, file.get()) != kHeader)
    return fail("is no package");
  if (const char *what = wrong(header))
    return fail(what);
  bytes.resize(header.manifest_bytes);
  if (std::fread(bytes.data(), 1, bytes.size(), file.get()) != bytes.size())
    return fail("ends inside its manifest");
  if (const char *what = wrong(header, bytes))
    return fail(what);
  return true;
}

bool PackageReader::read(const uint8_t *data, size_t size, std::string *error) {
  auto fail = [&](const char *what) {
    *error = what;
    return false;
  };
  headrace_package_header_t header;
  if (size < kHeader)
    return fail("is no package");
  std::memcpy(&header, data, kHeader);
  if (const char *what = wrong(header))
    return fail(what);
  if (size - kHeader < header.manifest_bytes)
    return fail("ends inside its manifest");
  bytes.assign(data + kHeader, data + kHeader + header.manifest_bytes);
  if (const char *what = wrong(header, bytes))
    return fail(what);
  return true;
}
