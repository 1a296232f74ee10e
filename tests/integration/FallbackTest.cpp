// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What no kernel family knows compiles through upstream's lowering, gives the
// right numbers and is listed as such.
#include "headrace/headrace.h"
#include "tools/headrace/Compile.h"
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <gtest/gtest.h>
#include <random>
#include <unistd.h>

using namespace headrace;

namespace {

constexpr const char *kModule = R"(
func.func @layer(%x: tensor<?x37xf32>, %y: tensor<?x37xf32>, %s: tensor<?x1xf32>)
    -> tensor<?x37xf32> {
  %a = arith.mulf %x, %y : tensor<?x37xf32>
  %b = math.tanh %a : tensor<?x37xf32>
  %c = nn.scale %b by %s : tensor<?x37xf32>, tensor<?x1xf32>
  %d = nn.glu silu %c, %x : tensor<?x37xf32>
  return %d : tensor<?x37xf32>
})";

#define REQUIRE_OK(expression)                                                 \
  do {                                                                         \
    headrace_status_t status = (expression);                                   \
    ASSERT_FALSE(bool(status)) << headrace_status_message(status);             \
  } while (false)

/// Memory as headrace_session_invoke wants it.
struct Aligned {
  explicit Aligned(size_t count)
      : data(static_cast<float *>(
            aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64))),
        bytes(count * sizeof(float)) {}
  ~Aligned() { free(data); }
  float *data;
  uint64_t bytes;
};

TEST(Fallback, ElementwiseOpsAreLoops) {
  std::string path = ::testing::TempDir() + "headrace-fallback-" +
                     std::to_string(getpid()) + ".headrace";
  tools::CompileRequest request;
  request.moduleText = kModule;
  request.output = path;
  request.quiet = true;
  if (llvm::Error error = tools::compile(request))
    FAIL() << llvm::toString(std::move(error));

  headrace_instance_t *instance = nullptr;
  headrace_device_t *device = nullptr;
  headrace_package_t *package = nullptr;
  headrace_session_t *session = nullptr;
  REQUIRE_OK(headrace_instance_create(nullptr, &instance));
  REQUIRE_OK(headrace_device_create_cpu(instance, nullptr, &device));
  REQUIRE_OK(headrace_package_open(instance, path.c_str(), nullptr, &package));
  REQUIRE_OK(headrace_session_create(device, package, nullptr, &session));
  headrace_package_info_t info = {};
  info.struct_size = sizeof(info);
  REQUIRE_OK(headrace_package_info(package, &info));
  EXPECT_EQ(info.kernel_count, 4u);
  for (uint32_t i = 0; i < info.kernel_count; ++i) {
    headrace_kernel_info_t kernel = {};
    kernel.struct_size = sizeof(kernel);
    REQUIRE_OK(headrace_package_kernel(package, i, &kernel));
    EXPECT_STREQ(kernel.family, "upstream");
  }

  constexpr size_t rows = 11, width = 37;
  std::mt19937 random{std::random_device{}()};
  std::normal_distribution<float> normal;
  Aligned x(rows * width), y(rows * width), s(rows), out(rows * width);
  for (Aligned *values : {&x, &y, &s})
    for (size_t i = 0; i < values->bytes / sizeof(float); ++i)
      values->data[i] = normal(random);
  for (size_t i = 0; i < rows * width; ++i)
    out.data[i] = NAN;
  const void *inputs[] = {x.data, y.data, s.data};
  uint64_t inputBytes[] = {x.bytes, y.bytes, s.bytes};
  void *outputs[] = {out.data};
  uint64_t outputBytes[] = {out.bytes};
  headrace_invoke_options_t options = {};
  options.struct_size = sizeof(options);
  options.tokens = rows;
  options.inputs = inputs;
  options.input_bytes = inputBytes;
  options.input_count = 3;
  options.outputs_data = outputs;
  options.output_bytes = outputBytes;
  options.output_count = 1;
  REQUIRE_OK(headrace_session_invoke(session, &options));
  for (size_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < width; ++c) {
      size_t i = r * width + c;
      double gate = std::tanh(double(x.data[i]) * y.data[i]) * s.data[r];
      double want = gate / (1 + std::exp(-gate)) * x.data[i];
      EXPECT_NEAR(out.data[i], want, 1e-5 * (1 + std::fabs(want)));
    }
  headrace_session_release(session);
  headrace_package_release(package);
  headrace_device_release(device);
  headrace_instance_release(instance);
  unlink(path.c_str());
}

} // namespace
