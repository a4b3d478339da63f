"""What is asked of the video tool: its only list of arguments, with their help and defaults."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from .io import containers, outputs
from .io.reading import IMAGES_FPS

if TYPE_CHECKING:
    from vinr_engine.models import Network

DEFAULT_SPACE = 4.0
DEFAULT_TIME = 8
Moment = str | float | Fraction


def option(
    text: str, kind: type, default: Any = None, metavar: str | None = None, name: str = "", alters: bool = True
) -> Any:
    """A field that is also an option of the command line, of type ``kind`` there; a bool turns the default round.

    ``name``: its names where they are not the field's. ``text`` says itself what None stands for. ``alters``: whether
    it changes what is written, so that a run begun with another value cannot be taken up.
    """
    facts = {"help": text, "kind": kind, "metavar": metavar, "name": name, "alters": alters}
    return field(default=default, kw_only=True, metadata=facts)


def argument(metavar: str, text: str, kind: Any = str) -> Any:
    """A field that the command line takes by its place."""
    return field(metadata={"help": text, "kind": kind, "metavar": metavar})


@dataclass(frozen=True)
class Seconds:
    """Where the time went. ``decode`` and ``encode`` ran beside ``compute``, which ``waiting`` held up; ``join`` came
    after them."""

    total: float = 0.0
    decode: float = 0.0
    compute: float = 0.0
    encode: float = 0.0
    waiting: float = 0.0
    join: float = 0.0


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Which network runs, where and how exactly: shared by the tools that run one.

    ``model``: a vinr_engine.Network, such as a VideoINR or a vinr_engine.export.ExportedModel, in place of ``weights``,
    a checkpoint; the package's own small network if neither is given. ``backend``: auto is the one in force, such as
    VINR_BACKEND's. ``dtype``: bfloat16 and float16 are for the encoder, the query stays float32.
    """

    model: Network | None = None
    weights: str | os.PathLike[str] | None = option(
        "Checkpoint: the published one of VideoINR or BF-STVSR, or a .safetensors [default: the package's own].",
        str, metavar="FILE", alters=False,
    )  # fmt: skip
    device: str = option("auto, cpu, cuda, cuda:N or mps.", str, "auto", alters=False)
    backend: str = option("auto, reference, cpu, triton or cuda (see vinr info).", str, "auto", alters=False)
    dtype: str = option(
        "float32, float64, bfloat16 or (GPU) float16; the last two are faster and less exact.", str, "float32"
    )
    memory: str | None = option(
        "Memory to stay within, such as 4GB or 50% [default: half of what is free].", str, metavar="SIZE", alters=False
    )


@dataclass(frozen=True)
class Job(NetworkOptions):
    """A clip to enlarge in space and time.

    ``src`` is a video file, an image, which may be animated, a folder of images (natural order) or a printf pattern;
    ``dst`` a video file, an animation (.gif, .webp, .apng), a folder for frame_000000.png and so on, a printf pattern
    in a folder of its own, or for one image an image. It appears complete or not at all. What is done of it is kept
    beside it meanwhile, in ``.NAME.vinr``: the same job, after whatever stopped it, goes on from there.

    ``space`` and ``size``, ``time`` and ``fps`` exclude each other. Where the pixel format needs even sides (4:2:0),
    sizes made by ``space`` are rounded to even numbers and an odd ``size`` is refused. With ``fps`` output frame n is
    at the first frame's time + n / fps. Times are exact fractions of the input's timestamps, constant rate or not;
    ``start`` and ``end`` count from the clip's first frame.

    Counts: N input frames with ``time=k`` give a video of k N frames, of which the last k - 1 repeat the last input
    frame's picture so that the duration stays; a folder gets (N - 1) k + 1 frames. With ``fps`` a video gets every n
    before the last frame's end, a folder every n up to the last frame. A one-frame clip is enlarged and held; one image
    is by default not multiplied (``time=1``), and an animation has 50 pictures a second unless told otherwise. Across
    a scene cut the earlier frame is held (``cuts=False`` interpolates there too). Frames that repeat the one before are
    held; where they are few, motion goes on through them (``repeats=False`` holds those too).

    Colour matrix, range, primaries, transfer and sample aspect ratio are kept, rotation tags are applied to the
    picture, more than 8 bits stay where the encoder has them, alpha is not kept.

    ``progress(done, total or None)`` is called once before the first output frame and after each, ``stages(seconds)``
    before that, with what each stage took so far; ``cancel() -> True`` stops after the frame at hand and keeps what is
    done; ``note(text)`` gets remarks of one line.
    """

    src: str = argument(
        "SRC", "Video, animated or single image, folder of images, pattern such as frame_%04d.png, or - for a pipe."
    )
    dst: str = argument("DST", f"A{outputs.titles(', or ')[1:]}.")
    space: float | None = option(f"Enlargement in space, any positive number [default: {DEFAULT_SPACE:g}].", float)
    size: str | tuple[int, int] | None = option(
        "Output size in pixels instead of --space, such as 1280x720.", str, metavar="WxH"
    )
    time: int | None = option(
        f"Output frames per input frame [default: {DEFAULT_TIME}; 1 of one image; --fps 50 for animations].", int
    )
    fps: Moment | None = option("Output rate instead of --time: 60, 24000/1001, 29.97.", str, metavar="RATE")
    codec: str | None = option(f"FFmpeg video encoder [default: {containers.default_codecs()}].", str)
    crf: float | None = option(f"Encoder quality, lower is better [default: {containers.default_quality()}].", float)
    start: Moment | None = option("First moment used: seconds or [HH:]MM:SS[.fff].", str, metavar="TIME")
    end: Moment | None = option("Moment from which nothing is used.", str, metavar="TIME")
    input_fps: Moment | None = option(
        f"Rate of images, which have none [default: {IMAGES_FPS}], and of bare streams (.h264, .m2v) "
        "[default: what they state].", str, metavar="RATE",
    )  # fmt: skip
    on_error: str = option(
        "Input frames that cannot be read: hold the one before, skip them, or stop.", str, "hold", metavar="WHAT"
    )
    deinterlace: bool = option("Take the fields of interlaced video as they are.", bool, True, name="--no-deinterlace")
    overwrite: bool = option("Replace DST if it exists.", bool, False, name="--overwrite", alters=False)
    segment: int | None = option(
        "Output frames that are kept at a time, what a crash can cost at most; each begins with a key frame "
        "[default: 32 to 240, fewer of larger frames].", int, metavar="FRAMES",
    )  # fmt: skip
    restart: bool = option(
        "Begin again: drop what an interrupted run has done.", bool, False, name="--restart", alters=False
    )
    keep_partial: bool = option(
        "If interrupted, write what is done to a file of its own, NAME.partial.EXT, that plays.", bool, False,
        name="--keep-partial", alters=False,
    )  # fmt: skip
    repeats: bool = option(
        "Hold frames that the input repeats, instead of letting motion go on through a few of them.", bool, True,
        name="--no-repeats",
    )  # fmt: skip
    cuts: bool = option("Interpolate across scene cuts too.", bool, True, name="--no-cuts")
    audio: str = option(
        "What becomes of sound: auto copies it, or converts what the container does not hold; copy leaves that out; "
        f"{containers.listed((*containers.AUDIO, 'none'))} for all of it.", str, "auto", metavar="CODEC",
    )  # fmt: skip
    untrained: bool = option(
        "Random weights: tries the tool; the picture means nothing.", bool, False, name="--untrained"
    )
    cuda_graphs: bool = option(
        "Record the network's launches on a CUDA device once (never run so far).",
        bool,
        False,
        name="--cuda-graphs",
        alters=False,
    )
    progress: Callable[[int, int | None], None] | None = field(default=None, kw_only=True)
    stages: Callable[[Seconds], None] | None = field(default=None, kw_only=True)
    cancel: Callable[[], bool] | None = field(default=None, kw_only=True)
    note: Callable[[str], None] | None = field(default=None, kw_only=True)
