// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reads JSON that nobody has checked: bounded depth, no key twice,
// one-line errors.
#ifndef HEADRACE_COMPILER_IMPORT_JSON_H
#define HEADRACE_COMPILER_IMPORT_JSON_H

#include "llvm/ADT/StringRef.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/JSON.h"
#include <string>

namespace headrace {

/// An error of one sentence.
llvm::Error makeError(const llvm::Twine &message);

/// `error` with the directory of the file that it names in front.
llvm::Error inDirectory(llvm::StringRef directory, llvm::Error error);

/// `text` in single quotes, on one line and of bounded length, whatever bytes
/// it holds: names in errors come from files.
std::string quote(llvm::StringRef text);

/// Parses `text` as one JSON object. `file` names it in errors.
llvm::Expected<llvm::json::Object> parseJsonObject(llvm::StringRef text,
                                                   llvm::StringRef file);

/// The first bytes of a regular file: `want` of them, or all if it has fewer.
/// `fileBytes` becomes the size of the file, `name` stands for it in errors.
llvm::Expected<std::string> readFilePrefix(llvm::StringRef path,
                                           llvm::StringRef name, uint64_t want,
                                           uint64_t &fileBytes);

/// `count` bytes of a file from `offset`; an error if it has fewer.
llvm::Expected<std::string> readFileRange(llvm::StringRef path,
                                          llvm::StringRef name, uint64_t offset,
                                          uint64_t count);

/// All bytes of a regular file that may have at most `limit`.
llvm::Expected<std::string> readSmallFile(llvm::StringRef path,
                                          llvm::StringRef name, uint64_t limit);

} // namespace headrace

#endif // HEADRACE_COMPILER_IMPORT_JSON_H
