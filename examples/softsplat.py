"""A picture warped forward halfway along its motion by softmax splatting, and what gradients say of the motion.

python examples/softsplat.py
"""

import time

import torch

import vinr_engine as vinr
from vinr_engine.drop_in.softsplat import softsplat


def main() -> None:
    H, W = 96, 128
    rows, columns = torch.meshgrid(torch.linspace(0, 6, H), torch.linspace(0, 8, W), indexing="ij")
    picture = torch.stack([columns.sin(), rows.cos(), (rows + columns).sin()])[None]
    square = torch.zeros(1, 1, H, W)
    square[..., 32:64, 32:64] = 1  # it moves 20 pixels to the right, in front of what lies still
    flow = torch.cat([20 * square, 0 * square], 1).requires_grad_()
    importance = 8 * square  # the larger one wins where two pixels land

    results = {}
    for backend in ("reference", "auto"):
        with vinr.backend(backend):
            begin = time.perf_counter()
            halfway = softsplat(picture, flow / 2, importance, "soft-zeroeps")  # [1, 3, H, W]
            (gradient,) = torch.autograd.grad(halfway.square().mean(), flow)
            results[backend] = halfway, gradient
            print(f"{backend}: {list(halfway.shape)} with gradients in {time.perf_counter() - begin:.3f} s")
    for ours, theirs in zip(results["auto"], results["reference"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(halfway[..., 32:64, 42:74], picture[..., 32:64, 32:64], rtol=1e-2, atol=1e-2)
    holes = int((halfway == 0).all(1).sum())
    print(f"{holes} pixels that the square uncovered receive nothing")


if __name__ == "__main__":
    main()
