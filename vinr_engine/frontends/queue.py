"""Many clips in turn: which there are and where each goes, then one job after another with one network.

`plan` looks at names alone and refuses what cannot work for all; `run` renders. Clips do not stop each other.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vinr_engine import files
from vinr_engine.errors import Cancelled, UsageError, VinrError, reason
from vinr_engine.video import journal
from vinr_engine.video.io import image_files, inputs, outputs
from vinr_engine.video.io.animation_files import is_animation
from vinr_engine.video.io.containers import BARE_SUFFIXES, CONTAINERS, VIDEO_SUFFIXES, listed
from vinr_engine.video.io.image_formats import ANIMATIONS, FRAMES_PATTERN, IMAGE_FORMATS
from vinr_engine.video.job import Job
from vinr_engine.video.plan import wanted

if TYPE_CHECKING:
    from vinr_engine.video.summary import Summary

OTHERWISE = ".mkv"
"""The container of clips that come in none that is written here: it holds about every sound."""
IMAGE = ".png"
"""The format of single images that come in none that is written here."""
FRAMES = "png"
"""What asks for folders of images in place of a container; other formats of images do, too."""
MOVING = (".gif", ".apng")
"""Of images that are clips of their own."""
STATUSES = DONE, SKIPPED, FAILED, INTERRUPTED, WAITING = ("done", "skipped", "failed", "interrupted", "waiting")


@dataclass(frozen=True)
class Pair:
    """One clip: ``src`` and ``dst`` of a Job. ``refused``: why it is none, "" if it is one."""

    src: str
    dst: str
    refused: str = ""

    @property
    def images(self) -> bool:
        """Whether its frames are files of their own."""
        return os.path.isdir(self.src) or image_files.is_pattern(self.src) or self.still

    @property
    def untimed(self) -> bool:
        """Whether it has no rate of its own: images, and streams without a container."""
        return self.images or self.src.lower().endswith(BARE_SUFFIXES)

    @property
    def still(self) -> bool:
        """Whether it is one image."""
        return _is_one_image(self.src) and not is_animation(Path(self.src))

    @property
    def place(self) -> str:
        """The file or folder that appears."""
        return os.path.dirname(self.dst) if image_files.is_pattern(self.dst) else self.dst


@dataclass(frozen=True)
class Entry:
    """What became of a clip: ``status`` is one of those above; ``summary`` of what is done, ``reason`` of the others.

    ``error`` is the class of what failed.
    """

    pair: Pair
    status: str
    summary: Summary | None = None
    reason: str = ""
    error: str = ""


def plan(sources: Sequence[str], out: str, to: str | None = None) -> list[Pair]:
    """The clips that ``sources`` name, each with its place in the folder ``out``, in order.

    A source is a video, a folder, a pattern such as frame_%04d.png, or a glob. A folder that holds videos stands for
    these, without its subfolders; one that holds images alone is one clip. Outputs are called as their inputs, with
    the suffix ``to`` (a container's, an animation's, or an image's), by default the input's own where it is written.
    Images of a clip go into a folder.

    UsageError: ``to`` is none of these, two clips would be one output, or an output is an input.
    """
    suffix = None if to is None else _suffix(to)
    clips: dict[str, tuple[str, str]] = {}
    for src, refused in (clip for source in sources for clip in _clips(source)):
        clips.setdefault(os.path.abspath(src), (src, refused))  # a video that two globs find is one
    pairs = [Pair(src, _place(src, out, suffix), refused) for src, refused in clips.values()]
    _check_places([pair for pair in pairs if not pair.refused])
    return pairs


def _suffix(to: str) -> str:
    """ ".mp4" for "mp4"; UsageError."""
    suffix = f".{to.lower().removeprefix('.')}"
    if suffix not in (*CONTAINERS, *ANIMATIONS, *IMAGE_FORMATS):
        images = [s for s in IMAGE_FORMATS if s not in ANIMATIONS]
        raise UsageError(
            f"--to must be {listed([*CONTAINERS, *ANIMATIONS])}, or of images {listed(images)}, got {to!r}"
        )
    return suffix


def _clips(source: str) -> Iterator[tuple[str, str]]:
    """(src, why it cannot be a clip or "") of all that a source names."""
    found = [source]
    if glob.has_magic(source) and not os.path.lexists(source) and not image_files.is_pattern(source):
        found = sorted(glob.glob(source, recursive=True), key=image_files.natural)
        if not found:
            yield source, f"no file matches {source}"
    for path in found:
        if not os.path.isdir(path):
            yield path, ""
            continue
        try:
            with os.scandir(path) as there:
                names = [e.name for e in there if e.is_file() and not e.name.startswith(".")]
        except OSError as error:
            yield path, f"cannot read {path}: {reason(error)}"
            continue
        if videos := [name for name in names if name.lower().endswith(VIDEO_SUFFIXES)]:
            yield from ((os.path.join(path, name), "") for name in sorted(videos, key=image_files.natural))
        else:
            images = [name for name in names if image_files.is_image(name)]
            if images and all(name.lower().endswith(MOVING) for name in images):
                yield from ((os.path.join(path, name), "") for name in sorted(images, key=image_files.natural))
            else:
                yield path, "" if images else f"{path} holds neither videos nor images"


def _is_one_image(src: str) -> bool:
    """Whether a name is one of an image, which may be animated."""
    return image_files.is_image(src) and not os.path.isdir(src) and not image_files.is_pattern(src)


def _place(src: str, out: str, suffix: str | None) -> str:
    path = Path(os.path.abspath(src))
    if image_files.is_pattern(src):
        name = re.sub(r"%0?\d*d", "", path.stem).strip(" ._-") or path.parent.name
    else:
        name = path.name if path.is_dir() else path.stem
    one = _is_one_image(src)
    if suffix is None:
        own = "" if path.is_dir() else path.suffix.lower()
        if one:
            suffix = own if own in ANIMATIONS or own in IMAGE_FORMATS else IMAGE
        else:
            suffix = own if own in CONTAINERS else OTHERWISE
    if suffix in IMAGE_FORMATS and suffix not in ANIMATIONS and not one:
        return os.path.join(out, name, "" if suffix == f".{FRAMES}" else f"{FRAMES_PATTERN}{suffix}")
    return os.path.join(out, name + suffix)


def _check_places(pairs: list[Pair]) -> None:
    taken: dict[str, Pair] = {}
    read = {os.path.realpath(pair.src) for pair in pairs}
    for pair in pairs:
        inputs.check_distinct(pair.src, pair.place)
        place = os.path.normcase(os.path.realpath(pair.place))
        other = taken.setdefault(place, pair)
        if other is not pair:
            raise UsageError(
                f"{pair.dst} would be made of {other.src} and of {pair.src}: leave one out, for another --output-dir"
            )
        if place in read:
            raise UsageError(f"{pair.dst}, made of {pair.src}, is itself an input: choose another --output-dir")


def run(
    pairs: Sequence[Pair],
    options: Job,
    begin: Callable[[int, Pair], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
    renders: Callable[[Job], Summary] | None = None,
) -> Iterator[Entry]:
    """Render the clips in turn, each as ``options`` say with its own ``src`` and ``dst``; an entry as each ends.

    Outputs that exist are skipped, unless ``options.overwrite``. A clip that fails does not stop the others; an
    interruption (KeyboardInterrupt, Cancelled) does, and is raised after the entry of the clip that it met. The
    network is loaded once. ``input_fps`` is for images and bare streams among them. ``begin(number, pair)`` is called
    before each that is rendered. ``stopped``: whether an error can only be what C code made of an interruption.
    ``renders``: what takes the place of `render`, and finds the device by itself.

    Raises at once, before any clip, what is wrong for all of them: UsageError, WeightsError, SinkError.
    """
    from vinr_engine.video import enlarge

    wanted(options)
    for pair in pairs:
        outputs.kind_of(pair.dst)(pair.dst, options.codec, options.crf)
    if options.input_fps is not None and not any(pair.untimed for pair in pairs):
        raise UsageError("--input-fps is for images and bare streams; these videos have their own timestamps")
    enlarge.check(options, options.untrained)
    for folder in {os.path.dirname(pair.place.rstrip(os.sep)) or "." for pair in pairs}:
        files.check_writable(Path(os.path.abspath(folder)))
    return _each(pairs, options, begin or (lambda number, pair: None), stopped, renders)


def _each(
    pairs: Sequence[Pair],
    options: Job,
    begin: Callable[[int, Pair], None],
    stopped: Callable[[], bool],
    renders: Callable[[Job], Summary] | None,
) -> Iterator[Entry]:
    loaded = None
    for number, pair in enumerate(pairs):
        if pair.refused:
            yield Entry(pair, FAILED, reason=pair.refused, error="SourceError")
            continue
        if not options.overwrite and _is_there(pair.place):
            journal.sweep(pair.place)
            yield Entry(pair, SKIPPED, reason=f"{pair.dst} exists (--overwrite replaces it)")
            continue
        try:
            loaded = loaded or _with_network(options, here=renders is None)
            begin(number, pair)
            entry = _rendered(pair, loaded, stopped, renders)
        except (KeyboardInterrupt, Cancelled) as error:
            yield Entry(pair, INTERRUPTED, reason=str(error))
            raise
        yield entry


def _is_there(dst: str) -> bool:
    if not dst.endswith(os.sep) and not os.path.isdir(dst):
        return os.path.isfile(dst)
    try:
        return bool(os.listdir(dst))
    except OSError:
        return False  # what is wrong with it, the job says


def _with_network(options: Job, here: bool) -> Job:
    """The same with a network that is loaded, and is called what its weights are; ``here``: whether it runs here."""
    from vinr_engine.video import enlarge

    if options.model is not None:
        return options
    device = str(enlarge.resolve_device(options.device, options.dtype)) if here else options.device
    model = enlarge.load(options.weights, options.untrained)
    model.name = "untrained" if options.untrained else enlarge.name_of(options)
    if options.untrained and options.note:
        options.note(enlarge.UNTRAINED)
    return replace(options, model=model, device=device, weights=None, untrained=False)


def _rendered(pair: Pair, options: Job, stopped: Callable[[], bool], renders: Callable[[Job], Summary] | None) -> Entry:
    from vinr_engine.video.render import render

    note = options.note
    unmoved = pair.still and not pair.dst.lower().endswith(tuple(CONTAINERS))
    job = replace(
        options,
        src=pair.src,
        dst=pair.dst,
        input_fps=options.input_fps if pair.untimed else None,
        time=None if unmoved else options.time,
        fps=None if unmoved else options.fps,
        note=None if note is None else lambda text: note(f"{pair.src}: {text}"),
    )
    try:
        files.make_folder(Path(os.path.abspath(pair.place)).parent)
        return Entry(pair, DONE, (renders or render)(job))
    except Exception as error:
        if stopped():
            raise KeyboardInterrupt from None
        known = isinstance(error, VinrError)
        if isinstance(error, Cancelled) or (not known and os.environ.get("VINR_DEBUG")):
            raise
        kind = type(error).__name__
        return Entry(pair, FAILED, reason=reason(error) if known else f"{kind}: {reason(error)}", error=kind)
