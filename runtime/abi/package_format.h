/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* The fixed header of a .headrace file. Self-contained C11; included by the
 * compiler (which writes it) and the runtime (which reads it). */
#ifndef HEADRACE_ABI_PACKAGE_FORMAT_H
#define HEADRACE_ABI_PACKAGE_FORMAT_H

#include <stdint.h>

#define HEADRACE_PACKAGE_MAGIC "HEADRACE" /* 8 bytes, no terminator */
#define HEADRACE_PACKAGE_VERSION 1u
#define HEADRACE_PACKAGE_ALIGNMENT 4096u /* of code and blobs */
#define HEADRACE_PACKAGE_CHUNK_BYTES (1u << 20)
#define HEADRACE_PACKAGE_MAX_MANIFEST_BYTES (256u << 20)

/* File order: header, manifest (at once after it), padding, code images, blobs.
 * Every byte of the file outside header, manifest, code and blobs is zero.
 * Little endian throughout. */
typedef struct headrace_package_header_t {
  char magic[8];
  uint32_t version;
  uint32_t header_bytes;   /* sizeof(headrace_package_header_t) */
  uint64_t file_bytes;     /* of the whole file */
  uint64_t manifest_bytes; /* FlatBuffers, right behind the header */
  uint64_t manifest_xxh3;  /* XXH3-64 of the manifest */
  uint64_t header_xxh3;    /* XXH3-64 of this header up to this field */
} headrace_package_header_t;

#endif /* HEADRACE_ABI_PACKAGE_FORMAT_H */
