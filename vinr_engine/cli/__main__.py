"""The program: `vinr`, and `python -m vinr_engine.cli`, for torchrun among others."""

from __future__ import annotations

import gc
import sys

import vinr_engine  # noqa: F401  it loads PyTorch


def run() -> int:
    """See `main.main`; only for a process that does nothing else."""
    # PyTorch's modules live as long as the process: a garbage collection that walks them takes 0.2 s for nothing.
    gc.freeze()
    from vinr_engine.cli.main import main

    return main()


if __name__ == "__main__":
    sys.exit(run())
