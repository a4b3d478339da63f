"""Tiny clips and a stand-in for the network, made for the tests."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

import vinr_engine as vinr

av = pytest.importorskip("av")  # whoever imports this module needs it

from vinr_engine.video.io.said import ordinary_threads  # noqa: E402  it imports av


class Blend(vinr.Network):
    """Bilinear enlargement and a linear blend in time; exact at scale 1 and t in {0, 1}. Counts what is asked of it."""

    def __init__(self):
        self.frames = self.encodings = 0
        self.times = []

    def known(self, frame, size=None):
        self.frames += 1
        return frame

    def encode_pair(self, first, second):
        self.encodings += 1

    def query(self, features, frames, times, size, *, shared=None):
        times = torch.as_tensor(times).flatten().tolist()
        self.times += times

        def enlarge(x):
            return (
                x if tuple(x.shape[-2:]) == tuple(size) else torch.nn.functional.interpolate(x, size, mode="bilinear")
            )

        return torch.stack([enlarge(frames[:, 0]) * (1 - t) + enlarge(frames[:, 1]) * t for t in times], 1)


def scene(width, height, seed=0):
    """A smooth coloured picture [h, w, 3] of bytes."""
    small = np.random.default_rng(seed).integers(60, 200, (3, 4, 3), dtype="u1")
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def panning(count, width=48, height=32, seed=0, step=1):
    """``count`` pictures of one scene, moving left."""
    wide = scene(width + count * step, height, seed)
    return [np.ascontiguousarray(wide[:, n * step : n * step + width]) for n in range(count)]


def write(
    path, pictures, rate=10, codec="libx264", pixel_format="yuv420p", options=None, audio=None, stamps=None, tags=None,
    aspect=None, rotation=None, metadata=None,
):  # fmt: skip
    """A video file. ``stamps``: frame times in thousandths; ``audio``: an encoder, which codes a tone."""
    tick = Fraction(1, 1000) if stamps else 1 / Fraction(rate)
    options = dict(options or {"crf": "4"})
    if codec == "libx265":  # it writes beyond its memory where pictures are narrow, while it follows blocks
        options["x265-params"] = f"{options.get('x265-params', 'log-level=none')}:no-cutree=1"
    with ordinary_threads(), av.open(str(path), "w") as out:
        out.metadata.update(metadata or {})
        stream = out.add_stream(codec, rate=rate, options=options)
        first = pictures[0]
        height, width = (first.height, first.width) if isinstance(first, av.VideoFrame) else first.shape[:2]
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.time_base = tick
        if aspect:
            stream.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        sound = out.add_stream(audio, rate=48000) if audio else None
        if sound is not None:
            sound.layout = "mono"
        for n, picture in enumerate(pictures):
            frame = picture if isinstance(picture, av.VideoFrame) else av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = (stamps[n] if stamps else n), tick
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound is not None:
            _tone(out, sound, round(48000 * len(pictures) / Fraction(rate)))
    return path


def _tone(out, stream, samples):
    sound = (np.sin(np.arange(samples) * 0.05) * 9000).astype("i2")
    fifo = av.AudioFifo()
    form = stream.codec_context.format.name if stream.codec_context.format else "s16"
    frame = av.AudioFrame.from_ndarray(sound[None], "s16", "mono")
    frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
    for part in av.AudioResampler(form, "mono", 48000).resample(frame):
        fifo.write(part)
    if not stream.codec_context.is_open:
        stream.codec_context.open()
    size = stream.codec_context.frame_size or 1024
    while (part := fifo.read(size)) or (part := fifo.read(size, partial=True)):
        out.mux(stream.encode(part))
    out.mux(stream.encode(None))


def read(path):
    """(times, pictures) of a video, with the tags of its first frame in ``frames[0]``."""
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def seconds(frames):
    """Exact times of decoded frames, from the first."""
    first = frames[0].pts * frames[0].time_base
    return [f.pts * f.time_base - first for f in frames]


def samples(path):
    """All decoded audio samples."""
    with av.open(str(path)) as container:
        return np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], 1)


def tiny_weights(path):
    """A checkpoint of a network that is quick, and makes no picture worth looking at."""
    torch.manual_seed(0)
    vinr.save_checkpoint(vinr.VideoINR(nf=8, groups=2, front_blocks=1, back_blocks=1), str(path))
    return path


def leftovers(folder):
    """Hidden files and folders, of which a run must leave none."""
    return [p.name for p in folder.iterdir() if p.name.startswith(".")]
