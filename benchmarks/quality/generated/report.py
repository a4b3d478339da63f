"""The suite's results as a table, and as sheets to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.common.markdown import table
from vinr_engine.evaluation.restore import BLEND

from .canvas import HEIGHT, WIDTH
from .measure import ALLOWED, EXACT, Row, broken
from .suite import Clip

_GAP, _LINE, _ACROSS = 8, 20, 3


def _cells(pair: tuple[float, float]) -> list[str]:
    network, blend = pair
    marks = {" **below**": broken(network, blend), " (exact)": min(pair) > EXACT}
    return [f"{blend:.2f}", f"{network:.2f}", f"{network - blend:+.2f}{''.join(m for m, on in marks.items() if on)}"]


def as_table(rows: Sequence[Row]) -> str:
    """A row a clip and protocol: PSNR-Y in dB of kept frames and those between."""
    head = ["clip, scale, frames kept"]
    head += [f"{where}: {what}" for where in ("kept", "between") for what in (BLEND, "network", "difference")]
    return table(head, [[row.title, *_cells(row.kept), *_cells(row.between)] for row in rows])


def summary(rows: Sequence[Row]) -> str:
    """One line: how many rows break the rule, and the worst of them."""
    bad = [row for row in rows if row.broken]
    rule = f"more than {ALLOWED} dB below {BLEND}, where not both are above {EXACT:.0f} dB"
    if not bad:
        return f"None of {len(rows)} rows is {rule}."
    lowest = {row.title: min(n - b for n, b in (row.kept, row.between) if broken(n, b)) for row in bad}
    worst = min(lowest, key=lambda title: lowest[title])
    return f"{len(bad)} of {len(rows)} rows are {rule}; the worst is {worst}, by {-lowest[worst]:.2f} dB."


def contact_sheet(clips: Sequence[Clip]) -> Image.Image:
    """Of every clip the first frame, the middle one and the last, at half their size; three clips a line."""
    side, high = WIDTH // 2, HEIGHT // 2
    cell = 3 * side + 2 * _GAP, high + _LINE + _GAP
    lines = -(-len(clips) // _ACROSS)
    sheet = Image.new("RGB", (_ACROSS * (cell[0] + _GAP) + _GAP, lines * cell[1] + _GAP), (24, 24, 27))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for n, clip in enumerate(clips):
        left, top = _GAP + n % _ACROSS * (cell[0] + _GAP), _GAP + n // _ACROSS * cell[1]
        pen.text((left, top), clip.title, (235, 235, 235), font)
        frames = clip.frames()
        for place, number in enumerate((0, len(frames) // 2, len(frames) - 1)):
            small = Image.fromarray(np.ascontiguousarray(frames[number])).reduce(2)
            sheet.paste(small, (left + place * (side + _GAP // 2), top + _LINE))
    return sheet
