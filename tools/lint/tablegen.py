# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reads the dialects' .td files through llvm-tblgen, for the lints and the spec."""
import json
import os
import re
import shutil
import subprocess
import textwrap

ROOT = os.path.normpath(os.path.join(os.path.dirname(__file__), "..", ".."))
LLVM = "/usr/lib/llvm-22"
LABEL = re.compile(r"^\s*- \(C(\d+)\) ", re.MULTILINE)


def dialects():
    """Names of the dialects, in the order in which they are built."""
    with open(os.path.join(ROOT, "dialects", "CMakeLists.txt")) as file:
        return re.findall(r"add_subdirectory\((\w+)/IR\)", file.read())


class Entity:
    """An op, type or attribute of a dialect."""

    def __init__(self, kind, dialect, record, records):
        self.kind = kind
        self.dialect = dialect
        self.mnemonic = record["opName" if kind == "op" else "mnemonic"]
        self.name = f"{dialect}.{self.mnemonic}"
        self.summary = record["summary"].strip()
        self.description = textwrap.dedent((record["description"] or "").strip("\n")).strip()
        self.labels = [int(n) for n in LABEL.findall(self.description)]
        self.record = record
        self.records = records
        file, line = record["!locs"][-1].rsplit(":", 1)
        self.location = (file, int(line))


def load(dialect):
    """(dialect record, entities in the order of the files, enums by name)."""
    folder = os.path.join(ROOT, "dialects", dialect, "IR")
    main = next(f for f in sorted(os.listdir(folder)) if f.endswith("Ops.td"))
    tool = shutil.which("llvm-tblgen-22") or f"{LLVM}/bin/llvm-tblgen"
    output = subprocess.run(
        [tool, "--dump-json", "-I", f"{LLVM}/include", "-I", ROOT,
         os.path.join(folder, main)],
        check=True, stdout=subprocess.PIPE, text=True).stdout
    records = json.loads(output)
    own = [d for d in records["!instanceof"]["Dialect"]
           if records[d]["name"] == dialect][0]
    entities = []
    for kind, base in (("attribute", "AttrDef"), ("type", "TypeDef"), ("op", "Op")):
        found = []
        for name in records["!instanceof"].get(base, []):
            record = records[name]
            of = record["opDialect" if kind == "op" else "dialect"]
            if of and of["def"] == own and "EnumAttr" not in record["!superclasses"]:
                found.append(Entity(kind, dialect, record, records))
        entities += sorted(found, key=lambda e: e.location)
    enums = [records[n] for n in records["!instanceof"].get("EnumInfo", [])
             if records[n]["cppNamespace"] == "::headrace::" + dialect]
    return records[own], entities, enums
