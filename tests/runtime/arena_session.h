// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Arena session: one of a processor, whose bytes come from where a test says.
#ifndef HEADRACE_TESTS_RUNTIME_ARENA_SESSION_H
#define HEADRACE_TESTS_RUNTIME_ARENA_SESSION_H

#include "runtime/src/session.h"
#include "tests/runtime/host.h"

namespace headrace::tests {

/// In place of the package's file and of its homes; null: those themselves.
struct Sources {
  runtime::ByteSource *package = nullptr, *homes = nullptr;
};

/// Creates the session of `host` with the loader `arena`. The sources must live
/// as long.
inline headrace_status_t
CreateArena(Host &host, Sources sources = {},
            const headrace_session_options_t &options = ArenaOptions()) {
  return make(host.session, [&](headrace_session_t **out) {
    return runtime::CreateSession(host.device.get(), host.package.get(),
                                  &options, sources.package, out, sources.homes)
        .Release();
  });
}

} // namespace headrace::tests

#endif // HEADRACE_TESTS_RUNTIME_ARENA_SESSION_H
