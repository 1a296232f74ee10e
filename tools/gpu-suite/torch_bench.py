# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times the layers of a suite as PyTorch computes them: a loop over experts of
cuBLAS products, and torch._grouped_mm with an unfused activation. Prints lines of
JSON; tools/gpu-check calls it with suite.txt and the seconds it may take."""

import json
import statistics
import sys
import time

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    sys.exit("PyTorch is not installed")
if not torch.cuda.is_available():
    sys.exit("PyTorch sees no GPU")

REPEATS, WARM_UP = 21, 3


class Layer:
    def __init__(self, values):
        self.name = values["name"]
        self.h, self.i, self.e, self.k = (
            int(values[key]) for key in ("hidden", "intermediate", "experts", "slots"))

        def weight(*shape):
            return torch.randn(*shape, device="cuda", dtype=torch.bfloat16) \
                / shape[-1] ** 0.5
        self.router = weight(self.e, self.h)
        self.up = weight(self.e, 2 * self.i, self.h)  # gate rows, then up rows
        self.down = weight(self.e, self.h, self.i)

    def route(self, x):
        normed = F.rms_norm(x, (self.h,), eps=1e-5)
        p = torch.softmax(normed @ self.router.float().T, dim=-1)
        weights, experts = torch.topk(p, self.k, dim=-1)
        return normed.bfloat16(), weights / weights.sum(-1, keepdim=True), experts

    def looped(self, x):
        normed, weights, experts = self.route(x)
        y = x.clone()
        for e in experts.unique().tolist():
            row, slot = torch.where(experts == e)
            gate, up = (normed[row] @ self.up[e].T).chunk(2, -1)
            out = (F.silu(gate.float()) * up.float()).bfloat16() @ self.down[e].T
            y.index_add_(0, row, out.float() * weights[row, slot, None])
        return y

    def grouped(self, x):
        normed, weights, experts = self.route(x)
        flat = experts.flatten()
        order = flat.argsort(stable=True)
        ends = torch.bincount(flat, minlength=self.e).cumsum(0).int()
        rows = order // self.k
        gate, up = torch._grouped_mm(normed[rows], self.up.transpose(1, 2),
                                     offs=ends).chunk(2, -1)
        inner = (F.silu(gate.float()) * up.float()).bfloat16()
        out = torch._grouped_mm(inner, self.down.transpose(1, 2), offs=ends)
        y = x.clone()
        return y.index_add_(0, rows,
                            out.float() * weights.flatten()[order][:, None])

    def time(self, function, tokens):
        times = []
        for i in range(WARM_UP + REPEATS):
            x = torch.randn(tokens, self.h, device="cuda")
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            function(x)
            end.record()
            torch.cuda.synchronize()
            if i >= WARM_UP:
                times.append(start.elapsed_time(end) * 1e-3)
        return statistics.median(times)


def main():
    end = time.monotonic() + float(sys.argv[2])
    for line in open(sys.argv[1], encoding="utf-8"):
        values = dict(word.split("=", 1) for word in line.split()[1:])
        if not line.startswith("layer") or values.get("bench") != "1" or \
                values.get("encoding", "bf16") != "bf16":
            continue
        layer = Layer(values)
        for tokens in map(int, values["tokens"].split(",")):
            for system in ("looped", "grouped"):
                if time.monotonic() > end:
                    sys.exit("no time is left")
                if system == "grouped" and not hasattr(torch, "_grouped_mm"):
                    continue
                try:
                    seconds = layer.time(getattr(layer, system), tokens)
                except RuntimeError as error:
                    print(f"{system}, {tokens} tokens: {error}", file=sys.stderr)
                    continue
                print(json.dumps({"name": layer.name, "what": "layer",
                                  "tokens": tokens, "seconds": seconds,
                                  "system": f"torch {system}"}), flush=True)
        del layer
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
