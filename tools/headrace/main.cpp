// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// headrace: the driver.
#include "tools/headrace/Commands.h"
#include "tools/headrace/Flags.h"
#include "llvm/Config/llvm-config.h"
#include <csignal>
#include <cstdio>
#include <cstring>

using namespace headrace::tools;

namespace {
struct Command {
  const char *name;
  int (*run)(int, char **);
  const char *help;
};
const Command kCommands[] = {
    {"import", importCommand, "checkpoint directory to a module of IR"},
    {"synth", synthCommand, "write a synthetic checkpoint of a known shape"},
    {"compile", compileCommand, "module to a package"},
    {"run", runCommand, "generate text with a checkpoint or a package"},
    {"interpret", interpretCommand, "run a module slowly, as the reference"},
    {"bench", benchCommand, "time layers and models against their bounds"},
    {"machine", machineCommand, "record this machine for plans"},
    {"simulate", simulateCommand, "predict the time of a package's steps"},
    {"inspect", inspectCommand, "what a package holds"},
    {"verify", verifyCommand, "check every digest of a package"},
};

int help(FILE *out) {
  fprintf(out, "usage: headrace COMMAND [...]\n\n");
  for (const Command &command : kCommands)
    fprintf(out, "  %-10s %s\n", command.name, command.help);
  fprintf(out, "\nheadrace COMMAND --help tells more; headrace --version.\n");
  return 0;
}

int run(int argc, char **argv) {
  if (argc < 2) {
    help(stderr);
    return kUsage;
  }
  if (!strcmp(argv[1], "--help"))
    return help(stdout);
  if (!strcmp(argv[1], "--version")) {
    printf("headrace %s (LLVM %s)\n", HEADRACE_VERSION, LLVM_VERSION_STRING);
    return kSuccess;
  }
  for (const Command &command : kCommands)
    if (!strcmp(argv[1], command.name))
      return command.run(argc - 2, argv + 2);
  fprintf(stderr, "error: unknown command '%s'\n", argv[1]);
  help(stderr);
  return kUsage;
}
} // namespace

int main(int argc, char **argv) {
  // A file that reaches its limit is an error like a full disk.
  std::signal(SIGXFSZ, SIG_IGN);
  int code = run(argc, argv);
  // What was printed may still wait for a disk that is full.
  if (code == kSuccess && (fflush(stdout) != 0 || ferror(stdout)))
    return fail("standard output: cannot be written");
  return code;
}
