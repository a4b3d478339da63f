"""Pictures to coded images, each a file's bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from vinr_engine.errors import SinkError, reason

from . import light, png, tiff
from .animation_files import gif_image
from .colour import UNSPECIFIED, Array
from .image_formats import EXR, JPEG, JPEG_XL, PNG, TIFF, WEBP, ImageFormat
from .packets import Packet
from .source import SourceInfo
from .target import Target

JPEG_QUALITY = 95
WEBP_QUALITY = 90
"""Of animations; single images are without loss."""
Encode = Callable[[Array, SourceInfo], bytes]


class ImageCoder:
    """Images of one format, numbered in place of times: see Coder. As many bits as the input has, up to the format's.

    ``encode`` makes an image of a picture where that is not the format's own way; ``timed``: times are stored.
    """

    def __init__(
        self,
        target: Target,
        form: ImageFormat = PNG,
        held: Any = None,
        last: int = -1,
        encode: Encode | None = None,
        timed: bool = False,
    ) -> None:
        self.target, self.timed = target, timed
        self.encode = encode or ENCODERS[form.name]
        self.held: bytes | None = held
        self.last = last
        self.facts = {"codec": form.name, "bits": target.info.bits}

    def code(self, rgb: Array | None, time: Fraction, duration: Fraction) -> list[Packet]:
        """See Coder."""
        if rgb is not None:
            try:
                self.held = self.encode(rgb, self.target.info)
            except (OSError, ValueError, av.error.FFmpegError) as error:
                raise SinkError(f"cannot write an image: {reason(error)}") from None
        assert self.held is not None
        self.last = self.target.pts(self.last, time) if self.timed else self.last + 1
        length = max(1, round(duration / self.target.tick)) if self.timed else 1
        return [Packet(self.last, self.last, length, True, self.held)]

    def finish(self) -> list[Packet]:
        """See Coder."""
        return []


def pixels(rgb: Array, deep: bool) -> npt.NDArray[Any]:
    """Whole numbers [h, w, 3] of 16 or 8 bits, rounded."""
    peak, dtype = (65535, np.uint16) if deep else (255, np.uint8)
    return np.ascontiguousarray(np.rint(np.clip(rgb, 0, 1) * np.float32(peak)).astype(dtype).transpose(1, 2, 0))


def _by_ffmpeg(codec: str, frame: av.VideoFrame, pixel_format: str, options: dict[str, str] | None = None) -> bytes:
    context = av.CodecContext.create(codec, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height = frame.width, frame.height
    context.pix_fmt = pixel_format
    context.time_base = Fraction(1, 25)
    context.options = options or {}
    frame.pts = 0
    return b"".join(bytes(p) for p in [*context.encode(frame), *context.encode(None)])


def _png(rgb: Array, info: SourceInfo) -> bytes:
    name = "rgb48be" if info.bits > 8 else "rgb24"
    data = _by_ffmpeg("png", av.VideoFrame.from_ndarray(pixels(rgb, info.bits > 8), name), name)
    extra = png.colour_chunks(info.colour.primaries, info.colour.transfer, info.profile)
    if info.exif is not None:
        extra += png.chunk(b"eXIf", info.exif.removeprefix(b"Exif\0\0"))
    return png.with_chunks(data, extra)


def _tiff(rgb: Array, info: SourceInfo) -> bytes:
    return tiff.encode(pixels(rgb, info.bits > 8), info.profile)


def _exr(rgb: Array, info: SourceInfo) -> bytes:
    """Half floats of linear light; see `light`."""
    if info.scene:
        linear = light.linear_of(rgb)
    else:
        transfer = info.colour.transfer
        # what is not said of a video is BT.709, which has the curve of the others of its time
        linear = light.linear_from(rgb, 1 if transfer == UNSPECIFIED and info.chroma is not None else transfer)
    halves = np.minimum(linear, light.MOST).astype(np.float16).astype("<f4")  # FFmpeg would not round to the nearest
    frame = av.VideoFrame(rgb.shape[2], rgb.shape[1], "gbrpf32le")
    for plane, values in zip(frame.planes, halves[[1, 2, 0]], strict=True):
        rows = np.zeros((plane.height, plane.line_size // 4), "<f4")
        rows[:, : plane.width] = values
        plane.update(rows)  # type: ignore[arg-type]
    return _by_ffmpeg("exr", frame, "gbrpf32le", {"format": "half", "compression": "zip16"})


def _by_pillow(rgb: Array, info: SourceInfo, form: str, **options: Any) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    if info.exif is not None:
        options["exif"] = info.exif
    Image.fromarray(pixels(rgb, deep=False)).save(file, form, icc_profile=info.profile, **options)
    return file.getvalue()


def _webp(rgb: Array, info: SourceInfo) -> bytes:
    return _by_pillow(rgb, info, "WEBP", lossless=True)


def _jpeg(rgb: Array, info: SourceInfo) -> bytes:
    return _by_pillow(rgb, info, "JPEG", quality=JPEG_QUALITY, subsampling=0)


def _jpeg_xl(rgb: Array, info: SourceInfo) -> bytes:
    name = "rgb48le" if info.bits > 8 else "rgb24"
    frame = av.VideoFrame.from_ndarray(pixels(rgb, info.bits > 8), name)
    return _by_ffmpeg("libjxl", frame, name, {"distance": "0"})


ENCODERS: dict[str, Encode] = {
    PNG.name: _png, TIFF.name: _tiff, EXR.name: _exr, WEBP.name: _webp, JPEG.name: _jpeg, JPEG_XL.name: _jpeg_xl,
}  # fmt: skip


def _gif(rgb: Array, info: SourceInfo) -> bytes:
    """A block of GIF: the image's descriptor, its own 256 colours, and its pixels."""
    from PIL import Image

    frame = _in_colours_of_its_own(av.VideoFrame.from_ndarray(pixels(rgb, deep=False), "rgb24"))
    indices, table = frame.planes
    rows = np.ndarray((frame.height, frame.width), "u1", memoryview(indices), 0, (indices.line_size, 1))
    colours = np.frombuffer(memoryview(table), "u1")[:1024].reshape(256, 4)
    image = Image.fromarray(np.ascontiguousarray(rows), "P")
    image.putpalette(np.ascontiguousarray(colours[:, 2::-1]).tobytes())
    file = io.BytesIO()
    image.save(file, "GIF", optimize=False)
    return gif_image(file.getvalue())


def _in_colours_of_its_own(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame in the 256 colours that suit it best, dithered."""
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=av.VideoFormat("rgb24"), time_base=Fraction(1, 25)
    )
    split = graph.add("split")
    palette = graph.add("palettegen", "max_colors=256:reserve_transparent=0:stats_mode=single")
    use = graph.add("paletteuse", "new=1")
    sink = graph.add("buffersink")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(palette, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    frame.pts = 0
    source.push(frame)
    source.push(None)
    found = sink.pull()
    assert isinstance(found, av.VideoFrame)
    return found


def _lossy_webp(rgb: Array, info: SourceInfo) -> bytes:
    return _by_pillow(rgb, replace(info, profile=None), "WEBP", quality=WEBP_QUALITY)


ANIMATION_ENCODERS: dict[str, Encode] = {"GIF": _gif, "WebP": _lossy_webp, "animated PNG": _png}
"""Of single pictures, by the names of `image_formats.ANIMATIONS`."""
