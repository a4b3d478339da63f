"""What is measured: each case builds the same task for every backend, at any size.

Sizes: those that stand as rows x columns are maps ("64x112"), those of videos are width x height ("160x90", as
everywhere in video). The parameters are those of tests/golden: unlike fresh ones they give offsets of 2 pixels and
flows of 3, and they amplify rounding.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import vinr_engine as vinr
from benchmarks.common import published, work
from benchmarks.common.machine import ROOT
from benchmarks.common.measure import Task
from benchmarks.common.work import Work
from vinr_engine.training.losses import charbonnier
from vinr_engine.training.objective import UNUSED

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

# op -> largest relative error of float32 (max |a - e| / max |e|, the worst of all tensors), and least PSNR of bf16 in
# decibels. Both against the published form in float32 eager. The bf16 bound is there to find what is wrong; what must
# be reached stands in targets.py.
TOLERANCES: dict[str, tuple[float, float]] = {
    "deform": (1e-4, 40),
    "deform step": (1e-3, 40),
    "query": (5e-4, 40),
    "query step": (2e-3, 40),
    "training step": (2e-2, 30),
    "encoder": (2e-3, 30),
    "clip": (2e-3, 35),
}
PICTURES = ("query", "clip")  # their PSNR counts from a peak of 1


@dataclass(frozen=True)
class Case:
    """One thing to measure.

    name: what the tables show and --only finds.
    op: key of tolerances, published figures and formulas.
    size: rows and columns of the low-resolution frames.
    build: size -> backend -> task; a task gives a tensor or tensors, always of the same values.
    work: size, whether the backend is ours -> operations and bytes.
    backends: those that run by default; the first is the standard that the others are held to.
    memory: backends whose peak memory is measured, each in a process of its own.
    low_precision_op: part of the name of the op that must be handed bf16 tensors for a bf16 row to count.
    timed: False where only memory is of interest.
    rounds: rounds at least, whatever they take: what must be reached needs medians.
    """

    name: str
    op: str
    size: tuple[int, int]
    build: Callable[[int, int], dict[str, Task]]
    work: Callable[[int, int, bool], Work]
    backends: tuple[str, ...] = (EAGER, FLOAT32, BF16)
    memory: tuple[str, ...] = ()
    low_precision_op: str = "vinr"
    timed: bool = True
    rounds: int = 1
    grad: bool = False

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1]


def on_cpu_backend(task: Task, bf16: bool = False) -> Task:
    """`task` on the compiled ops, which refuse rather than hand over to the reference."""

    def call() -> object:
        with vinr.backend("cpu"), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return task()

    return call


@functools.cache
def model() -> vinr.VideoINR:
    """The published network with the golden parameters."""
    weights = _golden()
    # Kept for all cases: the first may run in inference mode, a later one needs gradients.
    with torch.inference_mode(False):
        with torch.device("meta"):
            network = vinr.VideoINR()
        state = {name: torch.from_numpy(a) for name, a in weights.state_dict(0).items()}
        network.load_state_dict(state, assign=True)
        return network.eval()


@functools.cache
def _golden():  # type: ignore[no-untyped-def]
    spec = importlib.util.spec_from_file_location("golden_weights", ROOT / "tests" / "golden" / "weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def frames_of(h: int, w: int) -> Tensor:
    """A smooth pair [1, 2, 3, h, w] in [0, 1]."""
    return torch.from_numpy(_golden().image(0, (1, 2, 3, h, w))).float()


def networks(network: vinr.VideoINR) -> list[list[tuple[Tensor, Tensor]]]:
    return [m.layers() for m in (network.feat_imnet, network.flow_imnet, network.encode_imnet)]


def _features(h: int, w: int) -> Tensor:
    """In place of the encoder's: [1, 3, 64, ceil4(h), ceil4(w)], smooth enough for flows to be warps, not noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(3, 64, 2 + h // 4, 2 + w // 4, generator=generator)
    size = (h + -h % 4, w + -w % 4)
    return F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)[None] / 2


def compiled(function: Callable[..., object]) -> Callable[..., object]:
    """`function`, compiled when first called, afresh and with static shapes: the best torch.compile does."""

    @functools.cache
    def fast() -> Callable[..., object]:
        torch._dynamo.reset()
        return torch.compile(function, dynamic=False)

    return lambda *arguments: fast()(*arguments)


def _deform_inputs(h: int, w: int, requires_grad: bool) -> list[Tensor]:
    """input, offset, weight, bias, mask"""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    tensors = [
        normal(1, 64, h, w),
        2 * normal(1, 144, h, w),
        normal(64, 64, 3, 3) / 24,
        normal(64),
        normal(1, 72, h, w).sigmoid(),
    ]
    return [t.requires_grad_(requires_grad) for t in tensors]


def _deform_tasks(h: int, w: int, step: bool) -> dict[str, Task]:
    tensors = _deform_inputs(h, w, step)
    low = [t.detach().to(torch.bfloat16) for t in tensors]
    low[1], low[4] = tensors[1].detach(), tensors[4].detach()  # offsets and masks stay in float32
    low = [t.requires_grad_(step) for t in low]
    last = [tensors[i].detach().to(memory_format=torch.channels_last) for i in (0, 2)]
    joint = [t.requires_grad_(step) for t in (*last, tensors[3].detach().clone())]
    gradient = torch.randn(1, 64, h, w, generator=torch.Generator().manual_seed(1))
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


def _encoder_tasks(h: int, w: int) -> dict[str, Task]:
    network, frames = model(), frames_of(h, w)
    fast = compiled(published.encode)
    return {
        EAGER: lambda: published.encode(network, frames),
        COMPILE: lambda: fast(network, frames),
        FLOAT32: on_cpu_backend(lambda: network.encode(frames)),
        BF16: on_cpu_backend(lambda: network.encode(frames), bf16=True),
    }


def _query_tasks(h: int, w: int, scale: int = 4) -> dict[str, Task]:
    network, frames, features = model(), frames_of(h, w), _features(h, w)
    size, layers = (h * scale, w * scale), networks(model())
    fast = compiled(published.query)

    def ours() -> object:
        out = network.query(features, frames, 0.5, size)
        assert isinstance(out, Tensor)
        return out[:, 0]

    return {
        EAGER: lambda: published.query(features, frames, 0.5, size, layers),
        COMPILE: lambda: fast(features, frames, 0.5, size, layers),
        FLOAT32: on_cpu_backend(ours),
        BF16: on_cpu_backend(ours, bf16=True),
    }


def _clip_tasks(h: int, w: int, times: Sequence[float], scale: int = 4) -> dict[str, Task]:
    """One pair of frames: the encoder once, then a query for each time, frame by frame as a video is written."""
    network, frames, size = model(), frames_of(h, w), (h * scale, w * scale)

    def plain() -> list[Tensor]:
        features, layers = published.encode(network, frames), networks(network)
        return [published.query(features, frames, t, size, layers) for t in times]

    def ours() -> object:
        features = network.encode(frames).float()
        return [network.query(features, frames, t, size)[:, 0] for t in times]  # type: ignore[call-overload]

    return {EAGER: plain, FLOAT32: on_cpu_backend(ours), BF16: on_cpu_backend(ours, bf16=True)}


STEP_FRAMES = 3


def _step_tasks(h: int, w: int, scale: int = 4) -> dict[str, Task]:
    """A training step of the query: forward, a loss, gradients of the features and of all weights."""
    network, frames = model(), frames_of(h, w)
    features = _features(h, w).requires_grad_()
    size, layers = (h * scale, w * scale), networks(network)
    times = [(i + 0.5) / STEP_FRAMES for i in range(STEP_FRAMES)]
    wanted = [features, *(t for n in layers for layer in n for t in layer)]
    target = torch.rand(STEP_FRAMES, 3, *size, generator=torch.Generator().manual_seed(2))

    def gradients(out: Tensor) -> list[Tensor]:
        loss = F.mse_loss(out.flatten(0, 1), target)
        return [loss.detach(), *torch.autograd.grad(loss, wanted)]

    def plain() -> object:
        out = [published.query(features, frames, t, size, layers, frame_upsample=1) for t in times]
        return gradients(torch.stack(out, 1))

    def ours() -> object:
        out = network.query(features, frames, times, size, frame_upsample=1)
        assert isinstance(out, Tensor)
        return gradients(out)

    return {EAGER: plain, FLOAT32: on_cpu_backend(ours)}


TRAINING_BATCH = 4


def _training_tasks(h: int, w: int, scale: int = 4) -> dict[str, Task]:
    """A training step of the whole network: frames to the published loss, and gradients of all that is trained."""
    network = model()
    frames = frames_of(h, w).expand(TRAINING_BATCH, -1, -1, -1, -1).clone()
    noise = torch.Generator().manual_seed(3)
    frames += 0.1 * torch.rand(TRAINING_BATCH, 1, 1, 1, 1, generator=noise)  # samples of a batch differ
    size, layers = (h * scale, w * scale), networks(network)
    times = [i / STEP_FRAMES for i in range(STEP_FRAMES)]
    target = torch.rand(TRAINING_BATCH, STEP_FRAMES, 3, *size, generator=noise)
    wanted = [p for name, p in network.named_parameters() if not name.startswith(UNUSED)]

    def gradients(out: Tensor) -> list[Tensor]:
        loss = charbonnier(out.float(), target)
        return [loss.detach(), *torch.autograd.grad(loss, wanted)]

    def plain() -> object:
        features = published.encode(network, frames)
        out = [published.query(features, frames, t, size, layers, frame_upsample=1) for t in times]
        return gradients(torch.stack(out, 1))

    def ours() -> object:
        out = network.query(network.encode(frames), frames, times, size, frame_upsample=1)
        assert isinstance(out, Tensor)
        return gradients(out)

    return {EAGER: plain, FLOAT32: on_cpu_backend(ours), BF16: on_cpu_backend(ours, bf16=True)}


EIGHT = tuple(i / 8 for i in range(8))
ALL = (EAGER, COMPILE, FLOAT32, BF16)


def _query_work(h: int, w: int, ours: bool, frames: int = 1) -> Work:
    return work.query(h, w, 4, frames, hoisted=ours)


def _query_case(name: str, h: int, w: int, *backends: str, memory: tuple[str, ...] = (), rounds: int = 1) -> Case:
    return Case(
        f"query {name} x4", "query", (h, w), _query_tasks, _query_work, backends, memory,
        low_precision_op="vinr::inr_query", rounds=rounds,
    )  # fmt: skip


def _encoder_case(name: str, h: int, w: int, *backends: str, memory: tuple[str, ...] = (), rounds: int = 1) -> Case:
    return Case(
        f"encoder {name}", "encoder", (h, w), _encoder_tasks, lambda h, w, ours: work.encoder(h, w), backends, memory,
        low_precision_op="conv", rounds=rounds,
    )  # fmt: skip


def _deform_case(name: str, op: str, step: bool, memory: tuple[str, ...]) -> Case:
    return Case(
        name, op, (64, 112), functools.partial(_deform_tasks, step=step),
        lambda h, w, ours: work.deform_conv2d(h, w, step), (*ALL, CONV), memory,
        low_precision_op="vinr::deform_conv2d", grad=step,
    )  # fmt: skip


def _clip_case(name: str, h: int, w: int, times: Sequence[float], **options: object) -> Case:
    def total(h: int, w: int, ours: bool) -> Work:
        return work.encoder(h, w) + _query_work(h, w, ours, len(times))

    build = functools.partial(_clip_tasks, times=times)
    return Case(name, "clip", (h, w), build, total, low_precision_op="vinr::inr_query", **options)  # type: ignore[arg-type]


CASES = (
    _deform_case("deform_conv2d 64x112", "deform", False, (EAGER, FLOAT32)),
    _deform_case("deform_conv2d step 64x112", "deform step", True, (EAGER, FLOAT32)),
    _query_case("64x112", 64, 112, *ALL, memory=(EAGER, FLOAT32, BF16), rounds=5),
    _query_case("160x90", 90, 160, *ALL),
    _query_case("320x180", 180, 320, *(EAGER, *OURS), memory=(EAGER, FLOAT32, BF16)),
    _query_case("640x360", 360, 640, *OURS),
    Case(
        "query step 32x32 x4", "query step", (32, 32), _step_tasks,
        lambda h, w, ours: work.query_step(h, w, 4, STEP_FRAMES, hoisted=ours),
        (EAGER, FLOAT32), (EAGER, FLOAT32), grad=True, rounds=3,
    ),
    Case(
        "training step 32x32 x4", "training step", (32, 32), _training_tasks,
        lambda h, w, ours: work.training_step(h, w, 4, STEP_FRAMES, TRAINING_BATCH, hoisted=ours),
        (EAGER, FLOAT32, BF16), (EAGER, FLOAT32), grad=True, rounds=2,
    ),
    _encoder_case("64x112", 64, 112, *(EAGER, *OURS), memory=(EAGER, FLOAT32, BF16), rounds=3),
    _encoder_case("160x90", 90, 160, *(EAGER, *OURS)),
    _encoder_case("320x180", 180, 320, *(EAGER, *OURS)),
    _encoder_case("640x360", 360, 640, *OURS),
    _clip_case("clip 64x112 x4 x8", 64, 112, EIGHT, rounds=2),
    _clip_case("frame 320x180 x4", 180, 320, EIGHT[:1], timed=False, memory=OURS),
)  # fmt: skip
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
