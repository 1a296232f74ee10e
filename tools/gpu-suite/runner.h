// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runner: a package on a device, through the C interface.
#ifndef HEADRACE_TOOLS_GPU_SUITE_RUNNER_H
#define HEADRACE_TOOLS_GPU_SUITE_RUNNER_H

#include "tools/gpu-suite/suite_file.h"

#include <headrace/handles.hpp>

#include <memory>
#include <random>
#include <string>
#include <vector>

namespace headrace::suite {

/// Code and message of a status, which it frees.
struct Outcome {
  headrace_status_code_t code = HEADRACE_STATUS_OK;
  Failure failure; // empty for success
  explicit Outcome(headrace_status_t status);
};

/// A device by name: "cpu" or "cuda:N".
struct Machine {
  /// `unavailable` is set where there is no such device.
  Failure Open(const std::string &name, bool *unavailable);

  Instance instance;
  Device device;
  headrace_device_info_t info = {};
};

/// A package opened on a machine, timed and with poisoned outputs.
struct Loaded {
  Failure Open(const Machine &machine, const std::string &path);
  /// A session of the same package whose weights move, in as much memory as was
  /// planned.
  Failure OpenStreamed(const Machine &machine, const Loaded &resident);
  /// Runs entry `name` with one input and one output of `tokens` rows.
  Failure Invoke(const std::string &name, uint32_t tokens,
                 const std::vector<float> &x, std::vector<float> *y);
  /// Time of the kernels of the last run.
  double KernelSeconds() const;

  Package package;
  Session session;
  headrace_package_info_t info = {};

private:
  Failure CreateSession(const Machine &machine, uint32_t weights);
};

/// A sequence of a session that is fed in parts.
class Fed {
public:
  Failure Open(headrace_session_t *session);
  /// Rows of logits of all tokens, or of the last one, are added to `logits`,
  /// unless that is null.
  Failure Feed(headrace_session_t *session, const int32_t *tokens, size_t count,
               bool all, std::vector<float> *logits, int64_t vocabulary);

private:
  Sequence sequence;
};

std::vector<int32_t> RandomTokens(std::mt19937_64 *random, int64_t count,
                                  int64_t vocabulary);
double Median(std::vector<double> values);
/// A JSON string.
std::string Quoted(const std::string &text);

} // namespace headrace::suite

#endif // HEADRACE_TOOLS_GPU_SUITE_RUNNER_H
