#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Asks `headrace compile` for a plan in 4 KiB, takes the minimum from its
refusal, and expects that exactly this many bytes are accepted.

usage: minimum.py HEADRACE MODEL OUTPUT [FLAG...]
"""
import re
import subprocess
import sys


def compile(budget):
    run = subprocess.run(
        [sys.argv[1], "compile", sys.argv[2], "-o", sys.argv[3],
         f"--fast-memory={budget}", *sys.argv[4:]], capture_output=True, text=True)
    return run.returncode, run.stderr


code, text = compile(4096)
least = int(re.search(r"expected at least (\d+) bytes", text).group(1))
assert code == 1, (code, text)
code, text = compile(least - 1)
assert code == 1 and f"at least {least} bytes" in text and \
    "1 too few" in text, (code, text)
code, text = compile(least)
assert code == 0, (code, text)
print("minimum", least)
