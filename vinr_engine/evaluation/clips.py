"""Ground-truth clips: where they lie in the layouts of known data sets, and whether they are whole."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

from PIL import Image

from vinr_engine import files
from vinr_engine.errors import SourceError, UsageError, reason
from vinr_engine.video.io import image_files
from vinr_engine.video.io.containers import VIDEO_SUFFIXES
from vinr_engine.video.io.image_source import ImageSource
from vinr_engine.video.io.inputs import open_source, source_kind
from vinr_engine.video.io.reading import STOP, Reading
from vinr_engine.video.io.source import OpenSource, Picture, SourceInfo


@dataclass(frozen=True)
class Layout:
    """Where a data set keeps its clips: below the first of `roots` that exists, in the first of `inner` that exists."""

    roots: tuple[str, ...] = ()
    inner: tuple[str, ...] = ()


# gopro: GOPRO_Large (test/CLIP/sharp/*.png) and GOPRO_Large_all (test/CLIP/*.png). adobe240: frames of the clips,
# plain or zero-padded numbers. vid4: GT/CLIP/*.png, CLIP/*.png or CLIP/original/*.png.
LAYOUTS = {
    "auto": Layout(),
    "gopro": Layout(("test",), ("sharp",)),
    "adobe240": Layout(("test",)),
    "vid4": Layout(("GT", "gt", "HR"), ("GT", "original", "truth")),
}


@dataclass(frozen=True)
class Clip:
    """A clip's name, and its video file or its frames in order; a `still` shows its first frame all the time."""

    name: str
    source: Path | tuple[Path, ...]
    still: bool = False

    def open(self) -> OpenSource:
        """SourceError where it cannot be read."""
        reading = Reading(on_error=STOP)
        if isinstance(self.source, Path):
            source = open_source(str(self.source), reading)
        else:
            source = ImageSource(list(self.source[: 1 if self.still else None]), replace(reading, rate=Fraction(1)))
        return Still(source) if self.still else source


class Still(OpenSource):
    """The first picture of a source, for ever, one a second."""

    info: SourceInfo

    def __init__(self, source: OpenSource) -> None:
        self._source = source
        self.info = source.info

    def pictures(self, since: Fraction | None = None) -> Iterator[Picture]:
        """See Source.pictures; this never ends."""
        first, second = next(self._source.pictures()), Fraction(math.ceil(since or 0))
        while True:
            yield Picture(second, Fraction(1), first.rgb)
            second += 1

    def close(self) -> None:
        """Release the files."""
        self._source.close()


def find(sources: list[str], layout: str = "auto", names: str | None = None, still: bool = False) -> list[Clip]:
    """The clips of `sources`: videos, folders of frames, patterns, folders of clips, or data sets of that layout.

    names: a file that lists the clips' names, one a line. still: every image (of a folder, too) and every video's
    first frame is a clip of its own. Raises UsageError, SourceError.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"--layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    if not sources:
        raise UsageError("no clips: name videos, folders of frames or data sets")
    if still and (layout != "auto" or names is not None):
        raise UsageError("--still is for photographs: it does not go together with --layout or --list")
    clips: list[Clip] = []
    for source in sources:
        if still:
            clips += _stills(source)
        elif os.path.isdir(source) and (layout != "auto" or names is not None or not _has_images(Path(source))):
            clips += _in_data_set(Path(source), LAYOUTS[layout], None if names is None else read_list(Path(names)))
        else:
            clips.append(_single(source))
    seen: dict[str, int] = {}
    for clip in clips:
        seen[clip.name] = seen.get(clip.name, 0) + 1
    # two sources may hold clips of one name: their folders' names tell them apart
    return [c if seen[c.name] == 1 else Clip(f"{n}:{c.name}", c.source, c.still) for n, c in enumerate(clips, 1)]


def _has_images(folder: Path) -> bool:
    try:
        return any(image_files.is_image(p.name) for p in folder.iterdir())
    except OSError as error:
        raise SourceError(f"cannot read {folder}: {reason(error)}") from None


def _single(source: str) -> Clip:
    kind = source_kind(source)
    if kind in ("video", "animation"):
        return Clip(Path(source).stem, Path(source))
    if kind == "image":
        raise SourceError(f"{source} is one image: --still takes photographs, else give a folder of frames")
    if kind == "pattern":
        return Clip(Path(source).name, tuple(image_files.by_pattern(source).paths))
    return Clip(Path(os.path.abspath(source)).name, tuple(image_files.in_folder(Path(source)).paths))


def _stills(source: str) -> list[Clip]:
    path = Path(source)
    if path.is_file() and image_files.is_image(source):
        return [Clip(path.stem, (path,), still=True)]
    one = _single(source)
    if isinstance(one.source, Path):
        return [Clip(one.name, one.source, still=True)]
    return [Clip(frame.stem, (frame,), still=True) for frame in one.source]


def read_list(path: Path) -> list[str]:
    """Names of clips, one a line; blank lines are skipped. SourceError, also for an empty list or a path."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read the list {path}: {reason(error)}") from None
    names = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not names:
        raise SourceError(f"the list {path} names no clips")
    for name in names:
        if not files.is_plain(name):
            raise SourceError(f"the list {path} must hold names of clips, not paths, got {name!r}")
    return names


def _in_data_set(root: Path, layout: Layout, names: list[str] | None) -> list[Clip]:
    """The clips below a folder: its folders with images, and its videos."""
    base = next((root / name for name in layout.roots if (root / name).is_dir()), root)
    try:
        entries = sorted(p for p in base.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise SourceError(f"cannot read {base}: {reason(error)}") from None
    found: dict[str, Path] = {}
    for entry in entries:
        if entry.is_dir():
            inner = next((entry / name for name in layout.inner if (entry / name).is_dir()), entry)
            if _has_images(inner):
                found[entry.name] = inner
        elif entry.name.lower().endswith(VIDEO_SUFFIXES):
            found.setdefault(entry.stem, entry)
    if names is None:
        names = sorted(found, key=image_files.natural)
    for name in names:
        if name not in found:
            raise SourceError(f"{base} holds no clip {name}")
    if not names:
        raise SourceError(f"{base} holds no clips: neither folders of frames nor videos")
    return [
        Clip(name, tuple(image_files.in_folder(found[name]).paths) if found[name].is_dir() else found[name])
        for name in names
    ]


def check(clip: Clip, least: int) -> None:
    """That a clip has `least` frames, that none is missing between them and that all have one size.

    Files of images are opened but not decoded; of a video the first frames are. Raises SourceError.
    """
    if isinstance(clip.source, Path) or clip.still:
        with clip.open() as source:
            found = sum(1 for _ in islice(source.pictures(), least))
    else:
        found = len(clip.source)
        _check_numbers(clip.source)
        _check_sizes(clip.source)
    if found < least:
        raise SourceError(f"the clip {clip.name} is too short: {found} frames, and a window needs {least}")


def _check_numbers(frames: tuple[Path, ...]) -> None:
    """Numbers rise by one step; names that are no numbers with common text around them are left alone."""
    parts = [re.fullmatch(r"(.*?)(\d+)(\D*)", path.stem) for path in frames]
    named = [match for match in parts if match is not None]
    if len(named) < len(frames) or len({(match[1], match[3]) for match in named}) > 1:
        return
    numbers = [int(match[2]) for match in named]
    steps = [b - a for a, b in pairwise(numbers)]
    if not steps:
        return
    step = min(steps)
    if step < 1:
        n = steps.index(step)
        raise SourceError(f"{frames[n]} and {frames[n + 1].name} are out of order or the same frame twice")
    for n, one in enumerate(steps):
        if one != step:
            raise SourceError(f"a frame is missing between {frames[n]} and {frames[n + 1].name}")


def _check_sizes(frames: tuple[Path, ...]) -> None:
    size: tuple[int, int] | None = None
    for path in frames:
        try:
            with Image.open(path) as image:
                found = image.size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            text = reason(error) if isinstance(error, OSError) and error.errno else "not a readable image"
            raise SourceError(f"unreadable image {path}: {text}") from None
        size = size or found
        if found != size:
            raise SourceError(
                f"{path} is {found[0]}x{found[1]}, the frames before it are {size[0]}x{size[1]}: all must have one size"
            )
