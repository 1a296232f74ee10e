/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* Toy kernels for GPUs: their names, and the host's versions of them. */
#ifndef HEADRACE_TESTS_RUNTIME_TOY_GPU_KERNELS_H
#define HEADRACE_TESTS_RUNTIME_TOY_GPU_KERNELS_H

#include "runtime/abi/gpu_kernel_abi.h"
#include "tests/runtime/toy_kernels.h"

/* Name, number of buffers, number of weights. */
#define TOY_GPU_KERNELS(X)                                                     \
  X(toy_gpu_embed, 2, 0)                                                       \
  X(toy_gpu_attend, 5, 0)                                                      \
  X(toy_gpu_logits, 3, 1)                                                      \
  X(toy_gpu_scale, 2, 1)                                                       \
  X(toy_gpu_count, 2, 0)                                                       \
  X(toy_gpu_clear, 2, 0)                                                       \
  X(toy_gpu_slow, 2, 0)                                                        \
  X(toy_gpu_empty, 2, 0)

#ifndef __NVPTX__
#ifdef __cplusplus
extern "C" {
#define TOY_THREAD_LOCAL thread_local
#else
#define TOY_THREAD_LOCAL _Thread_local
#endif

/* The block that runs on this thread. */
extern TOY_THREAD_LOCAL uint32_t toy_gpu_block;

void toy_gpu_embed(uint64_t, uint64_t, uint64_t, uint64_t);
void toy_gpu_attend(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                    uint64_t);
void toy_gpu_logits(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint32_t);
void toy_gpu_scale(uint64_t, uint64_t, uint64_t, uint64_t, uint32_t);
void toy_gpu_count(uint64_t, uint64_t, uint64_t, uint64_t);
void toy_gpu_clear(uint64_t, uint64_t, uint64_t, uint64_t);
void toy_gpu_slow(uint64_t, uint64_t, uint64_t, uint64_t);
void toy_gpu_empty(uint64_t, uint64_t, uint64_t, uint64_t);

#ifdef __cplusplus
}
#endif
#endif

#endif /* HEADRACE_TESTS_RUNTIME_TOY_GPU_KERNELS_H */
