// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Toy package for GPUs: the toy's entries with the toy's meaning, as portable
// PTX in step classes.
#ifndef HEADRACE_TESTS_RUNTIME_TOY_GPU_PACKAGE_H
#define HEADRACE_TESTS_RUNTIME_TOY_GPU_PACKAGE_H

#include "tests/runtime/toy_package.h"

namespace headrace::tests {

/// Classes of each entry: a decode step of one token, and all others.
constexpr uint32_t kToyGpuClasses = 2;

/// The PTX of the kernels, with the zero at its end.
std::vector<uint8_t> ToyGpuCode();

/// The manifest, ready to be changed; `threads` a block.
std::unique_ptr<abi::ManifestT> ToyGpuManifest(uint32_t threads = 32);

/// The file of the unchanged toy.
std::vector<uint8_t> ToyGpuFile();

/// The toy with `launches` products of the driver's library in place of
/// kScale's kernel: [rows, 8] x [8, 8] of float16, with a bias in the second
/// class's last one.
std::vector<uint8_t> MatmulToyGpuFile(size_t launches);

/// The small toy with a plan: weight 0 is copied to the device when it is
/// needed, out of pinned memory of the host; or, if `staged`, out of the
/// package through it.
std::unique_ptr<abi::ManifestT> PlannedToyGpuManifest(bool staged = false);
std::vector<uint8_t> PlannedToyGpuFile(bool staged = false);

/// The file of the small toy whose key-value pages leave by its plan, and
/// weight 0: both for pinned memory of the host.
std::vector<uint8_t> PagedToyGpuFile();

} // namespace headrace::tests

#endif // HEADRACE_TESTS_RUNTIME_TOY_GPU_PACKAGE_H
