# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""golden.py DIR prompt|continuation|all: token ids of a checkpoint's golden."""
import json
import sys

with open(sys.argv[1] + "/golden.json") as file:
    golden = json.load(file)
names = ["prompt", "continuation"] if sys.argv[2] == "all" else [sys.argv[2]]
print(",".join(str(id) for name in names for id in golden[name]))
