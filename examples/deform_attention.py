"""RVRT's guided deformable attention without its CUDA extension: forward and backward by one fused op.

python examples/deform_attention.py
"""

import time

import torch

import vinr_engine as vinr
from vinr_engine.drop_in.rvrt import deform_attn


def main() -> None:
    torch.manual_seed(0)
    clips, frames, channels, heads, groups, h, w = 1, 2, 48, 4, 4, 24, 32
    q = torch.randn(clips * frames, 1, channels, h, w, requires_grad=True)
    kv = torch.randn(clips, frames, 2 * channels, h, w, requires_grad=True)  # keys, then values
    offset = torch.randn(clips * frames, frames * 2 * groups * 9, h, w)  # (dy, dx) of each frame, group and tap
    results = {}
    for backend in ("reference", "auto"):
        with vinr.backend(backend):
            begin = time.perf_counter()
            out = deform_attn(q, kv, offset, 3, 3, 1, 1, 1, 1, 1, 1, heads, groups, frames)
            results[backend] = out, *torch.autograd.grad(out.square().mean(), (q, kv))
            print(f"{backend}: {list(out.shape)} with gradients in {time.perf_counter() - begin:.3f} s")
    for ours, theirs in zip(results["auto"], results["reference"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


if __name__ == "__main__":
    main()
