"""Opening a file of video or sound, and nothing beside it."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import IO, Any

import av

from vinr_engine.errors import SourceError, reason

_HEAD = 12
"""Bytes by which files of one kind, made in one way, begin."""
_LOOKED_THROUGH = 1 << 24
"""Bytes behind the last packet in which another beginning is looked for."""

_FIRST = {b"ftyp", b"wide", b"free", b"skip", b"mdat"}
"""What MP4 and MOV begin with where their index comes later."""
_BOXES = 1000
"""How many boxes of such a file are looked at; one that is no index by then has none worth waiting for."""


def open_container(path: Path) -> tuple[av.container.InputContainer, IO[bytes]]:
    """Open a video file for reading; a file that points to others (playlists, external tracks) is refused.

    The caller closes first the container, then the file.
    """

    def refuse(url: str, flags: int, options: dict[str, str]) -> Any:
        raise SourceError(f"{path} refers to another file ({url}), which is not followed")

    try:
        file = open(path, "rb")  # noqa: SIM115, closed with the container
    except FileNotFoundError:
        raise SourceError(f"no such file: {path}") from None
    except OSError as error:
        raise SourceError(f"cannot read {path}: {reason(error)}") from None
    try:
        if os.fstat(file.fileno()).st_size == 0:
            raise SourceError(f"{path} is empty")
        return av.open(file, "r", io_open=refuse, metadata_errors="replace"), file
    except av.error.InvalidDataError:
        why = "is not a video that can be read, or is damaged"
        if _lacks_index(file):
            why = "lacks its index (moov), as recordings and downloads do that were not completed"
        file.close()
        raise SourceError(f"{path} {why}") from None
    except (av.error.FFmpegError, OSError) as error:
        file.close()
        raise SourceError(f"cannot read {path}: {reason(error)}") from None
    except BaseException:
        file.close()
        raise


def _lacks_index(file: IO[bytes]) -> bool:
    """Whether a file is MP4 or MOV without the box that says where everything lies, which is written last."""
    at, end = 0, os.fstat(file.fileno()).st_size
    for _ in range(_BOXES):
        if at >= end:
            break
        file.seek(at)
        size, name = struct.unpack(">I4s", file.read(8).ljust(8, b"\0"))
        if name == b"moov" or (at == 0 and name not in _FIRST):
            return False
        if size == 1:  # 64 bits follow
            size = int.from_bytes(file.read(8), "big")
        if size < 8:  # up to the end
            break
        at += size
    return True


def other_file(path: Path, begin: int) -> int | None:
    """Where another file such as this one begins within it, behind byte ``begin``, as where two were joined that
    cannot be; None if none does. OSError."""
    with open(path, "rb") as file:
        head = file.read(_HEAD)
        file.seek(max(begin, _HEAD))
        place = file.read(_LOOKED_THROUGH).find(head)
    return None if place < 0 else max(begin, _HEAD) + place
