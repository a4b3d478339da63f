"""What an export can be asked for."""

from __future__ import annotations

from dataclasses import dataclass

from vinr_engine.errors import UsageError

PROFILES = ("portable", "plugin")
DEFORM_CONV = ("grid_sample", "deform_conv")
LAYERS = ("blocks", "whole")
DTYPES = ("float32", "float16")
OPSETS = (20, 21, 22)


@dataclass(frozen=True)
class Options:
    """What the graphs are made for; None leaves it to an input of the graph. See `to_onnx`."""

    profile: str
    deform_conv: str
    dtype: str
    frame_upsample: int | None
    times: tuple[float, ...] | None
    size: tuple[int, int] | None
    opset: int
    layers: str

    def __post_init__(self) -> None:
        for name, value, known in (
            ("profile", self.profile, PROFILES),
            ("deform-conv", self.deform_conv, DEFORM_CONV),
            ("dtype", self.dtype, DTYPES),
            ("opset", self.opset, OPSETS),
            ("layers", self.layers, LAYERS),
        ):
            if value not in known:
                raise UsageError(f"--{name} must be one of {', '.join(map(str, known))}, got {value!r}")
        if self.frame_upsample is not None and not (
            isinstance(self.frame_upsample, int) and 1 <= self.frame_upsample <= 16
        ):
            raise UsageError(f"--frame-upsample must be a whole number from 1 to 16, got {self.frame_upsample}")
        if self.times is not None and (not self.times or not all(0 <= t <= 1 for t in self.times)):
            raise UsageError(f"--times must be numbers in [0, 1], got {list(self.times)}")
        if self.size is not None and len(self.size) != 2:
            raise UsageError(f"--size must be two numbers, got {self.size}")
        if self.size is not None and not all(2 <= side <= 1 << 15 for side in self.size):
            raise UsageError(f"--size must be at least 2x2 and at most 32768x32768, got {self.size[1]}x{self.size[0]}")
