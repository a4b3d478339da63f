"""Loads the C++ extension, if one was built, so that `torch.ops.vinr.*` exists.

The variable VINR_EXTENSION names another build of it to load, such as the one with sanitizers.
"""

from __future__ import annotations

import os
import pathlib
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Extension:
    """What became of the C++ extension: `path` of the loaded library, or None and in `error` why there is none."""

    path: pathlib.Path | None
    error: str


def _load() -> Extension:
    folder = pathlib.Path(__file__).parent
    libraries = sorted(p for p in folder.glob("_C.*") if p.suffix in (".so", ".pyd", ".dylib"))
    if named := os.environ.get("VINR_EXTENSION"):
        libraries = [pathlib.Path(named)]
    if not libraries:
        return Extension(None, "the C++ extension was not built (VINR_BUILD_EXT=0, or a copy of the sources alone)")
    try:
        torch.ops.load_library(libraries[-1])
    except OSError as error:
        return Extension(None, f"the C++ extension {libraries[-1].name} does not load: {error}")
    return Extension(libraries[-1], "")


EXTENSION = _load()
