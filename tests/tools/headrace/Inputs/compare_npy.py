# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""compare_npy.py A B BOUND: whether two float32 matrices agree.

The largest difference, in standard deviations of B, may not exceed BOUND.
"""
import array
import re
import sys


def load(path):
    with open(path, "rb") as file:
        data = file.read()
    assert data[:8] == b"\x93NUMPY\x01\x00", path
    end = 10 + int.from_bytes(data[8:10], "little")
    assert end % 64 == 0, path
    header = data[10:end].decode()
    assert "'descr': '<f4'" in header and "'fortran_order': False" in header
    shape = tuple(map(int, re.search(r"\((\d+), (\d+)\)", header).groups()))
    values = array.array("f")
    values.frombytes(data[end:])
    assert len(values) == shape[0] * shape[1], path
    return shape, values


(shape, a), (other, b) = load(sys.argv[1]), load(sys.argv[2])
assert shape == other, f"{shape} and {other}"
mean = sum(b) / len(b)
deviation = (sum((y - mean) ** 2 for y in b) / len(b)) ** 0.5
error = max(abs(x - y) for x, y in zip(a, b)) / deviation
print(f"{shape[0]} x {shape[1]}: {error:.2g} standard deviations")
sys.exit(not error <= float(sys.argv[3]))
