/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* Package: a compiled model on disk, opened, checked and described.
 *
 * A package holds machine code: open only what you would execute. The checks
 * find damage and mistakes, not malice. The file must not change while it is
 * open. */
#ifndef HEADRACE_PACKAGE_H
#define HEADRACE_PACKAGE_H

#include <stddef.h>
#include <stdint.h>

#include "headrace/instance.h"
#include "headrace/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Reference counted and unchanging: all queries are safe from any thread, and
 * all strings and arrays they return are borrowed from the package. Sessions of
 * one package share one mapping of its weights. */
typedef struct headrace_package_t headrace_package_t;

/* Options of headrace_package_open(); see headrace_instance_options_t for the
 * rule of such structs. */
typedef struct headrace_package_options_t {
  size_t struct_size;
  /* Not 0: open for queries and verification only. The package may be for
   * another processor or kernel ABI; no session can be made of it. */
  uint32_t inspect_only;
  /* headrace_cpu_feature_t bits to treat as absent. */
  uint64_t disabled_features;
} headrace_package_options_t;

/* Opens the package at `path` into `*out_package`, which belongs to the caller
 * and retains `instance`. Checks header, manifest, plan and code; of the weight
 * blobs only the ranges (see headrace_package_verify). `options` may be NULL.
 * Any thread.
 * Codes: invalid argument, not found, permission denied, io, data loss (the
 * message names the section), unimplemented (made by a newer version), failed
 * precondition (this machine lacks something; the message names it), resource
 * exhausted. */
HEADRACE_API HEADRACE_MUST_USE headrace_status_t
headrace_package_open(headrace_instance_t *instance, const char *path,
                      const headrace_package_options_t *options,
                      headrace_package_t **out_package);

/* Adds a reference; NULL is allowed. Any thread. */
HEADRACE_API void headrace_package_retain(headrace_package_t *package);

/* Drops a reference, the last one closes the file; NULL is allowed. Any
 * thread. */
HEADRACE_API void headrace_package_release(headrace_package_t *package);

/* Options of headrace_package_verify(). */
typedef struct headrace_verify_options_t {
  size_t struct_size;
  const headrace_cancel_t *cancel; /* NULL: none */
  /* NULL or called now and then with the bytes read so far and in all, from the
   * calling thread. */
  void (*progress)(void *user_data, uint64_t done, uint64_t total);
  void *user_data;
} headrace_verify_options_t;

/* Reads the whole file and compares every digest: the weight blobs chunk by
 * chunk, and that the bytes between sections are zero. `options` may be NULL.
 * Any thread.
 * Codes: data loss (the message names blob, weight and chunk), io, cancelled,
 * resource exhausted, invalid argument, unimplemented. */
HEADRACE_API HEADRACE_MUST_USE headrace_status_t headrace_package_verify(
    headrace_package_t *package, const headrace_verify_options_t *options);

/* The structs below are filled by the library. The caller sets `struct_size`
 * before the call, as for options; the library writes no byte beyond it. */

/* The package at large. */
typedef struct headrace_package_info_t {
  size_t struct_size;
  const char *producer;
  const char *model;
  const char *target; /* "cpu" */
  const char *cpu;    /* name of the processor it was compiled for */
  uint64_t features;  /* headrace_cpu_feature_t bits it needs */
  uint32_t kernel_abi_version;
  uint32_t level_count;
  uint32_t blob_count;
  uint32_t weight_count;
  uint32_t buffer_count;
  uint32_t kernel_count;
  uint32_t entry_count;
  uint32_t max_tokens;    /* rows of one step */
  uint32_t max_sequences; /* sequences of one step */
  uint32_t max_context;   /* positions of one sequence */
  uint32_t vocabulary;    /* 0: no language model */
  uint32_t kv_layers;     /* the kv fields are 0 without a cache */
  uint32_t kv_heads;
  uint32_t kv_head_dim;
  uint32_t kv_element_type; /* as headrace_buffer_info_t::element_type */
  uint32_t kv_max_pages;    /* of one sequence */
  uint64_t kv_page_bytes;
  uint64_t file_bytes;
  uint64_t manifest_bytes;
  uint64_t code_bytes;
  uint64_t blob_bytes;  /* all blobs, each once */
  uint64_t chunk_bytes; /* the unit of blob digests */
  uint32_t has_plan;    /* 1: the loader `arena` can run it */
  uint32_t fast_level;  /* that a budget bounds */
  /* Tokens at which a text ends, for headrace_generate_options_t; each is in
   * the vocabulary. NULL and 0 where the model names none. */
  const int32_t *end_tokens;
  size_t end_token_count;
} headrace_package_info_t;

/* One level of the machine the package was compiled for. */
typedef struct headrace_level_info_t {
  size_t struct_size;
  const char *name;
  uint64_t bytes;       /* of the machine */
  uint64_t arena_bytes; /* planned scratch buffers */
  uint64_t peak_bytes;  /* by the memory certificate, 0 where it is silent */
} headrace_level_info_t;

/* One transfer unit of weights. */
typedef struct headrace_blob_info_t {
  size_t struct_size;
  uint64_t offset; /* in the file */
  uint64_t bytes;
  const uint8_t *blake3; /* 32 bytes */
} headrace_blob_info_t;

/* One slot of the binding table. */
typedef struct headrace_weight_info_t {
  size_t struct_size;
  const char *name;
  const char *type;
  uint32_t blob;
} headrace_weight_info_t;

/* What a buffer is for. */
typedef enum headrace_buffer_kind_e {
  HEADRACE_BUFFER_SCRATCH = 0, /* lives between kernels at a planned address */
  HEADRACE_BUFFER_INPUT = 1,
  HEADRACE_BUFFER_OUTPUT = 2,
  HEADRACE_BUFFER_VIEW = 3 /* part of another buffer, from `offset` on */
} headrace_buffer_kind_t;

/* What the elements of a buffer are. */
typedef enum headrace_element_type_e {
  HEADRACE_ELEMENT_NONE = 0,
  HEADRACE_ELEMENT_F32 = 1,
  HEADRACE_ELEMENT_BF16 = 2,
  HEADRACE_ELEMENT_F16 = 3,
  HEADRACE_ELEMENT_I32 = 4,
  HEADRACE_ELEMENT_U8 = 5
} headrace_element_type_t;

/* Which count of a step the rows of a buffer follow. */
typedef enum headrace_rows_e {
  HEADRACE_ROWS_FIXED = 0,
  HEADRACE_ROWS_TOKENS = 1,
  HEADRACE_ROWS_SEQUENCES = 2,
  HEADRACE_ROWS_OUTPUTS = 3
} headrace_rows_t;

/* One buffer that kernels read or write. */
typedef struct headrace_buffer_info_t {
  size_t struct_size;
  const char *name;
  const char *role; /* HEADRACE_ROLE_* of kernel_abi.h, or "" */
  const char *type;
  headrace_buffer_kind_t kind;
  headrace_element_type_t element_type;
  headrace_rows_t rows;
  uint32_t level;
  uint64_t offset; /* in the level's arena; scratch only */
  uint64_t bytes;  /* at the largest step */
} headrace_buffer_info_t;

/* One kernel of the code image. */
typedef struct headrace_kernel_info_t {
  size_t struct_size;
  const char *name;
  const char *family; /* the emitter that made it; "upstream" is the fallback */
  uint64_t entry_offset;
  uint64_t scratch_bytes; /* per worker */
} headrace_kernel_info_t;

/* One entry point: a fixed order of launches. */
typedef struct headrace_entry_info_t {
  size_t struct_size;
  const char *name;
  const uint32_t *inputs; /* buffer indices in argument order */
  const uint32_t *outputs;
  uint32_t input_count;
  uint32_t output_count;
  uint32_t launch_count;
} headrace_entry_info_t;

/* One launch of an entry. */
typedef struct headrace_launch_info_t {
  size_t struct_size;
  const uint32_t *buffers; /* buffer indices in operand order */
  const uint32_t *weights; /* binding-table slots in operand order */
  uint32_t buffer_count;
  uint32_t weight_count;
  uint32_t kernel;
  uint32_t grid_kind; /* headrace_grid_t of kernel_abi.h */
  uint64_t grid_base;
  uint64_t grid_block;
  uint64_t grid_limit;
} headrace_launch_info_t;

/* Each fills `*out` with what `index` names. Any thread.
 * Codes: invalid argument, out of range. */
HEADRACE_API HEADRACE_MUST_USE headrace_status_t headrace_package_info(
    const headrace_package_t *package, headrace_package_info_t *out);
HEADRACE_API HEADRACE_MUST_USE headrace_status_t
headrace_package_level(const headrace_package_t *package, uint32_t index,
                       headrace_level_info_t *out);
HEADRACE_API HEADRACE_MUST_USE headrace_status_t
headrace_package_blob(const headrace_package_t *package, uint32_t index,
                      headrace_blob_info_t *out);
HEADRACE_API HEADRACE_MUST_USE headrace_status_t
headrace_package_weight(const headrace_package_t *package, uint32_t index,
                        headrace_weight_info_t *out);
HEADRACE_API HEADRACE_MUST_USE headrace_status_t
headrace_package_buffer(const headrace_package_t *package, uint32_t index,
                        headrace_buffer_info_t *out);
HEADRACE_API HEADRACE_MUST_USE headrace_status_t
headrace_package_kernel(const headrace_package_t *package, uint32_t index,
                        headrace_kernel_info_t *out);
HEADRACE_API HEADRACE_MUST_USE headrace_status_t
headrace_package_entry(const headrace_package_t *package, uint32_t index,
                       headrace_entry_info_t *out);
HEADRACE_API HEADRACE_MUST_USE headrace_status_t
headrace_package_launch(const headrace_package_t *package, uint32_t entry,
                        uint32_t launch, headrace_launch_info_t *out);

/* Finds the entry point called `name`. Any thread.
 * Codes: invalid argument, not found. */
HEADRACE_API HEADRACE_MUST_USE headrace_status_t headrace_package_find_entry(
    const headrace_package_t *package, const char *name, uint32_t *out_index);

#ifdef __cplusplus
}
#endif

#endif /* HEADRACE_PACKAGE_H */
