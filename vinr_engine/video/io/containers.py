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

    ``crf`` is the default quality, None where there is no such option. ``formats``: the pixel formats that players
    take, None for all that it has. ``light``: the option that holds HDR10's metadata, with the name of each part;
    ``places``: whether it says where chroma lies. ``units``: how many units of time a second may have at most;
    ``largest``: (width, height) at most.
    """

    crf: float | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    formats: tuple[str, ...] | None = None
    light: tuple[str, str, str] | None = None
    places: bool = False
    units: int | None = None
    largest: tuple[int, int] | None = None


_EVERYWHERE = ("yuv420p",)
_DEEP = ("yuv420p", "yuv420p10le")
ROWS = {"row-mt": "1", "cpu-used": "3"}
ENCODERS = {
    "libx264": Encoder(
        17, formats=_EVERYWHERE, light=("x264-params", "mastering-display", "cll"), places=True, largest=(16384, 16384)
    ),
    "libx264rgb": Encoder(0, largest=(16384, 16384)),
    "libx265": Encoder(  # it writes to standard error by itself
        18, {"x265-params": "log-level=none"}, _DEEP, ("x265-params", "master-display", "max-cll"), places=True
    ),
    "libvpx-vp9": Encoder(22, ROWS, _EVERYWHERE, largest=(65535, 65535)),
    "libvpx": Encoder(8, formats=_EVERYWHERE, largest=(16383, 16383)),
    "libsvtav1": Encoder(
        22, formats=_DEEP, light=("svtav1-params", "mastering-display", "content-light"), places=True,
        largest=(16384, 8704),
    ),
    "libaom-av1": Encoder(20, ROWS, _DEEP, places=True),
    "mpeg4": Encoder(
        options={"flags": "+qscale", "global_quality": str(2 * 118)}, formats=_EVERYWHERE, units=65535,
        largest=(8191, 8191),
    ),
}  # fmt: skip
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

    @property
    def deep(self) -> tuple[str, ...]:
        """Those of the encoders that players take with more than 8 bits a channel."""
        known = {name: ENCODERS.get(name, Encoder()).formats or () for name in self.encoders}
        return tuple(name for name, formats in known.items() if set(formats) > set(_EVERYWHERE))


_FAST = {"movflags": "+faststart"}
_APPLE = {"libx265": "hvc1"}
_MP4 = Container("mp4", ("libx264", "libx265", "libsvtav1", "libaom-av1"), _FAST, marks=_APPLE)
CONTAINERS = {
    ".mp4": _MP4,
    ".mkv": Container(
        "matroska", ("libx264", "libx265", "libvpx-vp9", "libsvtav1", "ffv1", "prores_ks", "libx264rgb"),
        audio=("aac", "flac"), text=("subrip", "ass"), attachments=True,
    ),
    ".webm": Container(
        "webm", ("libvpx-vp9", "libvpx", "libsvtav1", "libaom-av1"), seed="libvpx", audio=("libopus",), text=("webvtt",)
    ),
    ".mov": Container("mov", ("libx264", "libx265", "prores_ks", "png", "qtrle"), _FAST, marks=_APPLE),
    ".m4v": replace(_MP4),  # one of its own, so that messages name its suffix
    ".avi": Container(
        # FFmpeg, and what plays by it, shows H.264 in AVI a frame too late.
        "avi", ("mpeg4", "libx264", "huffyuv", "utvideo", "ffv1"),
        {"avoid_negative_ts": "disabled"},  # else what an encoder of sound puts before its first sample delays pictures
        audio=("libmp3lame",), text=(), constant=True, marks={"mpeg4": "XVID"},
    ),
}  # fmt: skip
"""By the suffix of the output's name."""
BARE_SUFFIXES = (".h264", ".264", ".hevc", ".h265", ".265", ".m1v", ".m2v", ".obu", ".mjpeg")
"""What names of coded streams without a container, and so without timestamps, end in."""
VIDEO_SUFFIXES = (
    *CONTAINERS, ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".vob", ".flv", ".wmv", ".asf", ".ogv", ".3gp", ".mxf", ".dv",
    ".ivf", ".nut", ".y4m", *BARE_SUFFIXES,
)  # fmt: skip
"""What names of video files in a folder end in; a file that is named by itself may have any name."""


def listed(words: Iterable[str]) -> str:
    """ "a", "a or b", "a, b or c"."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def suffixes() -> str:
    """Those of all containers, as text."""
    return listed(CONTAINERS)


def default_codecs() -> str:
    """The default encoder, that for more than 8 bits, and the containers that have another, as text."""
    usual, *_ = (container.encoders[0] for container in CONTAINERS.values())
    deep, *_ = (container.deep[0] for container in CONTAINERS.values() if container.deep)
    others = [f"{c.encoders[0]} for {suffix}" for suffix, c in CONTAINERS.items() if c.encoders[0] != usual]
    deeper = [f"{c.deep[0]} for {suffix}" for suffix, c in CONTAINERS.items() if c.deep and c.deep[0] != deep]
    return f"{', '.join([usual, *others])}; of YCbCr of more than 8 bits {', '.join([deep, *deeper])}"


def default_quality() -> str:
    """The quality of the default encoder, as text."""
    usual, *_ = (container.encoders[0] for container in CONTAINERS.values())
    return f"{ENCODERS[usual].crf:g} for {usual}"
