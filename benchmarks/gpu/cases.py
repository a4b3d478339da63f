"""What `benchmarks.gpu` checks and times: ops at sizes, the forms that compute them, and how wrong they may be.

A form is a way to compute. "eager" is what a user of plain torch runs: the published form of networks, and of ops the
reference; "compile" is the same under torch.compile; "torchvision" its deform_conv2d. Ours are the backends by name,
and for the whole network "auto", "graphs" (auto, in CUDA graphs) and "compiled" (auto, under torch.compile).

Precisions are those of `benchmarks.gpu.clock.DTYPES`: "default" is float32 with torch's switches as they come. Plain
forms of networks get float32 alone, in all three ways: sines need float32 phases, which autocast does not leave them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from benchmarks import cases
from benchmarks.common import published
from vinr_engine import backends
from vinr_engine.ops.op import OPS

EAGER, COMPILE, TORCHVISION = "eager", "compile", "torchvision"
AUTO, GRAPHS, COMPILED = "auto", "graphs", "compiled"
OURS = ("triton", "cuda", "cpu")
WHOLE = (AUTO, GRAPHS, COMPILED)  # choose their backend themselves
PLAIN = (EAGER, COMPILE, TORCHVISION)
INDUCED = (COMPILE, COMPILED)
PRECISIONS = ("float32", "tf32", "float16", "bfloat16")
SINGLE = ("float32", "tf32", "default")
# Of a step's loss, as training by float16 has one: a mean's gradients, 1/N, are below the normal numbers of float16.
# The query's gradients through the flow are the weak ones; a bias of a convolution gathers those of all pixels.
LOSS_SCALES = {"deform_conv2d step": 1 / 64, "sampled_mlp step": 1 / 64, "query step": 1.0}
FORWARD_ONLY = ("cuda",)
# Of each kind of case, the ops that a backend must have to be a form of it.
NEEDED = {"deform_conv2d": ("deform_conv2d",), "sampled_mlp": ("sampled_mlp",), "query": ("inr_query",),
          "encoder": ("deform_conv2d_packed",), "network": ("deform_conv2d_packed", "inr_query")}  # fmt: skip


@dataclass(frozen=True)
class Case(cases.Case):
    """One thing to check and time; two of one name are one in different precisions.

    without: forms that are left out, for the time they take.
    """

    precisions: tuple[str, ...] = PRECISIONS
    without: tuple[str, ...] = ()

    def bytes(self, form: str) -> float:
        """About what the run holds at its peak; plain forms keep joined inputs and layers of all output pixels."""
        if self.upsamples:
            # The published form decodes one time after the other.
            pixels = self.pixels / (self.frames if form in PLAIN and not self.step else 1)
            each = (9000 if form in PLAIN else 400) + (16000 if self.step else 0)
            return pixels * each + (self.h * self.w * 40_000 if self.op == "network" else 0)
        if self.kind == "sampled_mlp":
            return self.pixels * (6000 if form in PLAIN or self.step else 200)
        if self.op == "encoder":
            return self.pixels * 40_000
        return self.pixels * (64 * 9 * 4 * (6 if form in PLAIN else 1) + 4000) * (3 if self.step else 1)


def forms(case: Case, precision: str, device: torch.device, kind: str = "time") -> Iterator[str]:
    """Forms that exist for a case, whether or not they can run here. Those that torch.compile makes come last, and are
    timed only: they are held to another form at that very size, and the time for one more compilation is saved."""
    wanted = (form for form in _forms(case, precision, device) if form not in case.without)
    yield from (form for form in wanted if kind == "time" or form not in INDUCED)


def _forms(case: Case, precision: str, device: torch.device) -> Iterator[str]:
    deform = case.kind == "deform_conv2d"
    if precision in SINGLE or deform:
        yield EAGER
    if deform and published.DEFORM_SOURCE == TORCHVISION and precision != "bfloat16":
        yield TORCHVISION
    if case.op == "network":
        yield from (AUTO, GRAPHS)
    for name in OURS:
        if not all(name in OPS[op].backends for op in NEEDED[case.kind]) or (case.step and name in FORWARD_ONLY):
            continue
        if case.kind == "network" and name != "cuda":  # auto runs by the others
            continue
        if (name == "cpu") == (device.type == "cpu") or (name == "triton" and backends.triton_runtime.INTERPRETED):
            yield name
    if case.op == "network":
        yield COMPILED
    elif (precision in SINGLE or deform) and not case.step and case.op != "encoder":
        yield COMPILE


def unavailable(form: str, device: torch.device) -> str:
    """Why a form cannot run here at all; empty if it can. What a backend cannot take it says when it is called."""
    if form in PLAIN:
        return ""
    reasons = {s.name: s.reason for s in backends.report() if not s.available}
    if form not in WHOLE:
        return reasons.get(form, "")
    fitting = ("cpu",) if device.type == "cpu" else ("triton", "cuda")
    if all(name in reasons for name in fitting):
        return "; ".join(f"{name}: {reasons[name]}" for name in fitting)
    return ""
