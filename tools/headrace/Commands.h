// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The subcommands of the driver. Each takes the words behind its name and
// returns the exit code.
#ifndef HEADRACE_TOOLS_HEADRACE_COMMANDS_H
#define HEADRACE_TOOLS_HEADRACE_COMMANDS_H

namespace headrace::tools {

int importCommand(int argc, char **argv);
int synthCommand(int argc, char **argv);
int compileCommand(int argc, char **argv);
int runCommand(int argc, char **argv);
int interpretCommand(int argc, char **argv);
int benchCommand(int argc, char **argv);
int machineCommand(int argc, char **argv);
int simulateCommand(int argc, char **argv);
int inspectCommand(int argc, char **argv);
int verifyCommand(int argc, char **argv);

} // namespace headrace::tools

#endif // HEADRACE_TOOLS_HEADRACE_COMMANDS_H
