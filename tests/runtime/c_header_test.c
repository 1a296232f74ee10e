/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* The umbrella header in C11, and that zero is a valid start of every struct.
 */
#include <headrace/headrace.h>

headrace_status_t headrace_c_header_test(void);

headrace_status_t headrace_c_header_test(void) {
  headrace_instance_options_t instance = {0};
  headrace_cpu_device_options_t device = {0};
  headrace_package_options_t package = {0};
  headrace_session_options_t session = {0};
  headrace_step_options_t step = {.struct_size = sizeof(step)};
  headrace_generate_options_t generate = {0};
  headrace_cancel_t cancel = {0};
  instance.struct_size = sizeof(instance);
  device.struct_size = sizeof(device);
  package.struct_size = sizeof(package);
  session.struct_size = sizeof(session);
  generate.struct_size = sizeof(generate);
  step.cancel = &cancel;
  (void)generate;
  (void)device;
  (void)package;
  (void)session;
  headrace_instance_t *made = 0;
  headrace_status_t status = headrace_instance_create(&instance, &made);
  headrace_instance_release(made);
  return status;
}
