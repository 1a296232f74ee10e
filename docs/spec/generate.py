#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes docs/spec/<dialect>.md from the descriptions in dialects/*/IR/*.td.

usage: docs/spec/generate.py [--check]

With --check nothing is written; exit 1 if a page is out of date.
"""
import os
import sys
import textwrap

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "tools", "lint"))
sys.dont_write_bytecode = True
import tablegen  # noqa: E402


def constraint(reference, records):
    """(summary, optional, variadic) of an operand, attribute or result."""
    if not isinstance(reference, dict):
        return str(reference), ""
    record = records[reference["def"]]
    classes = record["!superclasses"]
    note = ""
    if "Optional" in classes or "OptionalAttr" in classes:
        note = "optional"
    elif "Variadic" in classes:
        note = "any number"
    elif "DefaultValuedAttr" in classes:
        note = f"default {record['defaultValue']}"
    base = record.get("baseType") or record.get("baseAttr")
    if base and note:
        record = records[base["def"]]
    if "EnumAttr" in record["!superclasses"]:
        cases = [records[c["def"]]["str"] for c in records[record["enum"]["def"]]["enumerants"]]
        return "one of " + ", ".join(f"`{c}`" for c in cases), note
    name = record.get("typeName") or record.get("attrName")
    if name and "mnemonic" in record:
        sigil = "!" if "typeName" in record else "#"
        return f"`{sigil}{name}`", note
    return record.get("summary") or record["!name"], note


def table(entity):
    rows = []
    record = entity.record
    for field in ("arguments", "results"):
        for reference, name in record[field]["args"]:
            kind = "result"
            if field == "arguments":
                classes = entity.records[reference["def"]]["!superclasses"]
                kind = "attribute" if "Attr" in classes else "operand"
            what, note = constraint(reference, entity.records)
            rows.append(f"| `{name}` | {kind} | {what}{', ' + note if note else ''} |")
    for reference, name in record["regions"]["args"]:
        rows.append(f"| `{name}` | region | one block |")
    if not rows:
        return ""
    return "\n".join(["| name | is | type |", "| --- | --- | --- |"] + rows) + "\n"


def page(dialect):
    record, entities, enums = tablegen.load(dialect)
    lines = [
        "<!-- Written by docs/spec/generate.py from "
        f"dialects/{dialect}/IR/*.td; edit those. -->",
        "",
        f"# `{dialect}`: {record['summary']}",
        "",
        textwrap.dedent(record["description"].strip("\n")).strip(),
        "",
    ]
    for kind, title in (("op", "Operations"), ("type", "Types"), ("attribute", "Attributes")):
        chosen = [e for e in entities if e.kind == kind]
        if not chosen:
            continue
        lines += [f"## {title}", ""]
        for entity in chosen:
            sigil = {"op": "", "type": "!", "attribute": "#"}[kind]
            lines += [f"### `{sigil}{entity.name}`", "",
                      entity.summary[0].upper() + entity.summary[1:] + ".", ""]
            if entity.description:
                lines += [entity.description, ""]
            if kind == "op":
                lines += [table(entity)] if table(entity) else []
    return "\n".join(lines).rstrip() + "\n"


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        print(__doc__.splitlines()[2], file=sys.stderr)
        return 2
    stale = 0
    for dialect in tablegen.dialects():
        path = os.path.join(HERE, dialect + ".md")
        text = page(dialect)
        if check:
            old = open(path).read() if os.path.exists(path) else ""
            if old != text:
                print(f"docs/spec/{dialect}.md: differs from dialects/{dialect}/IR/*.td; "
                      "run docs/spec/generate.py")
                stale = 1
        else:
            with open(path, "w") as file:
                file.write(text)
    return stale


if __name__ == "__main__":
    sys.exit(main())
