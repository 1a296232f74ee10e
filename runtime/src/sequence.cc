// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Sequence: creating, forking and cutting sequences, and generating text.
#include "headrace/sequence.h"

#include "runtime/src/guard.h"
#include "runtime/src/session.h"
#include "runtime/src/structs.h"

using namespace headrace::runtime;

//===----------------------------------------------------------------------===//
// Sequences
//===----------------------------------------------------------------------===//

headrace_sequence_t::headrace_sequence_t(headrace_session_t *session)
    : session(session),
      pages(StdAllocator<uint32_t>(session->HostAllocator())) {
  // Room for a full context, so that no step allocates.
  if (session->HasKv())
    pages.reserve(session->package->manifest->kv()->max_pages());
  ++session->live_sequences;
  session->Retain();
}

headrace_sequence_t::~headrace_sequence_t() {
  Truncate(0);
  --session->live_sequences;
}

void headrace_sequence_t::Truncate(uint32_t new_length) {
  length = new_length;
  while (pages.size() > PagesOf(length)) {
    session->kv.Drop(pages.back());
    pages.pop_back();
  }
}

static Status CreateSequence(headrace_session_t *session,
                             headrace_sequence_t **out_sequence) {
  const Allocator &allocator = session->HostAllocator();
  if (session->Model().entry == kNoIndex)
    return MakeStatus(allocator, HEADRACE_STATUS_FAILED_PRECONDITION,
                      "sequence: the package has no entry 'forward'");
  if (session->live_sequences >= session->max_sequences)
    return MakeStatus(allocator, HEADRACE_STATUS_RESOURCE_EXHAUSTED,
                      "sequence: the session holds its %u sequences",
                      session->max_sequences);
  *out_sequence = New<headrace_sequence_t>(allocator, session);
  return Status();
}

headrace_status_t headrace_sequence_create(headrace_session_t *session,
                                           headrace_sequence_t **out_sequence) {
  if (out_sequence)
    *out_sequence = nullptr;
  if (!session || !out_sequence)
    return InvalidArgument("sequence: an argument is null");
  return Guard(session->HostAllocator(),
               [&] { return CreateSequence(session, out_sequence); });
}

void headrace_sequence_retain(headrace_sequence_t *sequence) {
  if (sequence)
    sequence->Retain();
}

void headrace_sequence_release(headrace_sequence_t *sequence) {
  if (!sequence || !sequence->Drop())
    return;
  headrace_session_t *session = sequence->session;
  Delete(session->HostAllocator(), sequence);
  headrace_session_release(session);
}

uint32_t headrace_sequence_length(const headrace_sequence_t *sequence) {
  return sequence ? sequence->length : 0;
}

headrace_status_t headrace_sequence_fork(headrace_sequence_t *sequence,
                                         headrace_sequence_t **out_sequence) {
  if (out_sequence)
    *out_sequence = nullptr;
  if (!sequence || !out_sequence)
    return InvalidArgument("sequence: an argument is null");
  return Guard(sequence->session->HostAllocator(), [&]() -> Status {
    HEADRACE_RETURN_IF_ERROR(CreateSequence(sequence->session, out_sequence));
    headrace_sequence_t &copy = **out_sequence;
    copy.length = sequence->length;
    for (uint32_t page : sequence->pages) {
      sequence->session->kv.Share(page);
      copy.pages.push_back(page);
    }
    return Status();
  });
}

headrace_status_t headrace_sequence_truncate(headrace_sequence_t *sequence,
                                             uint32_t length) {
  if (!sequence)
    return InvalidArgument("sequence: 'sequence' is null");
  const Allocator &allocator = sequence->session->HostAllocator();
  return Guard(allocator, [&]() -> Status {
    if (length > sequence->length)
      return MakeStatus(allocator, HEADRACE_STATUS_OUT_OF_RANGE,
                        "sequence: cannot cut %u positions to %u",
                        sequence->length, length);
    sequence->Truncate(length);
    return Status();
  });
}

//===----------------------------------------------------------------------===//
// Generation
//===----------------------------------------------------------------------===//

namespace {

class Generation {
public:
  Generation(headrace_sequence_t &sequence,
             const headrace_generate_options_t &options, int32_t *tokens,
             size_t capacity)
      : sequence(sequence), session(*sequence.session), options(options),
        tokens(tokens), capacity(capacity) {}

  Status Run(const int32_t *prompt, size_t prompt_count,
             headrace_generate_result_t *result) {
    const float *logits;
    HEADRACE_RETURN_IF_ERROR(Feed(prompt, prompt_count, &logits));
    for (;;) {
      int32_t token;
      HEADRACE_RETURN_IF_ERROR(Pick(logits, &token));
      if (result->token_count < capacity)
        tokens[result->token_count] = token;
      ++result->token_count;
      bool stop = Tell(token, logits);
      if (IsEnd(token)) {
        result->reason = HEADRACE_STOP_END;
        return Status();
      }
      if (stop) {
        result->reason = HEADRACE_STOP_CALLBACK;
        return Status();
      }
      if (result->token_count == options.max_new_tokens) {
        result->reason = HEADRACE_STOP_LENGTH;
        return Status();
      }
      if (IsFull()) {
        result->reason = HEADRACE_STOP_CONTEXT;
        return Status();
      }
      HEADRACE_RETURN_IF_ERROR(Feed(&token, 1, &logits));
    }
  }

private:
  /// Adds tokens to the sequence; the logits are those of the last one.
  Status Feed(const int32_t *new_tokens, size_t count, const float **logits) {
    headrace_step_item_t item = {};
    item.sequence = &sequence;
    item.tokens = new_tokens;
    item.token_count = count;
    item.logits = HEADRACE_LOGITS_LAST;
    headrace_step_options_t step = {};
    step.struct_size = sizeof(step);
    step.item_size = sizeof(item);
    step.items = &item;
    step.item_count = 1;
    step.cancel = options.cancel;
    step.timeout_ns = options.timeout_ns;
    headrace_step_result_t result = {};
    result.struct_size = sizeof(result);
    HEADRACE_RETURN_IF_ERROR(session.Step(step, &result));
    *logits = result.logits;
    return Status();
  }

  Status Pick(const float *logits, int32_t *out_token) {
    SamplerOptions sampler;
    sampler.temperature = options.temperature;
    sampler.top_p = options.top_p;
    sampler.seed = options.seed;
    return Sample(session.HostAllocator(), logits,
                  session.package->manifest->limits()->vocabulary(), sampler,
                  sequence.length, &session.candidates, out_token);
  }

  bool Tell(int32_t token, const float *logits) {
    if (!options.on_token)
      return false;
    headrace_token_event_t event = {};
    event.struct_size = sizeof(event);
    event.token = token;
    event.position = sequence.length;
    event.logits = logits;
    return options.on_token(options.user_data, &event) != 0;
  }

  bool IsEnd(int32_t token) const {
    for (size_t i = 0; i < options.end_token_count; ++i)
      if (options.end_tokens[i] == token)
        return true;
    return false;
  }

  bool IsFull() const {
    return sequence.length ==
               session.package->manifest->limits()->max_context() ||
           session.PagesNeeded(sequence, 1) > session.kv.FreeCount();
  }

  headrace_sequence_t &sequence;
  headrace_session_t &session;
  const headrace_generate_options_t &options;
  int32_t *tokens;
  size_t capacity;
};

} // namespace

headrace_status_t headrace_sequence_generate(
    headrace_sequence_t *sequence, const int32_t *prompt, size_t prompt_count,
    const headrace_generate_options_t *options, int32_t *tokens,
    size_t capacity, headrace_generate_result_t *result) {
  if (!sequence || !prompt || prompt_count == 0 || (capacity && !tokens))
    return InvalidArgument("generate: an argument is null or empty");
  const Allocator &allocator = sequence->session->HostAllocator();
  const uint32_t length = sequence->length;
  headrace_status_t failure = Guard(allocator, [&]() -> Status {
    headrace_generate_options_t read;
    HEADRACE_RETURN_IF_ERROR(ReadOptions(allocator, options, &read));
    if (result)
      HEADRACE_RETURN_IF_ERROR(CheckStructSize<headrace_generate_result_t>(
          allocator, result->struct_size));
    if (!(read.temperature >= 0) || !(read.top_p >= 0 && read.top_p <= 1) ||
        (read.end_token_count && !read.end_tokens))
      return MakeStatus(allocator, HEADRACE_STATUS_INVALID_ARGUMENT,
                        "generate: expected a temperature of at least 0 and "
                        "top_p in 0..1, but got %g and %g",
                        double(read.temperature), double(read.top_p));
    headrace_generate_result_t value = {};
    HEADRACE_RETURN_IF_ERROR(Generation(*sequence, read, tokens, capacity)
                                 .Run(prompt, prompt_count, &value));
    return result ? WriteStruct(allocator, value, result) : Status();
  });
  if (failure)
    sequence->Truncate(length);
  return failure;
}
