"""One image file to RGB: Pillow reads what has 8 bits a channel, FFmpeg's decoders the rest."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vinr_engine.errors import SourceError, reason

from . import png
from .colour import BT709, RGB, SRGB_TRANSFER, Array, Colour
from .image_decoders import DECODERS, NoDecoder, channels, decode

if TYPE_CHECKING:
    from PIL import Image

_BY_FFMPEG = (
    (b"v/1\1", "exr"), (b"SDPX", "dpx"), (b"XPDS", "dpx"), (b"#?R", "hdr"), (b"PF", "pfm"), (b"Pf", "pfm"),
    (b"\x01\xda", "sgi"), (b"P7\n", "pam"), (b"\xff\x0a", "jpegxl"), (b"\0\0\0\x0cJXL ", "jpegxl"),
)  # fmt: skip
"""How files begin that Pillow cannot read, or not well, and the names of their formats."""
_LINEAR = ("exr", "hdr", "pfm")
PILLOW_RAISES = (
    OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError,
    struct.error,
)  # fmt: skip
"""Of damaged files, beside DecompressionBombError: its readers stumble over whatever they find."""
SRGB = Colour(RGB, True, BT709, SRGB_TRANSFER)


@dataclass(frozen=True)
class Decoded:
    """An image, RGB [3, h, w]: in [0, 1], or ``linear`` light, of which 1 is white, without bounds.

    ``bits`` a channel, of which a half float counts as 16; ``profile`` of ICC; ``exif`` without what is of the stored
    pixels alone; ``frames`` in the file, of which this is the first; ``remarks``: what of it is not kept, by the name
    of each kind.
    """

    rgb: Array
    bits: int
    colour: Colour = SRGB
    linear: bool = False
    profile: bytes | None = None
    exif: bytes | None = None
    frames: int = 1
    remarks: dict[str, str] = field(default_factory=dict)


def read(path: Path) -> Decoded:
    """The first image of a file. Errors: SourceError naming it.

    Grey becomes equal channels, transparent pixels are laid over black, EXIF rotation is applied.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"unreadable image {path}: {reason(error)}") from None
    for begins, name in _BY_FFMPEG:
        if data.startswith(begins):
            return _by_ffmpeg_alone(path, data, name)
    return _by_pillow(path, data)


def _by_pillow(path: Path, data: bytes) -> Decoded:
    from PIL import Image, UnidentifiedImageError  # videos need none of it

    try:
        with Image.open(io.BytesIO(data)) as image:
            deep = _may_be_deep(image, data)
            image.load()  # also where FFmpeg decodes, which takes a file that is cut short without a word
            turn = image.getexif().get(0x0112, 1)
            found = decoded_image(path, image, data, deep)
            exif = _exif(image, found.remarks)
            frames = int(getattr(image, "n_frames", 1))
    except (*PILLOW_RAISES, Image.DecompressionBombError) as error:
        if isinstance(error, UnidentifiedImageError) and data.startswith((b"II*\0", b"MM\0*")):
            return _by_ffmpeg_alone(path, data, "TIFF")  # such as floating point, and planes of 16 bits
        text = "not a readable image" if isinstance(error, UnidentifiedImageError) else reason(error)
        raise SourceError(f"unreadable image {path}: {text}") from None
    return replace(found, rgb=np.ascontiguousarray(_upright(found.rgb, turn)), exif=exif, frames=frames)


def decoded_image(path: Path, image: Image.Image, data: bytes, deep: bool = False) -> Decoded:
    """What Pillow has loaded of a file's ``data``; ``deep``: FFmpeg may read more of it. Errors: as Pillow's."""
    remarks: dict[str, str] = {}
    profile = _rgb_profile(image, remarks)
    colour = _colour(data, remarks)
    values, alpha, bits = _values(path, image, data, deep, remarks)
    rgb = np.ascontiguousarray(_over_black(values, alpha, remarks), np.float32)
    return Decoded(rgb, bits, colour, profile=profile, remarks=remarks)


def decoded_frame(frame: Any, data: bytes, profile: bytes | None) -> Decoded:
    """A frame that FFmpeg has decoded of an animated PNG's ``data``."""
    remarks: dict[str, str] = {}
    colour = _colour(data, remarks)
    values, alpha, bits = channels(frame)
    return Decoded(
        np.ascontiguousarray(_over_black(values, alpha, remarks), np.float32), bits, colour, profile=profile,
        remarks=remarks,
    )  # fmt: skip


def _values(
    path: Path, image: Image.Image, data: bytes, deep: bool, remarks: dict[str, str]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None, int]:
    """RGB [3, h, w] in [0, 1], alpha [h, w] or None, and bits a channel."""
    if image.mode.startswith("I"):
        grey = np.clip(np.asarray(image).astype(np.float32) / 65535, 0, 1)
        return np.broadcast_to(grey, (3, *grey.shape)), None, 16
    if image.mode == "F":
        raise SourceError(f"{path} holds floating-point grey, whose range is unknown: convert it to 16 bits")
    if deep:
        try:
            rgb, alpha, bits = decode(data, DECODERS[image.format or ""], strict=False)
        except NoDecoder as error:
            remarks["depth"] = f"8 of its bits a channel are read: {error}"
        else:
            if bits > 8:
                return rgb, alpha, bits
    elif image.format == "AVIF" and _avif_bits(data) > 8:
        remarks["depth"] = f"8 of its {_avif_bits(data)} bits a channel are read"
    if "A" in image.mode or image.mode == "P" or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA")).astype(np.float32).transpose(2, 0, 1) / 255
        return rgba[:3], rgba[3], 8
    return np.asarray(image.convert("RGB")).astype(np.float32).transpose(2, 0, 1) / 255, None, 8


def _may_be_deep(image: Image.Image, data: bytes) -> bool:
    """Whether FFmpeg may find more than the 8 bits a channel that Pillow gives."""
    if image.format == "PNG":
        return png.ahead(data).get(b"IHDR", bytes(9))[8] > 8
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        return max(tags.get(258, (1,))) > 8
    return image.format in DECODERS


def _avif_bits(data: bytes) -> int:
    import av

    try:
        with av.open(io.BytesIO(data)) as container:
            form = container.streams.video[0].format
            return max(part.bits for part in form.components) if form else 8
    except (av.error.FFmpegError, IndexError):
        return 8


def _rgb_profile(image: Image.Image, remarks: dict[str, str]) -> bytes | None:
    """The ICC profile, if it is one of RGB values."""
    profile = image.info.get("icc_profile")
    if not profile:
        return None
    if profile[16:20] == b"RGB " and image.mode not in ("CMYK", "LAB"):
        return bytes(profile)
    remarks["profile"] = f"its profile, which is not one of RGB, is not applied ({image.mode} to RGB by plain formulae)"
    return None


def _exif(image: Image.Image, remarks: dict[str, str]) -> bytes | None:
    """EXIF, without the rotation that is applied and the sizes that change. Other texts are named."""
    texts = {name for name in getattr(image, "text", {}) if not name.startswith("XML:")}
    gone = [name for name, there in (("XMP", "xmp" in image.info), ("texts", bool(texts))) if there]
    gone += ["comment"] if "comment" in image.info else []
    found = image.getexif()
    if image.format == "TIFF":  # whose own tags Pillow gives as EXIF, too
        gone += ["EXIF"] if 0x8769 in found else []
        found.clear()
    if gone:
        remarks["texts"] = f"left out: {', '.join(gone)}"
    for tag in (0x0100, 0x0101, 0x0112):
        found.pop(tag, None)
    inner = found.get_ifd(0x8769)
    for tag in (0xA002, 0xA003):
        inner.pop(tag, None)
    return found.tobytes() if len(found) else None


def _colour(data: bytes, remarks: dict[str, str]) -> Colour:
    if not data.startswith(png.MAGIC):
        return SRGB
    primaries, transfer, whole = png.colour(png.ahead(data))
    if not whole:
        remarks["colour"] = "its chunks gAMA, cHRM or cICP say colours that are not kept; the values are"
    return Colour(RGB, True, primaries, transfer)


def _over_black(rgb: npt.NDArray[Any], alpha: npt.NDArray[Any] | None, remarks: dict[str, str]) -> npt.NDArray[Any]:
    if alpha is None or not (alpha < 1).any():
        return rgb
    remarks["alpha"] = "its transparent pixels are laid over black"
    return rgb * alpha


def _by_ffmpeg_alone(path: Path, data: bytes, name: str) -> Decoded:
    remarks: dict[str, str] = {}
    try:
        values, alpha, bits = decode(data, DECODERS[name], strict=name != "TIFF")
    except NoDecoder as error:
        raise SourceError(f"unreadable image {path}: {error}") from None
    linear = name in _LINEAR or bits == 32  # which only floats have
    if not np.isfinite(values).all():
        values = np.nan_to_num(values, nan=0, posinf=65504, neginf=0)
        remarks["finite"] = "its values that are no number are 0, and infinite ones 65504"
    # EXR's colours are laid over black already, as its standard has it
    rgb = values if name == "exr" else _over_black(values, alpha, remarks)
    if name == "exr" and alpha is not None and (alpha < 1).any():
        remarks["alpha"] = "its transparent pixels are laid over black"
    return Decoded(np.ascontiguousarray(rgb, np.float32), min(bits, 16), linear=linear, remarks=remarks)


def _upright(rgb: npt.NDArray[Any], exif: int) -> npt.NDArray[Any]:
    """Apply EXIF orientation 1 to 8."""
    if exif in (5, 6, 7, 8):
        rgb = rgb.transpose(0, 2, 1)
    if exif in (2, 3, 6, 7):
        rgb = rgb[:, :, ::-1]
    if exif in (3, 4, 7, 8):
        rgb = rgb[:, ::-1]
    return rgb
