// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The one place where every dialect a Headrace program may use is registered.
#ifndef HEADRACE_DIALECTS_REGISTERALL_H
#define HEADRACE_DIALECTS_REGISTERALL_H

namespace mlir {
class DialectRegistry;
} // namespace mlir

namespace headrace {
/// Adds our dialects and the upstream ones they are used with.
void registerAllDialects(mlir::DialectRegistry &registry);
} // namespace headrace

#endif // HEADRACE_DIALECTS_REGISTERALL_H
