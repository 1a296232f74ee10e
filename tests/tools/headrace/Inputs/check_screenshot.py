# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checks that a picture of a timeline shows what it is about.

usage: check_screenshot.py FILE.png BACKGROUND COLOUR...

Colours are `rrggbb`. The corner has BACKGROUND, and each COLOUR covers a visible
area, give or take what antialiasing and translucency do to it.
"""
import struct
import sys
import zlib


def pixels(path):
    """Rows of (r, g, b) of an 8-bit PNG without interlacing."""
    data = open(path, "rb").read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", "not a PNG"
    at, packed, header = 8, b"", None
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            packed += body
        at += size + 12
    width, height, depth, colour, _, _, interlace = header
    assert depth == 8 and colour in (2, 6) and interlace == 0, header
    step = 3 if colour == 2 else 4
    raw, stride, before, rows = zlib.decompress(packed), width * step, None, []
    for y in range(height):
        filter_type = raw[y * (stride + 1)]
        line = bytearray(raw[y * (stride + 1) + 1 : (y + 1) * (stride + 1)])
        above = before or bytes(stride)
        for i in range(stride):
            a = line[i - step] if i >= step else 0
            b = above[i]
            c = above[i - step] if i >= step else 0
            if filter_type == 1:
                add = a
            elif filter_type == 2:
                add = b
            elif filter_type == 3:
                add = (a + b) // 2
            elif filter_type == 4:
                p = a + b - c
                add = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            else:
                add = 0
            line[i] = (line[i] + add) & 255
        before = line
        rows.append([tuple(line[i : i + 3]) for i in range(0, stride, step)])
    return rows


def near(one, other, most=6):
    return all(abs(x - y) <= most for x, y in zip(one, other))


def main():
    path, *colours = sys.argv[1:]
    wanted = [tuple(int(c[i : i + 2], 16) for i in (0, 2, 4)) for c in colours]
    rows = pixels(path)
    if not near(rows[2][2], wanted[0]):
        sys.exit(f"the background is {rows[2][2]}, not {wanted[0]}")
    counts = {}
    for row in rows:
        for pixel in row:
            counts[pixel] = counts.get(pixel, 0) + 1
    for name, colour in zip(colours[1:], wanted[1:]):
        area = sum(n for pixel, n in counts.items() if near(pixel, colour))
        print(f"{name}: {area} pixels")
        if area < 400:
            sys.exit(f"{name} covers {area} pixels of the picture")


main()
