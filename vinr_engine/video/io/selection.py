"""What becomes of the input's streams beside the picture, of its tags and its chapters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av

from . import tags
from .carried import LEFT_OUT, Carried
from .containers import AUDIO, CONTAINERS, Container
from .convert import Sound, Text
from .encoders import is_encoder
from .film import NO_FILM
from .gaps import APART, Gaps, adts
from .rehearsal import Extras, Samples, holds_gaps, lost, samples, takes
from .tracks import Attachment, Copy, Cover, Track

IMAGES = {"mjpeg": ("jpg", "image/jpeg"), "png": ("png", "image/png"), "bmp": ("bmp", "image/bmp"),
          "webp": ("webp", "image/webp"), "gif": ("gif", "image/gif")}  # fmt: skip
"""The suffixes and types of cover pictures."""
_NO_SOUND = "--audio none"
_LOST = "\N{REPLACEMENT CHARACTER}"
"""What stands in a tag for bytes that are no text."""
_GAPS = "its gaps become silence", "its gaps, which --audio auto fills"
_CHANGES = (
    "its rate or channels change: they stay as they begin",
    "it with rates or channels that change, which --audio auto converts",
)
"""Why sound is converted that could be copied, and what the output does not hold where it may not be converted."""


@dataclass(frozen=True)
class Part:
    """The part of a file that is used, in seconds of its own timestamps; ``end`` None for its end.

    ``lead`` is the output's time of ``begin``. ``trim``: what lies outside is left out.
    """

    begin: Fraction
    end: Fraction | None = None
    trim: bool = False
    lead: Fraction = Fraction(0)

    @property
    def shift(self) -> Fraction:
        """From the file's time line to the output's."""
        return self.lead - self.begin


@dataclass(frozen=True)
class Selection:
    """``carried`` says what becomes of each stream, ``left_out`` which properties go beside them."""

    extras: Extras
    carried: tuple[Carried, ...]
    kept: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def tracks(self) -> list[Track]:
        """Those that the output gets."""
        return self.extras.tracks


def codec_of(stream: Any) -> str:
    """FFmpeg's name of a stream's codec, "" where it has none."""
    context = stream.codec_context
    if context is not None:
        return str(context.codec.canonical_name)
    name = getattr(stream, "name", None) if stream.type == "data" else None
    return name or ""


def kind_of(stream: Any) -> str:
    """See Carried."""
    return stream.type if stream.type in ("audio", "subtitle", "attachment", "video") else "data"


def select(source: Any, picture: int, part: Part, container: Container | None, audio: str, gaps: Gaps) -> Selection:
    """Decide for an opened file, of which stream ``picture`` is enlarged; it has been read from afterwards.

    ``container``: what is written, None for one that holds pictures alone. ``audio``: see Job. ``gaps``: the streams of
    sound that have some, see Gaps.
    """
    streams = [s for s in source.streams if s.index != picture and not _implied(s, source)]
    main = source.streams[picture]
    extras = Extras(
        [],
        tags.of_file(source.metadata),
        tags.chapters(source.chapters(), part.begin, part.end, part.lead),
        tags.of_stream(main.metadata),
        int(main.disposition) & ~int(NO_FILM),
    )
    gone = []
    if part.trim and part.begin > 0:  # the first frame, whose timecode it is, is another one now
        codes = [found.pop("timecode", None) for found in (extras.tags, extras.picture_tags)]
        gone = ["timecode"] if any(codes) else []
    if container is None:
        carried = [
            _left(s, "the output holds pictures alone" if audio != "none" or s.type != "audio" else _NO_SOUND)
            for s in streams
        ]
        names = (*(f"tag {name}" for name in extras.tags), *(["chapters"] if extras.chapters else []))
        return Selection(Extras([], {}, [], {}), tuple(carried), (), (*names, *gone))
    first = samples(source, [s.index for s in streams])
    carried = []
    for stream in streams:
        track, why = _track(stream, container, audio, part, first.get(stream.index, ()), gaps)
        if track is not None:
            extras.tracks.append(track)
        carried.append(_left(stream, why) if track is None else track.carried)
    chosen = _settled(extras, container, source.streams, first, carried)
    return replace(chosen, left_out=(*chosen.left_out, *gone, *_unread(extras)))


def _unread(extras: Extras) -> list[str]:
    """What of the tags that the output gets is not UTF-8, as in old files, so that letters are lost."""
    owners = [("", extras.tags), (" of the picture", extras.picture_tags)]
    owners += [(f" of {track.kind} {track.index}", track.tags) for track in extras.tracks]
    return [f"letters of {name}{of}" for of, found in owners for name, text in found.items() if _LOST in text]


def _implied(stream: Any, source: Any) -> bool:
    """Whether a stream only holds what FFmpeg gives and takes by another way: titles of chapters, a timecode."""
    if stream.type != "data":
        return False
    if stream.discard == av.stream.Discard.all and source.chapters():
        return True
    return "timecode" in {name.lower() for name in stream.metadata} and not codec_of(stream)


def _left(stream: Any, why: str) -> Carried:
    language = tags.of_stream(stream.metadata).get("language", "")
    return Carried(stream.index, kind_of(stream), codec_of(stream), language, LEFT_OUT, why=why)


def _track(
    stream: Any, container: Container, audio: str, part: Part, first: Sequence[av.Packet], gaps: Gaps
) -> tuple[Track | None, str]:
    """The way that works, or why none does."""
    if stream.type == "audio" and audio == "none":
        return None, _NO_SOUND
    if kind_of(stream) == "video" and not stream.disposition & av.stream.Disposition.attached_pic:
        return None, "another one is enlarged"
    why, what = "", "it"
    for track in _ways(stream, container, audio, first):
        if not takes(container, track, stream, first):
            continue
        if not (isinstance(track, Copy) and stream.type == "audio"):
            track.why = why
            return track, ""
        if any(map(adts, first)) and gaps.changes(stream.index):
            why, what = _CHANGES
        elif _is_early(track, stream, container, part, first, gaps):
            why, what = _GAPS
        else:
            return track, ""
    return None, f"{_suffix(container)} does not hold {what}"


def _is_early(
    track: Copy, stream: Any, container: Container, part: Part, first: Sequence[av.Packet], gaps: Gaps
) -> bool:
    """Whether some of a sound would be heard too early, as the container only counts its samples."""
    begins = (stream.start_time or 0) * (stream.time_base or 0)
    if container.constant and begins - part.begin > APART:
        return True
    return not holds_gaps(container, track, stream, first) and stream.index in gaps


def _suffix(container: Container) -> str:
    return next(suffix for suffix, other in CONTAINERS.items() if other is container)


def _ways(stream: Any, container: Container, audio: str, first: Sequence[av.Packet]) -> Iterator[Track]:
    """How a stream may be carried, the best way first."""
    index, kind, codec = stream.index, kind_of(stream), codec_of(stream)
    about = index, kind, codec, tags.of_stream(stream.metadata), int(stream.disposition)
    if kind == "attachment":
        if container.attachments and stream.data:
            name = stream.name or f"attachment-{index}"
            yield Attachment(*about, name, stream.mimetype or "application/octet-stream", stream.data)
    elif kind == "video":
        if not first:
            return
        data = bytes(first[0])
        if container.attachments and codec in IMAGES:
            suffix, mimetype = IMAGES[codec]
            name = stream.metadata.get("filename") or f"cover.{suffix}"
            yield Attachment(*about, name, mimetype, data)
        yield Cover(*about, data)
    elif kind == "audio":
        wanted = AUDIO.get(audio)
        if wanted is None or av.Codec(wanted, "w").canonical_name == codec:
            yield Copy(*about)
        if wanted is not None:
            yield Sound(*about, wanted)
        elif audio == "auto":
            encoders = list(container.audio)
            if _is_lossless(stream):
                lossless = [codec, *(["flac"] if "flac" in encoders else [])]
                encoders = [*filter(is_encoder, lossless), *encoders]
            yield from (Sound(*about, encoder) for encoder in dict.fromkeys(encoders))
    else:
        yield Copy(*about)
        if kind == "subtitle":
            yield from (Text(*about, encoder) for encoder in container.text)


def _is_lossless(stream: Any) -> bool:
    codec = stream.codec_context.codec if stream.codec_context is not None else None
    return codec is not None and (codec.lossless or codec.canonical_name.startswith("pcm_")) and not codec.lossy


def _settled(extras: Extras, container: Container, streams: Any, first: Samples, carried: list[Carried]) -> Selection:
    """All of it together, as far as the container takes it, and what of its properties it does not keep."""
    wanted = Extras([], dict(extras.tags), list(extras.chapters), dict(extras.picture_tags), extras.disposition)
    gone = lost(container, extras, streams, first)
    without: list[str] = []
    if gone is None:  # it takes them one by one: what is told beside them, or their number, is too much
        for name in ("timecode", None):
            for found in (extras.tags, extras.picture_tags, *(track.tags for track in extras.tracks)):
                for key in [key for key in found if name in (None, key)]:
                    without.append(f"tag {key}")
                    del found[key]
            gone = lost(container, extras, streams, first)
            if gone is not None:
                break
    if gone is None and extras.chapters:
        without.append("chapters")
        extras.chapters = []
        gone = lost(container, extras, streams, first)
    while gone is None and extras.tracks:
        track = extras.tracks.pop()
        why = f"{_suffix(container)} does not hold it beside the others"
        carried = [_left(streams[c.index], why) if c.index == track.index else c for c in carried]
        gone = lost(container, extras, streams, first)
    left = tuple(dict.fromkeys([*without, *(gone or [])]))
    kept = [f"tag {name}" for name in wanted.tags] + (["chapters"] if wanted.chapters else [])
    return Selection(extras, tuple(carried), tuple(name for name in kept if name not in left), left)
