"""What a form of a case runs: inputs, the function, and the switches under which it is called."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

import vinr_engine as vinr
from benchmarks.cases import liif_layers
from benchmarks.common import published
from benchmarks.gpu.cases import AUTO, COMPILE, EAGER, GRAPHS, INDUCED, LOSS_SCALES, PLAIN, TORCHVISION, WHOLE, Case
from benchmarks.gpu.clock import DTYPES, TF32, Rotating, tf32
from vinr_engine.models.graphs import GraphedNetwork

SPECIFIED = "reference"  # the form that the oracle is: the package's own, on its plain backend
APART = 1 / 64  # pixels, from sampled positions to those where gradients jump

Arguments = list[Tensor]
Task = Callable[..., "Tensor | list[Tensor]"]
Op = Callable[..., Tensor]


def arguments(case: Case, precision: str, device: torch.device, seed: int) -> Arguments:
    """Fresh inputs, rounded to the precision where the op takes them so."""
    given = [t.to(device) for t in case.inputs(seed)]
    wanted = len(given) if case.kind == "deform_conv2d" else 0 if case.kind in ("encoder", "network") else 1
    if case.kind == "deform_conv2d":
        last = [t.to(memory_format=torch.channels_last) if t.ndim == 4 else t for t in given]
        given = [t.to(DTYPES[precision]) for t in last]
        # Where a position is a pixel's own, the offset's gradient jumps: rounding x + offset would choose the side.
        given[1].masked_fill_((given[1] - given[1].round()).abs() < APART, 0.5)
    return [t.requires_grad_(case.step and i < wanted) for i, t in enumerate(given)]


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
        (self.x_weight, self.bias), *self.layers = [(w.to(device), b.to(device)) for w, b in liif_layers()]
        self._weights = [t for n in published.networks(self.network) for layer in n for t in layer]
        self._drawn: tuple[object, list[Arguments]] = None, []

    def task(self, case: Case, form: str, precision: str, count: int) -> Rotating:
        """What runs and returns the results, on `count` sets of inputs in turn."""
        run = self._function(case, form)

        def call(*given: Tensor) -> object:
            with self._context(case, form, precision):
                return run(*given)

        return Rotating(call, self._sets(case, precision, count))

    def _sets(self, case: Case, precision: str, count: int) -> list[Arguments]:
        """The same for all forms of a case: at large sizes drawing them takes longer than all runs."""
        key = case, precision, count
        if self._drawn[0] != key:
            self._drawn = None, []  # gives their memory back first
            self._drawn = key, [arguments(case, precision, self.device, 10 * i) for i in range(count)]
        return self._drawn[1]

    def forget(self) -> None:
        """Drop the inputs."""
        self._drawn = None, []

    def oracle(self, case: Case, precision: str) -> object:
        """The results of the first inputs, by the reference in float64 on the same numbers."""
        given = [
            t.detach().double().requires_grad_(t.requires_grad) for t in arguments(case, precision, self.device, 0)
        ]
        network = self.network.double()
        try:
            with vinr.backend("reference"), torch.set_grad_enabled(case.step):
                return self._function(case, SPECIFIED, torch.float64)(*given)
        finally:
            network.float()

    @contextlib.contextmanager
    def _context(self, case: Case, form: str, precision: str) -> Iterator[None]:
        low = DTYPES[precision] != torch.float32 and case.kind != "deform_conv2d"
        with contextlib.ExitStack() as stack:
            stack.enter_context(vinr.backend("reference" if form in PLAIN else AUTO if form in WHOLE else form))
            stack.enter_context(vinr.input_precision("tf32" if precision == "tf32" else "tf32x3"))
            stack.enter_context(tf32(*TF32[precision]))
            stack.enter_context(torch.set_grad_enabled(case.step))
            if low:
                stack.enter_context(torch.autocast(self.device.type, DTYPES[precision]))
            yield

    def _function(self, case: Case, form: str, dtype: torch.dtype = torch.float32) -> Task:
        if form in (EAGER, COMPILE) and case.kind in ("query", "encoder", "network"):
            op, weights = published.form(case, self.network), self._weights
        else:
            op, weights = self._op(case, dtype, form)
        if form == TORCHVISION:
            op = published.deform_conv2d
        if form in INDUCED:
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

    def _op(self, case: Case, dtype: torch.dtype, form: str = "") -> tuple[Op, list[Tensor]]:
        """An op, computed by the backend in force, and the weights whose gradients a step takes."""
        network, size = self.network, case.size
        if case.kind == "deform_conv2d":

            def convolve(input: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
                return vinr.ops.deform_conv2d(input, offset, weight, bias, padding=1, mask=mask)

            return convolve, []
        if case.kind == "sampled_mlp":
            layers = [tuple(t.to(dtype).clone().requires_grad_(case.step) for t in layer) for layer in self.layers]
            x_weight, bias = self.x_weight.to(dtype), self.bias.to(dtype)

            def mlp(maps: Tensor, positions: Tensor, x: Tensor) -> Tensor:
                return vinr.ops.sampled_mlp(
                    [maps], [positions], layers, x=x, x_weight=x_weight, bias=bias, activation="relu"
                )

            return mlp, [t for layer in layers for t in layer]
        if case.op == "encoder":
            return network.encode, []
        times = torch.tensor(case.times, device=self.device, dtype=dtype)
        graphed = GraphedNetwork(network) if form == GRAPHS else None

        def query(features: Tensor, frames: Tensor) -> Tensor:
            out = (graphed or network).query(features, frames, times, size)
            assert isinstance(out, Tensor)
            return out

        def whole(frames: Tensor) -> Tensor:
            if graphed is None:
                return query(network.encode(frames), frames)
            return query(graphed.encode_pair(graphed.known(frames[:, 0]), graphed.known(frames[:, 1])), frames)

        return (whole if case.op == "network" else query), self._weights
