/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* Toy kernels for GPUs: what toy_kernels.c does, by the conventions of
 * runtime/abi/gpu_kernel_abi.h. Compiled twice: to PTX, which a device runs,
 * and for this processor, where the fake driver runs it block by block. */
#include "tests/runtime/toy_gpu_kernels.h"

#ifdef __NVPTX__
#define KERNEL __attribute__((nvptx_kernel))
#define BLOCK __nvvm_read_ptx_sreg_ctaid_x()
/* One thread of a block does all the work. */
#define ONE_THREAD                                                             \
  if (__nvvm_read_ptx_sreg_tid_x() != 0)                                       \
  return
#define PAUSE __nvvm_nanosleep(10000)
#else
#define KERNEL
#define BLOCK toy_gpu_block
#define ONE_THREAD (void)0
#define PAUSE __builtin_ia32_pause()
_Thread_local uint32_t toy_gpu_block;
#endif

static int64_t Count(uint64_t counts, int index) {
  return ((const int64_t *)counts)[index];
}

static const int32_t *Weight(uint64_t table, uint32_t slot) {
  return (const int32_t *)((const uint64_t *)table)[slot];
}

KERNEL void toy_gpu_embed(uint64_t table, uint64_t counts, uint64_t tokens,
                          uint64_t hidden) {
  const uint32_t row = BLOCK;
  (void)table;
  ONE_THREAD;
  if (row < Count(counts, HEADRACE_COUNT_TOKENS))
    ((int32_t *)hidden)[row] = ((const int32_t *)tokens)[row] + 1;
}

KERNEL void toy_gpu_attend(uint64_t table, uint64_t counts, uint64_t hidden_at,
                           uint64_t positions_at, uint64_t sequences_at,
                           uint64_t pool_at, uint64_t table_at) {
  const uint32_t slot = BLOCK;
  int32_t *hidden = (int32_t *)hidden_at;
  const int32_t *positions = (const int32_t *)positions_at;
  const int32_t *sequences = (const int32_t *)sequences_at;
  uint8_t *pool = (uint8_t *)pool_at;
  const int32_t *pages = (const int32_t *)table_at + slot * TOY_MAX_PAGES;
  (void)table;
  ONE_THREAD;
  if (slot >= Count(counts, HEADRACE_COUNT_SEQUENCES))
    return;
  for (int32_t row = sequences[slot]; row < sequences[slot + 1]; ++row) {
    const int32_t position = positions[row];
    int32_t *page =
        (int32_t *)(pool + TOY_PAGE_BYTES * pages[position / TOY_PAGE]);
    page[position % TOY_PAGE] = hidden[row];
    int32_t sum = 0;
    for (int32_t p = 0; p <= position; ++p)
      sum +=
          (p + 1) * ((int32_t *)(pool + TOY_PAGE_BYTES *
                                            pages[p / TOY_PAGE]))[p % TOY_PAGE];
    hidden[row] = sum;
  }
}

KERNEL void toy_gpu_logits(uint64_t table, uint64_t counts, uint64_t hidden,
                           uint64_t rows, uint64_t logits, uint32_t slot) {
  const uint32_t row = BLOCK;
  ONE_THREAD;
  if (row >= Count(counts, HEADRACE_COUNT_OUTPUTS))
    return;
  const int32_t *weight = Weight(table, slot);
  const int32_t from = ((const int32_t *)hidden)[((const int32_t *)rows)[row]];
  for (int32_t v = 0; v < TOY_VOCABULARY; ++v)
    ((float *)logits)[(uint64_t)row * TOY_VOCABULARY + (uint64_t)v] =
        (float)(((int64_t)from * 31 + (int64_t)v * weight[v]) % 97);
}

KERNEL void toy_gpu_scale(uint64_t table, uint64_t counts, uint64_t x,
                          uint64_t y, uint32_t slot) {
  const int64_t tokens = Count(counts, HEADRACE_COUNT_TOKENS);
  int64_t end = (int64_t)BLOCK * 2 + 2;
  ONE_THREAD;
  if (end > tokens)
    end = tokens;
  for (int64_t i = (int64_t)BLOCK * 2 * TOY_WIDTH; i < end * TOY_WIDTH; ++i)
    ((float *)y)[i] = ((const float *)x)[i] * (float)Weight(table, slot)[1];
}

KERNEL void toy_gpu_count(uint64_t table, uint64_t counts, uint64_t x,
                          uint64_t y) {
  (void)table;
  (void)counts;
  (void)x;
  ONE_THREAD;
  __atomic_fetch_add((int32_t *)y, 1, __ATOMIC_RELAXED);
}

/* Before the one above: the host's bytes of an output stay on the host. */
KERNEL void toy_gpu_clear(uint64_t table, uint64_t counts, uint64_t x,
                          uint64_t y) {
  (void)table;
  (void)counts;
  (void)x;
  ONE_THREAD;
  *(int32_t *)y = 0;
}

KERNEL void toy_gpu_slow(uint64_t table, uint64_t counts, uint64_t x,
                         uint64_t y) {
  (void)table;
  (void)counts;
  (void)x;
  (void)y;
  for (int i = 0; i < 4; ++i)
    PAUSE;
}

KERNEL void toy_gpu_empty(uint64_t table, uint64_t counts, uint64_t x,
                          uint64_t y) {
  (void)table;
  (void)counts;
  (void)x;
  (void)y;
}
