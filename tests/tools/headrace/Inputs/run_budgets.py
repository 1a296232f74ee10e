# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs a model under several budgets: run_budgets.py HEADRACE MODEL DIR TOKENS"""
import pathlib
import re
import subprocess
import sys

headrace, model, directory, tokens = sys.argv[1:]
directory = pathlib.Path(directory)
LIMITS = ["--max-tokens=16", "--max-sequences=2", "--max-context=64"]


def compiled(name, *flags):
    package = directory / name
    subprocess.run(
        [headrace, "compile", model, "-o", package, *LIMITS, *flags], check=True
    )
    return package


def run(package, *flags):
    logits = directory / "logits.npy"
    done = subprocess.run(
        [headrace, "run", package, f"--tokens={tokens}", "--max-new-tokens=12"]
        + [f"--logits={logits}", "--threads=2", *flags],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout, logits.read_bytes(), done.stderr


expected = run(compiled("mapped.headrace"))[:2]
refused = subprocess.run(
    [headrace, "compile", model, "-o", directory / "no.headrace", *LIMITS]
    + ["--fast-memory=1"],
    capture_output=True,
    text=True,
)
assert refused.returncode == 1, refused.stderr
least = max(int(number) for number in re.findall(r"\d{5,}", refused.stderr))
package = compiled("least.headrace", f"--fast-memory={least}")
for budget in (None, least, least + least // 8, least * 2, least * 16):
    flags = [] if budget is None else [f"--fast-memory={budget}"]
    text, logits, report = run(package, *flags)
    assert (text, logits) == expected, f"budget {budget}: other results"
    assert "transfers" in report, report
assert (
    subprocess.run(
        [headrace, "run", package, "--tokens=1", f"--fast-memory={least // 2}"],
        capture_output=True,
    ).returncode
    == 1
)
