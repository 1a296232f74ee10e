#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Counts what the tests of a build did, one by one.

usage: tests/summary.py BUILD

Reads BUILD/ctest.xml and BUILD/tests/lit.xml. A GoogleTest binary counts by its
cases and lit by its files; any other ctest test is one. Prints the reason of
every skip and the name of every failure, then `N passed, N failed, N skipped`.
Exit 1 if anything failed or nothing ran.
"""
import os
import re
import sys
import xml.etree.ElementTree as ElementTree

# "[       OK ] Suite.Case (3 ms)"; the list at the end of a run has no time.
CASE = re.compile(r"^\[\s+(OK|FAILED|SKIPPED)\s+\] (\S+?)(?:, where .*)? \(\d+ ms\)$")


class Count:
    def __init__(self):
        self.passed = 0
        self.failed = []
        self.skipped = []


def add_gtest(count, name, text):
    """Counts the cases in a GoogleTest run's output; False if it is none."""
    if "[==========] Running" not in text and "[==========] 0 tests" not in text:
        return False
    failures = len(count.failed)
    reason = []
    for line in text.splitlines():
        case = CASE.match(line)
        if not case:
            if line.startswith("["):
                reason = []
            elif line.strip() and not line.rstrip().endswith(": Skipped"):
                reason.append(line.strip())
            continue
        if case[1] == "OK":
            count.passed += 1
        elif case[1] == "FAILED":
            count.failed.append(f"{name}: {case[2]}")
        else:
            count.skipped.append((f"{name}: {case[2]}", " ".join(reason)))
        reason = []
    return len(count.failed) - failures


def add_lit(count, path):
    """Counts lit's files; returns how many failed, or None without results."""
    if not os.path.exists(path):
        return None
    failures = len(count.failed)
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('classname')}/{case.get('name')}"
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            count.failed.append(f"lit: {name}")
        elif skipped is not None:
            count.skipped.append((f"lit: {name}", skipped.get("message", "")))
        else:
            count.passed += 1
    return len(count.failed) - failures


def main():
    if len(sys.argv) != 2:
        print(__doc__.splitlines()[2], file=sys.stderr)
        return 2
    build = sys.argv[1]
    count = Count()
    results = os.path.join(build, "ctest.xml")
    if not os.path.exists(results):
        print("failed ctest: it left no results; did the build fail?")
        print("0 passed, 1 failed, 0 skipped")
        return 1
    for case in ElementTree.parse(results).iter("testcase"):
        name, status = case.get("name"), case.get("status")
        text = case.findtext("system-out") or ""
        failed = status == "fail"
        if status in ("notrun", "disabled"):
            skipped = case.find("skipped")
            reason = "" if skipped is None else skipped.get("message", "")
            # ctest also says "notrun" of a binary that was not built.
            if "Unable to find executable" in text or "Not Run" in reason:
                count.failed.append(f"{name}: {reason or 'was not run'}")
            else:
                count.skipped.append((name, reason or status))
            continue
        if name == "lit":
            inner = add_lit(count, os.path.join(build, "tests", "lit.xml"))
            inner = False if inner is None else inner
        else:
            inner = add_gtest(count, name, text)
        if inner is False:  # One test, or a run that left no results.
            if failed:
                count.failed.append(name)
            else:
                count.passed += 1
        elif failed and not inner:  # Crashed or timed out between the cases.
            count.failed.append(f"{name}: ended early")

    for name, reason in count.skipped:
        print(f"skipped {name}: {reason}")
    for name in count.failed:
        print(f"failed {name}")
    print(f"{count.passed} passed, {len(count.failed)} failed, "
          f"{len(count.skipped)} skipped")
    return 1 if count.failed or not count.passed else 0


if __name__ == "__main__":
    sys.exit(main())
