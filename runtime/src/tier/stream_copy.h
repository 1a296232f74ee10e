// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Stream copy: memory to memory with stores around the caches.
#ifndef HEADRACE_RUNTIME_SRC_TIER_STREAM_COPY_H
#define HEADRACE_RUNTIME_SRC_TIER_STREAM_COPY_H

#include <cstdint>

namespace headrace::runtime {

/// Copies as memcpy() does, for what is too much for a cache: a store that goes
/// around them need not read the line that it writes. Takes the widest stores
/// that the processor has. All is written, for any thread, when it returns.
void StreamCopy(void *to, const void *from, uint64_t bytes);

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_TIER_STREAM_COPY_H
