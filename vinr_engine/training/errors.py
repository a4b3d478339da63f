"""What training reports in one line."""

from __future__ import annotations

from vinr_engine.video.errors import UsageError, VinrError


class ConfigError(UsageError):
    """A configuration with an unknown key, a wrong type or a missing path; the message names the key."""


class DataError(VinrError):
    """Clips or frames that cannot be used."""


class StateError(VinrError):
    """A training state that cannot be written, read or resumed."""


class DivergedError(VinrError):
    """Too many steps whose loss is not finite."""
