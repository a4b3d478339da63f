"""What `benchmarks.gpu` checks and times on a GPU, and in a rehearsal: the most wanted first."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from benchmarks.cases import FRAME
from benchmarks.gpu.cases import COMPILE, COMPILED, EAGER, Case
from benchmarks.tolerances import GPU_CASE

SMALL = (45, 61)  # neither a multiple of a tile
SQUARE = (64, 64)
VIDEO, LARGER, ULTRA = (180, 320), (360, 640), (540, 960)  # of inputs; four times that is 720p, 1440p and 4K
POWERS = ((256, 256), (512, 512))
ODD = (179, 317)
FAST, REST = ("float16", "float32"), ("tf32", "bfloat16")
NETWORK = ("default", "float16")
TIMES = 8  # of the network's longer clip


@dataclass(frozen=True)
class Plan:
    """Cases, and how much is measured."""

    checks: tuple[Case, ...]
    times: tuple[Case, ...]
    side: int = 8192  # of the product, and bytes of the copy, that peaks are measured by
    copied: int = 1 << 30
    rounds: int = 30
    least: int = 3  # rounds, whatever they take
    blocks: int | None = None  # of the encoder, front and back, if not those of the published network
    budget: float = 6.0  # seconds of rounds

    @property
    def fingerprint(self) -> str:
        """Differs between plans whose results do not go together."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:12]

    def check_of(self, case: Case, precision: str) -> Case | None:
        """The check at a small size that has to come before this case is timed."""
        return next((c for c in self.checks if c.op == case.op and precision in c.precisions), None)


def _checks() -> list[Case]:
    first = [Case(op, *SMALL, FAST) for op in ("query", "deform_conv2d", "sampled_mlp")]
    first += [Case("network", *SMALL, NETWORK), Case("encoder", *SMALL, NETWORK)]
    rest = [Case(op, *SMALL, REST) for op in ("query", "deform_conv2d", "sampled_mlp")]
    rest += [Case("network", *SMALL, ("float32", "bfloat16")), Case("encoder", *SMALL, ("float32",))]
    steps = [Case(op, *SMALL, FAST) for op in ("query step", "deform_conv2d step", "sampled_mlp step")]
    square = [Case(op, *SQUARE, ("float16",)) for op in ("query", "deform_conv2d")]
    return [*first, *rest, *steps, *square, Case("query step", *SMALL, ("bfloat16",))]


def _times(quick: bool) -> list[Case]:
    single = ("float32",)
    first = [Case("query", *VIDEO, FAST), Case("network", *VIDEO, ("float16",)),
             Case("network", *VIDEO, ("default",), without=(COMPILED,)),
             Case("deform_conv2d", *VIDEO, ("float16",), without=(COMPILE,)), Case("deform_conv2d", *VIDEO, single),
             Case("sampled_mlp", *FRAME, FAST),
             Case("network", *VIDEO, NETWORK, frames=TIMES, without=(COMPILED,))]  # fmt: skip
    steps = [Case("query step", *SQUARE, FAST, frames=3),
             Case("deform_conv2d step", *VIDEO, FAST), Case("sampled_mlp step", *FRAME, FAST)]  # fmt: skip
    if quick:
        return [*first, *steps]
    second = [Case("network", *LARGER, NETWORK, without=(COMPILED,)),
              Case("network", *LARGER, ("float16",), frames=TIMES, without=(COMPILED,)),
              Case("encoder", *VIDEO, NETWORK), Case("query", *LARGER, FAST, without=(COMPILE,))]  # fmt: skip
    # Last, what few use, or what says the same of another size. torch.compile was beside the first of each.
    sizes = [Case(op, h, w, ("float16",), without=(COMPILE,)) for op in ("query", "deform_conv2d")
             for h, w in (*POWERS, ODD)]  # fmt: skip
    rest = [*(Case(op, *VIDEO, REST, without=(COMPILE,)) for op in ("query", "deform_conv2d")),
            Case("sampled_mlp", *FRAME, ("bfloat16",)), Case("query", *ULTRA, ("float16",), without=(COMPILE,)),
            Case("network", *VIDEO, ("float32", "bfloat16"), without=(COMPILED,))]  # fmt: skip
    return [*first, *second, *steps, *sizes, *rest]


def _rehearsal() -> Plan:
    """Every kind of row, tiny."""
    small, other = (6, 7), (6, 10)
    checks = [Case(op, *small, ("float32", "float16"), scale=2) for op in GPU_CASE]
    checks.append(Case("network", *small, ("default",), scale=2))
    single = ("float32",)
    ops = ("query", "deform_conv2d", "sampled_mlp", "encoder", "query step")
    times = [Case(op, *other, single, scale=2) for op in ops]
    times += [Case(op, *other, single, without=(EAGER,)) for op in ("deform_conv2d step", "sampled_mlp step")]
    times.append(Case("network", *other, ("default",), scale=2))
    times.append(Case("network", *other, ("float16",), (COMPILED,), scale=2, frames=2))
    return Plan(tuple(checks), tuple(times), 64, 1 << 16, rounds=2, budget=1.0, least=1, blocks=1)


def plan(dry: bool, quick: bool) -> Plan:
    """What is run on a GPU, or to rehearse it."""
    if dry:
        return _rehearsal()
    return Plan(tuple(_checks()), tuple(_times(quick)), rounds=10 if quick else 30)
