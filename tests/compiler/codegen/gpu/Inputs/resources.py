# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Assembles PTX and reports what each kernel needs and has.

usage: resources.py PTXAS EXPECTED FILE.ptx CHIP... [FILE.ptx CHIP...]

Prints a line for each kernel, file and chip, and compares with EXPECTED, whose
lines are `NAME registers<=N HAS...`: the kernel has at most N registers and
these kinds of instructions and no others. Spilled registers are never right.

`operandsN` is not an instruction: the 16-row operand of a matrix instruction, where
weights stand, is made of what loads of N bytes a lane brought from global memory.
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


REGISTER = re.compile(r"%[a-z]+\d+")
# What ends the way back from an operand, besides global memory.
ENDS = re.compile(r"ld\.|ldmatrix|shfl|mma|wgmma|atom")


def operand_loads(text):
    """Bytes of the loads of global memory whose values get into the operand with
    16 rows of a matrix instruction."""
    made, operands = {}, []
    for statement in text.split(";"):
        words = re.sub(r"//.*|^\s*(\$\w+:|@!?%p\d+)", "", statement, flags=re.M).split(None, 1)
        if len(words) < 2 or not REGISTER.search(words[1]):
            continue
        opcode, rest = words
        result, _, sources = (rest.partition("}") if rest.startswith("{")
                              else rest.partition(","))
        for register in REGISTER.findall(result):
            made.setdefault(register, []).append((opcode, REGISTER.findall(sources)))
        groups = re.findall(r"\{([^{}]*)\}", rest)
        if re.match(r"w?g?mma\.\w*sync", opcode) and len(groups) > 1:
            operands += REGISTER.findall(groups[1])
    widths, seen = set(), set(operands)
    while operands:
        for opcode, sources in made.get(operands.pop(), []):
            if load := re.match(r"ld\.global\S*?(?:\.v(\d))?\.[a-z](\d+)$", opcode):
                widths.add(int(load[1] or 1) * int(load[2]) // 8)
            elif not ENDS.match(opcode):
                fresh = {name for name in sources if not name.startswith("%p")} - seen
                seen |= fresh
                operands += fresh
    return widths


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
            has |= {f"operands{width}" for width in operand_loads(text)}
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
