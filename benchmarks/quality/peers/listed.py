"""The pipelines that are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .ffmpeg import Lanczos, Minterpolate
from .ours import Bicubic, Blend, Ours
from .rife import Rife3, Rife4
from .span import Span
from .stages import Frame, Need, Space, Time, Times

Restore = Callable[[Iterable[Frame], Iterable[Times]], Iterator[Frame]]
"""All pictures of a clip, kept and between, FACTOR times as large, from its kept frames: see stages.Time."""


@dataclass(frozen=True)
class Settings:
    """Of our own network alone."""

    weights: Path | None = None
    dtype: str = "float32"


@dataclass(frozen=True)
class Peer:
    """A pipeline. key: as options name it; name: as tables do; start: loads it, when all that it needs is there."""

    key: str
    name: str
    start: Callable[[Settings], Restore]
    needs: tuple[Need, ...] = ()

    def lacking(self) -> list[str]:
        """A line for each package that is not installed, with what installs it."""
        absent = {need.distribution: need.install for need in self.needs if need.find() is None}
        return [f"{name} is not installed: {install}" for name, install in absent.items()]


def time_then_space(key: str, name: str, time: type[Time], space: type[Space]) -> Peer:
    """Frames between the small frames, then all enlarged."""

    def start(settings: Settings) -> Restore:
        fill, enlarge = time(), space()
        return lambda frames, times: map(enlarge, fill(frames, times))

    return Peer(key, name, start, (*time.needs, *space.needs))


def space_then_time(key: str, name: str, space: type[Space], time: type[Time]) -> Peer:
    """The small frames enlarged, then frames between those."""

    def start(settings: Settings) -> Restore:
        fill, enlarge = time(), space()
        return lambda frames, times: fill(map(enlarge, frames), times)

    return Peer(key, name, start, (*space.needs, *time.needs))


OURS = "ours"
PEERS = (
    Peer(OURS, "ours", lambda settings: Ours(settings.weights, settings.dtype)),
    space_then_time("bicubic", "bicubic + blend", Bicubic, Blend),
    time_then_space("minterpolate-lanczos", "minterpolate, then lanczos", Minterpolate, Lanczos),
    time_then_space("minterpolate-span", "minterpolate, then SPAN", Minterpolate, Span),
    time_then_space("rife4-span", "RIFE 4, then SPAN", Rife4, Span),
    space_then_time("span-rife4", "SPAN, then RIFE 4", Span, Rife4),
    time_then_space("rife3-span", "RIFE 3, then SPAN", Rife3, Span),
    space_then_time("span-rife3", "SPAN, then RIFE 3", Span, Rife3),
)


def chosen(keys: str | None) -> list[Peer]:
    """Those of a list with commas, all for None. Raises ValueError naming what there is."""
    known = {peer.key: peer for peer in PEERS}
    wanted = list(known) if keys is None else keys.split(",")
    for key in wanted:
        if key not in known:
            raise ValueError(f"there is no peer {key!r}: choose among {', '.join(known)}")
    return [known[key] for key in dict.fromkeys(wanted)]
