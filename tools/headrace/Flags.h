// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Command lines of the driver's subcommands.
#ifndef HEADRACE_TOOLS_HEADRACE_FLAGS_H
#define HEADRACE_TOOLS_HEADRACE_FLAGS_H

#include <cstdint>
#include <string>
#include <vector>

namespace headrace::tools {

/// Exit codes of every subcommand.
enum ExitCode : int { kSuccess = 0, kFailure = 1, kUsage = 2 };

/// One `--name=value` (or `--name value`, or `-o value`) of a subcommand.
/// Switches take no value.
struct Flag {
  const char *name;  ///< With its dashes.
  const char *value; ///< Placeholder in the help, or null for a switch.
  const char *help;  ///< One line, with the default.
};

/// What a subcommand takes, and what was given.
class CommandLine {
public:
  CommandLine(const char *usage, std::vector<Flag> flags)
      : usage(usage), flags(std::move(flags)) {}

  /// Parses the words behind the subcommand. Returns -1 to go on, or the exit
  /// code: kSuccess after `--help`, kUsage after an `error:` line.
  int parse(int argc, char **argv);

  const std::vector<std::string> &positional() const { return words; }
  bool has(const char *name) const { return find(name) != nullptr; }
  std::string text(const char *name, const std::string &otherwise) const;
  /// A whole number in [least, most]; prints an error and sets `failed`
  /// otherwise.
  int64_t number(const char *name, int64_t otherwise, int64_t least,
                 int64_t most);
  /// A positive number of bytes, perhaps with KiB, MiB, GiB or TiB behind it.
  uint64_t bytes(const char *name, uint64_t otherwise);
  double real(const char *name, double otherwise, double least, double most);
  /// Comma-separated whole numbers; none is an error.
  std::vector<int64_t> numbers(const char *name, int64_t least, int64_t most);
  /// Whether a value could not be read.
  bool failed = false;

  /// Prints `error: ...` with the usage line and returns kUsage.
  int usageError(const std::string &message) const;

private:
  const std::string *find(const char *name) const;
  const char *usage;
  std::vector<Flag> flags;
  std::vector<std::pair<std::string, std::string>> given;
  std::vector<std::string> words;
};

/// Prints `error: message` on stderr and returns kFailure.
int fail(const std::string &message);

} // namespace headrace::tools

#endif // HEADRACE_TOOLS_HEADRACE_FLAGS_H
