// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A directory that lives as long as its object, and safetensors made by hand.
#ifndef HEADRACE_TESTS_COMPILER_IMPORT_FILES_H
#define HEADRACE_TESTS_COMPILER_IMPORT_FILES_H

#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include "gtest/gtest.h"
#include <string>

namespace headrace::test {

class TempDir {
public:
  TempDir() {
    std::error_code code =
        llvm::sys::fs::createUniqueDirectory("headrace-test", root);
    EXPECT_FALSE(code) << code.message();
  }
  ~TempDir() { llvm::sys::fs::remove_directories(root); }
  TempDir(const TempDir &) = delete;

  llvm::StringRef path() const { return root; }
  std::string file(llvm::StringRef name) const {
    llvm::SmallString<128> path(root);
    llvm::sys::path::append(path, name);
    return path.str().str();
  }
  void write(llvm::StringRef name, llvm::StringRef bytes) const {
    std::error_code code;
    llvm::raw_fd_ostream stream(file(name), code);
    ASSERT_FALSE(code) << code.message();
    stream << bytes;
  }
  std::string read(llvm::StringRef name) const {
    auto buffer = llvm::MemoryBuffer::getFile(file(name));
    return buffer ? (*buffer)->getBuffer().str() : "";
  }

private:
  llvm::SmallString<128> root;
};

/// A safetensors file of that header and so many bytes of data.
inline std::string safetensors(llvm::StringRef header, size_t dataBytes) {
  char length[8];
  llvm::support::endian::write64le(length, header.size());
  return std::string(length, 8) + header.str() + std::string(dataBytes, 'd');
}

/// The message of a failed Expected, or nothing where it succeeded.
template <typename T> std::string errorOf(llvm::Expected<T> result) {
  return result ? "" : llvm::toString(result.takeError());
}
inline std::string errorOf(llvm::Error error) {
  return llvm::toString(std::move(error));
}

/// Errors are one line, and name their file first.
inline void expectOneLine(llvm::StringRef message) {
  EXPECT_FALSE(message.empty());
  EXPECT_EQ(message.find('\n'), llvm::StringRef::npos) << message.str();
  EXPECT_FALSE(message.ends_with(".")) << message.str();
}

} // namespace headrace::test

#endif // HEADRACE_TESTS_COMPILER_IMPORT_FILES_H
