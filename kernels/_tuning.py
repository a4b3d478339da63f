"""Choice of launch configurations: a few, timed once on the GPU at hand; the first of them in the interpreter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import triton
from vinr_engine.kernels._runtime import INTERPRETED

# Triton is about to change its default. Every kernel here is written for contraction to fused multiply-adds.
OPTIONS = {"enable_fp_fusion": True}


def autotune(
    configurations: Sequence[triton.Config], key: Sequence[str], prune: Callable[..., Any], reset: Sequence[str] = ()
) -> Callable[[Any], Any]:
    """`triton.autotune` over what `prune` leaves, remembered between processes.

    prune: called with the configurations, the kernel's arguments by name, and the rest of them as keywords.
    key: the arguments of the kernel whose values, beside its tensors' dtypes, decide which configuration is best.
    reset: arguments that the kernel adds to, so that they are zeroed after each timed run.
    """
    if INTERPRETED:  # it has no clock
        return triton.autotune(configs=list(configurations[:1]), key=[])
    return triton.autotune(
        configs=list(configurations),
        key=list(key),
        prune_configs_by={"early_config_prune": prune},
        reset_to_zero=list(reset) or None,
        cache_results=True,
    )
