"""The process that measures one tree of sources; `benchmarks.compare` starts one for each of two commits.

    python -m benchmarks.compare.worker TREE --threads N

TREE is the root of a checkout. Its vinr_engine is imported, of whatever version, and called by its public functions
alone; the benchmarks are always those of the checkout that this file lies in. Requests and answers are lines of JSON:
{"case": name} prepares a case and is answered by {"seconds": of one call}, or by {"missing": why} if the tree lacks it;
{"calls": n} is answered by {"seconds": of n calls}. The greeting says what was imported.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.cases import Case, golden_state, liif_layers, query_layers
from benchmarks.common.served import Answer, Say, own_stdout, serve
from benchmarks.common.text import first_line

Task = Callable[[], object]
PACKED, UPSCALE = "deform_conv2d_packed", "upscale"
PUBLISHED, DEFAULT = "published", "default"  # networks


@dataclass(frozen=True)
class Compared:
    """A case in a precision, "float32" or "bf16", by one of the networks where it needs one."""

    case: Case
    precision: str = "float32"
    network: str = ""

    @property
    def name(self) -> str:
        return ", ".join(filter(None, [self.case.name, self.network, self.precision]))


def _both(*cases: Case) -> list[Compared]:
    return [Compared(case, precision) for case in cases for precision in ("float32", "bf16")]


def bf16_products() -> bool:
    """Whether this machine multiplies bfloat16."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


EVERY = (
    *_both(Case("deform_conv2d", 64, 112), Case("deform_conv2d step", 64, 112), Case(PACKED, 64, 112)),
    *_both(Case("query", 64, 112)),
    Compared(Case("query step", 32, 32, frames=3)),
    Compared(Case("sampled_mlp", 128, 128)), Compared(Case("sampled_mlp step", 64, 64)),
    Compared(Case("encoder", 24, 40), network=PUBLISHED), Compared(Case("encoder", 24, 40), "bf16", PUBLISHED),
    Compared(Case("encoder", 32, 56), network=DEFAULT),
    Compared(Case("network", 24, 40), network=PUBLISHED), Compared(Case("network", 32, 56), network=DEFAULT),
    Compared(Case(UPSCALE, 24, 40), network=DEFAULT),
)  # fmt: skip


def tiny(compared: Compared) -> Compared:
    """The same case at a size that only shows that it runs."""
    return replace(compared, case=replace(compared.case, h=8, w=12, scale=2))


class Tree:
    """The package in one tree, by its public functions."""

    def __init__(self, root: Path) -> None:
        """Raises ImportError unless vinr_engine is imported from there."""
        for name in ("VINR_EXTENSION", "VINR_BACKEND"):  # would measure something else than the tree
            os.environ.pop(name, None)
        # Before what is installed, and instead of the checkout that an editable installation stands for.
        sys.meta_path[:] = [f for f in sys.meta_path if "__editable___vinr" not in getattr(f, "__module__", "")]
        sys.path.insert(0, str(root))
        self.vinr: Any = importlib.import_module("vinr_engine")
        self.package = Path(self.vinr.__file__).resolve().parent
        if self.package.parent != root.resolve():
            raise ImportError(f"vinr_engine of {self.package.parent} was imported, not of {root}")

    def about(self) -> dict[str, str]:
        """Its version, and the instruction set that its kernels use."""
        variant = getattr(torch.ops.vinr, "cpu_variant", lambda: "unknown")
        return {"version": self.vinr.__version__, "variant": str(variant())}

    def task(self, compared: Compared) -> Task:
        """What is timed. Raises whatever the tree raises for lack of it."""
        case = compared.case
        make = {PACKED: self._packed, UPSCALE: self._upscale, "encoder": self._network, "network": self._network}
        plain = {"deform_conv2d": self._deform, "sampled_mlp": self._mlp, "query": self._query}
        inner = (make.get(case.op) or plain[case.kind])(compared)
        low = compared.precision == "bf16" and "deform_conv2d" not in case.op

        def call() -> object:
            with contextlib.ExitStack() as stack:
                if case.op != UPSCALE:
                    stack.enter_context(self.vinr.backend("cpu"))  # refuses rather than hand over to plain PyTorch
                stack.enter_context(torch.set_grad_enabled(case.step))
                stack.enter_context(torch.autocast("cpu", torch.bfloat16, enabled=low))
                return inner()

        return call

    @staticmethod
    def _differentiated(run: Callable[[], Tensor], wanted: list[Tensor], step: bool) -> Task:
        """`run`, and after it the gradients of `wanted` if it is a step."""
        if not step:
            return run
        for t in wanted:
            t.requires_grad_()
        upstream = torch.ones_like(run())
        return lambda: torch.autograd.grad(run(), wanted, upstream)

    def _deform(self, compared: Compared) -> Task:
        given = compared.case.inputs()
        if compared.precision == "bf16":  # offset and mask stay in float32
            given = [t if i in (1, 4) else t.bfloat16() for i, t in enumerate(given)]
        x, offset, weight, bias, mask = given
        op = self.vinr.ops.deform_conv2d
        return self._differentiated(
            lambda: op(x, offset, weight, bias, padding=1, mask=mask), given, compared.case.step
        )  # fmt: skip

    def _packed(self, compared: Compared) -> Task:
        x, offset, weight, bias, mask = replace(compared.case, op="deform_conv2d").inputs()
        raw = torch.cat([offset, mask.logit()], 1).contiguous(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
        if compared.precision == "bf16":
            x, weight, bias = x.bfloat16(), weight.bfloat16(), bias.bfloat16()
        return lambda: self.vinr.ops.deform_conv2d_packed(x, raw, weight, bias, padding=1)

    def _mlp(self, compared: Compared) -> Task:
        maps, positions, x = compared.case.inputs()
        (x_weight, bias), *layers = liif_layers()

        def run() -> Tensor:
            return self.vinr.ops.sampled_mlp(
                [maps], [positions], layers, x=x, x_weight=x_weight, bias=bias, activation="relu"
            )

        return self._differentiated(run, [maps, *(t for layer in layers for t in layer)], compared.case.step)

    def _query(self, compared: Compared) -> Task:
        case = compared.case
        features, frames = case.inputs()
        frames, networks, times = frames.flatten(1, 2), query_layers(), torch.tensor(case.times)[:, None]

        def run() -> Tensor:
            upsample = 1 if case.step else 4
            return self.vinr.ops.inr_query(features, frames, times, (case.h, case.w), case.size, *networks, upsample)[0]

        weights = [t for network in networks for layer in network for t in layer]
        return self._differentiated(run, [features, *weights], case.step)

    def _network(self, compared: Compared) -> Task:
        """One pair."""
        case = compared.case
        if compared.network == PUBLISHED:
            network = self.vinr.VideoINR()
            network.load_state_dict(golden_state())
        else:
            network = self.vinr.VideoINR.from_checkpoint(self.package / "assets" / "small.safetensors")
        network.eval()
        (frames,) = case.inputs()
        return (lambda: network.encode(frames)) if case.op == "encoder" else lambda: network(frames, 0.5, case.size)

    def _upscale(self, compared: Compared) -> Task:
        """Three frames to five of twice their size, pictures in and out."""
        import numpy as np
        from PIL import Image

        y, x = np.mgrid[: compared.case.h, : compared.case.w]
        waves = [[np.sin((x + y * k) / 5 + i / 2) for k in range(3)] for i in range(3)]
        pictures = [Image.fromarray((np.stack(w, -1) * 100 + 127).astype(np.uint8)) for w in waves]

        def run() -> None:
            with tempfile.TemporaryDirectory(prefix="vinr_bench_") as folder:
                source, made = Path(folder, "in"), Path(folder, "out")
                source.mkdir()
                for i, picture in enumerate(pictures):
                    picture.save(source / f"frame_{i}.png")
                self.vinr.upscale(source, made, space=2, time=2, device="cpu", backend="cpu")

        return run


def seconds(task: Task, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        task()
    return time.perf_counter() - start


class Worker:
    """Answers requests, see above."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.task: Task = lambda: None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if "calls" in request:
            return {"seconds": seconds(self.task, request["calls"])}
        (compared,) = [c for c in EVERY if c.name == request["case"]]
        self.task = lambda: None  # the memory of the last one is free
        try:
            self.task = self.tree.task(compared)
            self.task()  # once for what is made at the first call
            return {"seconds": seconds(self.task, 1)}
        except Exception as error:
            return {"missing": first_line(error)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare.worker")
    parser.add_argument("tree", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    answers = own_stdout()
    torch.set_num_threads(options.threads)

    def begin(say: Say) -> tuple[dict[str, Any], Answer]:
        worker = Worker(Tree(options.tree))
        return worker.tree.about(), worker.answer

    return serve(begin, sys.stdin, answers)


if __name__ == "__main__":
    sys.exit(main())
