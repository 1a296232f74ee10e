/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* Sequence: the tokens a model has seen, as pages of its key-value cache. */
#ifndef HEADRACE_SEQUENCE_H
#define HEADRACE_SEQUENCE_H

#include <stddef.h>
#include <stdint.h>

#include "headrace/session.h"
#include "headrace/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Creates an empty sequence in `*out_sequence`, which belongs to the caller and
 * retains `session`. The session's thread.
 * Codes: invalid argument, failed precondition (no language model), resource
 * exhausted (the session's max_sequences). */
HEADRACE_API HEADRACE_MUST_USE headrace_status_t headrace_sequence_create(
    headrace_session_t *session, headrace_sequence_t **out_sequence);

/* Adds a reference; NULL is allowed. The session's thread. */
HEADRACE_API void headrace_sequence_retain(headrace_sequence_t *sequence);

/* Drops a reference; the last one gives the pages back. NULL is allowed. The
 * session's thread. */
HEADRACE_API void headrace_sequence_release(headrace_sequence_t *sequence);

/* Returns the number of positions, 0 for NULL. The session's thread. */
HEADRACE_API uint32_t
headrace_sequence_length(const headrace_sequence_t *sequence);

/* Creates a sequence that starts as a copy of `sequence`. Pages are shared; a
 * page that is partly filled is copied when either side first adds to it. The
 * session's thread.
 * Codes: invalid argument, resource exhausted (the session's
 * max_sequences). */
HEADRACE_API HEADRACE_MUST_USE headrace_status_t headrace_sequence_fork(
    headrace_sequence_t *sequence, headrace_sequence_t **out_sequence);

/* Forgets everything from position `length` on. The session's thread.
 * Codes: invalid argument, out of range (`length` above the present one). */
HEADRACE_API HEADRACE_MUST_USE headrace_status_t
headrace_sequence_truncate(headrace_sequence_t *sequence, uint32_t length);

/* Why a generation ended. */
typedef enum headrace_stop_reason_e {
  HEADRACE_STOP_LENGTH = 0,   /* max_new_tokens were made */
  HEADRACE_STOP_END = 1,      /* an end token was made; it is the last one */
  HEADRACE_STOP_CALLBACK = 2, /* on_token asked for it */
  HEADRACE_STOP_CONTEXT = 3   /* the context or the key-value pool is full */
} headrace_stop_reason_t;

/* What on_token is told. Borrowed during the call. */
typedef struct headrace_token_event_t {
  size_t struct_size;  /* set by the library */
  int32_t token;       /* the new token */
  uint32_t position;   /* it will have in the sequence */
  const float *logits; /* the row it was taken from, [vocabulary] */
} headrace_token_event_t;

/* Options of headrace_sequence_generate(); see headrace_instance_options_t for
 * the rule of such structs. */
typedef struct headrace_generate_options_t {
  size_t struct_size;
  size_t max_new_tokens; /* 0: until an end token or a full context */
  /* Where to stop; see headrace_package_info_t. NULL: nowhere. */
  const int32_t *end_tokens;
  size_t end_token_count;
  /* 0: greedy, ties to the lower id. Above: tokens are drawn from the softmax
   * of logits / temperature. */
  float temperature;
  /* Keep the likeliest tokens whose probabilities first reach this sum. 0 or
   * 1: all. Used with a temperature. */
  float top_p;
  /* The draw for the token at position p uses the number
   *   mix(seed + (p + 1) * 0x9E3779B97F4A7C15) >> 11, times 2^-53,
   * with mix the finalizer of SplitMix64. So a draw depends on seed and
   * position only. */
  uint64_t seed;
  /* NULL or called with each new token; not 0 stops. It must not use this
   * session. */
  int (*on_token)(void *user_data, const headrace_token_event_t *event);
  void *user_data;
  const headrace_cancel_t *cancel; /* NULL: none */
  uint64_t timeout_ns;             /* of each step; 0: the session's */
} headrace_generate_options_t;

/* What a generation gave. Filled as the structs of package.h are. */
typedef struct headrace_generate_result_t {
  size_t struct_size;
  size_t token_count; /* new tokens */
  headrace_stop_reason_t reason;
} headrace_generate_result_t;

/* Adds `prompt` to `sequence` and continues it. New tokens go to `tokens`, as
 * far as `capacity` reaches; NULL with 0 is allowed. Afterwards the sequence
 * holds the prompt and all new tokens but the last one, which starts the next
 * prompt. On failure it is as long as before. `options` and `result` may be
 * NULL. The session's thread.
 * Codes: those of headrace_session_step. */
HEADRACE_API HEADRACE_MUST_USE headrace_status_t headrace_sequence_generate(
    headrace_sequence_t *sequence, const int32_t *prompt, size_t prompt_count,
    const headrace_generate_options_t *options, int32_t *tokens,
    size_t capacity, headrace_generate_result_t *result);

#ifdef __cplusplus
}
#endif

#endif /* HEADRACE_SEQUENCE_H */
