"""What became of the input's streams beside the picture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

COPIED, CONVERTED, LEFT_OUT = "copied", "converted", "left out"


@dataclass(frozen=True)
class Carried:
    """What became of one of the input's streams beside the picture.

    ``kind`` is audio, subtitle, attachment, data or video (others than the one that is enlarged), ``codec`` FFmpeg's
    name of its own, ``language`` its tag or "". ``became`` is COPIED, CONVERTED or LEFT_OUT; ``to`` the codec that it
    was converted to, ``why`` the reason that it was left out, or converted although the output holds its codec.
    """

    index: int
    kind: str
    codec: str
    language: str
    became: str
    to: str = ""
    why: str = ""


def in_words(properties: Iterable[str]) -> str:
    """Names of properties as text; tags come first, and share one word."""
    names = list(properties)
    tags = [name.removeprefix("tag ") for name in names if name.startswith("tag ")]
    first = [f"{'tag' if len(tags) == 1 else 'tags'} {', '.join(tags)}"] if tags else []
    return ", ".join([*first, *(name for name in names if not name.startswith("tag "))])
