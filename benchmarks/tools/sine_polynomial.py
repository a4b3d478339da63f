"""Coefficients of the kernels' sine: the minimax polynomial of sin(pi r) / r in r^2 for |r| <= 1/2.

    python -m benchmarks.tools.sine_polynomial [--terms 5]

Prints the coefficients and the largest error of sin(pi r) in exact and in float32 arithmetic.
"""

from __future__ import annotations

import argparse

import numpy as np


def minimax(terms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients from r^1 up, by least squares whose weights grow where the error is large (Lawson's method)."""
    r = np.linspace(1e-6, 0.5, 20001)
    powers = np.stack([r ** (2 * k + 1) for k in range(terms)], 1)
    wanted, weight = np.sin(np.pi * r), np.ones_like(r)
    for _ in range(400):
        coefficients, *_ = np.linalg.lstsq(powers * weight[:, None], wanted * weight, rcond=None)
        error = np.abs(powers @ coefficients - wanted)
        weight *= (error / error.max() + 1e-3) ** 0.25
        weight /= weight.max()
    return coefficients, r, error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--terms", type=int, default=5)
    coefficients, r, error = minimax(parser.parse_args().terms)
    single, s = coefficients.astype(np.float32), r.astype(np.float32) ** 2
    value = np.full_like(s, single[-1])
    for c in single[-2::-1]:
        value = value * s + c
    rounded = np.abs(
        (value * r.astype(np.float32)).astype(np.float64) - np.sin(np.pi * r.astype(np.float32).astype(np.float64))
    )
    print("coefficients:", ", ".join(f"{c:.10g}" for c in coefficients))
    print(f"largest error: {error.max():.2g} exact, {rounded.max():.2g} in float32")


if __name__ == "__main__":
    main()
