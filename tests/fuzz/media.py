"""Damaged media files through the video tool: pictures or one error of one line, and nothing else in the folder."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import av
from PIL import Image

from fuzz.mutate import mutated
from video.clips import Blend
from vinr_engine.errors import VinrError
from vinr_engine.frontends import report
from vinr_engine.video.job import Job
from vinr_engine.video.render import render

CORPUS = Path(__file__).parent / "corpus"
VIDEOS = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v")
OTHERS = (".gif", ".webp", ".apng", ".png", ".tif", ".jpg", "")
MOST = 400
"""Output frames at most: the cases are to be many, not long."""
LARGEST = 2048
"""Pixels a side at most, of inputs that say that they are larger no picture is made."""


class Finding(Exception):
    """What must not be."""


def one_line(error: Exception) -> None:
    """Finding, unless an error's message is one."""
    if "\n" in str(error) or not str(error):
        raise Finding(f"not one line: {str(error)!r}") from error


def files() -> list[Path]:
    """The corpus, in order."""
    return sorted(path for path in CORPUS.iterdir() if path.is_file())


def options(rng: Random) -> dict[str, Any]:
    """Of a job."""
    found: dict[str, Any] = {
        "size": f"{16 * rng.randrange(1, 4)}x{16 * rng.randrange(1, 4)}",
        "on_error": rng.choice(("hold", "hold", "skip", "stop")),
        "deinterlace": rng.random() < 0.8,
        "audio": rng.choice(("auto", "auto", "copy", "aac", "none")),
        "cuts": rng.random() < 0.5,
        "segment": rng.choice((None, None, 1, 3)),
    }
    if rng.random() < 0.7:
        found["time"] = rng.choice((1, 1, 2, 3))
    elif rng.random() < 0.5:
        found["fps"] = rng.choice(("1", "25", "24000/1001"))
    if rng.random() < 0.2:
        found["start"] = rng.choice((0, "0.15", 1, 100))
    if rng.random() < 0.2:
        found["end"] = rng.choice(("0.5", 3, 1000))
    if rng.random() < 0.1:
        found["codec"] = rng.choice(("ffv1", "mjpeg", "mpeg4", "prores_ks", "libx264rgb"))
    return found


def run(folder: Path, data: bytes, suffix: str, rng: Random) -> str:
    """One file through the tool, what became of it in a word; Finding, and whatever else the tool raises."""
    src = folder / f"in{suffix}"
    src.write_bytes(data)
    end = rng.choice(VIDEOS) if rng.random() < 0.7 else rng.choice(OTHERS)
    dst = folder / f"out{end}"
    made = 0

    def enough() -> bool:
        nonlocal made
        made += 1
        return made > MOST

    notes: list[str] = []
    try:
        job = Job(str(src), str(dst), model=Small(), cancel=enough, note=notes.append, **options(rng))
        summary = render(job)
    except VinrError as error:
        one_line(error)
        left = [path.name for path in folder.iterdir() if path != src]
        if left and made <= MOST and "are kept" not in str(error):
            raise Finding(f"left {left} after: {error}") from error
        return type(error).__name__
    if any("\n" in text for text in notes):
        raise Finding(f"a note of two lines: {notes}")
    left = [path.name for path in folder.iterdir() if path not in (src, dst)]
    if left:
        raise Finding(f"left {left}")
    report.fidelity(summary)
    check(dst, summary.frames_out)
    return "made"


def check(dst: Path, frames: int) -> None:
    """Finding, unless the output holds so many frames."""
    if dst.is_dir():
        found = len(list(dst.iterdir()))
    elif dst.suffix in VIDEOS:
        with av.open(str(dst)) as container:
            found = sum(1 for _ in container.decode(video=0))
    else:
        with Image.open(dst) as image:
            found = getattr(image, "n_frames", 1)
            image.load()
        frames = found if dst.suffix in (".gif", ".webp", ".apng") else frames  # these join what is alike
    if found != frames and dst.suffix != ".avi":  # which has a rate in place of times
        raise Finding(f"{dst.name} holds {found} frames, and {frames} were written")


class Small(Blend):
    """Refuses pictures that take long."""

    def check(self, size: tuple[int, int], positions: Any, frames: tuple[int, int] | None = None) -> None:
        """See Network."""
        if frames is not None and max(frames) > LARGEST:
            raise TooLarge(f"{frames[1]}x{frames[0]}")


class TooLarge(VinrError):
    """The input says that it is larger than what is tried here."""


def case(rng: Random, folder: Path) -> str:
    """A file of the corpus, damaged."""
    every = files()
    path = rng.choice(every)
    others = [rng.choice(every).read_bytes() for _ in range(2)]
    return f"{path.name} {run(folder, mutated(path.read_bytes(), others, rng), path.suffix, rng)}"
