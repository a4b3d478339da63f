"""A module of LTE with its query replaced in one line, forward and backward, beside the reference in plain PyTorch.

python examples/lte.py
"""

import time

import torch
from torch import nn

import vinr_engine as vinr
from vinr_engine.drop_in.lte import accelerate


class Mlp(nn.Module):
    """As LTE's, narrower."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))


class Lte(nn.Module):
    """Stands in for a project's module: LTE's names of parameters behind an encoder of one convolution."""

    def __init__(self, channels: int = 16, width: int = 64) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, channels, 3, padding=1)
        self.coef = nn.Conv2d(channels, width, 3, padding=1)
        self.freq = nn.Conv2d(channels, width, 3, padding=1)
        self.phase = nn.Linear(2, width // 2, bias=False)
        self.imnet = Mlp(width)


def main() -> None:
    torch.manual_seed(0)
    model = accelerate(Lte())
    picture = torch.rand(1, 3, 24, 32) * 2 - 1
    axes = [(torch.arange(n) * 2 + 1) / n - 1 for n in (72, 96)]
    coordinates = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(1, -1, 2)
    cells = torch.tensor([2 / 72, 2 / 96]).expand_as(coordinates)
    results = {}
    for backend in ("reference", "auto"):
        with vinr.backend(backend):
            begin = time.perf_counter()
            colours = model(picture, coordinates, cells)  # [1, 6912, 3]
            gradients = torch.autograd.grad(colours.square().mean(), list(model.parameters()))
            results[backend] = colours, *gradients
            print(f"{backend}: {list(colours.shape)} with gradients in {time.perf_counter() - begin:.3f} s")
    for ours, theirs in zip(results["auto"], results["reference"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


if __name__ == "__main__":
    main()
