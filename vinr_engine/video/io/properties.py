"""What an encoder is told of the input's pictures beside their samples: HDR10's metadata, and where chroma lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from .containers import ENCODERS, Container, Encoder
from .formats import form
from .source import Light, SourceInfo


@dataclass(frozen=True)
class Properties:
    """``options`` of the encoder, ``place`` see Encoding; ``kept`` and ``left_out`` by name."""

    options: Mapping[str, str]
    place: str
    kept: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


_CONTAINER_SAYS = {"left", "center", "topleft", "top"}
"""Places of chroma that Matroska and WebM can say themselves."""


def carried(codec: str, container: Container, pixel_format: str, info: SourceInfo) -> Properties:
    """What becomes of the input's properties with an encoder and a container."""
    encoder = ENCODERS.get(codec, Encoder())
    options: dict[str, str] = {}
    kept, gone = [], []
    if info.light is not None:
        if encoder.light is not None:
            key, display, content = encoder.light
            if parts := _light(codec, info.light, display, content):
                options[key] = ":".join(parts)
                kept.append("HDR10 metadata")
            if (info.light.primaries is None) != (info.light.luminance is None):
                gone.append("mastering display (it lacks primaries or luminance)")
        else:
            gone.append("HDR10 metadata")
    if info.profile is not None:
        gone.append("ICC profile")
    place = info.colour.place
    says = encoder.places or (container.muxer in ("matroska", "webm") and place in _CONTAINER_SAYS)
    subsampled = form(pixel_format)
    if place == "unspecified" or info.chroma != (2, 2) or subsampled is None or subsampled.less < 4:
        place = "left"  # what decoders take for granted
    elif place != "left" and not says:
        gone.append(f"chroma location ({place}; chroma is moved to the left)")
        place = "left"
    elif place != "left":
        kept.append(f"chroma location ({place})")
    if place != "left":
        options["chroma_sample_location"] = place
    return Properties(options, place, tuple(kept), tuple(gone))


def _light(codec: str, light: Light, display: str, content: str) -> list[str]:
    """As the encoder's parameters."""
    parts = []
    if light.primaries is not None and light.luminance is not None:
        red, green, blue, white = light.primaries
        floats = codec == "libsvtav1"

        def pair(x: Fraction, y: Fraction, unit: int) -> str:
            if floats:
                return f"({float(x):.5f},{float(y):.5f})"
            return f"({round(x * unit)},{round(y * unit)})"

        least, most = light.luminance
        points = "".join(f"{n}{pair(*p, 50000)}" for n, p in (("G", green), ("B", blue), ("R", red), ("WP", white)))
        parts.append(f"{display}={points}L{pair(most, least, 10000)}")
    if light.content is not None:
        parts.append(f"{content}={light.content[0]},{light.content[1]}")
    return parts
