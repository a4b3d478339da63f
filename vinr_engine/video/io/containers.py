"""Containers, encoders and names of files that this tool writes: the only list of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

MAX_CRF = 63
AUDIO = {"aac": "aac", "opus": "libopus", "flac": "flac"}
"""The encoders of sound, by the names that are asked for."""
AUDIO_CHOICES = ("auto", "copy", *AUDIO, "none")


@dataclass(frozen=True)
class Encoder:
    """Options of one of FFmpeg's encoders.

    ``crf`` is the default quality, None where there is no such option; ``deep``: it keeps 10 bits a channel;
    ``units``: how many units of time a second may have at most.
    """

    crf: float | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    deep: bool = False
    units: int | None = None


ROWS = {"row-mt": "1", "cpu-used": "3"}
ENCODERS = {
    "libx264": Encoder(17),
    "libx265": Encoder(18, {"x265-params": "log-level=error"}, deep=True),  # it writes to standard error by itself
    "libvpx-vp9": Encoder(22, ROWS),
    "libvpx": Encoder(8),
    "libsvtav1": Encoder(22, deep=True),
    "libaom-av1": Encoder(20, ROWS),
    "mpeg4": Encoder(options={"flags": "+qscale", "global_quality": str(2 * 118)}, units=65535),
}
"""Those with options of their own; any other encoder of FFmpeg runs too."""


@dataclass(frozen=True)
class Container:
    """A file format: FFmpeg's ``muxer`` with its options, and the encoders to suggest, the first as the default.

    ``seed`` is a codec of pictures that its muxer surely takes. Where sound or subtitles of text do not fit, they are
    converted by the encoders ``audio`` and ``text``, in this order; ``attachments``: files lie within it. ``constant``:
    it has no timestamps, only a rate for each stream, all of which begin together. ``marks`` are codec tags that
    players want to see, by encoder.
    """

    muxer: str
    encoders: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    seed: str = "mpeg4"
    audio: tuple[str, ...] = ("aac",)
    text: tuple[str, ...] = ("mov_text",)
    attachments: bool = False
    constant: bool = False
    marks: Mapping[str, str] = field(default_factory=dict)


_FAST = {"movflags": "+faststart"}
_APPLE = {"libx265": "hvc1"}
_MP4 = Container("mp4", ("libx264", "libx265", "libsvtav1", "libaom-av1"), _FAST, marks=_APPLE)
CONTAINERS = {
    ".mp4": _MP4,
    ".mkv": Container(
        "matroska", ("libx264", "libx265", "libvpx-vp9", "libsvtav1", "ffv1", "prores_ks"),
        audio=("aac", "flac"), text=("subrip", "ass"), attachments=True,
    ),
    ".webm": Container(
        "webm", ("libvpx-vp9", "libvpx", "libsvtav1", "libaom-av1"), seed="libvpx", audio=("libopus",), text=("webvtt",)
    ),
    ".mov": Container("mov", ("libx264", "libx265", "prores_ks", "png", "qtrle"), _FAST, marks=_APPLE),
    ".m4v": replace(_MP4),
    ".avi": Container(
        # FFmpeg, and what plays by it, shows H.264 in AVI a frame too late.
        "avi", ("mpeg4", "libx264", "huffyuv", "utvideo", "ffv1"),
        audio=("libmp3lame",), text=(), constant=True, marks={"mpeg4": "XVID"},
    ),
}  # fmt: skip
"""By the suffix of the output's name."""
VIDEO_SUFFIXES = (*CONTAINERS, ".mpg", ".mpeg", ".ts", ".y4m")
"""What names of video files in a folder end in; a file that is named by itself may have any name."""


def listed(words: Iterable[str]) -> str:
    """ "a", "a or b", "a, b or c"."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def suffixes() -> str:
    """Those of all containers, as text."""
    return listed(CONTAINERS)


def default_codecs() -> str:
    """The default encoder, and the containers that have another, as text."""
    usual, *_ = (container.encoders[0] for container in CONTAINERS.values())
    others = [f"{c.encoders[0]} for {suffix}" for suffix, c in CONTAINERS.items() if c.encoders[0] != usual]
    return "; ".join([usual, *others])


def default_quality() -> str:
    """The quality of the default encoder, as text."""
    usual, *_ = (container.encoders[0] for container in CONTAINERS.values())
    return f"{ENCODERS[usual].crf:g} for {usual}"
