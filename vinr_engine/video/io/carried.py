"""What became of the input's streams beside the picture."""

from __future__ import annotations

from dataclasses import dataclass

COPIED, CONVERTED, LEFT_OUT = "copied", "converted", "left out"


@dataclass(frozen=True)
class Carried:
    """What became of one of the input's streams beside the picture.

    ``kind`` is audio, subtitle, attachment, data or video (others than the one that is enlarged), ``codec`` FFmpeg's
    name of its own, ``language`` its tag or "". ``became`` is COPIED, CONVERTED or LEFT_OUT; ``to`` the codec that it
    was converted to, ``why`` the reason that it was left out.
    """

    index: int
    kind: str
    codec: str
    language: str
    became: str
    to: str = ""
    why: str = ""
