#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""C and C++ sources are as clang-format 22 writes them.

usage: tools/lint/check_format.py [--fix]
"""
import os
import shutil
import subprocess
import sys

ROOT = os.path.normpath(os.path.join(os.path.dirname(__file__), "..", ".."))
FOLDERS = ("compiler", "dialects", "docs", "runtime", "tests", "tools")


def main():
    tool = shutil.which("clang-format-22") or "/usr/lib/llvm-22/bin/clang-format"
    paths = []
    for folder in FOLDERS:
        for parent, _, names in os.walk(os.path.join(ROOT, folder)):
            paths += [os.path.join(parent, n) for n in sorted(names)
                      if n.endswith((".c", ".cc", ".cpp", ".h"))]
    if sys.argv[1:] == ["--fix"]:
        return subprocess.run([tool, "-i", *paths]).returncode
    if sys.argv[1:]:
        print(__doc__.splitlines()[2], file=sys.stderr)
        return 2
    bad = 0
    for path in paths:
        result = subprocess.run([tool, "--dry-run", "-Werror", path],
                                stderr=subprocess.PIPE, text=True)
        if result.returncode:
            print(result.stderr.splitlines()[0].replace(ROOT + os.sep, ""))
            bad += 1
    if bad:
        print(f"{bad} of {len(paths)} files; tools/lint/check_format.py --fix rewrites them")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
