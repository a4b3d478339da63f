"""What there is to say of a file's frames: the first of each kind, as the rest are counted."""

from __future__ import annotations

from fractions import Fraction

_TEXTS = {
    "time": "the frame at {at} s has no time of its own that can be: it and others like it are put between their "
    "neighbours",
    "repeat": "two frames before {at} s have one time: the second is left out, and so are others like it",
    "join": "the input's timestamps start again or jump at {at} s: what follows goes on from there",
    "other": "the video's stream ends before {at} s, and another one goes on from there",
    "late": "where the video goes on in another stream, {detail} frames came too late and are left out",
    "problem": "a part of the input before {at} s cannot be read: {detail}",
    "held": "unreadable frame at {at} s: {detail}; the one before stands in for it, and for others like it "
    "(--on-error stop makes that an error)",
    "dropped": "unreadable frame before {at} s: {detail}; it is left out, and so are others like it",
    "last": "unreadable frames after {at} s, the last of which: {detail}; they are left out",
    "interlaced": "the video is interlaced: its fields are made whole frames (--no-deinterlace takes them as they are)",
    "size": "the video changes size at {at} s, {detail}: scaled to the former",
    "colour": "the video's primaries or transfer change at {at} s: the output says what was said at the beginning",
    "unkept": "left out: {detail}, which the frame at {at} s has",
    "end": "the input ends at {at} s, {detail}: it is cut short",
    "more": "behind the input's end at {at} s another file is joined to it, {detail} bytes, which cannot be read with "
    "it: cut it off, and give it by itself",
    "rest": "the input cannot be read beyond {at} s: {detail}",
}

_EACH = {"unkept"}
"""Kinds of which each detail is said."""


class Remarks:
    """Makes notes of one line, once for each kind, or each detail of one in _EACH."""

    def __init__(self) -> None:
        self._said: set[tuple[str, str]] = set()

    def notes(self, remarks: list[tuple[str, str]], at: Fraction) -> tuple[str, ...]:
        """Notes on a frame at ``at`` seconds; ``remarks`` are kinds and details, see Shown."""
        found = []
        for kind, detail in remarks:
            what = kind, detail if kind in _EACH else ""
            if what not in self._said:
                self._said.add(what)
                found.append(_TEXTS[kind].format(at=f"{float(at):.3f}", detail=detail))
        return tuple(found)
