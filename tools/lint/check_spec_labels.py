#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every constraint of the spec has a check and a test.

A description in dialects/<d>/IR/*.td numbers its constraints `(C1) ...`. For
each of them there is a comment `// <d>.<op> Cn` at the line that checks it, and
a test in tests/dialects/<d> whose function, symbol or comment is named
`<op>_cn`. Also reports comments and tests of constraints that do not exist, and
examples of a description that no test holds.
"""
import glob
import os
import re
import sys

sys.dont_write_bytecode = True
import tablegen  # noqa: E402

COMMENT = re.compile(r"//.*?\b(\w+\.\w+) C(\d+)\b")
TEST = re.compile(r"(?:@|// )(\w+?)_c(\d+)(?=_|\b)")
EXAMPLE = re.compile(r"Example:\s*(?:```mlir\n(.*?)```|`([^`]+)`)", re.DOTALL)


def read(pattern):
    for path in sorted(glob.glob(os.path.join(tablegen.ROOT, pattern), recursive=True)):
        with open(path) as file:
            yield os.path.relpath(path, tablegen.ROOT), file.read()


def normal(text):
    """IR without names of values, comments, layout and the spelling of numbers."""
    text = re.sub(r"//.*", "", text)
    aliases = dict(re.findall(r"^(!\w+) = (!\w+\.\w+<.*>)$", text, re.MULTILINE))
    for alias, expansion in aliases.items():
        text = re.sub(re.escape(alias) + r"\b(?!\.)", lambda _: expansion, text)
    text = re.sub(r"%\w+", "%", text)
    text = re.sub(r"-?\d+\.\d*(?:e[+-]?\d+)?", lambda m: repr(float(m[0])), text)
    return re.sub(r"\s+", "", text)


def main():
    problems = []
    for dialect in tablegen.dialects():
        _, entities, _ = tablegen.load(dialect)
        checked, tested, tests = set(), set(), ""
        labels = {(e.name, n) for e in entities for n in e.labels}
        for path, text in read(f"dialects/{dialect}/**/*.cpp"):
            for name, number in COMMENT.findall(text):
                checked.add((name, int(number)))
                if (name, int(number)) not in labels:
                    problems.append(f"{path}: {name} C{number} is not in the spec")
        for path, text in read(f"tests/dialects/{dialect}/**/*.mlir"):
            tests += text + "\n"
            for name, number in TEST.findall(text):
                tested.add((f"{dialect}.{name}", int(number)))
                if (f"{dialect}.{name}", int(number)) not in labels:
                    problems.append(f"{path}: {name}_c{number}: "
                                    f"{dialect}.{name} C{number} is not in the spec")
        tests = normal(tests)
        for entity in entities:
            where = f"{entity.name} (dialects/{dialect}/IR/{entity.location[0]})"
            if entity.labels != list(range(1, len(entity.labels) + 1)):
                problems.append(f"{where}: constraints are numbered {entity.labels}")
            for number in entity.labels:
                if (entity.name, number) not in checked:
                    problems.append(f"{where}: no `// {entity.name} C{number}` in a verifier")
                if (entity.name, number) not in tested:
                    problems.append(f"{where}: no test named {entity.mnemonic}_c{number}")
            for block, inline in EXAMPLE.findall(entity.description):
                if normal(block or inline) not in tests:
                    problems.append(f"{where}: the example is not in tests/dialects/{dialect}")
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
