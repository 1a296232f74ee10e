/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* Log: where the library writes what no status can carry. */
#ifndef HEADRACE_LOG_H
#define HEADRACE_LOG_H

#ifdef __cplusplus
extern "C" {
#endif

/* How much a line matters. */
typedef enum headrace_log_level_e {
  HEADRACE_LOG_INFO = 0,
  HEADRACE_LOG_WARNING = 1,
  HEADRACE_LOG_ERROR = 2
} headrace_log_level_t;

/* The host's logger, given once at instance creation and copied there. All
 * zero means silence: the library never writes to the standard streams. */
typedef struct headrace_logger_t {
  /* Passed to log() as it is. */
  void *self;
  /* Takes one line without its end; `message` is valid during the call only.
   * Called from any thread that is inside the library; must not call back. */
  void (*log)(void *self, headrace_log_level_t level, const char *message);
} headrace_logger_t;

#ifdef __cplusplus
}
#endif

#endif /* HEADRACE_LOG_H */
