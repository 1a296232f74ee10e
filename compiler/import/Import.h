// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Turns a checkpoint directory into a module of the `model` phase.
#ifndef HEADRACE_COMPILER_IMPORT_IMPORT_H
#define HEADRACE_COMPILER_IMPORT_IMPORT_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <string>

namespace headrace {

struct ImportOptions {
  /// The model's name; that of the directory where empty.
  std::string name;
};

/// Reads config.json, generation_config.json and the headers of the weights,
/// and builds the verified module. The weights themselves are not read: they
/// are bound by file and byte range.
///
/// The module has the attributes `headrace.checkpoint`, the directory, and
/// `headrace.model`, a dictionary of name, family, vocabulary, max_context,
/// eos and, where the checkpoint has one, bos. Its function is
/// `@forward(tokens, positions, sequences, output_rows, cache)`, which gives
/// the logits of the rows asked for and the cache.
llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>>
importCheckpoint(llvm::StringRef directory, mlir::MLIRContext &context,
                 const ImportOptions &options = {});

} // namespace headrace

#endif // HEADRACE_COMPILER_IMPORT_IMPORT_H
