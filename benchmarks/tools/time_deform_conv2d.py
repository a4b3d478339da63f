"""Times deform_conv2d, forward and backward, against channels-last F.conv2d of the same shape, interleaved.

python benchmarks/tools/time_deform_conv2d.py [runs]; prints the least times and their ratios. Threads: OMP_NUM_THREADS.
"""

import sys
import time

import torch
import torch.nn.functional as F

import vinr_engine as vinr

RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 30
B, C, O, G, H, W = 1, 64, 64, 8, 64, 112
LAST = torch.channels_last


def tensors(layout):
    torch.manual_seed(0)
    x = torch.rand(B, C, H, W).contiguous(memory_format=layout)
    raw = torch.randn(B, 27 * G, H, W).contiguous(memory_format=layout)
    weight, bias = torch.randn(O, C, 3, 3) * 0.05, torch.randn(O)
    return x, raw, weight, bias


def cases():
    x, raw, weight, bias = tensors(LAST)
    flat_x, flat_raw, _, _ = tensors(torch.contiguous_format)
    offset, mask = flat_raw[:, : 18 * G].contiguous(), flat_raw[:, 18 * G :].sigmoid()
    last_weight = weight.contiguous(memory_format=LAST)
    with torch.no_grad():
        expected = F.conv2d(x, weight, bias, padding=1)
        still = vinr.ops.deform_conv2d(x, torch.zeros_like(offset), weight, bias, padding=1)
    if not torch.allclose(still, expected, atol=1e-4):
        raise SystemExit("deform_conv2d with zero offsets is no convolution")
    return {
        "conv2d": (lambda x, w, b: F.conv2d(x, w, b, padding=1), (x, last_weight, bias)),
        "packed, channels-last": (
            lambda x, r, w, b: vinr.ops.deform_conv2d_packed(x, r, w, b, padding=1),
            (x, raw, weight, bias),
        ),
        "packed, channels-last, bfloat16": (
            lambda x, r, w, b: vinr.ops.deform_conv2d_packed(x, r, w, b, padding=1),
            (x.bfloat16(), raw, weight.bfloat16(), bias.bfloat16()),
        ),
        "offsets NCHW, rest channels-last": (
            lambda x, o, m, w, b: vinr.ops.deform_conv2d(x, o, w, b, padding=1, mask=m),
            (x, offset, mask, weight, bias),
        ),
        "all NCHW": (
            lambda x, o, m, w, b: vinr.ops.deform_conv2d(x, o, w, b, padding=1, mask=m),
            (flat_x, offset, mask, weight, bias),
        ),
    }


def seconds(function, arguments, backward):
    if not backward:
        with torch.no_grad():
            start = time.perf_counter()
            function(*arguments)
            return time.perf_counter() - start
    leaves = [t.detach().requires_grad_() for t in arguments]
    grad = torch.ones(B, O, H, W, dtype=leaves[0].dtype).contiguous(
        memory_format=LAST if leaves[0].stride(1) == 1 else torch.contiguous_format
    )
    start = time.perf_counter()
    torch.autograd.grad(function(*leaves), leaves, grad)
    return time.perf_counter() - start


def main():
    print(f"variant {torch.ops.vinr.cpu_variant()}, {torch.get_num_threads()} threads, least of {RUNS} runs")
    for backward in (False, True):
        best = {}
        for _ in range(RUNS):
            for name, (function, arguments) in cases_.items():
                best[name] = min(best.get(name, 9e9), seconds(function, arguments, backward))
        for name, value in best.items():
            what = "forward + backward" if backward else "forward"
            print(f"{what:18}  {name:34} {1e3 * value:8.2f} ms  {value / best['conv2d']:5.2f}x")


cases_ = cases()
main()
