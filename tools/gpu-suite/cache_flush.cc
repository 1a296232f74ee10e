// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Cache flush: filling memory through the driver's interface.
#include "tools/gpu-suite/cache_flush.h"

namespace headrace::suite {

using namespace headrace::runtime::cuda;
using probe::Failure;

CacheFlush::~CacheFlush() {
  if (done)
    driver.api.cuEventDestroy_v2(done);
  if (stream)
    driver.api.cuStreamDestroy_v2(stream);
  if (memory)
    driver.api.cuMemFree_v2(memory);
}

Failure CacheFlush::Open(uint32_t ordinal) {
  if (Failure failure = driver.Open(ordinal); !failure.empty())
    return failure;
  const CudaApi &api = driver.api;
  if (!driver.Try(api.cuStreamCreate(&stream, kCuStreamNonBlocking)) ||
      !driver.Try(api.cuEventCreate(&done, kCuEventDisableTiming)) ||
      !driver.Try(api.cuMemAlloc_v2(&memory, kBytes)))
    return driver.Wrong();
  return Failure();
}

Failure CacheFlush::Run() {
  const CudaApi &api = driver.api;
  if (!driver.Try(api.cuMemsetD8Async(memory, ++value, kBytes, stream)) ||
      !driver.Try(api.cuEventRecord(done, stream)) || !driver.Await(done))
    return driver.Wrong();
  return Failure();
}

} // namespace headrace::suite
