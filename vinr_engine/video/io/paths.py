"""Names on disk: what SRC and DST are, and writing that leaves nothing half-done under DST's name."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from vinr_engine.errors import SinkError, SourceError, UsageError, reason

from . import image_source

CONTAINERS = {".mp4": "mp4", ".mkv": "matroska", ".webm": "webm"}
FRAME_NAME = "frame_{:06d}.png"
_OURS = re.compile(r"frame_\d{6,}\.png")


def source_kind(src: str) -> str:
    """What SRC is: "video", "folder" or "pattern"; SourceError when there is no such file."""
    if os.path.isdir(src):
        return "folder"
    if os.path.exists(src):
        if not os.path.isfile(src):
            raise SourceError(f"{src} is neither a file nor a folder")
        if src.lower().endswith(image_source.SUFFIXES):
            raise SourceError(
                f"{src} is one image: give a video, a folder of images or a pattern such as frame_%04d.png"
            )
        return "video"
    if image_source.is_pattern(src):
        return "pattern"
    raise SourceError(f"no such file: {src}")


def sink_is_folder(dst: str) -> bool:
    """Whether DST names a folder of PNG (no suffix, or an existing folder) rather than a video file."""
    path = Path(dst)
    if path.is_dir() or dst.endswith(os.sep):
        return True
    suffix = path.suffix.lower()
    if suffix in CONTAINERS:
        return False
    if suffix == "" or not suffix[1:].isalnum() or suffix[1:].isdigit():
        return True
    raise UsageError(f"{dst}: the output is a .mp4, .mkv or .webm file or a folder for PNG frames, not {suffix}")


def check_distinct(src: str, dst: str) -> None:
    """UsageError when DST is SRC itself, or the folder that holds SRC's pattern."""
    inputs = [src]
    if not os.path.exists(src) and image_source.is_pattern(src):
        inputs = [os.path.dirname(src) or "."]
    for one in inputs:
        if os.path.exists(dst) and os.path.exists(one) and os.path.samefile(one, dst):
            raise UsageError(f"{dst} is the input itself: choose another output")


def _foreign(folder: Path, ours: re.Pattern[str]) -> str | None:
    """The name of something in a folder that this program did not write, None if there is nothing such."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not (ours.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)):
                return entry.name
    return None


class Draft:
    """A file or folder beside DST that takes DST's name at ``commit`` and is removed if that never comes.

    The constructor refuses a DST that exists without ``overwrite``, a folder that holds anything but files of the
    names ``ours`` (frame_NNNNNN.png), and a folder that cannot be written. An empty folder needs no ``overwrite``.
    """

    def __init__(self, dst: str, folder: bool, overwrite: bool, ours: re.Pattern[str] = _OURS) -> None:
        self.ours = ours
        self.final = Path(os.path.abspath(dst))
        self.folder = folder
        parent = self.final.parent
        if not parent.is_dir():
            raise SinkError(f"the folder {parent} does not exist")
        if self.final.is_symlink():
            raise SinkError(f"{dst} is a symbolic link: name the place itself")
        if self.final.exists():
            self._check_existing(dst, overwrite)
        if not os.access(parent, os.W_OK):
            raise SinkError(f"cannot write in {parent}: permission denied")
        suffix = "" if folder else self.final.suffix
        stem = self.final.name if folder else self.final.stem
        self.path = parent / f".{stem[:80]}.partial-{secrets.token_hex(4)}{suffix}"

    def _check_existing(self, dst: str, overwrite: bool) -> None:
        if self.folder != self.final.is_dir():
            raise SinkError(f"{dst} exists and is not a {'folder' if self.folder else 'file'}")
        if self.folder:
            foreign = _foreign(self.final, self.ours)
            if foreign is not None:
                raise SinkError(f"{dst} holds other files ({foreign}): choose an empty or a new folder")
            if any(self.final.iterdir()) and not overwrite:
                raise SinkError(f"{dst} already holds files (--overwrite replaces them)")
        elif not overwrite:
            raise SinkError(f"{dst} exists (--overwrite replaces it)")

    def __enter__(self) -> Draft:
        if self.folder:
            try:
                self.path.mkdir()
            except OSError as error:
                raise SinkError(f"cannot write in {self.path.parent}: {reason(error)}") from None
        return self

    def commit(self) -> None:
        """Give the draft DST's name. Errors: SinkError, with DST as it was."""
        try:
            if self.folder:
                self._commit_folder()
            else:
                # a full disk may show only when the file's last pages are flushed
                with open(self.path, "rb") as file:
                    os.fsync(file.fileno())
                os.replace(self.path, self.final)
        except OSError as error:
            raise SinkError(f"cannot write {self.final}: {reason(error)}") from None

    def _commit_folder(self) -> None:
        if not self.final.exists():
            os.rename(self.path, self.final)
            return
        old = self.path.with_name(self.path.name.replace(".partial-", ".old-"))
        os.rename(self.final, old)
        if _foreign(old, self.ours) is not None:
            os.rename(old, self.final)
            raise SinkError(f"{self.final} holds other files now: choose another folder")
        os.rename(self.path, self.final)
        for entry in list(old.iterdir()):
            entry.unlink()
        os.rmdir(old)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.folder:
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            with suppress(FileNotFoundError):
                os.unlink(self.path)
