# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Says the times of two others at one layer of a suite, as torch_bench.py and
triton_bench.py do on a GPU."""

import json
import sys

assert float(sys.argv[2]) > 0
for line in open(sys.argv[1], encoding="utf-8"):
    values = dict(word.split("=", 1) for word in line.split()[1:])
    if values["name"] == "layer-small" and values.get("bench") == "1":
        for system, seconds in (("rival slow", 3e-6), ("rival fast", 2e-6)):
            print(json.dumps({"name": values["name"], "what": "layer", "tokens": 1,
                              "seconds": seconds, "system": system}))
