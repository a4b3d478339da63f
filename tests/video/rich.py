"""A file that holds more than a picture, made for the tests, and what such a file says of itself."""

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from av.subtitles.subtitle import SubtitleSet

from video.clips import av, ordinary_threads, panning

TICK = Fraction(1, 1000)
OPTIONS = {
    "libx264": {"crf": "10", "bf": "0"},
    "libx265": {"x265-params": "log-level=none:bframes=0"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},  # else it takes a thread for each of its stages
    "libvpx": {"lag-in-frames": "0", "auto-alt-ref": "0"},
    "libvpx-vp9": {"lag-in-frames": "0", "auto-alt-ref": "0"},
}
FIXED = ("mpeg4", "mpeg2video", "wmv2")
"""Encoders whose clock is the rate."""
ASS = b"""[Script Info]
ScriptType: v4.00+
PlayResX: 384
PlayResY: 288

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


@dataclass
class Sound:
    """A track: a tone from ``begin`` seconds on, silence before; ``flags`` are dispositions."""

    codec: str = "aac"
    tags: dict = field(default_factory=dict)
    flags: int = 0
    begin: float = 0.0
    layout: str = "mono"
    rate: int = 48000


@dataclass
class Text:
    """A track of subtitles, each (begin, end, words) in seconds."""

    codec: str = "subrip"
    lines: tuple = ((0.2, 0.6, "Hello"), (1.0, 1.4, "World"))
    tags: dict = field(default_factory=dict)
    flags: int = 0


def tone(track, seconds):
    """Samples of a track, -1 to 1."""
    at = np.arange(round(track.rate * seconds)) / track.rate
    return np.where(at >= track.begin, np.sin(at * 2 * np.pi * 440) * 0.4, 0).astype("f4")


def rich(
    path, count=20, sounds=(), texts=(), tags=None, chapters=(), attachments=(), flags=0, picture_tags=None, cover="",
    codec="libx264", rate=10, muxer=None, stamps=None, size=(48, 32), pixel_format="yuv420p",
    aspect=None, gap=0,
):  # fmt: skip
    """A video of ``count`` pictures with all that; chapters are (begin, end, title) in seconds.

    ``stamps``: of the pictures, in thousandths. ``gap``: seconds by which the second half is later.
    """
    with ordinary_threads(), av.open(str(path), "w", format=muxer) as out:
        video = out.add_stream(codec, rate=rate, options=OPTIONS.get(codec, {}))
        video.width, video.height, video.pix_fmt = *size, pixel_format
        if aspect:
            video.codec_context.sample_aspect_ratio = aspect
        video.metadata.update(picture_tags or {})
        if flags:
            video.disposition = flags
        streams = [(s, out.add_stream(s.codec, rate=s.rate)) for s in sounds]
        for sound, stream in streams:
            stream.layout = sound.layout
            if sound.codec == "wmav2":
                stream.bit_rate = 64000
        words = [(t, out.add_stream(t.codec)) for t in texts]
        for _, stream in words:
            stream.codec_context.time_base = stream.time_base = TICK
            stream.codec_context.subtitle_header = ASS
        for track, stream in [*streams, *words]:
            stream.metadata.update(track.tags)
            if track.flags:
                stream.disposition = track.flags
        for name, kind, data in attachments:
            out.add_attachment(name, kind, data)
        picture = None
        if cover:
            with av.open(str(cover)) as image:
                picture = out.add_stream_from_template(image.streams.video[0], opaque=True)
                picture.disposition = int(av.stream.Disposition.attached_pic)
                data = next(bytes(p) for p in image.demux(video=0) if p.size)
        out.metadata.update(tags or {})
        out.set_chapters(
            [
                {
                    "id": n,
                    "start": round(a * 1000),
                    "end": round(b * 1000),
                    "time_base": TICK,
                    "metadata": {"title": title},
                }
                for n, (a, b, title) in enumerate(chapters, 1)
            ]
        )
        packets = []
        fine = stamps and codec not in FIXED
        if fine:
            video.codec_context.time_base = TICK
        for n, pixels in enumerate(panning(count, *size)):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = (stamps[n], TICK) if fine else (n, 1 / Fraction(rate))
            packets += video.encode(frame)
        packets += video.encode(None)
        if stamps and not fine:
            for packet, stamp in zip(packets, stamps, strict=True):
                packet.pts, packet.dts, packet.time_base, packet.duration = stamp, stamp, TICK, 0
        for sound, stream in streams:
            packets += coded(sound, stream, count / rate)
        for text, stream in words:
            for begin, end, line in text.lines:
                entry = SubtitleSet.create(f"0,0,Default,,0,0,0,,{line}".encode(), 0, round((end - begin) * 1000))
                packet = stream.codec_context.encode_subtitle(entry)
                packet.pts = packet.dts = round(begin * 1000)
                packet.duration, packet.time_base, packet.stream = round((end - begin) * 1000), TICK, stream
                packets.append(packet)
        if picture is not None:
            packet = av.Packet(data)
            packet.pts = packet.dts = 0
            packet.time_base, packet.stream, packet.is_keyframe = TICK, picture, True
            packets.append(packet)
        for packet in sorted(packets, key=lambda p: p.dts * Fraction(p.time_base)):
            if packet.pts * packet.time_base >= Fraction(count, 2 * rate):
                packet.pts += round(gap / packet.time_base)
                packet.dts += round(gap / packet.time_base)
            out.mux(packet)
    return path


def coded(sound, stream, seconds):
    """Packets of a tone."""
    context = stream.codec_context
    context.open()
    mono = tone(sound, seconds)
    frame = av.AudioFrame.from_ndarray(mono[None], "flt", "mono")
    frame.sample_rate, frame.pts, frame.time_base = sound.rate, 0, Fraction(1, sound.rate)
    fifo = av.AudioFifo()
    for part in av.AudioResampler(context.format.name, sound.layout, sound.rate).resample(frame):
        fifo.write(part)
    packets = []
    size = context.frame_size or 1024
    while (part := fifo.read(size)) or (part := fifo.read(size, partial=True)):
        packets += stream.encode(part)
    return [*packets, *stream.encode(None)]


@dataclass
class Found:
    """A stream of a file: its packets as (begin, duration, bytes), in seconds from the picture's first frame."""

    kind: str
    codec: str
    tags: dict
    flags: int
    packets: list


def streams(path):
    """All that a file holds, but what stands for chapters."""
    with av.open(str(path)) as container:
        found = [
            Found(
                s.type,
                s.codec_context.codec.canonical_name if s.codec_context else "",
                dict(s.metadata),
                int(s.disposition),
                [],
            )
            for s in container.streams
        ]
        origin = None
        for packet in container.demux():
            if not packet.size:
                continue
            at = (packet.pts or 0) * packet.time_base  # a cover has no time
            found[packet.stream.index].packets.append((at, (packet.duration or 0) * packet.time_base, bytes(packet)))
        hidden = [s.index for s in container.streams if s.discard == av.stream.Discard.all]
    origin = min(p[0] for p in found[0].packets)
    for stream in found:
        stream.packets = [(at - origin, length, data) for at, length, data in stream.packets]
    return [stream for n, stream in enumerate(found) if n not in hidden]


def onset(path, track=0, loud=0.1):
    """Seconds from the picture's first frame at which a track becomes loud."""
    with av.open(str(path)) as container:
        origin = next(f.pts * f.time_base for f in container.decode(video=0))
    with av.open(str(path)) as container:
        for frame in container.decode(audio=track):
            samples = np.abs(frame.to_ndarray().astype("f8"))
            if frame.format.name.startswith("s16"):
                samples /= 2**15
            elif frame.format.name.startswith("s32"):
                samples /= 2**31
            channels = 1 if frame.format.is_planar else frame.layout.nb_channels
            samples = samples[0].reshape(-1, channels)[:, 0]
            there = np.flatnonzero(samples > loud)
            if len(there):
                return float(frame.pts * frame.time_base - origin) + there[0] / frame.sample_rate
    return None


def words(path, track=0):
    """(begin, end, text) of subtitles, in seconds from the picture's first frame, rounded to hundredths."""
    with av.open(str(path)) as container:
        origin = next(f.pts * f.time_base for f in container.decode(video=0))
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[track]
        found = []
        for packet in container.demux(stream):
            if packet.pts is None or not packet.size:
                continue
            text = stream.codec_context.decode2(packet)
            for rect in text or ():
                at = packet.pts * packet.time_base - origin
                line = rect.dialogue.decode().strip()
                if line:
                    found.append((round(float(at), 2), round(float(at + packet.duration * packet.time_base), 2), line))
        return found


def remuxed(source, target, change):
    """The packets of a file in another one, with its chapters: all for which ``change`` says so, after it has seen to
    them."""
    with av.open(str(source)) as given, av.open(str(target), "w") as out:
        pairs = {s.index: out.add_stream_from_template(s, opaque=True) for s in given.streams}
        out.set_chapters(given.chapters())
        for packet in given.demux():
            if packet.dts is not None and change(packet):
                packet.stream = pairs[packet.stream.index]
                out.mux(packet)
    return target


def later(milliseconds):
    """A change for `remuxed`: the picture begins so much later."""

    def change(packet):
        if packet.stream.type == "video":
            packet.pts, packet.dts = packet.pts + milliseconds, packet.dts + milliseconds
        return True

    return change
