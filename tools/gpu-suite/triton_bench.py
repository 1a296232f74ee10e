# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times the layers of a suite as two fused Triton kernels compute them, the way
servers do: the choices are sorted by expert, one kernel multiplies by gate and up
and activates, one multiplies by down and weighs, and a sum combines. A step is
captured in a CUDA graph and replayed on fresh inputs. Prints lines of JSON;
tools/gpu-check calls it with suite.txt and the seconds it may take.

`--check` compares the kernels with plain loops instead, on small shapes; with
TRITON_INTERPRET=1 it needs no GPU."""

import json
import os
import statistics
import sys
import time

try:
    import torch
    import torch.nn.functional as F
    import triton
    import triton.language as tl
except ImportError:
    sys.exit("PyTorch or Triton is not installed")

REPEATS, WARM_UP = 21, 3
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
# (rows, columns, channels) of a block of results, and warps, by rows.
SHAPES = {16: [(64, 128, 4), (128, 128, 4), (64, 256, 8)],
          64: [(64, 64, 4), (128, 64, 8)],
          128: [(128, 64, 8)]}


@triton.jit
def rows_of_block(experts, firsts, ends, order, E: tl.constexpr, M: tl.constexpr):
    """The expert of this block, the places of its rows, and which there are."""
    block = tl.program_id(0)
    expert = tl.load(experts + block)
    known = tl.minimum(expert, E - 1)
    place = tl.load(firsts + block) + tl.arange(0, M)
    inside = place < tl.load(ends + known)
    return expert, tl.load(order + place, mask=inside, other=0), inside


@triton.jit
def up_kernel(x, weights, out, experts, firsts, ends, order, H, I,
              K: tl.constexpr, E: tl.constexpr, M: tl.constexpr,
              N: tl.constexpr, C: tl.constexpr):
    expert, choice, inside = rows_of_block(experts, firsts, ends, order, E, M)
    if expert < E:
        column = tl.program_id(1) * N + tl.arange(0, N)
        channel = tl.arange(0, C)
        base = weights + expert.to(tl.int64) * 2 * I * H
        gate = tl.zeros((M, N), dtype=tl.float32)
        up = tl.zeros((M, N), dtype=tl.float32)
        for at in range(0, H, C):
            c = at + channel
            rows = tl.load(x + (choice // K)[:, None] * H + c[None, :],
                           mask=inside[:, None] & (c < H)[None, :], other=0.0)
            mask = (c < H)[:, None] & (column < I)[None, :]
            place = base + column[None, :] * H + c[:, None]
            gate = tl.dot(rows, tl.load(place, mask=mask, other=0.0), gate)
            up = tl.dot(rows, tl.load(place + I * H, mask=mask, other=0.0), up)
        value = gate / (1.0 + tl.exp(-gate)) * up
        tl.store(out + choice[:, None] * I + column[None, :],
                 value.to(out.dtype.element_ty),
                 mask=inside[:, None] & (column < I)[None, :])


@triton.jit
def down_kernel(inner, weights, shares, out, experts, firsts, ends, order, H, I,
                E: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
                C: tl.constexpr):
    expert, choice, inside = rows_of_block(experts, firsts, ends, order, E, M)
    if expert < E:
        column = tl.program_id(1) * N + tl.arange(0, N)
        channel = tl.arange(0, C)
        base = weights + expert.to(tl.int64) * H * I
        total = tl.zeros((M, N), dtype=tl.float32)
        for at in range(0, I, C):
            c = at + channel
            rows = tl.load(inner + choice[:, None] * I + c[None, :],
                           mask=inside[:, None] & (c < I)[None, :], other=0.0)
            mask = (c < I)[:, None] & (column < H)[None, :]
            total = tl.dot(rows, tl.load(base + column[None, :] * I + c[:, None],
                                         mask=mask, other=0.0), total)
        share = tl.load(shares + choice, mask=inside, other=0.0)
        tl.store(out + choice[:, None] * H + column[None, :],
                 total * share[:, None],
                 mask=inside[:, None] & (column < H)[None, :])


class Layer:
    def __init__(self, values, device, dtype):
        self.name, self.device, self.dtype = values["name"], device, dtype
        self.h, self.i, self.e, self.k = (
            int(values[key]) for key in ("hidden", "intermediate", "experts", "slots"))

        def weight(*shape):
            return (torch.randn(*shape, device=device)
                    / shape[-1] ** 0.5).to(dtype)
        self.router = weight(self.e, self.h)
        self.up = weight(self.e, 2 * self.i, self.h)  # gate rows, then up rows
        self.down = weight(self.e, self.h, self.i)

    def route(self, x):
        normed = F.rms_norm(x, (self.h,), eps=1e-5)
        p = torch.softmax(normed @ self.router.float().T, dim=-1)
        weights, experts = torch.topk(p, self.k, dim=-1)
        return (normed.to(self.dtype), weights / weights.sum(-1, keepdim=True),
                experts)

    def plain(self, x):
        normed, weights, experts = self.route(x)
        y = x.clone()
        for t in range(len(x)):
            for slot, e in enumerate(experts[t].tolist()):
                gate, up = (self.up[e].float() @ normed[t].float()).chunk(2)
                inner = (F.silu(gate) * up).to(self.dtype).float()
                y[t] += weights[t, slot] * (self.down[e].float() @ inner)
        return y

    def fused(self, x, rows, shape):
        """Without a wait for the device: every size follows from `x`."""
        columns, channels, warps = shape
        normed, weights, experts = self.route(x)
        flat = experts.flatten()
        order = flat.argsort(stable=True).int()
        counts = torch.zeros(self.e, device=x.device, dtype=torch.int64)
        counts.scatter_add_(0, flat, torch.ones_like(flat))
        ends = counts.cumsum(0)
        blocks = (counts + rows - 1) // rows
        block_ends = blocks.cumsum(0)
        most = min(self.e, len(flat)) + len(flat) // rows
        number = torch.arange(most, device=x.device)
        owner = torch.searchsorted(block_ends, number, right=True)
        known = owner.clamp(max=self.e - 1)
        firsts = (ends - counts)[known] \
            + (number - (block_ends - blocks)[known]) * rows
        common = (owner.int(), firsts.int(), ends.int(), order)
        options = {} if INTERPRETED else {"num_warps": warps, "num_stages": 3}
        inner = torch.empty(len(flat), self.i, device=x.device, dtype=self.dtype)
        up_kernel[(most, triton.cdiv(self.i, columns))](
            normed, self.up, inner, *common, self.h, self.i, K=self.k, E=self.e,
            M=rows, N=columns, C=channels, **options)
        out = torch.empty(len(flat), self.h, device=x.device)
        down_kernel[(most, triton.cdiv(self.h, columns))](
            inner, self.down, weights.flatten().contiguous(), out, *common,
            self.h, self.i, E=self.e, M=rows, N=columns, C=channels, **options)
        return x + out.view(len(x), self.k, self.h).sum(1)

    def captured(self, x, rows, shape):
        """A graph of one step on `x`, which the caller fills."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                self.fused(x, rows, shape)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.fused(x, rows, shape)
        return graph

    def time(self, tokens):
        """The shortest median of all shapes of blocks."""
        each = tokens * self.k / self.e
        rows = 16 if each <= 16 else 64 if each <= 128 else 128
        best = None
        for shape in SHAPES[rows]:
            x = torch.randn(tokens, self.h, device=self.device)
            graph, times = self.captured(x, rows, shape), []
            for i in range(WARM_UP + REPEATS):
                x.normal_()
                start, end = (torch.cuda.Event(enable_timing=True)
                              for _ in range(2))
                start.record()
                graph.replay()
                end.record()
                torch.cuda.synchronize()
                if i >= WARM_UP:
                    times.append(start.elapsed_time(end) * 1e-3)
            median = statistics.median(times)
            best = median if best is None else min(best, median)
        return best


def check():
    device = "cpu" if INTERPRETED else "cuda"
    torch.manual_seed(1)
    # The interpreter's float32 products are exact enough to see a wrong index.
    dtype = torch.float32 if INTERPRETED else torch.bfloat16
    for h, i, e, k, tokens, rows in [(64, 48, 8, 2, 1, 16), (64, 48, 8, 2, 33, 16),
                                     (96, 80, 6, 3, 70, 64)]:
        layer = Layer({"name": "check", "hidden": h, "intermediate": i,
                       "experts": e, "slots": k}, device, dtype)
        x = torch.randn(tokens, h, device=device)
        want, got = layer.plain(x), layer.fused(x, rows, (32, 32, 4))
        error = ((got - want).norm() / (want - x).norm()).item()
        print(f"{tokens} tokens: relative error {error:.2g}")
        if not error < 1e-2:
            sys.exit("the fused kernels are wrong")


def main():
    if sys.argv[1:] == ["--check"]:
        return check()
    if not torch.cuda.is_available():
        sys.exit("PyTorch sees no GPU")
    end = time.monotonic() + float(sys.argv[2])
    for line in open(sys.argv[1], encoding="utf-8"):
        values = dict(word.split("=", 1) for word in line.split()[1:])
        if not line.startswith("layer") or values.get("bench") != "1" or \
                values.get("encoding", "bf16") != "bf16":
            continue
        layer = Layer(values, "cuda", torch.bfloat16)
        for tokens in map(int, values["tokens"].split(",")):
            if time.monotonic() > end:
                sys.exit("no time is left")
            try:
                seconds = layer.time(tokens)
            except RuntimeError as error:
                print(f"{tokens} tokens: {error}", file=sys.stderr)
                continue
            print(json.dumps({"name": layer.name, "what": "layer",
                              "tokens": tokens, "seconds": seconds,
                              "system": "triton fused"}), flush=True)
        del layer
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
