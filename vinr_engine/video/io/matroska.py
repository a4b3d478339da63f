"""The shape of pixels in a Matroska or WebM file that is written: PyAV does not let FFmpeg know of it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

_SEGMENT, _SEEK_HEAD, _SEEK, _POSITION, _SEEK_ID = 0x18538067, 0x114D9B74, 0x4DBB, 0x53AC, 0x53AB
_VOID, _CRC, _INFO, _TRACKS, _ENTRY, _VIDEO = 0xEC, 0xBF, 0x1549A966, 0x1654AE6B, 0xAE, 0xE0
_WIDTH, _HEIGHT, _UNIT = 0x54B0, 0x54BA, 0x54B2
"""Of the picture as it is shown, in square pixels unless there is a unit."""
_MOST = (1 << 24) - 1
_HEAD = 1 << 20
"""Bytes at the beginning of a file, among which its tracks are."""


@dataclass(frozen=True)
class _Element:
    """``begin``: of its identity, ``data``: of its content, ``end``: of that, in bytes."""

    identity: int
    begin: int
    data: int
    end: int


def set_shape(path: Path, width: int, height: int, aspect: Fraction) -> bool:
    """Say in a complete file that its picture's pixels have this sample aspect ratio.

    The tracks grow into the space that FFmpeg leaves before them; everything else stays where it is. False where there
    is none, or the picture would be shown too large to say. Errors: OSError.
    """
    shown = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    if max(shown) > _MOST:
        return False
    with open(path, "r+b") as file:
        head = file.read(_HEAD)
        segment = next((e for e in _elements(head, 0, len(head)) if e.identity == _SEGMENT), None)
        if segment is None:
            return False
        found: dict[int, _Element] = {}
        for element in _elements(head, segment.data, len(head)):
            found.setdefault(element.identity, element)
            if element.identity == _TRACKS:
                break
        if not {_SEEK_HEAD, _VOID, _INFO, _TRACKS} <= found.keys() or found[_TRACKS].end > len(head):
            return False
        seek, void, tracks = found[_SEEK_HEAD], found[_VOID], found[_TRACKS]
        if not seek.end <= void.begin < found[_INFO].begin < tracks.begin:
            return False
        new = _with_size(head, tracks, *shown)
        grown = len(new) - (tracks.end - tracks.begin)
        room = void.end - void.begin - grown
        if new == b"" or room < 9:
            return False
        moved = {_INFO, _TRACKS}
        written = (
            _moved(head, seek, moved, grown) + head[seek.end : void.begin] + _element(_VOID, bytes(room - 9), 8)
            + head[void.end : tracks.begin] + new
        )  # fmt: skip
        assert len(written) == tracks.end - seek.begin
        file.seek(seek.begin)
        file.write(written)
    return True


def _elements(data: bytes, begin: int, end: int) -> Iterator[_Element]:
    while begin < end:
        length = 9 - data[begin].bit_length()
        identity = int.from_bytes(data[begin : begin + length], "big")
        at = begin + length
        if at >= len(data) or data[at] == 0:
            return
        width = 9 - data[at].bit_length()
        size = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
        begin_data = at + width
        stop = end if size == (1 << 7 * width) - 1 else begin_data + size
        yield _Element(identity, begin, begin_data, stop)
        begin = stop


def _element(identity: int, content: bytes, width: int) -> bytes:
    """An element whose size takes ``width`` bytes, or as many more as it needs."""
    while len(content) >= (1 << 7 * width) - 1:
        width += 1
    size = (len(content) | 1 << 7 * width).to_bytes(width, "big")
    return identity.to_bytes((identity.bit_length() + 7) // 8, "big") + size + content


def _width(data: bytes, element: _Element) -> int:
    return 9 - data[element.begin + (element.identity.bit_length() + 7) // 8].bit_length()


def _summed(content: bytes) -> bytes:
    """The content of an element, whose CRC-32, if it begins with one, is put right."""
    if content[:1] != bytes([_CRC]):
        return content
    return content[:2] + zlib.crc32(content[6:]).to_bytes(4, "little") + content[6:]


def _with_size(data: bytes, tracks: _Element, width: int, height: int) -> bytes:
    """The tracks, the first picture of which says how large it is shown; b"" where there is none that does not."""
    parts, done = [], False
    for entry in _elements(data, tracks.data, tracks.end):
        pieces, changed = [], False
        for piece in _elements(data, entry.data, entry.end) if entry.identity == _ENTRY and not done else ():
            content = data[piece.data : piece.end]
            if piece.identity == _VIDEO and not any(
                e.identity in (_WIDTH, _HEIGHT) for e in _elements(data, piece.data, piece.end)
            ):
                sizes = ((_WIDTH, width), (_HEIGHT, height))
                kept = (e for e in _elements(data, piece.data, piece.end) if e.identity != _UNIT)
                content = b"".join(data[e.begin : e.end] for e in kept)
                content += b"".join(_element(i, value.to_bytes(3, "big"), 1) for i, value in sizes)
                changed = done = True
            pieces.append(_element(piece.identity, content, _width(data, piece)))
        whole = data[entry.begin : entry.end]
        parts.append(_element(_ENTRY, b"".join(pieces), _width(data, entry)) if changed else whole)
    return _element(_TRACKS, _summed(b"".join(parts)), _width(data, tracks)) if done else b""


def _moved(data: bytes, seek_head: _Element, moved: set[int], by: int) -> bytes:
    """The index of elements, where some have moved towards the beginning."""
    content = bytearray(data[seek_head.data : seek_head.end])
    for seek in _elements(data, seek_head.data, seek_head.end):
        if seek.identity != _SEEK:
            continue
        parts = {e.identity: e for e in _elements(data, seek.data, seek.end)}
        identity, position = parts[_SEEK_ID], parts[_POSITION]
        if int.from_bytes(data[identity.data : identity.end], "big") in moved:
            size = position.end - position.data
            value = int.from_bytes(data[position.data : position.end], "big") - by
            content[position.data - seek_head.data : position.end - seek_head.data] = value.to_bytes(size, "big")
    return data[seek_head.begin : seek_head.data] + _summed(bytes(content))
