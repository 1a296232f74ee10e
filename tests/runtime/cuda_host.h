// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Cuda host: one whose device is the fake driver's.
#ifndef HEADRACE_TESTS_RUNTIME_CUDA_HOST_H
#define HEADRACE_TESTS_RUNTIME_CUDA_HOST_H

#include "tests/runtime/fake_cuda/fake_cuda.h"
#include "tests/runtime/host.h"
#include "tests/runtime/toy_gpu_package.h"

namespace headrace::tests {

namespace fake = fake_cuda;

/// Results of the driver's interface.
constexpr int kInvalidValue = 1;
constexpr int kOutOfMemory = 2;
constexpr int kNoBinaryForGpu = 209;
constexpr int kIllegalAddress = 700;

/// Of fake::FailAt: more calls than there are.
constexpr int kNever = 1 << 30;

/// Of a test that waits for no device, and of one that waits for it to hang.
constexpr uint64_t kLongGrace = 20000000000;
constexpr uint64_t kShortGrace = 50000000;

inline headrace_status_t OpenCuda(headrace_instance_t *instance, Device *out,
                                  uint32_t ordinal = 0,
                                  uint64_t grace_ns = kLongGrace) {
  auto options = sized<headrace_cuda_device_options_t>();
  options.ordinal = ordinal;
  options.cublaslt_library = "libcuda.so.1"; // the fake has both
  options.stop_grace_ns = grace_ns;
  return make(*out, [&](headrace_device_t **raw) {
    return headrace_device_create_cuda(instance, &options, raw);
  });
}

inline DeviceMaker Cuda(uint64_t grace_ns = kLongGrace) {
  return [grace_ns](headrace_instance_t *instance) {
    Device device;
    EXPECT_TRUE(IsOk(OpenCuda(instance, &device, 0, grace_ns)));
    return device;
  };
}

/// The toy on a device, with a session.
struct GpuToy : Host {
  explicit GpuToy(const std::vector<uint8_t> &bytes = ToyGpuFile(),
                  const headrace_session_options_t &options =
                      sized<headrace_session_options_t>(),
                  uint64_t grace_ns = kLongGrace)
      : Host(bytes, Cuda(grace_ns)) {
    EXPECT_TRUE(IsOk(Create(options)));
  }
};

} // namespace headrace::tests

#endif // HEADRACE_TESTS_RUNTIME_CUDA_HOST_H
