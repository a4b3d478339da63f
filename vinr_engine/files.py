"""Files and folders that appear under their names complete, or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vinr_engine.errors import SinkError, VinrError, reason


@contextmanager
def reported(path: str | os.PathLike[str], kind: type[VinrError] | None = SinkError) -> Iterator[None]:
    """Turns an OSError into ``kind``, if there is one: cannot write ``path``, and why."""
    try:
        yield
    except OSError as error:
        if kind is None:
            raise
        raise kind(f"cannot write {path}: {reason(error)}") from None


@contextmanager
def draft(
    path: str | os.PathLike[str],
    folder: bool = False,
    ours: re.Pattern[str] | None = None,
    kind: type[VinrError] | None = None,
) -> Iterator[Path]:
    """A hidden name beside ``path`` to write to: an empty file, or a ``folder``, with the permissions of any new one.

    It takes ``path``'s place when the block ends well; on an error it is removed, and what stood there stays. A folder
    replaces another one only if all in that are files whose names match ``ours`` (None: whatever it holds).

    Raises ``kind``, or OSError without one, where the draft cannot be made or take its place; and SinkError for a
    folder that holds other files.
    """
    final = Path(os.path.abspath(path))
    stem, suffix = (final.name, "") if folder else (final.stem, final.suffix)
    new = final.with_name(f".{stem[:80]}.partial-{secrets.token_hex(4)}{suffix}")
    try:
        with reported(final, kind):
            new.mkdir() if folder else new.touch(exist_ok=False)
            mode = new.stat().st_mode
        yield new
        with reported(final, kind):
            if folder:
                _replace_folder(new, final, ours)
            else:
                os.chmod(new, mode)  # some libraries write a file of their own that only its owner may read
                sync(new)
                os.replace(new, final)
    finally:
        if folder:
            shutil.rmtree(new, ignore_errors=True)
        elif os.path.lexists(new):
            new.unlink()


def _replace_folder(new: Path, final: Path, ours: re.Pattern[str] | None) -> None:
    if not final.exists():
        os.rename(new, final)
        return
    old = new.with_name(new.name.replace(".partial-", ".old-"))
    os.rename(final, old)
    if ours is not None and foreign(old, ours) is not None:
        os.rename(old, final)
        raise SinkError(f"{final} holds other files now: choose another folder")
    os.rename(new, final)
    shutil.rmtree(old)


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of names: a full disk may show only then."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    state = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
    return state.hexdigest()


SAMPLES, SAMPLE = 16, 1 << 16
"""How many pieces of a file a fingerprint sees, and the bytes of each."""


def fingerprint(path: str | os.PathLike[str]) -> str:
    """Size and SHA-256 of pieces of a file, as text: tells files apart that may take minutes to read."""
    size = os.path.getsize(path)
    state = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for n in range(SAMPLES):
            file.seek(max(0, size - SAMPLE) * n // (SAMPLES - 1))
            state.update(file.read(SAMPLE))
    return state.hexdigest()


def foreign(folder: Path, ours: re.Pattern[str]) -> str | None:
    """The name of something in a folder that this program did not write, None if there is nothing such."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not (ours.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)):
                return entry.name
    return None


def check_new(dst: str, folder: bool, overwrite: bool, ours: re.Pattern[str] | None = None) -> None:
    """SinkError where it is clear before any work that a file or ``folder`` cannot be written to ``dst``.

    So it is if something exists there without ``overwrite``, a folder with files whose names do not match ``ours``, a
    link, or no folder that can be written around it. An empty folder needs no ``overwrite``.
    """
    final = Path(os.path.abspath(dst))
    if not final.parent.is_dir():
        raise SinkError(f"the folder {final.parent} does not exist")
    if final.is_symlink():
        raise SinkError(f"{dst} is a symbolic link: name the place itself")
    if final.exists():
        if folder != final.is_dir():
            raise SinkError(f"{dst} exists and is not a {'folder' if folder else 'file'}")
        if not folder and not overwrite:
            raise SinkError(f"{dst} exists (--overwrite replaces it)")
        if folder:
            other = None if ours is None else foreign(final, ours)
            if other is not None:
                raise SinkError(f"{dst} holds other files ({other}): choose an empty or a new folder")
            if any(final.iterdir()) and not overwrite:
                raise SinkError(f"{dst} already holds files (--overwrite replaces them)")
    if not os.access(final.parent, os.W_OK):
        raise SinkError(f"cannot write in {final.parent}: permission denied")


def check_writable(folder: Path) -> None:
    """SinkError where it is clear before any work that files cannot be written into ``folder``, which may not exist."""
    there = next(p for p in (folder, *folder.parents) if os.path.lexists(p))
    if not there.is_dir():
        raise SinkError(f"cannot write into {folder}: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise SinkError(f"cannot write into {folder}: no permission to write into {there}")


def make_folder(folder: Path, kind: type[VinrError] = SinkError) -> None:
    """Make it, and those above it, where they do not exist. Raises ``kind``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise kind(f"cannot make the folder {folder}: {reason(error)}") from None


def write_text(path: Path, text: str) -> None:
    """Replace ``path``, and make the folders above it: what was there stays until all of ``text`` is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with draft(path) as new:
        new.write_text(text, encoding="utf-8")


def is_plain(name: str) -> bool:
    """Whether a name stays in the folder that it is put after."""
    return name not in ("", ".", "..") and not any(mark in name for mark in ("/", "\\", "\0"))
