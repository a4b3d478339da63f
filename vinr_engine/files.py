"""Files and folders that appear under their names complete, or not at all."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import platform
import re
import secrets
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    """A place to write to in a hidden folder beside ``path``: an empty file, or a ``folder``, with the permissions of
    any new one.

    It takes ``path``'s place when the block ends well; on an error it is removed, and what stood there stays. A folder
    replaces another one only if all in that are files whose names match ``ours`` (None: whatever it holds). What a
    process left that was killed meanwhile, the next draft of ``path`` removes: see `sweep`.

    Raises ``kind``, or OSError without one, where the draft cannot be made or take its place; and SinkError for a
    folder that holds other files.
    """
    final = Path(os.path.abspath(path))
    with reported(final, kind):
        sweep(final)
        work, lock = _new_work(final)
    new = work / final.name
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
        shutil.rmtree(work, ignore_errors=True)
        os.close(lock)


_OLD = ".replaced"
"""In a draft's hidden folder: the folder that stood there, until the new one does."""


LONGEST_NAME = 255
"""Bytes of a name, on most file systems."""


def beside(final: Path, before: str, after: str) -> Path:
    """A path beside ``final`` whose name is BEFORE, final's, AFTER; shortened where names cannot be that long."""
    name = final.name
    room = LONGEST_NAME - len(os.fsencode(before + after))
    if len(os.fsencode(name)) > room:
        mark = f"~{zlib.crc32(os.fsencode(name)):08x}"
        name = os.fsencode(name)[: room - len(mark)].decode(errors="ignore") + mark
    return final.with_name(before + name + after)


def _work_names(final: Path) -> str:
    """How the names begin of the hidden folders that drafts of ``final`` are made in.

    The host is in it: a lock may be unknown to other hosts that share the file system.
    """
    after = f".partial-{zlib.crc32(platform.node().encode()):08x}-"
    return beside(final, ".", after + 8 * "x").name[:-8]


def _new_work(final: Path) -> tuple[Path, int]:
    """Such a folder, and a descriptor that holds its lock until it is closed, or the process ends in whatever way.

    The folder is locked, not what is in it: some libraries put a file of their own in a draft's place.
    """
    while True:
        work = final.with_name(_work_names(final) + secrets.token_hex(4))
        work.mkdir()
        with suppress(FileNotFoundError):  # swept before it was locked
            lock = os.open(work, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            except OSError:
                return work, lock  # a file system without locks, where `sweep` leaves everything
            if os.path.exists(work):
                return work, lock
            os.close(lock)


def sweep(path: str | os.PathLike[str]) -> None:
    """Remove what drafts of ``path`` left whose processes were killed: those that no process holds the lock of.

    A folder that was being replaced returns to its place, if the new one had not come there. Nothing happens where the
    file system has no locks.
    """
    final = Path(os.path.abspath(path))
    begin = _work_names(final)
    with suppress(OSError):
        for name in os.listdir(final.parent):
            if name.startswith(begin) and re.fullmatch("[0-9a-f]{8}", name[len(begin) :]):
                with suppress(OSError):
                    _sweep(final.with_name(name), final)


def _sweep(work: Path, final: Path) -> None:
    lock = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if (work / final.name).exists() and (work / _OLD).exists() and not final.exists():
            os.rename(work / _OLD, final)
        shutil.rmtree(work)
    finally:
        os.close(lock)


def _replace_folder(new: Path, final: Path, ours: re.Pattern[str] | None) -> None:
    if not final.exists():
        os.rename(new, final)
        return
    old = new.with_name(_OLD)
    os.rename(final, old)
    try:
        if ours is not None and foreign(old, ours) is not None:
            raise SinkError(f"{final} holds other files now: choose another folder")
        os.rename(new, final)
    except BaseException:
        if not final.exists():
            os.rename(old, final)
        raise


RENAME_NOREPLACE = 1  # of Linux's renameat2
AT_FDCWD = -100


def rename_new(old: Path, new: Path) -> None:
    """Rename to a name that nothing has, an empty folder apart; FileExistsError where something appeared meanwhile."""
    if old.is_dir():
        try:
            os.rename(old, new)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(new)) from None
        return
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is not None:
        if rename(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), RENAME_NOREPLACE) == 0:
            return
        if (code := ctypes.get_errno()) not in (errno.ENOSYS, errno.EINVAL):
            raise OSError(code, os.strerror(code), str(new))
    if os.path.lexists(new):  # this system cannot do both at once
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(new))
    os.rename(old, new)


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
    """SHA-256 of a small file, of a large one's size and pieces: tells files apart that may take minutes to read."""
    size = os.path.getsize(path)
    if size <= SAMPLES * SAMPLE:
        return digest(path)
    state = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for n in range(SAMPLES):
            file.seek((size - SAMPLE) * n // (SAMPLES - 1))
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
