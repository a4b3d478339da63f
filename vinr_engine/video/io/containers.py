"""Containers, encoders and names of files that this tool writes: the only list of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

MAX_CRF = 63


@dataclass(frozen=True)
class Encoder:
    """Options of one of FFmpeg's encoders.

    ``crf`` is the default quality, None where there is no such option; ``deep``: it keeps 10 bits a channel.
    """

    crf: float | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    deep: bool = False


ROWS = {"row-mt": "1", "cpu-used": "3"}
ENCODERS = {
    "libx264": Encoder(17),
    "libx265": Encoder(18, {"x265-params": "log-level=error"}, deep=True),  # it writes to standard error by itself
    "libvpx-vp9": Encoder(22, ROWS),
    "libvpx": Encoder(8),
    "libsvtav1": Encoder(22, deep=True),
    "libaom-av1": Encoder(20, ROWS),
}
"""Those with options of their own; any other encoder of FFmpeg runs too."""


@dataclass(frozen=True)
class Container:
    """A file format: FFmpeg's ``muxer`` with its options, and the encoders to suggest, the first as the default.

    ``any_audio``: it holds about every audio codec there is.
    """

    muxer: str
    encoders: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    any_audio: bool = False


CONTAINERS = {
    ".mp4": Container("mp4", ("libx264", "libx265", "libsvtav1", "libaom-av1"), {"movflags": "+faststart"}),
    ".mkv": Container(
        "matroska", ("libx264", "libx265", "libvpx-vp9", "libsvtav1", "ffv1", "prores_ks"), any_audio=True
    ),
    ".webm": Container("webm", ("libvpx-vp9", "libvpx", "libsvtav1", "libaom-av1")),
}
"""By the suffix of the output's name."""
VIDEO_SUFFIXES = (*CONTAINERS, ".mov", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".y4m")
"""What names of video files in a folder end in; a file that is named by itself may have any name."""


def listed(words: Iterable[str]) -> str:
    """ "a", "a or b", "a, b or c"."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def suffixes(any_audio: bool = False) -> str:
    """The suffixes of all containers, or of those that hold any audio, as text."""
    return listed(suffix for suffix, container in CONTAINERS.items() if container.any_audio >= any_audio)


def default_codecs() -> str:
    """The default encoder, and the containers that have another, as text."""
    usual, *_ = (container.encoders[0] for container in CONTAINERS.values())
    others = [f"{c.encoders[0]} for {suffix}" for suffix, c in CONTAINERS.items() if c.encoders[0] != usual]
    return "; ".join([usual, *others])


def default_quality() -> str:
    """The quality of the default encoder, as text."""
    usual, *_ = (container.encoders[0] for container in CONTAINERS.values())
    return f"{ENCODERS[usual].crf:g} for {usual}"
