"""Opening a file of video or sound, and nothing beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

import av

from vinr_engine.errors import SourceError, reason

_HEAD = 12
"""Bytes by which files of one kind, made in one way, begin."""
_LOOKED_THROUGH = 1 << 24
"""Bytes behind the last packet in which another beginning is looked for."""


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
        file.close()
        raise SourceError(f"{path} is not a video that can be read, or is damaged") from None
    except (av.error.FFmpegError, OSError) as error:
        file.close()
        raise SourceError(f"cannot read {path}: {reason(error)}") from None
    except BaseException:
        file.close()
        raise


def other_file(path: Path, begin: int) -> int | None:
    """Where another file such as this one begins within it, behind byte ``begin``, as where two were joined that
    cannot be; None if none does. OSError."""
    with open(path, "rb") as file:
        head = file.read(_HEAD)
        file.seek(max(begin, _HEAD))
        place = file.read(_LOOKED_THROUGH).find(head)
    return None if place < 0 else max(begin, _HEAD) + place
