#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs what a page of the documentation tells its reader to run.

usage: run_page.py SOURCE BUILD PAGE WORK

Blocks marked `sh test` run one after another in the folder WORK, where
build/release is BUILD and the folders of the sources are links. A `text output`
block that follows one lists lines that its output must hold, in this order;
`...` stands for any text. Blocks marked `mlir test` must be accepted by
headrace-opt. Prints what it runs; exit 1 at the first failure.
"""
import os
import re
import shutil
import subprocess
import sys

FENCE = re.compile(r"^( *)```(.*)$")


def blocks(path):
    """(line, info, text) of each fenced block."""
    with open(path) as file:
        lines = file.read().splitlines()
    start = None
    for number, line in enumerate(lines, 1):
        fence = FENCE.match(line)
        if not fence:
            continue
        if start is None:
            start, info = number, fence[2].strip()
        else:
            yield start, info, "\n".join(lines[start:number - 1]) + "\n"
            start = None


def missing(expected, output):
    """The first expected line that the rest of the output does not hold."""
    position = 0
    for line in filter(None, map(str.strip, expected.splitlines())):
        pattern = ".*?".join(re.escape(p) for p in line.split("..."))
        found = re.compile(pattern).search(output, position)
        if not found:
            return line
        position = found.end()
    return None


def prepare(source, build, work):
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(os.path.join(work, "build"))
    os.symlink(build, os.path.join(work, "build", "release"))
    for name in os.listdir(source):
        if not name.startswith(".") and name != "build":
            os.symlink(os.path.join(source, name), os.path.join(work, name))


def main():
    if len(sys.argv) != 5:
        print(__doc__.splitlines()[2], file=sys.stderr)
        return 2
    source, build, page, work = map(os.path.abspath, sys.argv[1:])
    prepare(source, build, work)
    output, ran = None, 0
    for line, info, text in blocks(page):
        where = f"{os.path.relpath(page, source)}:{line}"
        if info == "text output":
            if output is None:
                print(f"{where}: no tested block above")
                return 1
            lost = missing(text, output)
            if lost is not None:
                print(f"{where}: the output does not hold this line: {lost}")
                return 1
            continue
        if info == "sh test":
            command = ["bash", "-euo", "pipefail", "-c", text]
        elif info == "mlir test":
            command = [os.path.join(build, "bin", "headrace-opt"), "-"]
        else:
            output = None
            continue
        print(f"{where}:\n{text}", end="", flush=True)
        result = subprocess.run(command, cwd=work, text=True,
                                input=text if info == "mlir test" else "",
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output = result.stdout
        print(output, flush=True)
        if result.returncode:
            print(f"{where}: exit {result.returncode}")
            return 1
        ran += 1
    if not ran:
        print(f"{page}: nothing is marked as tested")
        return 1
    print(f"{ran} blocks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
