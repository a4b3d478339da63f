"""LIIF's query by one fused op, forward and backward, beside the time of the reference in plain PyTorch.

python examples/liif.py
"""

import time

import torch
from torch import nn

import vinr_engine as vinr
from vinr_engine.drop_in.liif import liif_query


def mlp(inputs: int, hidden: int = 64) -> nn.Sequential:
    """As LIIF's decoder, narrower."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 3)
    )


def main() -> None:
    torch.manual_seed(0)
    features = torch.randn(1, 16, 24, 32, requires_grad=True)  # what an encoder gave
    imnet = mlp(9 * 16 + 4)  # 3 x 3 features unfolded, relative position and cell
    results = {}
    for backend in ("reference", "auto"):
        with vinr.backend(backend):
            begin = time.perf_counter()
            picture = liif_query(features, imnet, (72, 96))  # [1, 72, 96, 3]
            (gradient,) = torch.autograd.grad(picture.square().mean(), features)
            results[backend] = picture, gradient
            print(f"{backend}: {list(picture.shape)} with gradients in {time.perf_counter() - begin:.3f} s")
    for ours, theirs in zip(results["auto"], results["reference"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


if __name__ == "__main__":
    main()
