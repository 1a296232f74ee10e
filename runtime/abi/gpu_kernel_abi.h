/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* The calling convention of generated GPU kernels: what the compiler emits and
 * the driver `cuda` launches. Self-contained C11; included by both sides.
 *
 * Counts, roles, grid rules and the meaning of weight slots are those of CPU
 * kernels; see kernel_abi.h. */
#ifndef HEADRACE_ABI_GPU_KERNEL_ABI_H
#define HEADRACE_ABI_GPU_KERNEL_ABI_H

#include "runtime/abi/kernel_abi.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Raised whenever anything below changes meaning; Code.kernel_abi_version of a
 * GPU section. A section that names another version is not used. */
#define HEADRACE_GPU_KERNEL_ABI_VERSION 2u

/* Code.target of GPU sections, and the family of their chips. */
#define HEADRACE_GPU_TARGET "cuda"

/* Parameters of every kernel, in this order; each at its natural alignment:
 *
 *   uint64_t table     device address of the binding table: one 64-bit device
 *                      address a weight slot
 *   uint64_t counts    device address of int64_t[HEADRACE_COUNT_COUNT]
 *   uint64_t buffer    one for each buffer operand of the launch, in order:
 *                      its device address, 256-byte aligned for planned
 *                      buffers
 *   uint32_t slot      one for each weight operand of the launch, in order: its
 *                      first slot; the matrix of expert e of a stacked operand
 *                      is behind slot + e
 *
 * So what a launch passes is known when the session is made and stays the same
 * for every step: a launch is captured once, and a replay sees new inputs in
 * the same buffers, new counts behind `counts`, and, after a switch of binding,
 * new addresses behind `table`. No weight address is ever a parameter, an
 * immediate, or part of a tensor map. */
#define HEADRACE_GPU_PARAMETER_TABLE 0u
#define HEADRACE_GPU_PARAMETER_COUNTS 1u
#define HEADRACE_GPU_PARAMETER_FIRST_BUFFER 2u

/* Bytes of all parameters of a launch: 16 + 8 * buffers + 4 * weights. */
#define HEADRACE_GPU_MAX_PARAMETER_BYTES 4096u

/* Limits that every supported chip admits. */
#define HEADRACE_GPU_WARP_THREADS 32u
#define HEADRACE_GPU_MAX_THREADS 1024u
#define HEADRACE_GPU_MAX_REGISTERS 255u
#define HEADRACE_GPU_MAX_LOCAL_BYTES (512u << 10)
#define HEADRACE_GPU_MAX_BLOCKS 2147483647u
/* Of a block. More than 48 KiB is asked for with
 * CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES. */
#define HEADRACE_GPU_MAX_SHARED_BYTES 232448u /* sm_90 */

/* Launch: a one-dimensional grid of one-dimensional blocks. Blocks follow from
 * the counts by the launch's grid rule (headrace_grid_t). A kernel does nothing
 * in blocks past those of the counts behind `counts`, so a captured launch has
 * the blocks of its class's largest step. Launches of one step run in order on
 * one stream; a launch may read what the one before it wrote.
 *
 * Classes: an entry has, for each GPU code section, a list of step classes. A
 * step takes the launches of the first class of the section that admits its
 * counts; the last one admits every step within the package's limits.
 *
 * Matmul launches (LaunchKind.matmul) are run by the driver's library with the
 * weight's address from the host's copy of the binding table. A class that has
 * any is never captured. The library reads `rows` rows as the step has them.
 *
 * Planned buffers are zero before the first step of a session, and what kernels
 * count in them is zero again at the end of each launch. */

/* Paged key-value cache on a GPU:
 *   pool[layer][page number][kv head]{ K [32 positions][D], V [D][32 positions]
 * } with D the head's channels rounded up to a multiple of 32. Found through
 * `kv_table` as on a CPU, and zero when a page is handed to a sequence. */

#ifdef __cplusplus
}
#endif

#endif /* HEADRACE_ABI_GPU_KERNEL_ABI_H */
