// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runner: objects of the C interface, and failures as text.
#include "tools/gpu-suite/runner.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace headrace::suite {

Outcome::Outcome(headrace_status_t status)
    : code(headrace_status_code(status)) {
  if (code != HEADRACE_STATUS_OK)
    failure = headrace_status_message(status);
  headrace_status_free(status);
}

namespace {

/// Floats where the runtime takes them in place.
class AlignedCopy {
public:
  explicit AlignedCopy(size_t count)
      : bytes((count * sizeof(float) + 63) / 64 * 64),
        data(static_cast<float *>(std::aligned_alloc(64, bytes))) {}
  ~AlignedCopy() { std::free(data); }
  AlignedCopy(const AlignedCopy &) = delete;
  AlignedCopy &operator=(const AlignedCopy &) = delete;
  const uint64_t bytes;
  float *const data;
};

} // namespace

Failure Machine::Open(const std::string &name, bool *unavailable) {
  *unavailable = false;
  headrace_instance_t *made = nullptr;
  Outcome created(headrace_instance_create(nullptr, &made));
  instance.reset(made);
  if (!created.failure.empty())
    return created.failure;
  headrace_device_t *opened = nullptr;
  headrace_status_t status = nullptr;
  if (name == "cpu") {
    status = headrace_device_create_cpu(instance.get(), nullptr, &opened);
  } else if (name.compare(0, 5, "cuda:") == 0) {
    auto options = sized<headrace_cuda_device_options_t>();
    options.ordinal =
        static_cast<uint32_t>(std::strtoul(name.c_str() + 5, nullptr, 10));
    status = headrace_device_create_cuda(instance.get(), &options, &opened);
  } else {
    return "unknown device '" + name + "'; expected cpu or cuda:N";
  }
  Outcome outcome(status);
  device.reset(opened);
  *unavailable = outcome.code == HEADRACE_STATUS_UNAVAILABLE;
  if (!outcome.failure.empty())
    return outcome.failure;
  info = sized<headrace_device_info_t>();
  return Outcome(headrace_device_info(device.get(), &info)).failure;
}

Failure Loaded::Open(const Machine &machine, const std::string &path) {
  headrace_package_t *opened = nullptr;
  Outcome outcome(headrace_package_open(machine.instance.get(), path.c_str(),
                                        nullptr, &opened));
  package.reset(opened);
  if (!outcome.failure.empty())
    return outcome.failure;
  info = sized<headrace_package_info_t>();
  if (Failure failure = Outcome(headrace_package_info(opened, &info)).failure;
      !failure.empty())
    return failure;
  // The weights were made here, not carried: are they those of the compiler?
  if (Failure failure =
          Outcome(headrace_package_verify(opened, nullptr)).failure;
      !failure.empty())
    return failure;
  return CreateSession(machine, HEADRACE_WEIGHTS_MAPPED);
}

Failure Loaded::OpenStreamed(const Machine &machine, const Loaded &resident) {
  headrace_package_retain(resident.package.get());
  package.reset(resident.package.get());
  info = resident.info;
  return CreateSession(machine, HEADRACE_WEIGHTS_ARENA);
}

Failure Loaded::CreateSession(const Machine &machine, uint32_t weights) {
  auto options = sized<headrace_session_options_t>();
  options.weights = weights;
  options.timing = 1;
  options.poison_outputs = 1;
  options.timeout_ns = 60000000000;
  headrace_session_t *made = nullptr;
  Outcome created(headrace_session_create(machine.device.get(), package.get(),
                                          &options, &made));
  session.reset(made);
  return created.failure;
}

Failure Loaded::Invoke(const std::string &name, uint32_t tokens,
                       const std::vector<float> &x, std::vector<float> *y) {
  uint32_t entry = 0;
  if (Failure failure = Outcome(headrace_package_find_entry(
                                    package.get(), name.c_str(), &entry))
                            .failure;
      !failure.empty())
    return failure;
  AlignedCopy in(x.size()), out(y->size());
  std::memcpy(in.data, x.data(), x.size() * sizeof(float));
  std::memset(out.data, 0xff, out.bytes);
  const void *inputs[] = {in.data};
  void *outputs[] = {out.data};
  auto options = sized<headrace_invoke_options_t>();
  options.entry = entry;
  options.tokens = tokens;
  options.inputs = inputs;
  options.input_bytes = &in.bytes;
  options.input_count = 1;
  options.outputs_data = outputs;
  options.output_bytes = &out.bytes;
  options.output_count = 1;
  Outcome outcome(headrace_session_invoke(session.get(), &options));
  std::memcpy(y->data(), out.data, y->size() * sizeof(float));
  return outcome.failure;
}

double Loaded::KernelSeconds() const {
  auto described = sized<headrace_session_info_t>();
  Outcome outcome(headrace_session_info(session.get(), &described));
  return outcome.failure.empty()
             ? static_cast<double>(described.kernel_ns) * 1e-9
             : 0;
}

Failure Fed::Open(headrace_session_t *session) {
  headrace_sequence_t *raw = nullptr;
  Outcome outcome(headrace_sequence_create(session, &raw));
  sequence.reset(raw);
  return outcome.failure;
}

Failure Fed::Feed(headrace_session_t *session, const int32_t *tokens,
                  size_t count, bool all, std::vector<float> *logits,
                  int64_t vocabulary) {
  headrace_step_item_t item = {};
  item.sequence = sequence.get();
  item.tokens = tokens;
  item.token_count = count;
  item.logits = all ? HEADRACE_LOGITS_ALL : HEADRACE_LOGITS_LAST;
  headrace_step_options_t options = {};
  options.struct_size = sizeof(options);
  options.item_size = sizeof(item);
  options.items = &item;
  options.item_count = 1;
  headrace_step_result_t result = {};
  result.struct_size = sizeof(result);
  Outcome outcome(headrace_session_step(session, &options, &result));
  if (outcome.failure.empty() && logits)
    logits->insert(logits->end(), result.logits,
                   result.logits +
                       result.row_count * static_cast<size_t>(vocabulary));
  return outcome.failure;
}

std::vector<int32_t> RandomTokens(std::mt19937_64 *random, int64_t count,
                                  int64_t vocabulary) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int32_t &token : tokens)
    token =
        static_cast<int32_t>((*random)() % static_cast<uint64_t>(vocabulary));
  return tokens;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::string Quoted(const std::string &text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\')
      out += '\\';
    out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return out + "\"";
}

} // namespace headrace::suite
