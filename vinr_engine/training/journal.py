"""What a run leaves to look at: its configuration, log.csv, pictures, and what trackers such as TensorBoard show."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from pathlib import Path

import yaml
from accelerate import Accelerator
from torch import Tensor

from vinr_engine import files
from vinr_engine.training.config import Config
from vinr_engine.training.validate import write_pictures

FIELDS = ("step", "seconds", "lr", "loss", "picture_loss", "gradient_norm", "bad_steps")
FIGURES = ("psnr_end", "psnr_between", "gain_end", "gain_between", "flow_error")
Row = dict[str, float]


def mean(rows: list[Row]) -> Row:
    """The last row, with the means of the losses and the gradient's norm over the rows where they are finite."""
    row = dict(rows[-1])
    for key in ("loss", "picture_loss", "gradient_norm"):
        finite = [r[key] for r in rows if math.isfinite(r[key])]
        row[key] = sum(finite) / len(finite) if finite else math.nan
    return row


class Journal:
    """Writes in the folder `out`, from the main process alone."""

    def __init__(self, out: Path, config: Config, accelerator: Accelerator, say: Callable[[str], None]) -> None:
        self.out, self.config, self.accelerator, self.say = out, config, accelerator, say
        self.began, self.before = time.monotonic(), 0.0

    def open(self, step: int) -> None:
        """Begin, or go on after `step` steps: what a log holds of later ones is dropped."""
        if not self.accelerator.is_main_process:
            return
        self.out.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False)
        files.write_text(self.out / "config.yaml", text)
        path = self.out / "log.csv"
        rows = []
        if step and path.is_file():
            with open(path, newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        self.before = float(rows[-1]["seconds"]) if rows else 0.0
        with files.draft(path) as new, open(new, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*FIELDS, *FIGURES])
            writer.writeheader()
            writer.writerows(rows)

    def write(self, rows: list[Row], figures: Row, pictures: list[Tensor]) -> None:
        """One line for the steps `rows`, with the figures and pictures of a validation, if there was one."""
        if not self.accelerator.is_main_process:
            return
        row = {**mean(rows), **figures}
        step, seconds = int(row["step"]), self.before + time.monotonic() - self.began
        numbers = {key: f"{value:.10g}" for key, value in row.items()}
        with open(self.out / "log.csv", "a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, [*FIELDS, *FIGURES]).writerow({**numbers, "seconds": f"{seconds:.1f}"})
        self.accelerator.log({key: value for key, value in row.items() if key != "step"}, step=step)
        if pictures:
            self._show(pictures, step)
        gains = ""
        if figures:
            gains = f", dB over the blend: ends {row['gain_end']:+.2f}, between {row['gain_between']:+.2f}"
            if "flow_error" in row:
                gains += f"; flow off by {row['flow_error']:.3f} pixels"
        self.say(f"step {step}: loss {row['loss']:.5g}, lr {row['lr']:.3g}, {seconds:.0f} s{gains}")

    def _show(self, pictures: list[Tensor], step: int) -> None:
        write_pictures(pictures, self.out / "pictures" / f"step_{step:08d}.png")
        for tracker in self.accelerator.trackers:
            if tracker.name == "tensorboard":
                for k, picture in enumerate(pictures):
                    tracker.writer.add_image(f"validation/{k}", picture, step)
