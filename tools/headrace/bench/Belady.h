// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Offline-optimal replacement: what no cache can beat on a known trace.
#ifndef HEADRACE_TOOLS_HEADRACE_BENCH_BELADY_H
#define HEADRACE_TOOLS_HEADRACE_BENCH_BELADY_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace headrace::tools::bench {

/// Misses among the references from `from` on, of a cache of `slots` equal
/// places that begins empty and always drops what is asked for latest again.
uint64_t optimalMisses(const std::vector<uint64_t> &references, size_t slots,
                       size_t from = 0);

} // namespace headrace::tools::bench

#endif // HEADRACE_TOOLS_HEADRACE_BENCH_BELADY_H
