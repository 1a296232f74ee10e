// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A package opened and run through the C API, for tests of the whole path.
#ifndef HEADRACE_TESTS_INTEGRATION_PACKAGEMODEL_H
#define HEADRACE_TESTS_INTEGRATION_PACKAGEMODEL_H

#include "headrace/headrace.h"

#include <cmath>
#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace headrace::testing {

#define REQUIRE_OK(expression)                                                 \
  do {                                                                         \
    headrace_status_t status = (expression);                                   \
    ASSERT_FALSE(bool(status)) << headrace_status_message(status);             \
  } while (false)

/// One opened package with a session of a given number of threads.
class Model {
public:
  ~Model() {
    headrace_session_release(session);
    headrace_package_release(package);
    headrace_device_release(device);
    headrace_instance_release(instance);
  }
  /// `budget` 0: weights are mapped; else in an arena of so many bytes.
  void open(const std::string &path, uint32_t threads, uint64_t budget = 0) {
    REQUIRE_OK(headrace_instance_create(nullptr, &instance));
    headrace_cpu_device_options_t options = {};
    options.struct_size = sizeof(options);
    options.thread_count = threads;
    REQUIRE_OK(headrace_device_create_cpu(instance, &options, &device));
    openOnDevice(path, budget);
  }
  /// On the first GPU; `library` is the file of its cuBLASLt, or null.
  void openOnGpu(const std::string &path, const char *library = nullptr,
                 uint64_t budget = 0) {
    REQUIRE_OK(headrace_instance_create(nullptr, &instance));
    headrace_cuda_device_options_t options = {};
    options.struct_size = sizeof(options);
    options.cublaslt_library = library;
    REQUIRE_OK(headrace_device_create_cuda(instance, &options, &device));
    openOnDevice(path, budget);
  }
  headrace_sequence_t *sequence() {
    headrace_sequence_t *out = nullptr;
    headrace_status_t status = headrace_sequence_create(session, &out);
    EXPECT_FALSE(bool(status)) << headrace_status_message(status);
    return out;
  }
  /// One step; the rows of all tokens are appended to `logits[item]`.
  void step(std::vector<headrace_sequence_t *> sequences,
            std::vector<std::vector<int32_t>> tokens,
            std::vector<std::vector<float> *> logits) {
    std::vector<headrace_step_item_t> items;
    size_t rows = 0;
    for (size_t i = 0; i < sequences.size(); ++i) {
      items.push_back({sequences[i], tokens[i].data(), tokens[i].size(),
                       HEADRACE_LOGITS_ALL});
      rows += tokens[i].size();
    }
    // Poison what the step must fill.
    std::vector<float> out(rows * vocabulary, NAN);
    headrace_step_options_t options = {};
    options.struct_size = sizeof(options);
    options.item_size = sizeof(headrace_step_item_t);
    options.items = items.data();
    options.item_count = items.size();
    options.logits = out.data();
    options.logits_rows = rows;
    REQUIRE_OK(headrace_session_step(session, &options, nullptr));
    auto from = out.begin();
    for (size_t i = 0; i < sequences.size(); ++i) {
      auto to = from + int64_t(tokens[i].size() * vocabulary);
      if (logits[i])
        logits[i]->insert(logits[i]->end(), from, to);
      from = to;
    }
  }

  headrace_instance_t *instance = nullptr;
  headrace_device_t *device = nullptr;
  headrace_package_t *package = nullptr;
  headrace_session_t *session = nullptr;
  size_t vocabulary = 0;

private:
  void openOnDevice(const std::string &path, uint64_t budget) {
    REQUIRE_OK(
        headrace_package_open(instance, path.c_str(), nullptr, &package));
    headrace_session_options_t session_options = {};
    session_options.struct_size = sizeof(session_options);
    session_options.max_sequences = 8;
    if (budget) {
      session_options.weights = HEADRACE_WEIGHTS_ARENA;
      session_options.fast_memory_bytes = budget;
    }
    REQUIRE_OK(
        headrace_session_create(device, package, &session_options, &session));
    headrace_package_info_t info = {};
    info.struct_size = sizeof(info);
    REQUIRE_OK(headrace_package_info(package, &info));
    vocabulary = info.vocabulary;
  }
};

} // namespace headrace::testing

#endif // HEADRACE_TESTS_INTEGRATION_PACKAGEMODEL_H
