"""Choice of launch configurations: a few, timed once on the GPU at hand; the first of them in the interpreter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import triton

from vinr_engine.kernels.common.runtime import INTERPRETED

# Triton is about to change its default. Every kernel here is written for contraction to fused multiply-adds.
OPTIONS = {"enable_fp_fusion": True}


def configuration(num_warps: int, num_stages: int, **blocks: int) -> triton.Config:
    """One way to launch: warps a program, stages of its software pipeline, and sizes of its blocks."""
    return triton.Config({**blocks, **OPTIONS}, num_warps=num_warps, num_stages=num_stages)


def launch(kernel: Any, grid: Callable[[dict[str, Any]], tuple[int, ...]], **arguments: Any) -> None:
    """Run an autotuned kernel; where torch must be deterministic, in the first configuration, whatever was tuned."""
    if torch.are_deterministic_algorithms_enabled():
        prune = kernel.early_config_prune
        configurations = prune(kernel.configs, {}, **arguments) if prune else kernel.configs
        kernel.fn[grid](**arguments, **configurations[0].all_kwargs())
    else:
        kernel[grid](**arguments)


def size_class(elements: int) -> int:
    """A number for sizes within a factor of four of each other, to tune by."""
    return max(elements, 1).bit_length() // 2


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
