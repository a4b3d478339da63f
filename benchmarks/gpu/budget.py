"""How long what `benchmarks.gpu` does is expected to take, and how long it may.

Seconds on an H100 with 16 cores, as far as they can be told without one: nearly all of them are compilation, by Triton,
which was timed on a CPU for a kernel of each kind, and by torch.compile. A run corrects them by what it measures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from benchmarks.gpu import cases
from benchmarks.gpu.cases import AUTO, COMPILE, COMPILED, EAGER, GRAPHS, Case

START = 20.0  # of a process: imports, the GPU's first use, the peaks
BASE = {"check": 2.0, "time": 1.5}  # of a case in one precision: inputs, the oracle
RUN = {"check": 0.3, "time": 0.7}  # of a form, its kernels compiled
# Of kernels that were compiled and tuned in no earlier case, in order of a plan; a new size is tuned anew.
TRITON = {"deform_conv2d": 9.0, "query": 8.0, "sampled_mlp": 6.0, "encoder": 8.0, "network": 3.0}
TRITON_STEP = {"deform_conv2d": 14.0, "query": 20.0, "sampled_mlp": 12.0}
TUNED = 0.5  # of that at a new size
INDUCTOR = {"deform_conv2d": 25.0, "query": 40.0, "sampled_mlp": 15.0, "network": 75.0}
EAGER_RUNS = 1e-6  # a pixel of the output, of all runs of the published form
# Times `--timeout` that a form may be silent.
PATIENCE = {COMPILE: 1.5, COMPILED: 2.5}
PATIENCE_OF_STEPS = 1.5  # the most kernels to compile
SCALES = (0.5, 3.0)  # by which measured times may correct the expected ones


def form_seconds(kind: str, case: Case, form: str) -> float:
    """Of one form in one precision."""
    op = case.kind
    seconds = RUN[kind]
    if form in ("triton", AUTO):
        compiled = TRITON_STEP[op] if case.step else TRITON[op]
        seconds += compiled * (1.0 if kind == "check" else TUNED)
    elif form == GRAPHS:
        seconds += 1.0
    elif form in (COMPILE, COMPILED):
        seconds += INDUCTOR[op]
    elif form == EAGER and case.upsamples and kind == "time":
        seconds += min(EAGER_RUNS * case.pixels, 10.0)
    return seconds


def seconds(kind: str, case: Case, precision: str, device: torch.device) -> float:
    """Of one case in one precision, all its forms."""
    forms = cases.forms(case, precision, device, kind)
    if device.type == "cpu":  # a rehearsal compiles nothing
        return BASE[kind] + sum(RUN[kind] for _ in forms)
    return BASE[kind] + sum(form_seconds(kind, case, form) for form in forms)


def total(kind: str, cases: Iterable[Case], device: torch.device) -> float:
    """Of all of them, and of starting."""
    return START + sum(seconds(kind, case, precision, device) for case in cases for precision in case.precisions)


def timeout(base: float, case: Case, form: str | None) -> float:
    """Seconds that a form may be silent, given those of most."""
    if form in PATIENCE:
        return base * PATIENCE[form]
    return base * (PATIENCE_OF_STEPS if case.step else 1.0)


def scale(spent: Sequence[tuple[float, float]]) -> float:
    """What to multiply expected seconds by, from pairs of expected and measured ones; 1 without."""
    expected, measured = (sum(column) for column in zip(*spent, strict=True)) if spent else (1.0, 1.0)
    return min(max(measured / expected, SCALES[0]), SCALES[1])
