"""What is measured, on whatever device and by whatever form: each op and each part of the network, with its inputs and
its work. Needs torch alone, so that other versions of the package are measured by the same cases.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common import work
from benchmarks.common.work import LIIF, NF, Work

ROOT = Path(__file__).resolve().parents[1]
Layer = tuple[Tensor, Tensor]  # weight and bias
FRAME = (720, 1280)  # of the output, that figures of a GPU are of
STEP = " step"  # ends the name of an op that runs forward and backward
GROUPS, TAPS = 8, 9  # of deform_conv2d


@dataclass(frozen=True)
class Case:
    """An op at a size.

    op: one of "deform_conv2d", "sampled_mlp", "query", "encoder", "network" (encoder and query); with " step" gradients
        of all inputs and weights are taken too.
    h, w: rows and columns of the low-resolution frames or maps; of the sampled MLP those of its output.
    scale: of the query in space, and of the sampled MLP's output beside its maps. frames: output frames a pair.
    batch: pairs of frames.
    """

    op: str
    h: int
    w: int
    _: KW_ONLY
    scale: int = 4
    frames: int = 1
    batch: int = 1

    @property
    def kind(self) -> str:
        """The op whether or not gradients are taken."""
        return self.op.removesuffix(STEP)

    @property
    def step(self) -> bool:
        return self.op.endswith(STEP)

    @property
    def upsamples(self) -> bool:
        return self.kind in ("query", "network")

    @property
    def name(self) -> str:
        times = f", {self.frames} times" if self.frames > 1 else ""
        return f"{self.op} {self.w}x{self.h}" + (f" x{self.scale}{times}" if self.upsamples else "")

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the output frames."""
        return self.h * self.scale, self.w * self.scale

    @property
    def times(self) -> list[float]:
        """Of the output frames, evenly between the two inputs."""
        return [(i + 0.5) / self.frames for i in range(self.frames)]

    @property
    def pixels(self) -> int:
        """Of the output, of all its frames."""
        return self.h * self.w * (self.scale**2 * self.frames if self.upsamples else 1)

    def work(self, hoisted: bool = True) -> Work:
        """Operations and least bytes in float32. hoisted: of the query that projects its maps first, as ours does."""
        h, w = self.h, self.w
        if self.kind == "deform_conv2d":
            return work.deform_conv2d(h, w, self.step)
        if self.kind == "sampled_mlp":
            return work.sampled_mlp(h, w, self.scale, self.step)
        if self.op == "encoder":
            return work.encoder(h, w)
        if self.op == "network step":
            return work.training_step(h, w, self.scale, self.frames, self.batch, hoisted)
        if self.step:
            return work.query_step(h, w, self.scale, self.frames, hoisted)
        query = work.query(h, w, self.scale, self.frames, hoisted)
        return query + work.encoder(h, w) if self.op == "network" else query

    def inputs(self, seed: int = 0) -> list[Tensor]:
        """Fresh ones in float32, on the CPU.

        deform_conv2d: input, offset, weight, bias, mask; sampled_mlp: maps, positions, x; query: the encoder's features
        [batch, 3, 64, h, w] with h and w rounded up to 4, and frames [batch, 2, 3, h, w]; else frames alone.
        """
        h, w = self.h, self.w
        if self.kind == "deform_conv2d":
            return [normal((1, NF, h, w), seed), normal((1, 2 * GROUPS * TAPS, h, w), seed + 1, 2.0),
                    normal((NF, NF, 3, 3), seed + 2, 1 / 24), normal((NF,), seed + 3),
                    normal((1, GROUPS * TAPS, h, w), seed + 4).sigmoid()]  # fmt: skip
        if self.kind == "sampled_mlp":
            small = max(h // self.scale, 2), max(w // self.scale, 2)
            places = torch.rand(1, h * w, 2, generator=torch.Generator().manual_seed(seed))
            positions = places * torch.tensor(small) - 0.5
            return [normal((1, LIIF[0], *small), seed + 1), positions, normal((1, h * w, 4), seed + 2)]
        frames = smooth((self.batch, 6, h, w), seed).sigmoid().unflatten(1, (2, 3))
        if self.kind != "query":
            return [frames]
        return [smooth((self.batch, 3 * NF, h + -h % 4, w + -w % 4), seed + 1, 0.5).unflatten(1, (3, NF)), frames]


def normal(shape: Sequence[int], seed: int, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def smooth(shape: tuple[int, int, int, int], seed: int, scale: float = 1.0) -> Tensor:
    """Changes over some four pixels, so that flows computed from it are warps and not noise."""
    batch, channels, h, w = shape
    coarse = normal((batch, channels, 2 + h // 4, 2 + w // 4), seed, scale)
    return F.interpolate(coarse, size=(h, w), mode="bilinear", align_corners=False)


def golden() -> ModuleType:
    """The module that makes the parameters and frames of the tests' stored results."""
    spec = importlib.util.spec_from_file_location("golden_weights", ROOT / "tests" / "golden" / "weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def golden_state() -> dict[str, Tensor]:
    """Parameters of the published network that, unlike fresh ones, give offsets of 2 pixels and flows of 3."""
    return {name: torch.from_numpy(a) for name, a in golden().state_dict(0).items()}


def liif_layers() -> list[Layer]:
    """Of the sampled MLP: the first takes its four inputs beside the maps."""
    widths = [(LIIF[0], 4), *((b, a) for a, b in itertools.pairwise(LIIF))]
    return [(normal(shape, i, (1 / shape[1]) ** 0.5), normal(shape[:1], 50 + i)) for i, shape in enumerate(widths)]


def sine_layers(inputs: int, widths: Sequence[int], seed: int) -> list[Layer]:
    """Of one of the query's networks, in whose layers sines of 30 z stay in range."""
    shapes = [(b, a) for a, b in itertools.pairwise((inputs, *widths))]
    bounds = [3 / inputs, *((6 / a) ** 0.5 / 30 for _, a in shapes[1:])]
    generator = torch.Generator().manual_seed(seed)
    draws = [
        (torch.rand(b, a, generator=generator) * 2 - 1, torch.rand(b, generator=generator) * 2 - 1) for b, a in shapes
    ]
    return [(weight * bound, bias * 0.02) for (weight, bias), bound in zip(draws, bounds, strict=True)]


def query_layers() -> list[list[Layer]]:
    """Of the query's three networks, of the published widths."""
    sampled = work.CHANNELS + work.COLOURS
    inputs = sampled + 3, work.HR + sampled + 1, 2 * (work.HR + sampled) + 1
    widths = work.FEAT, work.FLOW, work.ENCODE
    return [sine_layers(n, each, seed) for seed, (n, each) in enumerate(zip(inputs, widths, strict=True))]
