"""Makes a bare checkout importable: kernels/ and export/ stand beside this package there, and no installer mapped them.

An installation, editable or not, has finders or folders of its own for them, which come first: nothing changes there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).resolve().parent
FOLDERS = ("export", "kernels")


class Beside:
    """Finds the packages of `FOLDERS` beside this one, after all other finders have failed."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        parent, _, folder = name.rpartition(".")
        code = PACKAGE.parent / folder
        if parent != __package__ or folder not in FOLDERS or not (code / "__init__.py").is_file():
            return None
        return spec_from_file_location(name, code / "__init__.py", submodule_search_locations=[str(code)])


# Not beside an installed package: any other project's folder may be called so there.
if not (PACKAGE / "kernels").is_dir() and Beside not in sys.meta_path:
    sys.meta_path.append(Beside)
