"""Finds the TensorRT plugin library, which export/tensorrt builds, and loads it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vinr_engine.errors import UsageError
from vinr_engine.export.plugins import NAMESPACE, PLUGINS, VERSION

VARIABLE = "VINR_TENSORRT_PLUGINS"  # names the library where no option does


def find(given: str | os.PathLike[str] | None) -> Path:
    """The library that is given, or else the one that VINR_TENSORRT_PLUGINS names. UsageError if there is none."""
    path = given or os.environ.get(VARIABLE)
    if not path:
        raise UsageError(
            f"the plugin profile needs the plugin library (docs/tensorrt-plugins.md says how it is built): name it by "
            f"--plugin-library or {VARIABLE}, or use --profile portable"
        )
    if not Path(path).is_file():
        raise UsageError(f"{path}: no such plugin library")
    return Path(path).resolve()


def load(trt: Any, path: Path) -> None:
    """Make the library's plugins known to `trt`, a module of TensorRT. UsageError if it does not hold them."""
    registry = trt.get_plugin_registry()

    def missing() -> list[str]:
        return [name for name in PLUGINS if registry.get_creator(name, VERSION, NAMESPACE) is None]

    if not missing():  # loaded before
        return
    if registry.load_library(str(path)) is None:
        raise UsageError(f"{path}: TensorRT {trt.__version__} does not load it as a plugin library")
    if lacking := missing():
        raise UsageError(f"{path}: a plugin library without {', '.join(lacking)} of version {VERSION}")
