"""Reading a source from somewhere in its middle, and being sure of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

from .io.source import OpenSource, Picture
from .journal import Mark
from .pipeline import digest


def pictures_from(
    source: OpenSource, mark: Mark | None, reopen: Callable[[], OpenSource], say: Callable[[str], None]
) -> Iterator[Picture]:
    """The pictures of a source from where a segment begins; from its first for None.

    A file is entered at a key frame, from which its format should allow decoding. Whether that gave the very pictures
    that reading from the beginning gives is checked by the mark's digest: if not, it is read from the beginning.
    """
    if mark is None:
        yield from source.pictures()
        return
    begun: list[Picture] = []
    pictures = source.pictures(mark.since)
    for picture in pictures:
        if not begun or picture.time >= mark.time:  # between them lie repeats of the first, maybe many
            begun.append(picture)
        if picture.time >= mark.time:
            break
    if begun and begun[0].time == mark.since and begun[-1].time == mark.time and digest(begun[-1].rgb) == mark.digest:
        yield from begun
        yield from pictures
        return
    say("the input cannot be entered exactly where the last run ended: reading it from its beginning")
    begun.clear()
    with reopen() as whole:
        for picture in whole.pictures():
            if picture.time >= mark.since:
                yield picture


LONG = 60
"""Seconds without a frame, which may be meant or may not, and may make very many output frames."""


def remarked(pictures: Iterator[Picture], say: Callable[[str], None]) -> Iterator[Picture]:
    """The same pictures; what there is to remark on one is said before it is given."""
    end: Fraction | None = None
    for picture in pictures:
        for text in picture.notes:
            say(text)
        if end is not None and picture.time - end > LONG:
            say(f"there is no frame from {float(end):.3f} s to {float(picture.time):.3f} s")
        end = picture.time + picture.duration
        yield picture
