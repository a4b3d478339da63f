"""The kinds of images and animations that are written, and their names: the only list of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

FRAMES_PATTERN = "frame_%06d"
"""The names of images in a folder, without a suffix."""
FRAME_NAMES = re.compile(r"frame_\d{6,}\.png")


@dataclass(frozen=True)
class ImageFormat:
    """``bits`` a channel at most; ``profile``: it has a place for one of ICC; ``tags``: for primaries and transfer;
    ``exif``: for that.

    ``linear``: it holds linear light; ``encoder``: FFmpeg's, which not every FFmpeg has; ``side``: the most pixels.
    """

    name: str
    bits: int
    profile: bool = True
    tags: bool = False
    exif: bool = False
    linear: bool = False
    encoder: str = ""
    side: int = 1 << 16


PNG, TIFF = ImageFormat("PNG", 16, tags=True, exif=True), ImageFormat("TIFF", 16)
EXR = ImageFormat("EXR", 16, profile=False, linear=True)
WEBP, JPEG = ImageFormat("WebP", 8, exif=True, side=16383), ImageFormat("JPEG", 8, exif=True, side=65500)
JPEG_XL = ImageFormat("JPEG XL", 16, profile=False, encoder="libjxl")
_GIF = ImageFormat("GIF", 8, profile=False, side=65535)
IMAGE_FORMATS = {
    ".png": PNG, ".tif": TIFF, ".tiff": TIFF, ".exr": EXR, ".webp": WEBP, ".jpg": JPEG, ".jpeg": JPEG, ".jxl": JPEG_XL,
}  # fmt: skip
"""By the suffix of the output's name."""


@dataclass(frozen=True)
class Animation:
    """A file of pictures of one ``form``, with times in whole ``unit`` seconds (None: fractions), ``longest`` of them
    for one picture. ``fastest``: most pictures a second, if there is a limit."""

    name: str
    form: ImageFormat
    unit: Fraction | None = None
    longest: int = 0
    fastest: int | None = None

    @property
    def side(self) -> int:
        """The most pixels of one."""
        return self.form.side


ANIMATIONS = {
    ".gif": Animation("GIF", _GIF, Fraction(1, 100), 65535, 50),
    ".webp": Animation("WebP", WEBP, Fraction(1, 1000), (1 << 24) - 1),
    ".apng": Animation("animated PNG", PNG),
}
"""By the suffix of the output's name."""
