// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Command lines of the driver's subcommands.
#include "tools/headrace/Flags.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace headrace::tools;

int headrace::tools::fail(const std::string &message) {
  fprintf(stderr, "error: %s\n", message.c_str());
  return kFailure;
}

int CommandLine::usageError(const std::string &message) const {
  fprintf(stderr, "error: %s\nusage: %s\n", message.c_str(), usage);
  return kUsage;
}

int CommandLine::parse(int argc, char **argv) {
  for (int i = 0; i < argc; ++i) {
    std::string word = argv[i];
    if (word == "--help") {
      printf("usage: %s\n\n", usage);
      for (const Flag &flag : flags) {
        std::string left = flag.name;
        if (flag.value)
          left += std::string(flag.name[1] == '-' ? "=" : " ") + flag.value;
        printf("  %-26s %s\n", left.c_str(), flag.help);
      }
      return kSuccess;
    }
    if (word.size() < 2 || word[0] != '-') {
      words.push_back(word);
      continue;
    }
    size_t equals = word.find('=');
    std::string name = word.substr(0, equals);
    const Flag *known = nullptr;
    for (const Flag &flag : flags)
      if (name == flag.name)
        known = &flag;
    if (!known)
      return usageError("unknown flag '" + name + "'");
    if (!known->value) {
      if (equals != std::string::npos)
        return usageError("flag '" + name + "' takes no value");
      given.push_back({name, ""});
      continue;
    }
    if (equals != std::string::npos) {
      given.push_back({name, word.substr(equals + 1)});
    } else if (i + 1 < argc) {
      given.push_back({name, argv[++i]});
    } else {
      return usageError("flag '" + name + "' needs a value");
    }
  }
  return -1;
}

const std::string *CommandLine::find(const char *name) const {
  for (auto it = given.rbegin(); it != given.rend(); ++it)
    if (it->first == name)
      return &it->second;
  return nullptr;
}

std::string CommandLine::text(const char *name,
                              const std::string &otherwise) const {
  const std::string *value = find(name);
  return value ? *value : otherwise;
}

static bool readNumber(const std::string &text, int64_t least, int64_t most,
                       int64_t &out) {
  char *end = nullptr;
  errno = 0;
  long long value = strtoll(text.c_str(), &end, 10);
  if (text.empty() || *end || errno || value < least || value > most)
    return false;
  out = value;
  return true;
}

int64_t CommandLine::number(const char *name, int64_t otherwise, int64_t least,
                            int64_t most) {
  const std::string *value = find(name);
  if (!value)
    return otherwise;
  int64_t out = otherwise;
  if (!readNumber(*value, least, most, out)) {
    usageError("flag '" + std::string(name) + "' expects a whole number from " +
               std::to_string(least) + " to " + std::to_string(most) +
               ", but got '" + *value + "'");
    failed = true;
  }
  return out;
}

uint64_t CommandLine::bytes(const char *name, uint64_t otherwise) {
  const std::string *value = find(name);
  if (!value)
    return otherwise;
  std::string digits = *value;
  int64_t unit = 1, scale = 1, out = 0;
  for (const char *suffix : {"KiB", "MiB", "GiB", "TiB"}) {
    scale *= 1024;
    size_t length = digits.size();
    if (length > 3 && digits.compare(length - 3, 3, suffix) == 0) {
      digits.resize(length - 3);
      unit = scale;
      break;
    }
  }
  if (!readNumber(digits, 1, INT64_MAX / unit, out)) {
    usageError("flag '" + std::string(name) +
               "' expects a number of bytes, as in 8GiB, but got '" + *value +
               "'");
    failed = true;
    return otherwise;
  }
  return uint64_t(out * unit);
}

double CommandLine::real(const char *name, double otherwise, double least,
                         double most) {
  const std::string *value = find(name);
  if (!value)
    return otherwise;
  char *end = nullptr;
  double out = strtod(value->c_str(), &end);
  if (value->empty() || *end || !(out >= least && out <= most)) {
    usageError("flag '" + std::string(name) + "' expects a number from " +
               std::to_string(least) + " to " + std::to_string(most) +
               ", but got '" + *value + "'");
    failed = true;
    return otherwise;
  }
  return out;
}

std::vector<int64_t> CommandLine::numbers(const char *name, int64_t least,
                                          int64_t most) {
  std::vector<int64_t> out;
  const std::string *value = find(name);
  if (!value)
    return out;
  size_t from = 0;
  while (!failed && from <= value->size()) {
    size_t comma = value->find(',', from);
    if (comma == std::string::npos)
      comma = value->size();
    int64_t one = 0;
    if (!readNumber(value->substr(from, comma - from), least, most, one)) {
      usageError("flag '" + std::string(name) +
                 "' expects whole numbers from " + std::to_string(least) +
                 " to " + std::to_string(most) +
                 " with commas between, but got '" + *value + "'");
      failed = true;
    }
    out.push_back(one);
    from = comma + 1;
  }
  return out;
}
