// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Conformance: registers the cuda driver, for the first device there is.
#include "tests/runtime/conformance/conformance.h"
#include "tests/runtime/toy_gpu_package.h"

namespace headrace::tests {
namespace {

INSTANTIATE_TEST_SUITE_P(
    Cuda, Conformance,
    ::testing::Values(Driver{
        "first",
        [](headrace_instance_t *instance, headrace_device_t **out) {
          return headrace_device_create_cuda(instance, nullptr, out);
        },
        [] { return ToyGpuFile(); }}),
    [](const ::testing::TestParamInfo<Driver> &info) {
      return std::string(info.param.name);
    });

} // namespace
} // namespace headrace::tests
