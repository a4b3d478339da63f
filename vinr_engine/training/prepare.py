"""`vinr prepare`: videos to clips, each a folder of numbered PNG, which is what training reads."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from vinr_engine import files
from vinr_engine.errors import DataError, SinkError, VinrError, reason
from vinr_engine.video.io.containers import VIDEO_SUFFIXES
from vinr_engine.video.io.image_coders import ImageCoder
from vinr_engine.video.io.outputs import Frames
from vinr_engine.video.io.reading import STOP, Reading
from vinr_engine.video.io.target import Target
from vinr_engine.video.io.video_source import VideoSource


@dataclass
class Summary:
    """What became of the videos: names made now, names made before, and (name, what was wrong with it)."""

    made: list[str]
    skipped: list[str]
    failed: list[tuple[str, str]]


def extract(video: Path, clip: Path) -> int:
    """Decode `video` into the new folder `clip`, which appears when it is complete; the number of frames.

    Raises VinrError.
    """
    files.check_new(str(clip), folder=True, overwrite=False, ours=Frames.ours)
    with (
        files.draft(clip, folder=True, ours=Frames.ours, kind=SinkError) as new,
        VideoSource(video, Reading(on_error=STOP)) as source,
    ):
        info = source.info
        names = Frames(str(clip))
        coder = ImageCoder(Target((info.width, info.height), info))
        for picture in source.pictures():
            (image,) = coder.code(picture.rgb, picture.time, picture.duration)
            with files.reported(clip):
                (new / names.name(image.pts)).write_bytes(image.data)
    return coder.last + 1


def _task(video: Path, clip: Path) -> str | None:
    """One line about what went wrong, or None."""
    try:
        extract(video, clip)
    except VinrError as error:
        return str(error)
    except Exception as error:  # a process pool would hand on a traceback in its place
        return f"{type(error).__name__}: {reason(error)}"
    return None


def prepare(
    videos: str | os.PathLike[str],
    out: str | os.PathLike[str],
    jobs: int | None = None,
    say: Callable[[str], None] = print,
) -> Summary:
    """Turn each video of the folder `videos` into a clip of the folder `out`, several at once.

    A clip that is there already is left as it is, so that an interrupted call is continued by the same call. One video
    that fails does not stop the others.

    Raises:
        DataError: no videos, two of one name, a folder that cannot be made, no video that could be read.
    """
    source, target = Path(videos), Path(out)
    if not source.is_dir():
        raise DataError(f"no such folder: {source}")
    found = sorted(p for p in source.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES and not p.name.startswith("."))
    if not found:
        raise DataError(f"no videos in {source} ({', '.join(VIDEO_SUFFIXES)})")
    names: dict[str, Path] = {}
    for path in found:
        if path.stem in names:
            raise DataError(f"{names[path.stem].name} and {path.name} would make one clip: rename one")
        names[path.stem] = path
    files.make_folder(target, DataError)
    summary = Summary([], [name for name in names if (target / name).is_dir()], [])
    waiting = {name: path for name, path in names.items() if name not in summary.skipped}
    context = multiprocessing.get_context("spawn")  # torch and FFmpeg have threads that a fork would lose
    with ProcessPoolExecutor(min(jobs or os.cpu_count() or 1, max(1, len(waiting))), mp_context=context) as pool:
        tasks = {pool.submit(_task, path, target / name): name for name, path in waiting.items()}
        for task in as_completed(tasks):
            name = tasks[task]
            try:
                problem = task.result()
            except BrokenProcessPool:
                problem = "a worker process died; the same command continues"
            (summary.made.append(name) if problem is None else summary.failed.append((name, problem)))
            say(f"{name}: {problem or 'done'}")
    if summary.failed and not summary.made and not summary.skipped:
        raise DataError(f"no video could be read; the first: {summary.failed[0][0]}: {summary.failed[0][1]}")
    return summary
