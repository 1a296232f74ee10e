// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Cache flush: what a device has in its caches gives way to something else.
#ifndef HEADRACE_TOOLS_GPU_SUITE_CACHE_FLUSH_H
#define HEADRACE_TOOLS_GPU_SUITE_CACHE_FLUSH_H

#include "tools/gpu-probe/driver.h"

namespace headrace::suite {

/// Fills a piece of device memory that is far larger than any cache, so that
/// what runs next finds none of its weights there.
class CacheFlush {
public:
  CacheFlush() = default;
  CacheFlush(const CacheFlush &) = delete;
  CacheFlush &operator=(const CacheFlush &) = delete;
  ~CacheFlush();

  probe::Failure Open(uint32_t ordinal);
  /// Returns when the memory is filled.
  probe::Failure Run();

private:
  static constexpr size_t kBytes = size_t(256) << 20;

  probe::Driver driver;
  runtime::cuda::CuStream stream = nullptr;
  runtime::cuda::CuEvent done = nullptr;
  runtime::cuda::CuAddress memory = 0;
  unsigned char value = 0;
};

} // namespace headrace::suite

#endif // HEADRACE_TOOLS_GPU_SUITE_CACHE_FLUSH_H
