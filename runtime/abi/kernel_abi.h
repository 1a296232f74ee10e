/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* The calling convention of generated CPU kernels: what the compiler emits and
 * the runtime calls. Self-contained C11; included by both sides. */
#ifndef HEADRACE_ABI_KERNEL_ABI_H
#define HEADRACE_ABI_KERNEL_ABI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Raised whenever a field below changes meaning. A package that names another
 * version is refused at open. */
#define HEADRACE_KERNEL_ABI_VERSION 3u

/* Sizes of one step that are known only when it runs. Indices into
 * headrace_call_t::counts. */
typedef enum headrace_count_e {
  HEADRACE_COUNT_TOKENS = 0,    /* rows of the activation in this step */
  HEADRACE_COUNT_SEQUENCES = 1, /* sequences that have rows in this step */
  HEADRACE_COUNT_OUTPUTS = 2,   /* rows for which outputs are wanted */
  /* The part [first, end) of a routing's ascending list of active experts that
   * this run of a routed launch handles; kernels bound it by the number of
   * experts that are active. Ordinarily 0 and HEADRACE_ALL_ACTIVE. Waves that
   * follow one another from 0 on give the bits of one run over all of them. */
  HEADRACE_COUNT_FIRST_ACTIVE = 3,
  HEADRACE_COUNT_END_ACTIVE = 4,
  HEADRACE_COUNT_COUNT = 5
} headrace_count_t;

#define HEADRACE_ALL_ACTIVE INT64_MAX

/* How the number of tasks of a launch follows from the counts. With `base` the
 * number in the package: */
typedef enum headrace_grid_e {
  HEADRACE_GRID_FIXED = 0,           /* base */
  HEADRACE_GRID_PER_TOKEN = 1,       /* base * tokens */
  HEADRACE_GRID_PER_SEQUENCE = 2,    /* base * sequences */
  HEADRACE_GRID_PER_OUTPUT = 3,      /* base * outputs */
  HEADRACE_GRID_PER_TOKEN_BLOCK = 4, /* base * ceil(tokens / block) */
  HEADRACE_GRID_PER_ROUTED = 5 /* base * min(limit, block * tokens): active
                                  experts of a routed product; `limit` is
                                  the number of experts, `block` k. Of these
                                  only the part [first, end) of the wave */
} headrace_grid_t;

/* What one kernel call sees. Everything is read-only for the kernel but the
 * bytes behind `buffers` and `scratch`. 64-bit pointers, little endian.
 *
 * No weight address is ever a constant of the code: the i-th weight operand of
 * a launch is weights[weight_ids[i]], so a switch of binding changes one
 * pointer and recompiles nothing. A stacked operand, one matrix an expert, is
 * consecutive slots: expert e's is weights[weight_ids[i] + e]. Only the experts
 * of the wave are read, so the slots of others may hold anything. */
typedef struct headrace_call_t {
  void *const *buffers;       /* [launch buffer operands] base addresses */
  const void *const *weights; /* binding table: one address a weight slot */
  const uint32_t *weight_ids; /* [launch weight operands] first slots */
  const int64_t *counts;      /* [HEADRACE_COUNT_COUNT] */
  void *scratch;              /* per worker, 64-byte aligned, at least the
                                 kernel's declared scratch bytes */
} headrace_call_t;

/* Runs task `task` of a launch. Tasks of one launch may run in any order and
 * on any threads; a launch starts after the one before it has ended. */
typedef void (*headrace_kernel_fn_t)(const headrace_call_t *call,
                                     uint64_t task);

/* Instruction sets a code section may need; bits of Code.features. */
typedef enum headrace_cpu_feature_e {
  HEADRACE_CPU_AVX2 = 1 << 0,       /* AVX2, FMA, F16C, BMI2: x86-64-v3 */
  HEADRACE_CPU_AVX512 = 1 << 1,     /* F, BW, CD, DQ, VL: x86-64-v4 */
  HEADRACE_CPU_AVX512_BF16 = 1 << 2 /* VDPBF16PS and conversions, VBMI */
} headrace_cpu_feature_t;

/* Paged key-value cache. A page holds 32 consecutive positions of one sequence,
 * cut at multiples of 32, in one layer; a page number stands for a page in each
 * layer. The pages of a layer lie one behind the other:
 *   pool[layer][page number][kv head]{ K block, V block }
 * K block: the panels of a product whose columns are the 32 positions:
 *   [head_dim / P][32][P]; V block: panels whose columns are channels in
 *   blocks of 32: [ceil(head_dim / 32)][32 / P][32][P]; P = 2 for bf16
 *   (pairs along the summed dimension, interleaved), 1 for float32 and f16.
 * A page is zero-filled when it is handed to a sequence. The pool's operand of
 * a launch points to page 0 of the launch's layer, so a kernel knows no layer;
 * it finds the page of position p of the step's sequence slot s at operand +
 * bytes of a layer's page * table[s * max_pages + p / 32]. */
#define HEADRACE_KV_PAGE_POSITIONS 32u

/* Names of the runtime-provided buffers of a language-model entry point
 * (Buffer.role in the manifest). int32 unless said. T, S, R are the counts. */
#define HEADRACE_ROLE_TOKENS "tokens"       /* [T] token ids */
#define HEADRACE_ROLE_POSITIONS "positions" /* [T] position in its sequence */
#define HEADRACE_ROLE_SEQUENCES                                                \
  "sequences" /* [S + 1] first row of each                                     \
                 sequence slot; rows of one                                    \
                 sequence are consecutive and                                  \
                 their positions too */
#define HEADRACE_ROLE_OUTPUT_ROWS                                              \
  "output_rows"                           /* [R] rows of wanted logits         \
                                           */
#define HEADRACE_ROLE_KV_POOL "kv_pool"   /* a layer's pages, bytes */
#define HEADRACE_ROLE_KV_TABLE "kv_table" /* [S][max_pages] page numbers */
#define HEADRACE_ROLE_LOGITS "logits"     /* output, float32 [R][vocabulary] */

/* Role of a buffer of kind `scratch` that nothing shares bytes with: a kernel
 * finds in it what the last one left. Zero at first. */
#define HEADRACE_ROLE_KEPT "kept"

#ifdef __cplusplus
}
#endif

#endif /* HEADRACE_ABI_KERNEL_ABI_H */
