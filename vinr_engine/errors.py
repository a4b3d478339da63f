"""The errors that a user can cause; each carries a message of one line."""

from __future__ import annotations

import errno
import os


class VinrError(Exception):
    """Base of every error whose message is meant for the user as it stands."""


class UsageError(VinrError):
    """An argument is wrong, or two do not go together; nothing was read or written."""


class SourceError(VinrError):
    """The input is missing, empty, damaged or of a kind that cannot be read."""


class SinkError(VinrError):
    """The output cannot be written: it exists, does not fit its container, or the disk is full."""


class WeightsError(VinrError):
    """No weights were given, or the given file is not a checkpoint of this network."""


class CheckpointError(ValueError):
    """A file that holds no network's parameters, or not the right ones; the message is one line."""


class Cancelled(VinrError):
    """The cancel callback asked to stop; nothing was left under the output's name."""


class ConfigError(UsageError):
    """A configuration with an unknown key, a wrong type or a missing path; the message names the key."""


class DataError(VinrError):
    """Clips or frames that cannot be used."""


class StateError(VinrError):
    """A training state that cannot be written, read or resumed."""


class DivergedError(VinrError):
    """Too many steps whose loss is not finite."""


def is_full(error: BaseException | None) -> bool:
    """Whether a full disk, or a quota that is used up, led to an error."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def printable(text: str) -> str:
    """The text on one line: control characters, which names of files may hold, by their escapes."""
    return "".join(c if c.isprintable() or 0xDC80 <= ord(c) <= 0xDCFF else repr(c)[1:-1] for c in text)


def reason(error: BaseException) -> str:
    """What went wrong in a few words, on one line: the system's text for an OSError, else the message."""
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno)
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
