"""Image files of every kind, made for the tests."""

import functools
import io
import struct
import zlib
from fractions import Fraction

import numpy as np
from PIL import ImageCms

from video.clips import av


def coded(codec, pixel_format, pixels, **options):
    """The bytes of an image by one of FFmpeg's encoders; ``pixels`` are RGB [h, w, 3] or [h, w], or a frame."""
    context = av.CodecContext.create(codec, "w")
    if isinstance(pixels, av.VideoFrame):
        frame = pixels
    else:
        names = {("uint8", 3): "rgb24", ("uint16", 3): "rgb48le", ("uint16", 4): "rgba64le", ("uint8", 4): "rgba"}
        name = names[pixels.dtype.name, pixels.shape[2]] if pixels.ndim == 3 else "gray16le"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), name)
    context.width, context.height, context.pix_fmt = frame.width, frame.height, pixel_format
    context.time_base, context.options = Fraction(1, 25), options
    if frame.format.name != pixel_format:
        frame = frame.reformat(format=pixel_format)
    frame.pts = 0
    return b"".join(bytes(p) for p in [*context.encode(frame), *context.encode(None)])


def exr(linear, form="half"):
    """An EXR file of linear light [h, w, 3]."""
    frame = av.VideoFrame(linear.shape[1], linear.shape[0], "gbrpf32le")
    for plane, n in zip(frame.planes, (1, 2, 0), strict=True):
        rows = np.zeros((plane.height, plane.line_size // 4), "<f4")
        rows[:, : plane.width] = linear[..., n]
        plane.update(rows)
    return coded("exr", "gbrpf32le", frame, format=form)


def decoded(path, codec):
    """RGB [h, w, 3] of an image file as FFmpeg reads it: floats of EXR, else numbers of the file's bits."""
    frame = frame_of(path, codec)
    if "f16" in frame.format.name:
        planes = [np.ndarray((p.height, p.width), "<f2", memoryview(p), 0, (p.line_size, 2)) for p in frame.planes]
        return np.stack([planes[2], planes[0], planes[1]], -1).copy()
    deep = max(part.bits for part in frame.format.components) > 8
    return frame.to_ndarray(format="rgb48le" if deep else "rgb24")


def frame_of(path, codec):
    """The frame that FFmpeg decodes of an image file."""
    context = av.CodecContext.create(codec, "r")
    return [*context.decode(av.Packet(path.read_bytes())), *context.decode(None)][0]


def png(pixels, *chunks):
    """A PNG file of ``pixels`` [h, w, channels], 8 or 16 bits, with (name, content) of further chunks."""
    height, width, channels = pixels.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels.astype(f">u{pixels.dtype.itemsize}"))
    head = struct.pack(">IIBBBBB", width, height, 8 * pixels.dtype.itemsize, kind, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def chunk(name, content):
    """One of PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def chunks(data):
    """The chunks of a PNG file by name; of several of one name the last."""
    found, at = {}, 8
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        found[name] = data[at + 8 : at + 8 + size]
        at += 12 + size
    return found


@functools.cache
def profile(name="sRGB"):
    """An ICC profile; the time is in it."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


def bytes_of(image, form, **options):
    """An image file by Pillow."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()
