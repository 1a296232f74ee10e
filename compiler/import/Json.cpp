// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reads JSON that nobody has checked: bounded depth, no key twice,
// one-line errors.
#include "compiler/import/Json.h"

#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"
#include <memory>
#include <vector>

using namespace llvm;

namespace headrace {

/// Nothing that we read nests deeper than 4; the parser recurses once a level.
static constexpr size_t maxDepth = 32;

Error makeError(const Twine &message) {
  return createStringError(inconvertibleErrorCode(), message);
}

Error inDirectory(StringRef directory, Error error) {
  return error ? makeError(directory + ": " + toString(std::move(error)))
               : Error::success();
}

std::string quote(StringRef text) {
  constexpr size_t limit = 160;
  std::string result = "'";
  raw_string_ostream stream(result);
  printEscapedString(text.take_front(limit), stream);
  if (text.size() > limit)
    stream << "...";
  stream << '\'';
  return result;
}

/// One past the closing quote of the string that starts at `begin`.
static size_t skipString(StringRef text, size_t begin) {
  for (size_t i = begin + 1; i < text.size(); ++i) {
    if (text[i] == '\\')
      ++i;
    else if (text[i] == '"')
      return i + 1;
  }
  return text.size();
}

/// Refuses what the parser would accept but we must not: nesting that would
/// exhaust its stack, and an object that names a key twice (it keeps the last).
/// Anything malformed is left for the parser to report.
static Error checkNesting(StringRef text, StringRef file) {
  // One set of keys a level; an array's stays empty.
  std::vector<std::unique_ptr<StringSet<>>> levels;
  for (size_t i = 0; i < text.size();) {
    char c = text[i];
    if (c == '{' || c == '[') {
      if (levels.size() == maxDepth)
        return makeError(file + ": nested deeper than " + Twine(maxDepth) +
                         " levels");
      levels.push_back(std::make_unique<StringSet<>>());
    } else if ((c == '}' || c == ']') && !levels.empty()) {
      levels.pop_back();
    } else if (c == '"') {
      size_t end = skipString(text, i);
      StringRef token = text.slice(i, end);
      i = end;
      while (i < text.size() && isSpace(text[i]))
        ++i;
      if (i >= text.size() || text[i] != ':' || levels.empty() ||
          token.size() < 2)
        continue;
      std::string key = token.drop_front().drop_back().str();
      if (token.contains('\\')) {
        // Two spellings of one key are still one key.
        Expected<json::Value> value = json::parse(token);
        if (!value) {
          consumeError(value.takeError());
          continue;
        }
        key = value->getAsString()->str();
      }
      if (!levels.back()->insert(key).second)
        return makeError(file + ": names " + quote(key) + " twice");
      continue;
    }
    ++i;
  }
  return Error::success();
}

Expected<json::Object> parseJsonObject(StringRef text, StringRef file) {
  if (Error error = checkNesting(text, file))
    return std::move(error);
  Expected<json::Value> value = json::parse(text);
  if (!value) {
    std::string cause = toString(value.takeError());
    return makeError(file + ": not valid JSON: " + cause);
  }
  json::Object *object = value->getAsObject();
  if (!object)
    return makeError(file + ": expected a JSON object at the top");
  return std::move(*object);
}

Expected<std::string> readFileRange(StringRef path, StringRef name,
                                    uint64_t offset, uint64_t count) {
  Expected<sys::fs::file_t> file = sys::fs::openNativeFileForRead(path);
  if (!file)
    return makeError(name + ": cannot be read: " + toString(file.takeError()));
  scope_exit close([&] { sys::fs::closeFile(*file); });
  std::string bytes(count, '\0');
  for (uint64_t done = 0; done < count;) {
    Expected<size_t> got = sys::fs::readNativeFileSlice(
        *file, MutableArrayRef<char>(bytes.data() + done, count - done),
        offset + done);
    if (!got)
      return makeError(name + ": cannot be read: " + toString(got.takeError()));
    if (*got == 0)
      return makeError(name + ": became shorter while it was read");
    done += *got;
  }
  return bytes;
}

Expected<std::string> readFilePrefix(StringRef path, StringRef name,
                                     uint64_t want, uint64_t &fileBytes) {
  sys::fs::file_status status;
  if (std::error_code code = sys::fs::status(path, status))
    return makeError(name + ": cannot be read: " + code.message());
  // Opening a pipe or a device could wait for ever.
  if (status.type() != sys::fs::file_type::regular_file)
    return makeError(name + ": not a regular file");
  fileBytes = status.getSize();
  return readFileRange(path, name, 0, std::min(want, fileBytes));
}

Expected<std::string> readSmallFile(StringRef path, StringRef name,
                                    uint64_t limit) {
  uint64_t fileBytes = 0;
  Expected<std::string> bytes = readFilePrefix(path, name, limit, fileBytes);
  if (bytes && fileBytes > limit)
    return makeError(name + ": has " + Twine(fileBytes) +
                     " bytes, more than the limit of " + Twine(limit));
  return bytes;
}

} // namespace headrace
