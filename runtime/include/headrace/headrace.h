/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* The whole public interface of the Headrace runtime.
 *
 * Ownership. What a *_create, *_open or *_fork function puts in its out
 * parameter is the caller's, who ends it with the matching *_release. What a
 * query returns is borrowed from the object asked. Arguments that a new object
 * needs later are retained by it, so they may be released at once. On failure
 * an out parameter is set to NULL.
 *
 * Failure. Every function that can fail returns a headrace_status_t; the
 * library neither aborts nor throws, reads no environment variables, and writes
 * to no stream. docs/runtime-api.md has the rest. */
#ifndef HEADRACE_HEADRACE_H
#define HEADRACE_HEADRACE_H

#include "headrace/allocator.h"
#include "headrace/device.h"
#include "headrace/instance.h"
#include "headrace/log.h"
#include "headrace/package.h"
#include "headrace/sequence.h"
#include "headrace/session.h"
#include "headrace/status.h"
#include "headrace/trace.h"
#include "headrace/usage.h"

#endif /* HEADRACE_HEADRACE_H */
