"""The kinds of images that are written, and their names: the only list of each."""

from __future__ import annotations

import re
from dataclasses import dataclass

FRAME_NAME = "frame_{:06d}.png"
FRAME_NAMES = re.compile(r"frame_\d{6,}\.png")


@dataclass(frozen=True)
class ImageFormat:
    """``bits`` a channel at most; ``profile``: it has a place for one of ICC; ``tags``: for primaries and transfer."""

    name: str
    bits: int
    profile: bool = True
    tags: bool = False
    encoder: str = ""
    """FFmpeg's, where it does not always have it."""


PNG, TIFF, EXR = ImageFormat("PNG", 16, tags=True), ImageFormat("TIFF", 16), ImageFormat("EXR", 16, profile=False)
WEBP, JPEG = ImageFormat("WebP", 8), ImageFormat("JPEG", 8)
JPEG_XL = ImageFormat("JPEG XL", 16, profile=False, encoder="libjxl")
IMAGE_FORMATS = {
    ".png": PNG, ".tif": TIFF, ".tiff": TIFF, ".exr": EXR, ".webp": WEBP, ".jpg": JPEG, ".jpeg": JPEG, ".jxl": JPEG_XL,
}  # fmt: skip
"""By the suffix of the output's name."""
