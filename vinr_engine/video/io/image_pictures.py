"""Images as they are found, as pictures: what stands in for those that cannot be read is counted, and said once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

from vinr_engine.errors import SourceError

from .colour import Array
from .source import Faults, Picture


@dataclass(frozen=True)
class Found:
    """One of them, shown at ``time`` for ``duration`` seconds.

    ``error``: why it cannot be read; ``rgb`` is then the picture that stands in for it, None where it is left out.
    ``remarks``: what of it is not kept, by the name of each kind; ``where`` begins what is said of these.
    """

    time: Fraction
    duration: Fraction
    rgb: Array | None
    where: str = ""
    remarks: dict[str, str] = field(default_factory=dict)
    error: SourceError | None = None


def pictures_of(found: Iterable[Found], said: Iterable[str], word: str) -> Iterator[Picture]:
    """See Source.pictures. ``said``: kinds of remarks that are known; ``word``: what one of them is called."""
    known = set(said)
    waiting: Picture | None = None
    faults = Faults()
    notes: list[str] = []
    for one in found:
        texts = {kind: f"{one.where}: {text}" for kind, text in one.remarks.items()}
        if one.error is not None:
            held = one.rgb is not None
            faults += Faults(held=1) if held else Faults(dropped=1)
            texts["unreadable"] = f"{one.error}: {f'the {word} before is repeated' if held else 'it is left out'}"
        notes += [text for kind, text in texts.items() if kind not in known]
        known |= texts.keys()
        if one.rgb is None:
            continue
        if waiting is not None:
            yield waiting
        waiting = Picture(one.time, one.duration, one.rgb, faults, tuple(notes))
        faults, notes = Faults(), []
    if waiting is not None:  # what follows the last picture is told with it
        yield replace(waiting, faults=waiting.faults + faults, notes=(*waiting.notes, *notes))
