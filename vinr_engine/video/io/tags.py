"""Tags, flags and chapters: which of the input's say something of the work itself, and belong into the output."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

Tags = dict[str, str]

_OF_THE_FILE = {
    "encoder", "major_brand", "minor_version", "compatible_brands", "duration", "bps", "number_of_frames",
    "number_of_bytes", "vendor_id", "source_id", "rotate", "compatible_brand", "variant_bitrate", "majorbrand",
    "company_name", "product_name", "product_version", "file_package_umid", "material_package_umid", "uid",
    "generation_uid", "modification_date", "isvbr", "peak value", "average level", "is_complete", "service_name",
    "service_provider", "hasaudio", "hasvideo", "hasmetadata", "hascuepoints", "haskeyframes",
    "metadatacreator", "canseektoend", "operational_pattern_ul", "product_version_num", "product_uid",
    "application_platform", "toolkit_version_num", "alpha_mode",
}  # fmt: skip
"""Tags that tell how a file is coded, not what it holds: they would be wrong in another one."""
_STATISTICS = re.compile(r"(_statistics_.*|bps|duration|number_of_(frames|bytes)|source_id)(-\w+)?")
_HANDLER = re.compile(
    r"\W*((\w+ )?(video|sound|subtitle|data|timecode|time code|closed caption|text|metadata)?\s*(media )?handler"
    r"|core media.*|.*gpac.*|iso media file.*|l-smash.*|mainconcept.*|)\W*",
    re.IGNORECASE,
)
"""Names of handlers that programs give by themselves."""
NAMES = {"name": "title", "iso_date": "date", "year": "date"}
"""One name for tags that containers name differently."""


def normal(name: str) -> str:
    """A tag's name, as it is compared."""
    name = name.lower()
    return NAMES.get(name, name)


def of_file(found: Mapping[str, str]) -> Tags:
    """The tags of a container that are kept, by their normal names."""
    kept = {normal(name): value for name, value in found.items() if not _coded(name)}
    return {name: value for name, value in kept.items() if value}


def of_stream(found: Mapping[str, str]) -> Tags:
    """The tags of a stream that are kept, by their normal names."""
    kept = {normal(name): value for name, value in found.items() if not _coded(name)}
    if kept.get("language") == "und":
        del kept["language"]
    if _HANDLER.fullmatch(kept.get("handler_name", "")):
        kept.pop("handler_name", None)
    for name in ("creation_time", "filename", "mimetype"):  # of the file's making, and of attachments
        kept.pop(name, None)
    return {name: value for name, value in kept.items() if value}


def _coded(name: str) -> bool:
    return name.lower() in _OF_THE_FILE or bool(_STATISTICS.fullmatch(name.lower()))


def chapters(
    found: Iterable[Mapping[str, Any]], begin: Fraction, end: Fraction | None, lead: Fraction
) -> list[dict[str, Any]]:
    """Chapters on the output's time line, clipped to the part of the file from ``begin`` to ``end`` seconds.

    ``lead`` is the output's time of ``begin``. Those outside are left out.
    """
    kept: list[dict[str, Any]] = []
    for chapter in found:
        base = chapter["time_base"] or Fraction(1, 1000)
        start, last = chapter["start"] * base, chapter["end"] * base
        first = max(start, begin - lead)
        if end is not None:
            last = min(last, end)
        if last < first or (last == first and (start < first or first == end)):  # it may be a place alone
            continue
        times = {key: round((at - begin + lead) * 1000) for key, at in (("start", first), ("end", last))}
        kept.append(
            {"id": len(kept) + 1, **times, "time_base": Fraction(1, 1000), "metadata": dict(chapter["metadata"])}
        )
    return kept


def missing(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Names of tags that are wanted, and not found as they should be; languages may be by another code."""
    there = {normal(name): value for name, value in found.items()}
    return [name for name, value in wanted.items() if not _alike(name, value, there.get(name))]


def _alike(name: str, value: str, found: str | None) -> bool:
    if found is None:
        return False
    if name == "creation_time":  # by another precision
        return value[:19] == found[:19]
    return value == found or name in ("language", "timecode")
