/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* Session: a package on a device, with the memory its steps need. */
#ifndef HEADRACE_SESSION_H
#define HEADRACE_SESSION_H

#include <stddef.h>
#include <stdint.h>

#include "headrace/device.h"
#include "headrace/instance.h"
#include "headrace/package.h"
#include "headrace/status.h"
#include "headrace/trace.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Reference counted; retains device and package. A session and its sequences
 * may be used by one thread at a time; other sessions, also of the same device
 * and package, may be used by other threads meanwhile. */
typedef struct headrace_session_t headrace_session_t;

/* See sequence.h. */
typedef struct headrace_sequence_t headrace_sequence_t;

/* How the bytes of the weights get to where kernels read them. */
typedef enum headrace_weight_loader_e {
  /* The file is mapped read-only; the page cache is the copy. */
  HEADRACE_WEIGHTS_MAPPED = 0,
  /* They are moved to planned addresses of a bounded arena, when the plan says
   * so. Needs a package with a plan (headrace compile --fast-memory) for this
   * kind of device. The results are the same, bit for bit. */
  HEADRACE_WEIGHTS_ARENA = 1
} headrace_weight_loader_t;

/* Where the loader `arena` reads the package. */
typedef enum headrace_weight_source_e {
  /* The disk, around the page cache where the file system can do that. */
  HEADRACE_SOURCE_DISK = 0,
  /* The page cache, which then holds a second copy. */
  HEADRACE_SOURCE_PAGE_CACHE = 1
} headrace_weight_source_t;

/* Options of headrace_session_create(); see headrace_instance_options_t for the
 * rule of such structs. */
typedef struct headrace_session_options_t {
  size_t struct_size;
  uint32_t weights; /* headrace_weight_loader_t */
  /* Sequences that may exist at once. 0: as many as one step takes. */
  uint32_t max_sequences;
  /* Pages of the key-value pool, 32 positions each. 0: as `kv_bytes` says, and
   * if that is 0 too, enough for `max_sequences` full contexts. */
  uint32_t kv_pages;
  /* Bytes of the key-value pool, when `kv_pages` is 0; rounded down to whole
   * pages. Both given: the smaller counts. */
  uint64_t kv_bytes;
  /* Longest time of one step or invocation where the call names none, in
   * nanoseconds. 0: no limit. */
  uint64_t timeout_ns;
  /* Not 0: each run is timed on the device, see headrace_session_info_t. */
  uint32_t timing;
  /* Not 0: outputs are filled with bytes of 255, which no float they hold can
   * be, before each run, so that an element no kernel writes is seen. */
  uint32_t poison_outputs;
  /* Loader `arena` only: most bytes of the plan's fast level. More than the
   * plan has are more slots for weights; fewer than its certified minimum are
   * refused. 0: as planned. */
  uint64_t fast_memory_bytes;
  uint32_t weight_source; /* headrace_weight_source_t; loader `arena` only */
  /* Told what the session does, or NULL; see trace.h. */
  headrace_trace_fn_t on_trace;
  void *trace_user_data; /* passed to it as it is */
  /* Loader `arena` only: where a file without a name is made for key-value
   * pages that the plan keeps out of the fast level. It needs no room before
   * pages are written. NULL: /var/tmp. Read during the call only. */
  const char *page_directory;
} headrace_session_options_t;

/* Creates a session in `*out_session`, which belongs to the caller. Allocates
 * the plan's arena, worker scratch and the key-value pool, and binds the
 * weights; with the loader `arena` it reads those that stay, for at most
 * `timeout_ns`. `options` may be NULL. Any thread.
 * Codes: invalid argument, unimplemented, failed precondition (opened for
 * inspection only; loader `arena`: no plan, or one for fewer threads), resource
 * exhausted (the message says how many bytes are missing), data loss, io,
 * deadline exceeded. */
HEADRACE_API HEADRACE_MUST_USE headrace_status_t
headrace_session_create(headrace_device_t *device, headrace_package_t *package,
                        const headrace_session_options_t *options,
                        headrace_session_t **out_session);

/* Adds a reference; NULL is allowed. Any thread. */
HEADRACE_API void headrace_session_retain(headrace_session_t *session);

/* Drops a reference; the last one frees its memory. NULL is allowed. Any
 * thread. */
HEADRACE_API void headrace_session_release(headrace_session_t *session);

/* What a session holds now. Filled as the structs of package.h are. */
typedef struct headrace_session_info_t {
  size_t struct_size;
  uint32_t max_sequences;
  uint32_t sequences; /* alive */
  uint32_t kv_pages;
  uint32_t kv_pages_free;
  uint64_t kv_bytes;
  uint64_t arena_bytes;   /* planned scratch buffers, all levels */
  uint64_t scratch_bytes; /* worker scratch, all workers */
  uint64_t io_bytes;      /* step inputs and logits */
  /* With `timing`, what the kernels of the last run took, without transfers and
   * without the host; else 0. */
  uint64_t kernel_ns;
} headrace_session_info_t;

/* Fills `*out`. The session's thread.
 * Codes: invalid argument. */
HEADRACE_API HEADRACE_MUST_USE headrace_status_t headrace_session_info(
    const headrace_session_t *session, headrace_session_info_t *out);

/* Which rows of an item's logits are wanted. */
typedef enum headrace_logits_e {
  HEADRACE_LOGITS_LAST = 0, /* of its last token */
  HEADRACE_LOGITS_NONE = 1,
  HEADRACE_LOGITS_ALL = 2 /* of each of its tokens */
} headrace_logits_t;

/* The new tokens of one sequence. */
typedef struct headrace_step_item_t {
  headrace_sequence_t *sequence; /* of this session; once in a step */
  const int32_t *tokens;         /* they follow what the sequence holds */
  size_t token_count;            /* at least 1 */
  uint32_t logits;               /* headrace_logits_t */
} headrace_step_item_t;

/* One step: any number of sequences, each with any number of new tokens. What
 * exceeds the package's limits for one pass is cut into several, which changes
 * no result. See headrace_instance_options_t for the rule of such structs. */
typedef struct headrace_step_options_t {
  size_t struct_size;
  size_t item_size; /* sizeof(headrace_step_item_t) */
  const headrace_step_item_t *items;
  size_t item_count;
  /* Where the wanted rows go, [rows][vocabulary]. NULL: memory of the
   * session, named in the result. */
  float *logits;
  size_t logits_rows;              /* rows that fit in `logits` */
  const headrace_cancel_t *cancel; /* NULL: none */
  uint64_t timeout_ns;             /* 0: the session's */
} headrace_step_options_t;

/* What a step gave. Filled as the structs of package.h are. */
typedef struct headrace_step_result_t {
  size_t struct_size;
  /* The wanted rows in order of items, within one in order of tokens,
   * [row_count][vocabulary]. Without an own buffer borrowed from the session,
   * valid until its next step. NULL for no rows. */
  const float *logits;
  size_t row_count;
  size_t pass_count; /* passes the step was cut into */
} headrace_step_result_t;

/* Runs one step on the entry point "forward" and adds the tokens to their
 * sequences. On any failure every sequence is as long as before. `result` may
 * be NULL. The session's thread, which takes part in the work.
 * Codes: invalid argument, out of range (a token id), resource exhausted (a
 * context or the key-value pool is full, a buffer too small), failed
 * precondition (no language model), cancelled, deadline exceeded, device
 * lost; loader `arena`: io and data loss too, naming the weight and the level,
 * after which the session can be used. */
HEADRACE_API HEADRACE_MUST_USE headrace_status_t headrace_session_step(
    headrace_session_t *session, const headrace_step_options_t *options,
    headrace_step_result_t *result);

/* One run of an entry point that is no language model. Pointers are used in
 * place and must be aligned to 64 bytes. */
typedef struct headrace_invoke_options_t {
  size_t struct_size;
  uint32_t entry; /* index, see headrace_package_find_entry */
  uint32_t tokens;
  uint32_t sequences; /* 0: 1 */
  uint32_t outputs;   /* 0: as `tokens` */
  /* One for each input of the entry, in order, with its bytes: at least the
   * buffer's bytes for these counts (headrace_buffer_info_t: `bytes` in
   * proportion to the count named by `rows`). */
  const void *const *inputs;
  const uint64_t *input_bytes;
  size_t input_count;
  /* The same for the outputs. */
  void *const *outputs_data;
  const uint64_t *output_bytes;
  size_t output_count;
  const headrace_cancel_t *cancel; /* NULL: none */
  uint64_t timeout_ns;             /* 0: the session's */
} headrace_invoke_options_t;

/* Runs one entry point on the host's buffers, which stay the host's. The
 * session's thread, which takes part in the work.
 * Codes: invalid argument, out of range, failed precondition (the entry reads a
 * key-value cache), cancelled, deadline exceeded, device lost; loader `arena`:
 * as above. */
HEADRACE_API HEADRACE_MUST_USE headrace_status_t headrace_session_invoke(
    headrace_session_t *session, const headrace_invoke_options_t *options);

#ifdef __cplusplus
}
#endif

#endif /* HEADRACE_SESSION_H */
