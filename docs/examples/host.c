/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* A complete host: continues the token ids on the command line.
 *
 *   host MODEL.headrace ID...
 *
 * prints the ids that follow, in one line. A package holds machine code: open
 * only what you would execute. */
#include <headrace/headrace.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_NEW_TOKENS = 16 };

/* Prints each token as it is made. Returning non-zero would stop. */
static int print_token(void *user_data, const headrace_token_event_t *event) {
  int *printed = user_data;
  printf(*printed ? " %d" : "%d", event->token);
  fflush(stdout);
  *printed = 1;
  return 0;
}

/* Opens the package and generates; whatever happened, all is released. */
static headrace_status_t run(const char *path, const int32_t *prompt,
                             size_t prompt_count) {
  headrace_instance_t *instance = NULL;
  headrace_device_t *device = NULL;
  headrace_package_t *package = NULL;
  headrace_session_t *session = NULL;
  headrace_sequence_t *sequence = NULL;

  /* NULL options: the C library's allocator, no log, all processors, a pool
   * for as many sequences as one step takes. */
  headrace_status_t status = headrace_instance_create(NULL, &instance);
  if (!status)
    status = headrace_device_create_cpu(instance, NULL, &device);
  if (!status)
    status = headrace_package_open(instance, path, NULL, &package);

  /* Where a text of this model ends. */
  headrace_package_info_t info = {.struct_size = sizeof(info)};
  if (!status)
    status = headrace_package_info(package, &info);

  if (!status) {
    headrace_session_options_t options = {.struct_size = sizeof(options),
                                          .max_sequences = 1};
    status = headrace_session_create(device, package, &options, &session);
  }
  if (!status)
    status = headrace_sequence_create(session, &sequence);

  if (!status) {
    int printed = 0;
    headrace_generate_options_t options = {.struct_size = sizeof(options),
                                           .max_new_tokens = MAX_NEW_TOKENS,
                                           .end_tokens = info.end_tokens,
                                           .end_token_count =
                                               info.end_token_count,
                                           .on_token = print_token,
                                           .user_data = &printed};
    status = headrace_sequence_generate(sequence, prompt, prompt_count,
                                        &options, NULL, 0, NULL);
    if (printed)
      printf("\n");
  }

  /* Each object keeps what it needs, so the order does not matter. */
  headrace_sequence_release(sequence);
  headrace_session_release(session);
  headrace_package_release(package);
  headrace_device_release(device);
  headrace_instance_release(instance);
  return status;
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: host MODEL.headrace ID...\n");
    return 2;
  }
  size_t count = (size_t)argc - 2;
  int32_t *prompt = malloc(count * sizeof(*prompt));
  if (!prompt) {
    fprintf(stderr, "error: out of memory\n");
    return 1;
  }
  for (size_t i = 0; i < count; ++i) {
    char *end;
    errno = 0;
    long value = strtol(argv[i + 2], &end, 10);
    if (errno || *end || end == argv[i + 2] || value < INT32_MIN ||
        value > INT32_MAX) {
      fprintf(stderr, "error: '%s' is no token id\n", argv[i + 2]);
      free(prompt);
      return 2;
    }
    prompt[i] = (int32_t)value;
  }

  headrace_status_t status = run(argv[1], prompt, count);
  free(prompt);
  if (!status)
    return 0;
  fprintf(stderr, "error: %s\n", headrace_status_message(status));
  headrace_status_free(status);
  return 1;
}
