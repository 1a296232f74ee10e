// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What no kernel family knows compiles to loops, gives what the interpreter
// gives, and is listed as such. On a GPU, too, whose kernels run thread by
// thread behind a fake of its driver.
#include "compiler/codegen/gpu/GpuTarget.h"
#include "compiler/reference/Interpreter.h"
#include "dialects/RegisterAll.h"
#include "headrace/handles.hpp"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "tests/integration/EmulatedMachine.h"
#include "tools/headrace/Compile.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <gtest/gtest.h>
#include <random>
#include <set>

using namespace headrace;
using namespace headrace::testing;
using namespace headrace::tests;
using namespace mlir;

namespace {

/// A function of rows, programs/NAME.mlir, and how many kernels it has beside
/// those of families.
struct Case {
  const char *name;
  int fallbackKernels;
};

const Case kCases[] = {
    {"elementwise", 4}, {"functions", 7},     {"narrow", 3},
    {"masks", 3},       {"norms", 5},         {"linears", 3},
    {"encoded", 0},     {"reductions", 6},    {"shapes", 3},
    {"rotations", 1},   {"router", 2},        {"logits_with_bias", 2},
    {"spread_bias", 1}, {"scaled_choice", 3}, {"experts", 1},
};

constexpr int64_t kRows = 11;

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
  Aligned(Aligned &&other) : data(other.data), bytes(other.bytes) {
    other.data = nullptr;
  }
  ~Aligned() { free(data); }
  size_t size() const { return bytes / sizeof(float); }
  float *data;
  uint64_t bytes;
};

class Fallback : public ::testing::TestWithParam<Case> {
protected:
  Fallback() {
    EXPECT_FALSE(
        llvm::sys::fs::createUniqueDirectory("headrace-fallback", directory));
    writeNumbers("f32.bin", [](llvm::raw_ostream &os, float value) {
      os.write(reinterpret_cast<const char *>(&value), 4);
    });
    writeNumbers("bf16.bin", [](llvm::raw_ostream &os, float value) {
      uint16_t bits = reference::floatToBf16(value);
      os.write(reinterpret_cast<const char *>(&bits), 2);
    });
    int number = 0;
    writeNumbers("codes.bin", [&](llvm::raw_ostream &os, float) {
      int code = number++ % 256;
      os << char(code % 128 == 127 ? 0 : code); // No NaN.
    });
    writeNumbers("exponents.bin", [&](llvm::raw_ostream &os, float) {
      os << char(120 + number++ % 8);
    });
  }
  ~Fallback() override { llvm::sys::fs::remove_directories(directory); }

  std::string file(const char *name) const {
    return (directory + "/" + name).str();
  }
  static std::string program() {
    return std::string("tests/integration/programs/") + GetParam().name +
           ".mlir";
  }
  float draw() { return normal(random); }

  /// Draws inputs and notes what the interpreter makes of them.
  void evaluate();
  /// Expects the same of a package for `target`.
  void compileAndRun(const std::string &target);

  std::vector<Aligned> inputs, outputs;
  std::vector<std::vector<float>> expected;
  EmulatedMachine machine; ///< Behind the fake driver.

private:
  template <typename Write> void writeNumbers(const char *name, Write write) {
    std::error_code code;
    llvm::raw_fd_ostream stream(file(name), code);
    ASSERT_FALSE(code);
    for (int i = 0; i < 2048; ++i)
      write(stream, 0.4f * draw());
  }
  llvm::SmallString<128> directory;
  std::mt19937 random{std::random_device{}()};
  std::normal_distribution<float> normal;
};

void Fallback::evaluate() {
  MLIRContext context;
  DialectRegistry registry;
  registerAllDialects(registry);
  context.appendDialectRegistry(registry);
  auto module = parseSourceFile<ModuleOp>(program(), &context);
  ASSERT_TRUE(module);
  auto function = module->lookupSymbol<func::FuncOp>("layer");
  auto shapeOf = [](Type type) {
    std::vector<int64_t> shape = cast<RankedTensorType>(type).getShape().vec();
    shape[0] = kRows;
    return shape;
  };
  std::vector<RuntimeValue> values;
  for (Type type : function.getArgumentTypes()) {
    FloatTensor count(shapeOf(type), {});
    std::vector<float> numbers(size_t(count.size()));
    for (float &number : numbers)
      number = draw();
    inputs.emplace_back(numbers.size());
    memcpy(inputs.back().data, numbers.data(), inputs.back().bytes);
    values.push_back(FloatTensor(count.shape, std::move(numbers)));
  }
  for (Type type : function.getResultTypes()) {
    outputs.emplace_back(size_t(FloatTensor(shapeOf(type), {}).size()));
    std::fill_n(outputs.back().data, outputs.back().size(), NAN);
  }
  auto interpreter = Interpreter::create(*module, file(""));
  ASSERT_TRUE(bool(interpreter));
  auto results = interpreter->runFunction("layer", values);
  if (!results)
    FAIL() << llvm::toString(results.takeError());
  for (const RuntimeValue &value : *results) {
    const auto &tensor = std::get<FloatTensor>(value);
    expected.emplace_back(tensor.values.get(),
                          tensor.values.get() + tensor.size());
  }
}

void Fallback::compileAndRun(const std::string &target) {
  tools::CompileRequest request;
  request.modulePath = program();
  request.weights = file("");
  request.output = file("layer.headrace");
  request.target = target;
  request.dumpDirectory = file("");
  request.quiet = true;
  if (llvm::Error error = tools::compile(request))
    FAIL() << llvm::toString(std::move(error));
  bool gpu = target != "cpu";
  if (gpu) {
    llvm::Error error = machine.open(file("4-kernels.mlir"));
    ASSERT_FALSE(bool(error)) << llvm::toString(std::move(error));
  }

  Instance instance;
  Device device;
  Package package;
  Session session;
  REQUIRE_OK(make(instance, [](headrace_instance_t **out) {
    return headrace_instance_create(nullptr, out);
  }));
  REQUIRE_OK(make(device, [&](headrace_device_t **out) {
    return gpu ? headrace_device_create_cuda(instance.get(), nullptr, out)
               : headrace_device_create_cpu(instance.get(), nullptr, out);
  }));
  REQUIRE_OK(make(package, [&](headrace_package_t **out) {
    return headrace_package_open(instance.get(), request.output.c_str(),
                                 nullptr, out);
  }));
  REQUIRE_OK(make(session, [&](headrace_session_t **out) {
    return headrace_session_create(device.get(), package.get(), nullptr, out);
  }));
  auto info = sized<headrace_package_info_t>();
  REQUIRE_OK(headrace_package_info(package.get(), &info));
  std::set<std::string> fallback;
  for (uint32_t i = 0; i < info.kernel_count; ++i) {
    auto kernel = sized<headrace_kernel_info_t>();
    REQUIRE_OK(headrace_package_kernel(package.get(), i, &kernel));
    if (!strcmp(kernel.family, "upstream"))
      fallback.insert(kernel.name);
  }
  // A GPU's products take less than a CPU's.
  if (gpu)
    EXPECT_GE(int(fallback.size()), GetParam().fallbackKernels);
  else
    EXPECT_EQ(int(fallback.size()), GetParam().fallbackKernels);

  std::vector<const void *> in;
  std::vector<void *> out;
  std::vector<uint64_t> inBytes, outBytes;
  for (Aligned &input : inputs) {
    in.push_back(input.data);
    inBytes.push_back(input.bytes);
  }
  for (Aligned &output : outputs) {
    out.push_back(output.data);
    outBytes.push_back(output.bytes);
  }
  auto options = sized<headrace_invoke_options_t>();
  options.tokens = kRows;
  options.inputs = in.data();
  options.input_bytes = inBytes.data();
  options.input_count = in.size();
  options.outputs_data = out.data();
  options.output_bytes = outBytes.data();
  options.output_count = out.size();
  REQUIRE_OK(headrace_session_invoke(session.get(), &options));
  EXPECT_EQ(machine.failure(), "");
  ASSERT_EQ(outputs.size(), expected.size());
  for (size_t n = 0; n < outputs.size(); ++n) {
    ASSERT_EQ(outputs[n].size(), expected[n].size());
    for (size_t i = 0; i < expected[n].size(); ++i)
      EXPECT_NEAR(outputs[n].data[i], expected[n][i],
                  1e-4 * (1 + std::fabs(expected[n][i])))
          << "element " << i;
  }
}

TEST_P(Fallback, AgreesWithTheInterpreter) {
  evaluate();
  if (!HasFatalFailure())
    compileAndRun("cpu");
}

TEST_P(Fallback, AgreesWithTheInterpreterOnAGpu) {
  auto ptxas = findPtxas();
  if (!ptxas)
    GTEST_SKIP() << llvm::toString(ptxas.takeError());
  fake_cuda::Reset();
  fake_cuda::SetMachine(
      [this](const fake_cuda::Launch &launch) { return machine.run(launch); });
  evaluate();
  if (!HasFatalFailure())
    compileAndRun("sm_90a");
  fake_cuda::SetMachine(nullptr);
}

INSTANTIATE_TEST_SUITE_P(Ops, Fallback, ::testing::ValuesIn(kCases),
                         [](const auto &info) {
                           return std::string(info.param.name);
                         });

} // namespace
