"""PyTorch, for the commands that compute: help and a wrong option are answered before it would have been loaded."""

from __future__ import annotations

import gc

_alone = False


def own_process() -> None:
    """Say that this process runs one command and does nothing else."""
    global _alone
    _alone = True


def load_torch() -> None:
    """Load PyTorch, the ops and the networks; a command calls it before its own imports, which need them."""
    if _alone:
        # These modules live as long as the process: a garbage collection that walks them takes 0.2 s for nothing, and
        # those while they are loaded 0.1 s.
        gc.disable()
    import vinr_engine.models  # noqa: F401

    if _alone:
        gc.freeze()
        gc.enable()
