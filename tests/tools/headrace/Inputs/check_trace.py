# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checks a trace: check_trace.py FILE PROCESS..."""
import json
import sys

with open(sys.argv[1]) as file:
    events = json.load(file)["traceEvents"]
processes = {
    event["pid"]: event["args"]["name"]
    for event in events
    if event["name"] == "process_name"
}
names = [name.split()[0] for name in processes.values()]
assert names == sys.argv[2:], names
rows = {
    (event["pid"], event["tid"]): event["args"]["name"]
    for event in events
    if event["name"] == "thread_name"
}
kernels = passes = 0
for event in events:
    if event["ph"] != "X":
        continue
    assert event["ts"] >= 0 and event["dur"] >= 0, event
    row = rows[event["pid"], event["tid"]]
    if processes[event["pid"]] == "measured":
        kernels += row == "kernels"
        passes += row == "passes"
assert passes == 2, passes  # the prompt, then one token
assert kernels > passes, kernels
for pid in processes:
    assert any(e["ph"] == "X" and e["pid"] == pid for e in events), pid
