"""What is measured on the CPU: each case builds the same task for every backend, at any size.

Sizes: those that stand as rows x columns are maps ("64x112"), those of videos are width x height ("160x90", as
everywhere in video). The parameters are those of tests/golden: unlike fresh ones they give offsets of 2 pixels and
flows of 3, and they amplify rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import vinr_engine as vinr
from benchmarks import cases
from benchmarks.common import published
from benchmarks.common.measure import Task
from vinr_engine.training.losses import charbonnier

EAGER, COMPILE, FLOAT32, BF16, CONV = "eager", "compile", "float32", "bf16", "conv2d"
BACKENDS = {
    EAGER: "published form, torch eager",
    COMPILE: "published form, torch.compile",
    FLOAT32: "vinr_engine, float32",
    BF16: "vinr_engine, bf16",
    CONV: "F.conv2d, channels last",
}
OURS = (FLOAT32, BF16)
TINY = (16, 16)  # a size for warming up, and for asking which precision runs

PICTURES = ("query", "network")  # their PSNR counts from a peak of 1
# Part of the name of the op that must be handed bf16 tensors for a bf16 row of a case to count.
LOW_PRECISION_OPS = {"deform_conv2d": "vinr::deform_conv2d", "encoder": "conv"}


@dataclass(frozen=True)
class Case:
    """One thing to measure.

    name: what the tables show and --only finds.
    case: the op and its size.
    build: case -> backend -> task; a task gives a tensor or tensors, always of the same values.
    backends: those that run by default; the first is the standard that the others are held to.
    memory: backends whose peak memory is measured, each in a process of its own.
    timed: False where only memory is of interest.
    rounds: rounds at least, whatever they take: what must be reached needs medians.
    """

    name: str
    case: cases.Case
    build: Callable[[cases.Case], dict[str, Task]]
    backends: tuple[str, ...] = (EAGER, FLOAT32, BF16)
    memory: tuple[str, ...] = ()
    timed: bool = True
    rounds: int = 1

    @property
    def pixels(self) -> int:
        """Of the low-resolution frames or maps."""
        return self.case.h * self.case.w

    def tasks(self, tiny: bool = False) -> dict[str, Task]:
        """Those of each backend, at a size for warming up if `tiny`."""
        return self.build(replace(self.case, h=TINY[0], w=TINY[1]) if tiny else self.case)


def on_cpu_backend(task: Task, bf16: bool = False) -> Task:
    """`task` on the compiled ops, which refuse rather than hand over to the reference."""

    def call() -> object:
        with vinr.backend("cpu"), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return task()

    return call


@functools.cache
def model() -> vinr.VideoINR:
    """The published network with the golden parameters."""
    # Kept for all cases: the first may run in inference mode, a later one needs gradients.
    with torch.inference_mode(False):
        with torch.device("meta"):
            network = vinr.VideoINR()
        network.load_state_dict(cases.golden_state(), assign=True)
        return network.eval()


def compiled(function: Callable[..., object]) -> Callable[..., object]:
    """`function`, compiled when first called, afresh and with static shapes: the best torch.compile does."""

    @functools.cache
    def fast() -> Callable[..., object]:
        torch._dynamo.reset()
        return torch.compile(function, dynamic=False)

    return lambda *arguments: fast()(*arguments)


def _deform_tasks(case: cases.Case) -> dict[str, Task]:
    step = case.step
    tensors = [t.requires_grad_(step) for t in case.inputs()]
    low = [t.detach() if i in (1, 4) else t.detach().bfloat16() for i, t in enumerate(tensors)]  # input, weight, bias
    low = [t.requires_grad_(step) for t in low]
    last = [tensors[i].detach().to(memory_format=torch.channels_last) for i in (0, 2)]
    joint = [t.requires_grad_(step) for t in (*last, tensors[3].detach().clone())]
    gradient = cases.normal((1, 64, case.h, case.w), seed=9)
    gradient_last = gradient.to(memory_format=torch.channels_last)

    def run(op: Callable[..., Tensor], inputs: Sequence[Tensor], upstream: Tensor = gradient) -> object:
        out = op(*inputs)
        return [out, *torch.autograd.grad(out, inputs, upstream.to(out.dtype))] if step else out

    def ours(input: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
        return vinr.ops.deform_conv2d(input, offset, weight, bias, padding=1, mask=mask)

    fast = compiled(published.reference_deform_conv2d)
    return {
        EAGER: lambda: run(published.deform_conv2d, tensors),
        COMPILE: lambda: run(fast, tensors),  # type: ignore[arg-type]
        FLOAT32: on_cpu_backend(lambda: run(ours, tensors)),
        BF16: on_cpu_backend(lambda: run(ours, low)),
        CONV: lambda: run(functools.partial(F.conv2d, padding=1), joint, gradient_last),
    }


def _network_tasks(case: cases.Case) -> dict[str, Task]:
    """Encoder, query or both, frame by frame as a video is written, or a step of training: all frames, a loss, and
    gradients of whatever is trained; of the query alone also of the features."""
    network, size, upsample = model(), case.size, 1 if case.step else 4
    *known, frames = case.inputs()
    wanted = [*known, *(t for n in published.networks(network) for layer in n for t in layer)]
    measure = F.mse_loss if known else charbonnier
    if case.step and not known:
        wanted = [p for name, p in network.named_parameters() if not name.startswith(network.unused)]
    for t in known:
        t.requires_grad_(case.step)
    target = torch.rand(case.batch, case.frames, 3, *size, generator=torch.Generator().manual_seed(2))

    def gradients(out: Tensor) -> list[Tensor]:
        loss = measure(out.float(), target)
        return [loss.detach(), *torch.autograd.grad(loss, wanted)]

    published_form = published.form(case, network, upsample)

    def plain() -> object:
        out = published_form(*known, frames)
        return gradients(out) if case.step else out

    def ours() -> object:
        features = known[0] if known else network.encode(frames)
        if case.kind == "encoder":
            return features
        if case.step:
            return gradients(network.query(features, frames, case.times, size, frame_upsample=1))  # type: ignore[arg-type]
        features = features.float()
        return torch.cat([network.query(features, frames, t, size) for t in case.times], 1)

    return {
        EAGER: plain, COMPILE: compiled(plain), FLOAT32: on_cpu_backend(ours), BF16: on_cpu_backend(ours, bf16=True),
    }  # fmt: skip


ALL = (EAGER, COMPILE, FLOAT32, BF16)
NO_COMPILE, ALL_MEMORY = (EAGER, *OURS), (EAGER, FLOAT32, BF16)


def _deform(name: str) -> Case:
    return Case(f"{name} 64x112", cases.Case(name, 64, 112), _deform_tasks, (*ALL, CONV), (EAGER, FLOAT32))


def _network(name: str, op: str, h: int, w: int, *backends: str, frames: int = 1, batch: int = 1, **more: Any) -> Case:
    case = cases.Case(op, h, w, frames=frames, batch=batch)
    return Case(name, case, _network_tasks, backends or NO_COMPILE, **more)


CASES = (
    _deform("deform_conv2d"),
    _deform("deform_conv2d step"),
    _network("query 64x112 x4", "query", 64, 112, *ALL, memory=ALL_MEMORY, rounds=5),
    _network("query 160x90 x4", "query", 90, 160, *ALL),
    _network("query 320x180 x4", "query", 180, 320, memory=ALL_MEMORY),
    _network("query 640x360 x4", "query", 360, 640, *OURS),
    _network("query step 32x32 x4", "query step", 32, 32, EAGER, FLOAT32, frames=3, memory=(EAGER, FLOAT32), rounds=3),
    _network("training step 32x32 x4", "network step", 32, 32, frames=3, batch=4, memory=(EAGER, FLOAT32), rounds=2),
    _network("encoder 64x112", "encoder", 64, 112, memory=ALL_MEMORY, rounds=3),
    _network("encoder 160x90", "encoder", 90, 160),
    _network("encoder 320x180", "encoder", 180, 320),
    _network("encoder 640x360", "encoder", 360, 640, *OURS, memory=OURS),
    _network("clip 64x112 x4 x8", "network", 64, 112, frames=8, rounds=2),
    _network("frame 320x180 x4", "network", 180, 320, timed=False, memory=OURS),
)
VIDEO_SIZES = {"160x90": (90, 160), "320x180": (180, 320), "640x360": (360, 640)}


def by_name(name: str) -> Case:
    """The case of that name."""
    return next(case for case in CASES if case.name == name)


def chosen(only: Sequence[str]) -> list[Case]:
    """The cases whose name contains one of `only`; all without. Raises ValueError if that is none."""
    found = [case for case in CASES if not only or any(part in case.name for part in only)]
    if not found:
        raise ValueError(f"no case is called {', '.join(only)}: choose among {', '.join(c.name for c in CASES)}")
    return found
