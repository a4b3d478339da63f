"""What `benchmarks.gpu` checks and times: each case builds the same task for every form, at any size.

A form is a way to compute: a backend of ours by name, or "eager" (the reference), "compile" (the reference under
torch.compile), "torchvision". Precisions are those of `gpu_clock.DTYPES`. Of networks the plain forms get float32 and
TF32 alone: sines need float32 phases, which autocast does not leave them.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import vinr_engine as vinr
from benchmarks import published, work
from benchmarks.gpu_clock import DTYPES, Rotating, tf32
from benchmarks.work import LIIF, Work
from vinr_engine import backends

EAGER, COMPILE, TORCHVISION = "eager", "compile", "torchvision"
OURS = ("triton", "cuda", "cpu")
PLAIN = (EAGER, COMPILE, TORCHVISION)
PRECISIONS = tuple(DTYPES)
# op -> precision -> largest relative error, max |a - e| / max |e|, against the reference in float64 on the same inputs.
TOLERANCES = {
    "deform_conv2d": {"float32": 2e-5, "tf32": 2e-3, "float16": 3e-3, "bfloat16": 2e-2},
    "deform_conv2d step": {"float32": 1e-4, "tf32": 5e-3, "float16": 6e-3, "bfloat16": 4e-2},
    "sampled_mlp": {"float32": 1e-4, "tf32": 5e-3, "float16": 2e-2, "bfloat16": 1e-1},
    "sampled_mlp step": {"float32": 1e-4, "tf32": 1e-2, "float16": 5e-2, "bfloat16": 2e-1},
    "query": {"float32": 5e-4, "tf32": 2e-2, "float16": 2e-2, "bfloat16": 1e-1},
    "query step": {"float32": 2e-3, "tf32": 5e-2, "float16": 5e-2, "bfloat16": 2e-1},
    "encoder": {"float32": 2e-3, "tf32": 2e-2, "float16": 2e-2, "bfloat16": 1e-1},
}
# Of a step's loss, as training by float16 has one: a mean's gradients, 1/N, are below the normal numbers of float16.
# The query's gradients through the flow are the weak ones; a bias of a convolution gathers those of all pixels.
LOSS_SCALES = {"deform_conv2d step": 1 / 64, "sampled_mlp step": 1 / 64, "query step": 1.0}
APART = 1 / 64  # pixels, from sampled positions to those where gradients jump
# What each backend has.
FORWARD_ONLY = ("cuda",)
OPS = {"triton": ("deform_conv2d", "sampled_mlp", "query", "encoder"), "cuda": ("deform_conv2d", "query", "encoder"),
       "cpu": ("deform_conv2d", "sampled_mlp", "query", "encoder")}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One thing to check and time, h x w the low-resolution frame or map."""

    op: str
    h: int
    w: int
    precisions: tuple[str, ...] = PRECISIONS
    scale: int = 4
    frames: int = 1

    @property
    def name(self) -> str:
        return f"{self.op} {self.w}x{self.h}" + (f" x{self.scale}" if "query" in self.op else "")

    @property
    def step(self) -> bool:
        return self.op.endswith(" step")

    @property
    def work(self) -> Work:
        """Operations and least bytes of the hoisted form, in float32."""
        pixels = self.h * self.w
        if self.op.startswith("deform_conv2d"):
            return work.deform_conv2d(self.h, self.w, self.step)
        if self.op.startswith("sampled_mlp"):
            macs = work.mlp_macs(4, LIIF) * pixels
            return Work(2 * macs * (3 if self.step else 1), 4 * pixels * (2 + 4 + 3 + LIIF[0] / self.scale**2))
        if self.op == "encoder":
            return work.encoder(self.h, self.w)
        query = work.query_step if self.step else work.query
        return query(self.h, self.w, self.scale, self.frames, True)

    def bytes(self, form: str) -> float:
        """About what the run holds at its peak; plain forms keep joined inputs and layers of all output pixels."""
        pixels = self.h * self.w
        if "query" in self.op:
            each = (9000 if form in PLAIN else 400) + (16000 if self.step else 0)
            return pixels * self.scale**2 * self.frames * each
        if "mlp" in self.op:
            return pixels * (6000 if form in PLAIN or self.step else 200)
        if self.op == "encoder":
            return pixels * 40_000
        return pixels * (64 * 9 * 4 * (6 if form in PLAIN else 1) + 4000) * (3 if self.step else 1)


Arguments = list[Tensor]
Task = Callable[..., "Tensor | list[Tensor]"]


def forms(case: Case, precision: str, device: torch.device) -> Iterator[str]:
    """Forms that exist for a case, whether or not they can run here."""
    if precision in ("float32", "tf32") or case.op.startswith("deform_conv2d"):
        yield EAGER
    if precision in ("float32", "tf32") and not case.step and case.op != "encoder":
        yield COMPILE
    if case.op.startswith("deform_conv2d") and published.DEFORM_SOURCE == TORCHVISION and precision != "bfloat16":
        yield TORCHVISION
    for name in OURS:
        if case.op.split()[0] not in OPS[name] or (case.step and name in FORWARD_ONLY):
            continue
        if (name == "cpu") == (device.type == "cpu") or (name == "triton" and backends.triton_runtime.INTERPRETED):
            yield name


def _draw(shape: Sequence[int], seed: int, device: torch.device, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device) * scale


def arguments(case: Case, precision: str, device: torch.device, seed: int) -> Arguments:
    """Fresh inputs, rounded to the precision where the op takes them so."""
    h, w, dtype = case.h, case.w, DTYPES[precision]
    if case.op.startswith("deform_conv2d"):
        drawn = [_draw((1, 64, h, w), seed, device), _draw((1, 144, h, w), seed + 1, device, 2.0),
                 _draw((64, 64, 3, 3), seed + 2, device, 1 / 24), _draw((64,), seed + 3, device),
                 _draw((1, 72, h, w), seed + 4, device).sigmoid()]  # fmt: skip
        last = [t.to(memory_format=torch.channels_last) if t.ndim == 4 else t for t in drawn]
        given = [t.to(dtype) for t in last]
        # Where a position is a pixel's own, the offset's gradient jumps: rounding x + offset would choose the side.
        given[1].masked_fill_((given[1] - given[1].round()).abs() < APART, 0.5)
        return [t.requires_grad_(case.step) for t in given]
    if case.op.startswith("sampled_mlp"):
        small = (max(h // case.scale, 2), max(w // case.scale, 2))
        places = torch.rand(1, h * w, 2, generator=torch.Generator().manual_seed(seed)).to(device)
        positions = places * torch.tensor(small, device=device) - 0.5
        maps, x = _draw((1, LIIF[0], *small), seed + 1, device), _draw((1, h * w, 4), seed + 2, device)
        return [maps.requires_grad_(case.step), positions, x]
    frames = torch.rand(1, 2, 3, h, w, generator=torch.Generator().manual_seed(seed)).to(device)
    if case.op == "encoder":
        return [frames]
    features = _draw((1, 3, work.NF, h + -h % 4, w + -w % 4), seed + 1, device, 0.5)
    return [features.requires_grad_(case.step), frames]


def loss(op: str, out: Tensor) -> Tensor:
    """What a step differentiates: squares summed, so that gradients are as large at every size."""
    return out.float().square().sum() * LOSS_SCALES[op]


class Builder:
    """Tasks on one network, whose parameters are drawn from a seed."""

    def __init__(self, device: torch.device, blocks: int | None = None) -> None:
        """blocks: residual blocks of the encoder's front and back, if not those of the published network."""
        self.device = device
        torch.manual_seed(0)
        shorter = {} if blocks is None else dict(front_blocks=blocks, back_blocks=blocks)
        self.network = vinr.VideoINR(**shorter).to(device).eval()
        widths = [(LIIF[0], 4), *((b, a) for a, b in itertools.pairwise(LIIF))]
        drawn = [(_draw(s, i, device, (1 / s[1]) ** 0.5), _draw((s[0],), 50 + i, device)) for i, s in enumerate(widths)]
        (self.x_weight, self.bias), self.layers = drawn[0], drawn[1:]

    def task(self, case: Case, form: str, precision: str, count: int) -> Rotating:
        """What runs and returns the results, on `count` sets of inputs in turn."""
        run = self._function(case, form)
        sets = [arguments(case, precision, self.device, 10 * i) for i in range(count)]

        def call(*given: Tensor) -> object:
            with self._context(case, form, precision):
                return run(*given)

        return Rotating(call, sets)

    def oracle(self, case: Case, precision: str) -> object:
        """The results of the first inputs, by the reference in float64 on the same numbers."""
        given = [
            t.detach().double().requires_grad_(t.requires_grad) for t in arguments(case, precision, self.device, 0)
        ]
        network = self.network.double()
        try:
            with vinr.backend("reference"), torch.set_grad_enabled(case.step):
                return self._function(case, EAGER, torch.float64)(*given)
        finally:
            network.float()

    @contextlib.contextmanager
    def _context(self, case: Case, form: str, precision: str) -> Iterator[None]:
        low = DTYPES[precision] != torch.float32 and not case.op.startswith("deform_conv2d")
        with contextlib.ExitStack() as stack:
            stack.enter_context(vinr.backend("reference" if form in PLAIN else form))
            stack.enter_context(vinr.input_precision("tf32" if precision == "tf32" else "tf32x3"))
            stack.enter_context(tf32(precision == "tf32"))
            stack.enter_context(torch.set_grad_enabled(case.step))
            if low:
                stack.enter_context(torch.autocast(self.device.type, DTYPES[precision]))
            yield

    def _function(self, case: Case, form: str, dtype: torch.dtype = torch.float32) -> Task:
        op, weights = self._op(case, dtype)
        if form == TORCHVISION:
            op = published.deform_conv2d
        if form == COMPILE:
            # Afresh: past some recompilations torch runs eager. On the CPU, in a rehearsal, no code is generated.
            torch._dynamo.reset()
            op = torch.compile(op, dynamic=False, backend="inductor" if self.device.type == "cuda" else "eager")
        if not case.step:
            return op

        def step(*given: Tensor) -> list[Tensor]:
            out = op(*given)
            wanted = [t for t in given if t.requires_grad] + weights
            return [out.detach(), *torch.autograd.grad(loss(case.op, out), wanted)]

        return step

    def _op(self, case: Case, dtype: torch.dtype) -> tuple[Callable[..., Tensor], list[Tensor]]:
        """An op, computed by the backend in force, and the weights whose gradients a step takes."""
        network, size = self.network, (case.h * case.scale, case.w * case.scale)
        if case.op.startswith("deform_conv2d"):

            def convolve(input: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
                return vinr.ops.deform_conv2d(input, offset, weight, bias, padding=1, mask=mask)

            return convolve, []
        if case.op.startswith("sampled_mlp"):
            layers = [tuple(t.to(dtype).clone().requires_grad_(case.step) for t in layer) for layer in self.layers]
            x_weight, bias = self.x_weight.to(dtype), self.bias.to(dtype)

            def mlp(maps: Tensor, positions: Tensor, x: Tensor) -> Tensor:
                return vinr.ops.sampled_mlp(
                    [maps], [positions], layers, x=x, x_weight=x_weight, bias=bias, activation="relu"
                )

            return mlp, [t for layer in layers for t in layer]
        if case.op == "encoder":
            return network.encode, []
        times = (torch.arange(case.frames, device=self.device, dtype=dtype) + 0.5) / case.frames

        def query(features: Tensor, frames: Tensor) -> Tensor:
            out = network.query(features, frames, times, size)
            assert isinstance(out, Tensor)
            return out

        imnets = (network.feat_imnet, network.flow_imnet, network.encode_imnet)
        return query, [t for imnet in imnets for layer in imnet.layers() for t in layer]


def unavailable(form: str) -> str:
    """Why a form cannot run here at all; empty if it can. What a backend cannot take it says when it is called."""
    if form in PLAIN:
        return ""
    return next((s.reason for s in backends.report() if s.name == form and not s.available), "")
