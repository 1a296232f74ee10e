// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Conformance: registers the cpu driver.
#include "tests/runtime/conformance/conformance.h"

namespace headrace::tests {
namespace {

headrace_status_t Create(headrace_instance_t *instance, uint32_t threads,
                         headrace_device_t **out_device) {
  auto options = sized<headrace_cpu_device_options_t>();
  options.thread_count = threads;
  return headrace_device_create_cpu(instance, &options, out_device);
}

std::vector<uint8_t> File() { return ToyFile(); }

INSTANTIATE_TEST_SUITE_P(
    Cpu, Conformance,
    ::testing::Values(
        Driver{"one_thread",
               [](headrace_instance_t *instance, headrace_device_t **out) {
                 return Create(instance, 1, out);
               },
               File},
        Driver{"two_threads",
               [](headrace_instance_t *instance, headrace_device_t **out) {
                 return Create(instance, 2, out);
               },
               File},
        Driver{"online",
               [](headrace_instance_t *instance, headrace_device_t **out) {
                 return Create(instance, 0, out);
               },
               File}),
    [](const ::testing::TestParamInfo<Driver> &info) {
      return std::string(info.param.name);
    });

} // namespace
} // namespace headrace::tests
