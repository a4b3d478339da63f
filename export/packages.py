"""Optional packages: what is missing is named, with the command that installs it."""

from __future__ import annotations

from importlib.util import find_spec

from vinr_engine.errors import UsageError


def require(*modules: str) -> None:
    """UsageError, naming what to install, unless every module can be imported; pip knows them by the same names."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise UsageError(f"{' and '.join(missing)} not installed: pip install {' '.join(missing)}")
