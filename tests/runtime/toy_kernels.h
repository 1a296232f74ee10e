/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* Toy kernels: their constants and where their code is in the test program. */
#ifndef HEADRACE_TESTS_RUNTIME_TOY_KERNELS_H
#define HEADRACE_TESTS_RUNTIME_TOY_KERNELS_H

#include "runtime/abi/kernel_abi.h"

#define TOY_VOCABULARY 64
#define TOY_PAGE ((int32_t)HEADRACE_KV_PAGE_POSITIONS)
#define TOY_PAGE_BYTES 256
#define TOY_MAX_PAGES 4
#define TOY_CONTEXT 128
#define TOY_WIDTH 8

#ifdef __cplusplus
extern "C" {
#endif

/* Made by the linker around the section. */
extern const char __start_toy_code[];
extern const char __stop_toy_code[];

void toy_embed(const headrace_call_t *call, uint64_t task);
void toy_attend(const headrace_call_t *call, uint64_t task);
void toy_logits(const headrace_call_t *call, uint64_t task);
void toy_scale(const headrace_call_t *call, uint64_t task);
void toy_count(const headrace_call_t *call, uint64_t task);
void toy_stuck(const headrace_call_t *call, uint64_t task);
void toy_slow(const headrace_call_t *call, uint64_t task);
void toy_busy(const headrace_call_t *call, uint64_t task);
void toy_empty(const headrace_call_t *call, uint64_t task);

#ifdef __cplusplus
}
#endif

#endif /* HEADRACE_TESTS_RUNTIME_TOY_KERNELS_H */
