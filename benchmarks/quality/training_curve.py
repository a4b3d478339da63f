"""Draws a training run's log.csv: gain over bicubic and blend at validation, and the loss."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def draw(log: Path, path: Path) -> None:
    """Write the picture `path` from `log`."""
    with open(log, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    checked = [row for row in rows if row["gain_end"]]
    figure, (gains, losses) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for key, label in (("gain_end", "at the frames"), ("gain_between", "halfway between")):
        gains.plot([int(r["step"]) for r in checked], [float(r[key]) for r in checked], marker=".", label=label)
    gains.axhline(0, color="grey", linewidth=0.8)
    gains.set(xlabel="step", ylabel="dB", title="PSNR-Y over bicubic and blend, held-out photographs")
    gains.legend()
    losses.plot([int(r["step"]) for r in rows], [float(r["picture_loss"]) for r in rows])
    losses.set(xlabel="step", title="loss of the pictures, mean of the steps between two lines of the log")
    figure.savefig(path)


def main() -> None:
    """python -m benchmarks.quality.training_curve runs/small/log.csv benchmarks/results/training.svg"""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("path", type=Path)
    arguments = parser.parse_args()
    draw(arguments.log, arguments.path)


if __name__ == "__main__":
    main()
