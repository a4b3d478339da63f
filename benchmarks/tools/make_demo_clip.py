"""Makes vinr_engine/assets/demo.mp4 from photographs bundled with scikit-image.

A slow zoom, pan and turn over one photograph while a cup, cut from another, slides past in front.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter
from skimage import data

from vinr_engine.video.io.coders import VideoCoder
from vinr_engine.video.io.colour import BT709, SRGB_TRANSFER, Colour
from vinr_engine.video.io.containers import CONTAINERS
from vinr_engine.video.io.encoders import Encoding
from vinr_engine.video.io.join import Muxer
from vinr_engine.video.io.source import SourceInfo
from vinr_engine.video.io.target import Target

WIDTH, HEIGHT = 128, 72
FRAMES = 7
RATE = Fraction(6)
OVERSAMPLE = 3


def cup() -> Image.Image:
    """The cup and saucer of the coffee photograph with a soft outline, RGBA."""
    photo = Image.fromarray(data.coffee())
    mask = Image.new("L", photo.size)
    draw = ImageDraw.Draw(mask)
    draw.ellipse((80, 96, 478, 378), fill=255)
    draw.ellipse((174, 20, 404, 236), fill=255)
    photo.putalpha(mask.filter(ImageFilter.GaussianBlur(2)))
    return photo.crop((60, 10, 500, 390))


def frame(position: float) -> npt.NDArray[np.float32]:
    """The picture [3, HEIGHT, WIDTH] at ``position`` in [0, 1] of the clip, averaged down from three times the size."""
    width, height = WIDTH * OVERSAMPLE, HEIGHT * OVERSAMPLE
    zoom = 1.0 - 0.16 * position
    angle = 0.05 * (position - 0.5)
    c, s = np.cos(angle) * zoom, np.sin(angle) * zoom
    x, y = 222 + 26 * position, 130 + 14 * position
    matrix = (c, -s, x - (c * width - s * height) / 2, s, c, y - (s * width + c * height) / 2)
    scene = Image.fromarray(data.chelsea()).transform(
        (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
    )
    front = cup().resize((136, 118), Image.Resampling.LANCZOS)
    front = front.rotate(10 - 20 * position, Image.Resampling.BICUBIC, expand=True)
    scene.paste(front, (round(226 - 180 * position), 108), front)
    small = scene.resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    return (np.asarray(small).astype(np.float32) / 255).transpose(2, 0, 1)


def main() -> None:
    """Write the clip."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(__file__).parents[2] / "vinr_engine" / "assets" / "demo.mp4"
    parser.add_argument("path", nargs="?", type=Path, default=default)
    path = parser.parse_args().path
    info = SourceInfo(
        WIDTH, HEIGHT, None, Colour(BT709, False, BT709, SRGB_TRANSFER), 8, (2, 2), RATE, 1 / RATE, FRAMES
    )
    encoding = Encoding("libx264", CONTAINERS[".mp4"], "yuv420p", {"crf": "6", "preset": "veryslow"})
    target = Target((WIDTH, HEIGHT), info, RATE, 1 / RATE)
    coder = VideoCoder(encoding, target, str(path))
    packets = [packet for n in range(FRAMES) for packet in coder.code(frame(n / (FRAMES - 1)), n / RATE, 1 / RATE)]
    muxer = Muxer(str(path), str(path), encoding, target, audio=None)
    for packet in [*packets, *coder.finish()]:
        muxer.write(packet)
    muxer.finish()
    print(f"{path}: {FRAMES} frames, {WIDTH}x{HEIGHT}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
