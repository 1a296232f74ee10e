/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* Toy kernels: position-independent code that tests copy into packages. One
 * section, no calls, no data outside it: as a compiled code image is. */
#include "tests/runtime/toy_kernels.h"

#define KERNEL __attribute__((section("toy_code"), used, noinline))

/* [tokens, positions] -> hidden[t] = token + 1 */
KERNEL void toy_embed(const headrace_call_t *call, uint64_t task) {
  const int32_t *tokens = (const int32_t *)call->buffers[0];
  int32_t *hidden = (int32_t *)call->buffers[1];
  hidden[task] = tokens[task] + 1;
}

/* [hidden, positions, sequences, kv_pool, kv_table]: keeps hidden of each row
 * in the cache, then makes it the sum over the positions up to it. */
KERNEL void toy_attend(const headrace_call_t *call, uint64_t task) {
  int32_t *hidden = (int32_t *)call->buffers[0];
  const int32_t *positions = (const int32_t *)call->buffers[1];
  const int32_t *sequences = (const int32_t *)call->buffers[2];
  uint8_t *pool = (uint8_t *)call->buffers[3];
  const int32_t *table =
      (const int32_t *)call->buffers[4] + task * TOY_MAX_PAGES;
  for (int32_t row = sequences[task]; row < sequences[task + 1]; ++row) {
    int32_t position = positions[row];
    int32_t *page =
        (int32_t *)(pool + TOY_PAGE_BYTES * table[position / TOY_PAGE]);
    page[position % TOY_PAGE] = hidden[row];
    int32_t sum = 0;
    for (int32_t p = 0; p <= position; ++p)
      sum +=
          (p + 1) * ((int32_t *)(pool + TOY_PAGE_BYTES *
                                            table[p / TOY_PAGE]))[p % TOY_PAGE];
    hidden[row] = sum;
  }
}

/* [hidden, output_rows, logits], weight: one row of logits a task, by way of
 * the worker's scratch. */
KERNEL void toy_logits(const headrace_call_t *call, uint64_t task) {
  const int32_t *hidden = (const int32_t *)call->buffers[0];
  const int32_t *rows = (const int32_t *)call->buffers[1];
  float *logits = (float *)call->buffers[2] + task * TOY_VOCABULARY;
  const int32_t *weight = (const int32_t *)call->weights[call->weight_ids[0]];
  int32_t *scratch = (int32_t *)call->scratch;
  for (int32_t v = 0; v < TOY_VOCABULARY; ++v)
    scratch[v] =
        (int32_t)(((int64_t)hidden[rows[task]] * 31 + (int64_t)v * weight[v]) %
                  97);
  for (int32_t v = 0; v < TOY_VOCABULARY; ++v)
    logits[v] = (float)scratch[v];
}

/* [x, y], weight: two rows of eight a task, y = x * weight[1]. */
KERNEL void toy_scale(const headrace_call_t *call, uint64_t task) {
  const float *x = (const float *)call->buffers[0];
  float *y = (float *)call->buffers[1];
  const int32_t *weight = (const int32_t *)call->weights[call->weight_ids[0]];
  int64_t end = (int64_t)task * 2 + 2;
  if (end > call->counts[HEADRACE_COUNT_TOKENS])
    end = call->counts[HEADRACE_COUNT_TOKENS];
  for (int64_t i = (int64_t)task * 2 * TOY_WIDTH; i < end * TOY_WIDTH; ++i)
    y[i] = x[i] * (float)weight[1];
}

/* [x, y]: y[0] counts how often it ran. */
KERNEL void toy_count(const headrace_call_t *call, uint64_t task) {
  (void)task;
  __atomic_fetch_add((int32_t *)call->buffers[1], 1, __ATOMIC_RELAXED);
}

/* [x, y]: the thread named in x waits for the others' start; the others wait
 * for y[1]. */
KERNEL void toy_stuck(const headrace_call_t *call, uint64_t task) {
  (void)task;
  int32_t *state = (int32_t *)call->buffers[1];
  const uint64_t *caller = (const uint64_t *)call->buffers[0];
  if ((uint64_t)__builtin_thread_pointer() == *caller) {
    while (!__atomic_load_n(&state[0], __ATOMIC_ACQUIRE))
      __builtin_ia32_pause();
    return;
  }
  __atomic_store_n(&state[0], 1, __ATOMIC_RELEASE);
  while (!__atomic_load_n(&state[1], __ATOMIC_ACQUIRE))
    __builtin_ia32_pause();
}

/* [x, y]: some microseconds of nothing. */
KERNEL void toy_slow(const headrace_call_t *call, uint64_t task) {
  (void)call;
  (void)task;
  for (int i = 0; i < 2000; ++i)
    __builtin_ia32_pause();
}

/* [x, y]: a fixed amount of arithmetic, a few microseconds. */
KERNEL void toy_busy(const headrace_call_t *call, uint64_t task) {
  uint64_t value = task;
  for (int i = 0; i < 40000; ++i)
    value = value * 6364136223846793005u + 1442695040888963407u;
  *(volatile uint64_t *)call->scratch = value;
}

/* [x, y]: nothing at all, to time a launch. */
KERNEL void toy_empty(const headrace_call_t *call, uint64_t task) {
  (void)call;
  (void)task;
}
