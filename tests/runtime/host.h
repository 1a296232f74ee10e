// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Host: what a program has that runs a toy package, and short ways to ask it
// for things.
#ifndef HEADRACE_TESTS_RUNTIME_HOST_H
#define HEADRACE_TESTS_RUNTIME_HOST_H

#include "tests/runtime/harness.h"

#include <chrono>
#include <functional>
#include <thread>

namespace headrace::tests {

//===----------------------------------------------------------------------===//
// Steps
//===----------------------------------------------------------------------===//

/// Tokens of the toy's vocabulary.
inline std::vector<int32_t> Tokens(size_t count, int32_t seed) {
  std::vector<int32_t> tokens(count);
  for (size_t i = 0; i < count; ++i)
    tokens[i] = static_cast<int32_t>((i * 7 + static_cast<size_t>(seed) * 13) %
                                     TOY_VOCABULARY);
  return tokens;
}

/// One item of a step.
inline headrace_step_item_t Item(const Sequence &sequence,
                                 const std::vector<int32_t> &tokens,
                                 uint32_t logits = HEADRACE_LOGITS_LAST) {
  return {sequence.get(), tokens.data(), tokens.size(), logits};
}

inline headrace_step_options_t
StepOf(const std::vector<headrace_step_item_t> &items) {
  auto options = sized<headrace_step_options_t>();
  options.item_size = sizeof(headrace_step_item_t);
  options.items = items.data();
  options.item_count = items.size();
  return options;
}

/// Feeds `tokens` to one sequence.
inline headrace_status_t Step(headrace_session_t *session,
                              const Sequence &sequence,
                              const std::vector<int32_t> &tokens,
                              uint64_t timeout_ns = 0,
                              const headrace_cancel_t *cancel = nullptr) {
  const std::vector items = {Item(sequence, tokens)};
  headrace_step_options_t step = StepOf(items);
  step.timeout_ns = timeout_ns;
  step.cancel = cancel;
  return headrace_session_step(session, &step, nullptr);
}

/// Feeds `added` to each sequence, after the tokens in `histories`, in one
/// step, and compares the logits of the last rows. A failure leaves the
/// histories as they were.
inline headrace_status_t
TryExtend(headrace_session_t *session,
          const std::vector<const Sequence *> &sequences,
          const std::vector<std::vector<int32_t> *> &histories,
          const std::vector<std::vector<int32_t>> &added) {
  std::vector<headrace_step_item_t> items;
  for (size_t i = 0; i < sequences.size(); ++i)
    items.push_back(Item(*sequences[i], added[i]));
  auto step = StepOf(items);
  auto result = sized<headrace_step_result_t>();
  if (headrace_status_t status = headrace_session_step(session, &step, &result))
    return status;
  EXPECT_EQ(result.row_count, sequences.size());
  for (size_t i = 0; i < sequences.size(); ++i) {
    histories[i]->insert(histories[i]->end(), added[i].begin(), added[i].end());
    EXPECT_EQ(std::vector<float>(result.logits + i * TOY_VOCABULARY,
                                 result.logits + (i + 1) * TOY_VOCABULARY),
              ToyLogits(*histories[i]))
        << "sequence " << i;
  }
  return nullptr;
}

inline void Extend(headrace_session_t *session,
                   const std::vector<const Sequence *> &sequences,
                   const std::vector<std::vector<int32_t> *> &histories,
                   const std::vector<std::vector<int32_t>> &added) {
  ASSERT_TRUE(IsOk(TryExtend(session, sequences, histories, added)));
}

inline void Extend(headrace_session_t *session, const Sequence &sequence,
                   std::vector<int32_t> *history,
                   const std::vector<int32_t> &added) {
  Extend(session, {&sequence}, {history}, {added});
}

/// The logits of a sequence that gets `tokens` and nothing else.
inline void ExpectLogits(headrace_session_t *session,
                         const std::vector<int32_t> &tokens) {
  std::vector<int32_t> history;
  Extend(session, MakeSequence(session), &history, tokens);
}

inline Sequence Fork(const Sequence &sequence) {
  headrace_sequence_t *copy = nullptr;
  EXPECT_TRUE(IsOk(headrace_sequence_fork(sequence.get(), &copy)));
  return Sequence(copy);
}

/// Cancels what is begun now, a while later.
class LateCancel {
public:
  LateCancel()
      : thread([this] {
          std::this_thread::sleep_for(std::chrono::milliseconds(20));
          headrace_cancel_request(&cancel);
        }) {}
  ~LateCancel() { thread.join(); }

  const headrace_cancel_t *Get() const { return &cancel; }

private:
  headrace_cancel_t cancel = {};
  std::thread thread;
};

//===----------------------------------------------------------------------===//
// Invocations
//===----------------------------------------------------------------------===//

/// Memory aligned as invocations want it.
template <typename T> class Aligned {
public:
  explicit Aligned(size_t count)
      : storage(count * sizeof(T) + 64), count(count) {}
  T *Data() {
    auto address = reinterpret_cast<uintptr_t>(storage.data());
    return reinterpret_cast<T *>((address + 63) / 64 * 64);
  }
  uint64_t Bytes() const { return count * sizeof(T); }
  T &operator[](size_t i) { return Data()[i]; }

private:
  std::vector<char> storage;
  size_t count;
};

/// Runs an entry with one input and one output.
inline headrace_status_t Invoke(headrace_session_t *session, uint32_t entry,
                                uint32_t tokens, const void *x,
                                uint64_t x_bytes, void *y, uint64_t y_bytes,
                                const headrace_cancel_t *cancel = nullptr,
                                uint64_t timeout_ns = 0) {
  auto options = sized<headrace_invoke_options_t>();
  options.entry = entry;
  options.tokens = tokens;
  options.inputs = &x;
  options.input_bytes = &x_bytes;
  options.input_count = 1;
  options.outputs_data = &y;
  options.output_bytes = &y_bytes;
  options.output_count = 1;
  options.cancel = cancel;
  options.timeout_ns = timeout_ns;
  return headrace_session_invoke(session, &options);
}

template <typename X, typename Y>
headrace_status_t InvokeToy(headrace_session_t *session, uint32_t entry,
                            uint32_t tokens, Aligned<X> &x, Aligned<Y> &y,
                            const headrace_cancel_t *cancel = nullptr,
                            uint64_t timeout_ns = 0) {
  return Invoke(session, entry, tokens, x.Data(), x.Bytes(), y.Data(),
                y.Bytes(), cancel, timeout_ns);
}

/// Runs kScale on `tokens` rows and compares the result.
inline void ExpectScales(headrace_session_t *session, uint32_t tokens) {
  Aligned<float> x(tokens * TOY_WIDTH), y(tokens * TOY_WIDTH);
  for (size_t i = 0; i < tokens * TOY_WIDTH; ++i)
    x[i] = static_cast<float>(i);
  ASSERT_TRUE(IsOk(InvokeToy(session, kScale, tokens, x, y)));
  for (size_t i = 0; i < tokens * TOY_WIDTH; ++i)
    ASSERT_EQ(y[i], 3 * x[i]) << i;
}

//===----------------------------------------------------------------------===//
// Hosts
//===----------------------------------------------------------------------===//

/// Of a session whose weights move as the package's plan says.
inline headrace_session_options_t ArenaOptions() {
  auto options = sized<headrace_session_options_t>();
  options.weights = HEADRACE_WEIGHTS_ARENA;
  return options;
}

using DeviceMaker = std::function<Device(headrace_instance_t *)>;

inline DeviceMaker Cpu(uint32_t threads = 2) {
  return [threads](headrace_instance_t *instance) {
    return MakeCpu(instance, threads);
  };
}

/// A package on a device, and its session once that is created.
struct Host {
  explicit Host(const std::vector<uint8_t> &bytes,
                const DeviceMaker &open = Cpu(), Instance on = MakeInstance())
      : file(bytes), instance(std::move(on)), device(open(instance.get())),
        package(OpenFile(instance.get(), file.Path())) {}

  /// In place of the session there was; none after a failure.
  headrace_status_t Create(const headrace_session_options_t &options =
                               sized<headrace_session_options_t>()) {
    session.reset();
    return make(session, [&](headrace_session_t **out) {
      return headrace_session_create(device.get(), package.get(), &options,
                                     out);
    });
  }

  headrace_status_t Step(const Sequence &sequence,
                         const std::vector<int32_t> &tokens,
                         uint64_t timeout_ns = 0,
                         const headrace_cancel_t *cancel = nullptr) {
    return tests::Step(session.get(), sequence, tokens, timeout_ns, cancel);
  }
  void Extend(const std::vector<const Sequence *> &sequences,
              const std::vector<std::vector<int32_t> *> &histories,
              const std::vector<std::vector<int32_t>> &added) {
    tests::Extend(session.get(), sequences, histories, added);
  }
  void Extend(const Sequence &sequence, std::vector<int32_t> *history,
              const std::vector<int32_t> &added) {
    tests::Extend(session.get(), sequence, history, added);
  }
  void ExpectLogits(const std::vector<int32_t> &tokens) {
    tests::ExpectLogits(session.get(), tokens);
  }
  /// Runs kScale on one row.
  headrace_status_t Scale(const headrace_cancel_t *cancel = nullptr,
                          uint64_t timeout_ns = 0) {
    Aligned<float> x(TOY_WIDTH), y(TOY_WIDTH);
    return InvokeToy(session.get(), kScale, 1, x, y, cancel, timeout_ns);
  }

  headrace_session_info_t Info() {
    auto info = sized<headrace_session_info_t>();
    EXPECT_TRUE(IsOk(headrace_session_info(session.get(), &info)));
    return info;
  }
  headrace_link_usage_t Link(uint32_t index) {
    auto link = sized<headrace_link_usage_t>();
    EXPECT_TRUE(IsOk(headrace_session_link(session.get(), index, &link)));
    return link;
  }
  headrace_level_usage_t Level(uint32_t index) {
    auto level = sized<headrace_level_usage_t>();
    EXPECT_TRUE(IsOk(headrace_session_level(session.get(), index, &level)));
    return level;
  }
  headrace_pool_usage_t Pool(uint32_t index) {
    auto pool = sized<headrace_pool_usage_t>();
    EXPECT_TRUE(IsOk(headrace_session_pool(session.get(), index, &pool)));
    return pool;
  }
  /// Where a weight is in the file.
  headrace_blob_info_t Blob(uint32_t index) {
    auto blob = sized<headrace_blob_info_t>();
    EXPECT_TRUE(IsOk(headrace_package_blob(package.get(), index, &blob)));
    return blob;
  }

  TemporaryFile file;
  Instance instance;
  Device device;
  Package package;
  Session session;
};

/// The plain toy on a processor, with a session.
struct Toy : Host {
  explicit Toy(uint32_t threads = 2, const headrace_session_options_t &options =
                                         sized<headrace_session_options_t>())
      : Host(ToyFile(), Cpu(threads)) {
    EXPECT_TRUE(IsOk(Create(options)));
  }
};

} // namespace headrace::tests

#endif // HEADRACE_TESTS_RUNTIME_HOST_H
