// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The manifest of a package, as bytes.
#ifndef HEADRACE_COMPILER_PACKAGE_WRITEMANIFEST_H
#define HEADRACE_COMPILER_PACKAGE_WRITEMANIFEST_H

#include "compiler/package/WriteWeights.h"

namespace headrace {

/// The manifest of `contents` with weights as they are `stored`. Its size does
/// not depend on offsets, checksums and digests.
std::vector<uint8_t> writeManifest(const PackageContents &contents,
                                   const StoredWeights &stored);

} // namespace headrace

#endif // HEADRACE_COMPILER_PACKAGE_WRITEMANIFEST_H
