// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reads the manifest of a package: for the plan checker and the simulator,
// which trust neither the compiler nor the runtime.
#ifndef HEADRACE_TOOLS_PACKAGEREADER_PACKAGEREADER_H
#define HEADRACE_TOOLS_PACKAGEREADER_PACKAGEREADER_H

#include "runtime/abi/package_generated.h"
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace headrace::plancheck {

/// The bytes of one manifest. Its structure is sound: every table, vector and
/// string lies inside. What the numbers in it mean is the checker's business.
class PackageReader {
public:
  /// Reads header and manifest of a file. False with a sentence that begins
  /// with `path` when it cannot be read or is no package of this version.
  bool open(const std::string &path, std::string *error);
  /// The same from memory: the first bytes of a package, at least up to the end
  /// of its manifest.
  bool read(const uint8_t *data, size_t size, std::string *error);

  const abi::Manifest &manifest() const {
    return *abi::GetManifest(bytes.data());
  }

private:
  std::vector<uint8_t> bytes; ///< Of the manifest.
};

} // namespace headrace::plancheck

#endif // HEADRACE_TOOLS_PACKAGEREADER_PACKAGEREADER_H
