# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Assembles PTX and reports what each kernel needs and has.

usage: resources.py PTXAS EXPECTED FILE.ptx CHIP... [FILE.ptx CHIP...]

Prints a line for each kernel, file and chip, and compares with EXPECTED, whose
lines are `NAME registers<=N HAS...`: the kernel has at most N registers and
these kinds of instructions and no others. Spilled registers are never right.
"""
import re
import subprocess
import sys
import tempfile

KINDS = {
    "loads16": r"ld\.global(\.\w+)*\.v4\.\w32|ld\.global(\.\w+)*\.v2\.\w64",
    "copies": r"cp\.async\.(cg|ca)",
    "matrices": r"ldmatrix",
    "mma": r"mma\.sync",
    "wgmma": r"wgmma\.mma_async",
    "atomics": r"atom\.",
}


def kernels_of(text):
    """Name and text of each entry."""
    parts = re.split(r"\.entry\s+(\w+)", text)
    return dict(zip(parts[1::2], parts[2::2]))


def assemble(ptxas, path, chip):
    with tempfile.NamedTemporaryFile(suffix=".cubin") as out:
        done = subprocess.run([ptxas, "-v", "-O3", f"-arch={chip}", path, "-o", out.name],
                              capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{path}: ptxas failed for {chip}:\n{done.stderr}{done.stdout}")
    resources, name = {}, None
    for line in (done.stderr + done.stdout).splitlines():
        if found := re.search(r"Compiling entry function '(\w+)'", line):
            name = found[1]
            resources[name] = [0, 0]
        elif name and (found := re.search(r"(\d+) bytes spill stores, (\d+)", line)):
            resources[name][1] += int(found[1]) + int(found[2])
        elif name and (found := re.search(r"Used (\d+) registers", line)):
            resources[name][0] = int(found[1])
    return resources


def main():
    ptxas, expected, rest = sys.argv[1], sys.argv[2], sys.argv[3:]
    wanted = {}
    with open(expected) as file:
        for line in file:
            words = line.split("#")[0].split()
            if words:
                wanted[words[0]] = (int(words[1].removeprefix("registers<=")),
                                    set(words[2:]))
    wrong, seen, path, kernels = [], set(), None, {}
    for word in rest:
        if word.endswith(".ptx"):
            path = word
            with open(path) as file:
                kernels = kernels_of(file.read())
            continue
        resources = assemble(ptxas, path, word)
        for name, text in kernels.items():
            registers, spills = resources[name]
            has = {kind for kind, pattern in KINDS.items() if re.search(pattern, text)}
            print(f"{name} {word} registers={registers} spills={spills} "
                  + " ".join(sorted(has)))
            seen.add(name)
            if name not in wanted:
                wrong.append(f"{name}: is not expected")
                continue
            most, kinds = wanted[name]
            if spills:
                wrong.append(f"{name}: spills {spills} bytes on {word}")
            if registers > most:
                wrong.append(f"{name}: {registers} registers on {word}, expected {most}")
            if has != kinds:
                wrong.append(f"{name}: has {sorted(has)}, expected {sorted(kinds)}")
    wrong += [f"{name}: is missing" for name in wanted if name not in seen]
    if wrong:
        sys.exit("\n".join(sorted(set(wrong))))


main()
