#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tests that test nothing.

usage: tools/lint/check_lit_tests.py [ROOT]

Refuses, in the .mlir and .test files under tests/: a file without RUN line,
CHECK lines that no RUN line pipes to FileCheck, a check prefix that no RUN line
names, a RUN line that names a prefix without lines, expected-error without
--verify-diagnostics; and a pass whose flag no test names.
"""
import glob
import os
import re
import sys

ROOT = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else
                       os.path.join(os.path.dirname(__file__), "..", ".."))
SKIPPED = {"data", "fuzz", "Inputs", "programs"}  # as in tests/lit.cfg.py
RUN = re.compile(r"(?://|#)\s*RUN:\s*(.*)")
CHECK = re.compile(r"^\s*(?://|#|;)\s*([A-Z][A-Z0-9_-]*?)"
                   r"(?:-(?:NEXT|SAME|NOT|DAG|LABEL|EMPTY|COUNT-\d+))?(?:\{LITERAL\})?:",
                   re.MULTILINE)
WORDS = {"RUN", "REQUIRES", "UNSUPPORTED", "XFAIL", "ALLOW_RETRIES", "END", "DEFINE",
         "REDEFINE", "NOTE"}
PASS = {"td": re.compile(r"def \w+\s*:\s*(?:Interface)?Pass<\s*\"([^\"]+)\""),
        "cpp": re.compile(r"\bHEADRACE_PASS\(\s*\"([^\"]+)\"")}
PREFIXES = re.compile(r"--?check-prefix(?:es)?[= ]([\w,-]+)")


def runs(text):
    """The RUN lines, with continued ones joined."""
    joined = re.sub(r"\\\n\s*(?://|#)\s*RUN:\s*", "", text)
    return RUN.findall(joined)


def check_file(path):
    with open(os.path.join(ROOT, path)) as file:
        text = file.read()
    commands = runs(text)
    if not commands:
        yield "has no RUN line"
        return
    named = set()
    for command in commands:
        for part in command.split("|"):
            if "FileCheck" in part:
                found = PREFIXES.findall(part)
                named |= set(",".join(found).split(",")) if found else {"CHECK"}
    used = set(CHECK.findall(text)) - WORDS
    checks = {p for p in used if p == "CHECK" or "CHECK" in p or p in named}
    if checks and not named:
        yield "has CHECK lines, but no RUN line pipes to FileCheck"
    elif checks - named:
        yield "no RUN line names the prefix " + ", ".join(sorted(checks - named))
    # Checks may also stand in another file that the RUN line names.
    if named - used and not re.search(r"FileCheck (?!%s)\S*%", " ".join(commands)):
        yield "no line has the prefix " + ", ".join(sorted(named - used))
    if path.endswith(".mlir") and \
            re.search(r"expected-(error|warning|remark)", text) and \
            "--verify-diagnostics" not in " ".join(commands):
        yield "has expected-error, but no RUN line has --verify-diagnostics"


def main():
    problems, tests = [], ""
    for extension in ("mlir", "test"):
        for path in sorted(glob.glob(f"{ROOT}/tests/**/*.{extension}", recursive=True)):
            relative = os.path.relpath(path, ROOT)
            if SKIPPED & set(relative.split(os.sep)[:-1]):
                continue
            problems += [f"{relative}: {p}" for p in check_file(relative)]
            with open(path) as file:
                tests += "\n".join(runs(file.read())) + "\n"
    for folder in ("dialects", "compiler"):
        for extension in ("td", "cpp"):
            for path in sorted(glob.glob(f"{ROOT}/{folder}/**/*.{extension}", recursive=True)):
                with open(path) as file:
                    text = file.read()
                for flag in PASS[extension].findall(text):
                    if not re.search(rf"--{re.escape(flag)}\b", tests):
                        problems.append(f"{os.path.relpath(path, ROOT)}: no test runs --{flag}")
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
