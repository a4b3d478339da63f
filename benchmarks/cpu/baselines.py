"""What the baselines took when the published network was first measured, and the rule against straw men.

The figures are of torch 2.14 on two cores of an EPYC 9004, where the unit, a channels-last 3x3 convolution 64 -> 64 of
64 x 112 pixels, took 2.7 ms. Another machine is expected to take as much longer as its unit does. A baseline that is
over 15 % slower than that is not the published form at its best: its case is void, and no ratio to it counts.
"""

from __future__ import annotations

from dataclasses import dataclass

UNIT_SECONDS = 2.7e-3
MARGIN = 1.15
PIXELS = 64 * 112  # of the figures; other sizes are scaled by pixels

# op, backend -> seconds at 64 x 112, 4x in space; the clip is one pair, eight frames
PUBLISHED = {
    ("deform_conv2d", "eager"): 0.101,
    ("deform_conv2d step", "eager"): 0.779,
    ("query", "eager"): 2.5,
    ("query", "compile"): 2.0,
    ("encoder", "eager"): 5.7,
    ("network", "eager"): 5.7 + 8 * 2.5,
}


@dataclass(frozen=True)
class Verdict:
    """A baseline beside its scaled figure, both in seconds."""

    measured: float
    expected: float

    @property
    def void(self) -> bool:
        return self.measured > MARGIN * self.expected

    def __str__(self) -> str:
        label = "VOID: " if self.void else ""
        return f"{label}{self.measured:.3g} s, where at most {MARGIN:g} x {self.expected:.3g} s count"


def judge(op: str, backend: str, pixels: int, measured: float, unit: float) -> Verdict | None:
    """The verdict on a baseline that ran on `pixels` low-resolution pixels while the unit took `unit` seconds."""
    published = PUBLISHED.get((op, backend))
    if published is None:
        return None
    return Verdict(measured, published * pixels / PIXELS * unit / UNIT_SECONDS)
