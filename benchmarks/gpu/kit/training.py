"""Training on a GPU: the published recipe for 300 steps, and better default weights in resumable pieces.

    python -m benchmarks.gpu.kit.training float32|bfloat16|deterministic|weights --out FILE --folder DIR --deadline S

Each run is `vinr train` as a user types it, on procedural scenes; it stops before the deadline with a state, and the
next call goes on. Exit code: 0 done, 1 wrong, 3 packages are missing, 4 not finished.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import itertools
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.files import read_json, write_json
from benchmarks.gpu.kit import pieces

RECIPE = ("float32", "bfloat16", "deterministic")
STEPS = 300
BUDGET = 18 * 60.0  # seconds of the run for default weights; with start-up and validation, 20 minutes
TRIAL = 40  # steps of each stage that tell how many fit
MOST = 2.0  # times the preset's steps
ENDING = 15.0  # seconds before the deadline at which a run is told to stop: it writes its state
NEEDED = ("accelerate", "pydantic", "yaml", "skimage", "sklearn", "matplotlib")
# A rehearsal trains a network of almost nothing on the CPU.
TINY = ("model.nf=8", "model.groups=2", "model.front_blocks=0", "model.back_blocks=1", "model.hr_features=8",
        "model.feat_hidden=[8]", "model.flow_hidden=[8]", "model.encode_hidden=[8]", "device=cpu",
        "workers=0")  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A folder, and what `vinr train` is told."""

    folder: Path
    preset: str
    changes: tuple[str, ...]
    steps: int

    def train(self, seconds: float) -> int:
        """Train for so long at most; the exit code."""
        resume = ["--resume"] if any((self.folder / "states").glob("step_*")) else []
        sets = [part for change in self.changes for part in ("--set", change)]
        command = [sys.executable, "-m", "vinr_engine.cli", "train", str(self.folder), "--preset", self.preset,
                   *sets, "--minutes", f"{max(seconds, 1) / 60:.3f}", *resume]  # fmt: skip
        print(" ".join(command[3:]), flush=True)
        return subprocess.run(command, check=False).returncode

    def rows(self) -> list[dict[str, float]]:
        """Its log."""
        path = self.folder / "log.csv"
        if not path.is_file():
            return []
        with open(path, newline="", encoding="utf-8") as file:
            return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]

    @property
    def step(self) -> int:
        rows = self.rows()
        return int(rows[-1]["step"]) if rows else 0

    @property
    def done(self) -> bool:
        """Whether the last state is the run's end."""
        return (self.folder / "states" / f"step_{self.steps:08d}").is_dir()

    def seconds_per_step(self) -> float | None:
        """Median over the lines of the log, past the first, in which kernels are compiled."""
        rows = self.rows()[1:]
        pairs = itertools.pairwise(rows)
        each = [(b["seconds"] - a["seconds"]) / (b["step"] - a["step"]) for a, b in pairs if b["step"] > a["step"]]
        return statistics.median(each) if each else None

    def digest(self) -> str:
        """Of the weights, to tell whether two runs are equal."""
        return hashlib.sha256((self.folder / "weights.safetensors").read_bytes()).hexdigest()

    def facts(self) -> dict[str, Any]:
        """What results say of it."""
        rows, each = self.rows(), self.seconds_per_step()
        if not rows:
            return {"step": 0, "steps": self.steps}
        tail = rows[-max(1, len(rows) // 10) :]
        losses = [row["loss"] for row in tail if math.isfinite(row["loss"])]
        found: dict[str, Any] = {
            "step": self.step, "steps": self.steps, "seconds": rows[-1]["seconds"],
            "loss": [rows[0]["loss"], statistics.mean(losses)] if losses else None,
            "bad_steps": int(rows[-1].get("bad_steps", 0)), "ms_per_step": each and 1e3 * each,
        }  # fmt: skip
        checked = [row for row in rows if "gain_end" in row]
        return found | ({key: checked[-1][key] for key in ("gain_end", "gain_between")} if checked else {})


def recipe(name: str, folder: Path, dry: bool) -> list[Run]:
    """The published first stage on procedural scenes; two runs where they must be equal."""
    steps = 4 if dry else STEPS
    workers = max(1, len(os.sched_getaffinity(0)) - 2)
    changes = ["stages.0.data={source: procedural}", f"stages.0.steps={steps}", "trackers=[]", f"workers={workers}",
               f"log_every={1 if dry else 10}", f"checkpoint_every={2 if dry else 50}"]  # fmt: skip
    changes += [f"precision={'bf16' if name == 'bfloat16' else 'no'}"]
    changes += ["deterministic=true"] if name == "deterministic" else []
    changes += [*TINY, "stages.0.batch=2", "stages.0.input_crop=8"] if dry else []
    names = ("first", "second") if name == "deterministic" else ("run",)
    return [Run(folder / part, "stage1", tuple(changes), steps) for part in names]


class TrialError(Exception):
    """The trial did not come to its end: `code` is the exit code to report."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def default_weights(folder: Path, deadline: float, dry: bool) -> Run:
    """The run of `--preset gpu`, as many steps as fit the budget: decided once, by a trial. Raises TrialError."""
    plan = read_json(folder / "plan.json")
    workers = max(1, len(os.sched_getaffinity(0)) - 2)
    common = ["trackers=[]", f"workers={workers}"]
    common += [*TINY, *(f"stages.{k}.{change}" for k in (0, 1) for change in ("batch=2", "input_crop=16")),
               "optimiser.warmup=0", "precision=no", "validation.samples=1", "validation.every=4",
               "validation.input_crop=16", "checkpoint_every=2", "log_every=1"] if dry else []  # fmt: skip
    if plan is None:
        trial = 3 if dry else TRIAL
        changes = [*common, *(f"stages.{k}.steps={trial}" for k in (0, 1)), f"optimiser.decay={trial}", "log_every=1",
                   "validation=null"]  # fmt: skip
        run = Run(folder / f"trial_{time.time_ns()}", "gpu", tuple(changes), 2 * trial)
        code = run.train(deadline - time.monotonic() - ENDING)
        if code:
            raise TrialError(1, f"vinr train ended with exit code {code}")
        if not run.done:
            raise TrialError(4, "not enough time left to try how long a step takes")
        rows = run.rows()
        # The second half of each stage: kernels are compiled and the workers' first batches used up.
        first = (rows[trial - 1]["seconds"] - rows[trial // 2]["seconds"]) / (trial - 1 - trial // 2)
        second = (rows[-1]["seconds"] - rows[trial + trial // 2]["seconds"]) / (trial - 1 - trial // 2)
        preset = (8, 10, 6) if dry else preset_steps()
        factor = min(MOST, BUDGET / max(preset[0] * first + preset[1] * second, 1e-9))
        plan = {"seconds_per_step": [first, second], "steps": [max(2, int(factor * n)) for n in preset]}
        write_json(folder / "plan.json", plan)
    a, b, decay = plan["steps"]
    changes = [*common, f"stages.0.steps={a}", f"stages.1.steps={b}", f"optimiser.decay={decay}"]
    return Run(folder / "run", "gpu", tuple(changes), a + b)


def preset_steps() -> tuple[int, int, int]:
    """Steps of both stages of `--preset gpu`, and of its decay."""
    from vinr_engine.training.config import load

    config = load(preset="gpu")
    return config.stages[0].steps, config.stages[1].steps, config.optimiser.decay or config.steps


def main(argv: Sequence[str] | None = None) -> int:
    parser = pieces.arguments(__doc__)
    parser.add_argument("run", choices=(*RECIPE, "weights"))
    options = parser.parse_args(argv)
    deadline = time.monotonic() + options.deadline
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        print(f"training needs packages that are not here: {', '.join(missing)}")
        return 3
    if options.run == "weights":
        try:
            runs = [default_weights(options.folder, deadline, options.dry_run)]
        except TrialError as error:
            print(error)
            write_json(options.out, {"error": str(error)})
            return error.code
    else:
        runs = recipe(options.run, options.folder, options.dry_run)
    for run in runs:
        seconds = deadline - time.monotonic() - ENDING
        if run.done:
            continue
        if seconds < ENDING:
            break
        code = run.train(seconds)
        found = run.facts() | {"changes": run.changes}
        if code:
            write_json(options.out, found | {"error": f"vinr train ended with exit code {code}"})
            return 1
        write_json(options.out, found)
    finished = all(run.done for run in runs)
    found = runs[-1].facts() | {"changes": runs[-1].changes}
    if options.run == "deterministic":
        found["repeats"] = runs[0].digest() == runs[1].digest() if finished else None
    write_json(options.out, found)
    if not finished:
        return 4
    return 0 if found.get("repeats") in (None, True) and not found.get("bad_steps") else 1


if __name__ == "__main__":
    sys.exit(main())
