"""Holds what is computed to the promise that the number of threads changes no bit of it."""

import torch

COUNTS = (1, 2, 3, 5, 7)


def results_by_threads(compute):
    """The tensors that `compute()` gives with each number of threads."""
    before, results = torch.get_num_threads(), []
    try:
        for n in COUNTS:
            torch.set_num_threads(n)
            results.append(list(compute()))
    finally:
        torch.set_num_threads(before)
    return results


def assert_threads_change_nothing(compute):
    """Equal to the last bit; a NaN equals none, so there must be none."""
    first, *others = results_by_threads(compute)
    for n, other in zip(COUNTS[1:], others, strict=True):
        for i, (a, b) in enumerate(zip(first, other, strict=True)):
            assert torch.equal(a, b), f"tensor {i} differs between 1 and {n} threads by {(a - b).abs().max():.1e}"
