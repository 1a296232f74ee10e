/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* Status: how every function of the library reports failure. */
#ifndef HEADRACE_STATUS_H
#define HEADRACE_STATUS_H

#include <stddef.h>
#include <stdint.h>

/* Marks what the shared library exports. */
#define HEADRACE_API __attribute__((visibility("default")))
/* A status that is dropped leaks its message and hides a failure. */
#define HEADRACE_MUST_USE __attribute__((warn_unused_result))

#ifdef __cplusplus
extern "C" {
#endif

/* A pointer-sized result. Success is NULL, so `if (status)` asks for failure.
 * A failure carries a code and a message of one line; it belongs to the caller,
 * who ends it with headrace_status_free(). It keeps no other object alive, but
 * its message comes from the allocator of the instance concerned, which must
 * still work when the status is freed. */
typedef struct headrace_status_s *headrace_status_t;

/* The success value. */
#define HEADRACE_OK ((headrace_status_t)0)

/* What went wrong, in the order of the usual RPC codes. */
typedef enum headrace_status_code_e {
  HEADRACE_STATUS_OK = 0,
  /* The host asked to stop through a headrace_cancel_t. */
  HEADRACE_STATUS_CANCELLED = 1,
  /* An argument is wrong whatever the state: a null pointer, a size that does
   * not fit, an option struct older than its first version. */
  HEADRACE_STATUS_INVALID_ARGUMENT = 3,
  /* The time given for the call was over. The message says what was running;
   * the logger gets the full state. */
  HEADRACE_STATUS_DEADLINE_EXCEEDED = 4,
  /* A file, an entry or another named thing does not exist. */
  HEADRACE_STATUS_NOT_FOUND = 5,
  /* The operating system refused access. */
  HEADRACE_STATUS_PERMISSION_DENIED = 7,
  /* Memory, key-value pages, sequence slots or the context ran out. */
  HEADRACE_STATUS_RESOURCE_EXHAUSTED = 8,
  /* Right arguments, wrong state or wrong machine: the package needs
   * instructions this processor lacks, the package is no language model. */
  HEADRACE_STATUS_FAILED_PRECONDITION = 9,
  /* An index or a token id outside its range. */
  HEADRACE_STATUS_OUT_OF_RANGE = 11,
  /* Known, but not in this version: a newer package, a newer option. */
  HEADRACE_STATUS_UNIMPLEMENTED = 12,
  /* A defect of the library or of a kernel. */
  HEADRACE_STATUS_INTERNAL = 13,
  /* Absent at the moment: no such device, a thread that cannot start. */
  HEADRACE_STATUS_UNAVAILABLE = 14,
  /* The package is damaged; the message names the section. */
  HEADRACE_STATUS_DATA_LOSS = 15,
  /* Reading failed in the operating system; the message holds its reason. */
  HEADRACE_STATUS_IO = 17,
  /* The device no longer answers; sessions on it only can be released. */
  HEADRACE_STATUS_DEVICE_LOST = 18
} headrace_status_code_t;

/* Returns the code of `status`, HEADRACE_STATUS_OK for NULL. Any thread. */
HEADRACE_API headrace_status_code_t
headrace_status_code(headrace_status_t status);

/* Returns the message of `status`: one line, no full stop, never NULL. Where
 * there was no memory for a message it is the code's name. Borrowed: valid
 * until the status is freed. Any thread. */
HEADRACE_API const char *headrace_status_message(headrace_status_t status);

/* Ends `status`; NULL is allowed. Any thread, once for each status. */
HEADRACE_API void headrace_status_free(headrace_status_t status);

/* Returns the name of `code` in lower case ("data loss"), "unknown" for other
 * numbers. Static storage. Any thread. */
HEADRACE_API const char *headrace_status_code_name(headrace_status_code_t code);

#ifdef __cplusplus
}
#endif

#endif /* HEADRACE_STATUS_H */
