// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of failures on the fake GPU: every call of the driver's interface fails
// in turn.
#include "tests/runtime/cuda_host.h"

#include <set>

namespace headrace::tests {
namespace {

/// Everything a host does, up to the first failure; all objects are released.
headrace_status_t WholeLife(const std::vector<uint8_t> &bytes,
                            headrace_weight_loader_t weights) {
  TemporaryFile file(bytes);
  Instance instance = MakeInstance();
  Device device;
  if (headrace_status_t status = OpenCuda(instance.get(), &device))
    return status;
  Package package = OpenFile(instance.get(), file.Path());
  auto options = sized<headrace_session_options_t>();
  options.weights = weights;
  options.timing = 1;
  options.poison_outputs = 1;
  Session session;
  if (headrace_status_t status = make(session, [&](headrace_session_t **out) {
        return headrace_session_create(device.get(), package.get(), &options,
                                       out);
      }))
    return status;
  auto work = [&]() -> headrace_status_t {
    Sequence sequence = MakeSequence(session.get());
    std::vector<int32_t> history;
    if (headrace_status_t status =
            TryExtend(session.get(), {&sequence}, {&history}, {Tokens(40, 3)}))
      return status;
    Sequence fork = Fork(sequence);
    if (headrace_status_t status =
            TryExtend(session.get(), {&fork}, {&history}, {{7}}))
      return status;
    Aligned<float> x(TOY_WIDTH), y(TOY_WIDTH);
    return InvokeToy(session.get(), kScale, 1, x, y);
  };
  headrace_status_t status = work();
  if (headrace_status_code(status) == HEADRACE_STATUS_DEVICE_LOST)
    headrace_session_release(session.get()); // the reference kept by it
  else if (status)
    EXPECT_TRUE(IsOk(work())); // nothing is left over of the failure
  return status;
}

/// Functions that only end something: a failure of theirs changes no result,
/// but leaves behind what it should have ended.
const std::set<std::string> kEnds = {"cuCtxPopCurrent_v2",
                                     "cuCtxPushCurrent_v2", // before those
                                     "cuDevicePrimaryCtxRelease_v2",
                                     "cuEventDestroy_v2",
                                     "cuGraphDestroy",
                                     "cuGraphExecDestroy",
                                     "cuMemFreeHost",
                                     "cuMemFree_v2",
                                     "cuModuleUnload",
                                     "cuStreamDestroy_v2",
                                     "cublasLtDestroy",
                                     "cublasLtMatmulDescDestroy",
                                     "cublasLtMatmulPreferenceDestroy",
                                     "cublasLtMatrixLayoutDestroy"};

/// Goes through all calls of a whole life and makes each fail in turn.
void EachCallFails(const std::vector<uint8_t> &bytes, int result,
                   headrace_weight_loader_t weights = HEADRACE_WEIGHTS_MAPPED) {
  fake::Reset(); // what was called before
  ASSERT_TRUE(IsOk(WholeLife(bytes, weights)));
  std::vector<std::pair<std::string, int>> calls;
  for (const std::string &function : fake::CalledFunctions())
    calls.emplace_back(function, fake::Calls(function.c_str()));
  for (const auto &[function, count] : calls)
    for (int nth = 1; nth <= count; nth += 1 + nth / 2) {
      SCOPED_TRACE(function + " #" + std::to_string(nth));
      fake::Reset();
      fake::FailAt(function.c_str(), nth, result);
      Outcome outcome(WholeLife(bytes, weights));
      if (!kEnds.count(function) && outcome.code == HEADRACE_STATUS_OK) {
        // While work is late it may be asked less often than before. How long a
        // transfer took is no result, and one that could not wait for its slot
        // is tried once more.
        EXPECT_TRUE(function == "cuEventQuery" ||
                    (weights == HEADRACE_WEIGHTS_ARENA &&
                     (function == "cuEventElapsedTime" ||
                      function == "cuStreamWaitEvent")))
            << function;
      }
      if (outcome.code != HEADRACE_STATUS_OK) {
        EXPECT_FALSE(outcome.message.empty());
      }
      if (!kEnds.count(function)) {
        EXPECT_EQ(fake::ContextDepth(), 0);
        if (outcome.code != HEADRACE_STATUS_DEVICE_LOST) {
          EXPECT_EQ(fake::LiveObjects(), 0);
        }
      }
    }
}

TEST(CudaFailure, EachCallFailsWithAMistake) {
  EachCallFails(ToyGpuFile(), kInvalidValue);
}

TEST(CudaFailure, EachCallFailsForLackOfMemory) {
  EachCallFails(ToyGpuFile(), kOutOfMemory);
}

/// Of sessions whose weights move, out of the host's memory and out of the
/// file.
TEST(CudaFailure, EachCallFailsWhileWeightsMove) {
  for (bool staged : {false, true})
    for (int result : {kInvalidValue, kOutOfMemory})
      EachCallFails(PlannedToyGpuFile(staged), result, HEADRACE_WEIGHTS_ARENA);
}

TEST(CudaFailure, EachCallOfTheLibraryFails) {
  EachCallFails(MatmulToyGpuFile(2), kInvalidValue);
}

} // namespace
} // namespace headrace::tests
