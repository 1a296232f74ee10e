#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Docs that cannot go stale unnoticed.

usage: tools/lint/check_docs.py [ROOT]

Refuses, in every Markdown file: a link to a file or heading that is not there, a
block of commands or code that is neither marked `sh test` nor `sh no-test: reason`
(or with the language in place of sh), a page under docs/ that docs/README.md does not
lead to, an absolute path of one machine; and spec pages that differ from the
dialects' descriptions. tests/docs and the tests of each part run the blocks.
"""
import os
import re
import subprocess
import sys

ROOT = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else
                       os.path.join(os.path.dirname(__file__), "..", ".."))
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
FENCE = re.compile(r"^( *)```(.*)$")
MACHINE = re.compile(r"(?<![\w/.])/(?:home|root|work|mnt|Users)/")


def pages():
    for parent, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders
                      if f not in ("build", ".git", ".cache", "Inputs")]
        for name in names:
            if name.endswith(".md"):
                yield os.path.relpath(os.path.join(parent, name), ROOT)


def split(text):
    """(prose without code blocks, info strings of the blocks)."""
    prose, infos, inside = [], [], False
    for line in text.splitlines():
        fence = FENCE.match(line)
        if fence:
            if not inside:
                infos.append(fence[2].strip())
            inside = not inside
        elif not inside:
            prose.append(line)
    return "\n".join(prose), infos


def anchors(prose):
    """The fragments that the web view gives to a page's headings."""
    names = set()
    for heading in re.findall(r"^#+ (.*)$", prose, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        names.add(slug)
    return names


def main():
    problems, texts = [], {}
    for path in sorted(pages()):
        with open(os.path.join(ROOT, path)) as file:
            texts[path] = file.read()
    links = {}
    for path, text in texts.items():
        prose, infos = split(text)
        prose = re.sub(r"`[^`\n]*`", "", prose)
        links[path] = set()
        for target in LINK.findall(prose):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, fragment = target.partition("#")
            to = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
            links[path].add(to)
            if not os.path.exists(os.path.join(ROOT, to)):
                problems.append(f"{path}: no such file: {target}")
            elif fragment and to in texts and fragment not in anchors(split(texts[to])[0]):
                problems.append(f"{path}: no such heading: {target}")
        for info in infos:
            # The examples of the specification are found in the dialects' tests.
            language = info.split(" ")[0]
            if language in ("", "text") or language == "mlir" and "docs/spec" in path:
                continue
            shell = "sh" if language in ("bash", "shell", "console") else language
            if not re.fullmatch(re.escape(shell) + r" (test|no-test: .+)", info):
                problems.append(f"{path}: a block marked '{info}'; "
                                f"write '{shell} test' or '{shell} no-test: reason'")
        if MACHINE.search(text):
            problems.append(f"{path}: {MACHINE.search(text)[0]} is a path of one machine")
    reached, queue = set(), ["docs/README.md"]
    while queue:
        page = queue.pop()
        if page in reached or page not in links:
            continue
        reached.add(page)
        queue += [os.path.join(t, "README.md") if os.path.isdir(os.path.join(ROOT, t)) else t
                  for t in links[page]]
    for path in texts:
        if path.startswith("docs/") and path not in reached:
            problems.append(f"{path}: docs/README.md does not lead to it")
    for problem in problems:
        print(problem)
    generator = os.path.join(ROOT, "docs/spec/generate.py")
    stale = os.path.exists(generator) and \
        subprocess.run([sys.executable, generator, "--check"]).returncode
    return 1 if problems or stale else 0


if __name__ == "__main__":
    sys.exit(main())
