"""Makes docs/demo.png: a detail of the demonstration, enlarged three ways, halfway between two frames.

vinr demo DIR
python -m benchmarks.tools.demo_figure DIR docs/demo.png
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from vinr_engine.demo import TIME, frames

ROWS = (
    ("low_resolution.mp4", "low resolution"),
    ("bicubic.mp4", "bicubic, the nearest frame"),
    ("upscaled.mp4", "FlowINR, this package's own"),
)
LEFT, TOP, WIDTH, HEIGHT = 60, 20, 300, 200  # of the detail
GAP, LABEL = 8, 26


def main(folder: Path, out: Path) -> None:
    """Writes `out`."""
    sheet = Image.new("RGB", (len(ROWS) * (WIDTH + GAP) - GAP, LABEL + HEIGHT), (255, 255, 255))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for column, (name, text) in enumerate(ROWS):
        (picture,) = frames(folder / name, (TIME // 2,))
        x = column * (WIDTH + GAP)
        pen.text((x + 2, LABEL // 2), text, (40, 40, 40), font, anchor="lm")
        sheet.paste(Image.fromarray(picture[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH]), (x, LABEL))
    sheet.save(out)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m benchmarks.tools.demo_figure DIR OUT.png")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
