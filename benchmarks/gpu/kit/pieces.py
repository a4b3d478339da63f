"""What there is to do on a GPU, most valuable first, and how to read what each piece found.

A piece is a command. Its exit code says how it ended: 0 found all right, 1 found something wrong, 3 cannot run here,
4 not finished, go on at the next call; anything else is a failure. It writes what it found to a JSON file as it goes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CORRECTNESS, TIMES, TRAIN = "correctness", "times", "train"
DRY_LIMIT = 400.0  # seconds of any piece in a rehearsal, on two cores


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The command line that every piece takes, see `Place.command`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file of what is found")
    parser.add_argument("--folder", type=Path, required=True, help="for whatever is kept between calls")
    parser.add_argument(
        "--deadline", type=float, default=3600.0, metavar="S", help="seconds of this call [%(default)g]"
    )
    parser.add_argument("--dry-run", action="store_true", help="a rehearsal on the CPU")
    return parser


@dataclass(frozen=True)
class Place:
    """Where a piece works. found: the JSON file of what it finds; folder: whatever else it keeps between calls."""

    found: Path
    folder: Path
    dry: bool

    def command(self, module: str, *arguments: str) -> list[str]:
        """`python -m benchmarks.MODULE` with the file to write to."""
        dry = ["--dry-run"] if self.dry else []
        guarded = [sys.executable, "-m", "benchmarks.gpu.kit.guard", f"benchmarks.{module}"]
        return [*guarded, "--out", str(self.found), *dry, *arguments]


@dataclass(frozen=True)
class Piece:
    """One piece of work.

    command: from where it works and the seconds that are left
    limit: seconds after which it hangs, whatever the deadline
    least: seconds without which it is not worth starting
    resumable: whether another call goes on from what it wrote; others begin again
    again: whether it runs at every call
    kept: files below its folder that come back with the results
    file: name of the file of what it finds; pieces that share one see each other's findings
    hides: what of that file another piece shows
    """

    name: str
    group: str
    title: str
    command: Callable[[Place, float], Sequence[str]] = field(repr=False)
    limit: float
    least: float = 20.0
    resumable: bool = False
    again: bool = False
    kept: tuple[str, ...] = ()
    file: str = ""
    hides: tuple[str, ...] = ()

    def place(self, state: Path, dry: bool) -> Place:
        """Where it works, below the folder of what outlasts a call."""
        return Place(state / "found" / f"{self.file or self.name}.json", state / "work" / self.name, dry)

    def shown(self, found: Any) -> Any:
        """What of its file's content is its own."""
        return {k: v for k, v in found.items() if k not in self.hides} if isinstance(found, dict) else found


def _host(place: Place, seconds: float) -> list[str]:
    return place.command("gpu.kit.host")


def _gpu(part: str) -> Callable[[Place, float], list[str]]:
    def command(place: Place, seconds: float) -> list[str]:
        return place.command("gpu", "--part", part, "--resume", "--deadline", f"{seconds:.0f}")

    return command


def _tests(place: Place, seconds: float) -> list[str]:
    return place.command("gpu.kit.tests", "--folder", str(place.folder), "--deadline", f"{seconds:.0f}")


def _clip(place: Place, seconds: float) -> list[str]:
    return place.command("gpu.kit.clip", "--folder", str(place.folder))


def _tool(tool: str) -> Callable[[Place, float], list[str]]:
    def command(place: Place, seconds: float) -> list[str]:
        return place.command("gpu.kit.tools", tool, "--folder", str(place.folder))

    return command


def _train(run: str) -> Callable[[Place, float], list[str]]:
    def command(place: Place, seconds: float) -> list[str]:
        return place.command("gpu.kit.training", run, "--folder", str(place.folder), "--deadline", f"{seconds:.0f}")

    return command


PIECES = (
    Piece("host", CORRECTNESS, "the machine, and which backends run on it", _host, 90, 5, again=True),
    # One file: what is not right is not timed.
    Piece(
        "checks", CORRECTNESS, "every op, backend and precision against float64", _gpu("checks"), 900, 60, True,
        file="gpu", hides=("times", "frames_per_second"),
    ),
    Piece(
        "times", TIMES, "ops and network beside eager, compile and torchvision", _gpu("times"), 1200, 60, True,
        file="gpu", hides=("checks",),
    ),
    Piece("tests", CORRECTNESS, "golden networks and all tests of kernels", _tests, 1500, 40, True),
    Piece("clip", TIMES, "from file to file, with stages", _clip, 180, 60),
    Piece("counters", TIMES, "hardware counters of the query's kernels, by ncu", _tool("ncu"), 240, 60),
    Piece("memcheck", CORRECTNESS, "each CUDA kernel under compute-sanitizer memcheck", _tool("memcheck"), 300, 60),
    Piece("racecheck", CORRECTNESS, "each CUDA kernel under compute-sanitizer racecheck", _tool("racecheck"), 300, 60),
    Piece("float32", TRAIN, "300 steps of the published recipe, float32", _train("float32"), 400, 45, True),
    Piece("bfloat16", TRAIN, "300 steps of the published recipe, bfloat16", _train("bfloat16"), 400, 45, True),
    Piece(
        "deterministic", TRAIN, "twice, deterministic: equal to the bit?", _train("deterministic"), 600, 45, True
    ),
    Piece(
        "weights", TRAIN, "better default weights, 20 minutes at most", _train("weights"), 1500, 45, True,
        kept=("run/weights.safetensors", "run/weights_fp16.safetensors", "run/log.csv", "run/config.yaml"),
    ),
)  # fmt: skip


def of(group: str, only: Sequence[str] = ()) -> list[Piece]:
    """The pieces of a group in order, or those of them that are named. Raises ValueError for unknown names."""
    known = [piece.name for piece in PIECES]
    if unknown := [name for name in only if name not in known]:
        raise ValueError(f"no piece is called {unknown[0]!r}: {', '.join(known)}")
    chosen = [piece for piece in PIECES if group in ("all", piece.group) or piece.again]
    return [piece for piece in chosen if not only or piece.name in only]


def headline(name: str, found: Any) -> str:
    """One line of what a piece found; empty if it found nothing yet."""
    if not isinstance(found, dict):
        return ""
    return _HEADLINES.get(name, lambda found: "")(found)


def _rows(found: dict[str, Any], part: str) -> str:
    rows = found.get(part) or []
    states = [row["status"] for row in rows]
    wrong = [f"{row['case']} {row['form']} {row['precision']}" for row in rows if row["status"] in ("wrong", "failed")]
    parts = [f"{states.count('ok')} of {len(rows)} right"] if rows else []
    if wrong:
        parts.append(f"{len(wrong)} wrong or failed: {', '.join(wrong[:3])}{', ...' if len(wrong) > 3 else ''}")
    if others := len(states) - states.count("ok") - len(wrong):
        parts.append(f"{others} not available")
    return "; ".join(parts)


def _tested(found: dict[str, Any]) -> str:
    counts = found.get("counts", {})
    failed = found.get("failed", [])
    text = ", ".join(f"{number} {outcome}" for outcome, number in counts.items() if number)
    text += f", {len(found['not_collected'])} files not collected" if found.get("not_collected") else ""
    return text + (f": {', '.join(test['id'].split('/')[-1] for test in failed[:3])}" if failed else "")


def _clipped(found: dict[str, Any]) -> str:
    rows = found.get("rows", [])
    best = max(rows, key=lambda row: row["frames_per_second"], default=None)
    return f"up to {best['frames_per_second']:.1f} frames/s ({best['name']})" if best else ""


def _trained(found: dict[str, Any]) -> str:
    if found.get("error"):
        return str(found["error"])
    parts = [f"step {found['step']} of {found['steps']}"] if "step" in found else []
    if found.get("ms_per_step"):
        parts.append(f"{found['ms_per_step']:.0f} ms a step")
    if found.get("loss"):
        parts.append(f"loss {found['loss'][0]:.4g} to {found['loss'][1]:.4g}")
    if found.get("repeats") is not None:
        parts.append("equal to the bit" if found["repeats"] else "NOT equal")
    if found.get("gain_between") is not None:
        parts.append(f"held out {found['gain_end']:+.2f} and {found['gain_between']:+.2f} dB over the blend")
    return ", ".join(parts)


_HEADLINES: dict[str, Callable[[dict[str, Any]], str]] = {
    "host": lambda found: f"{found.get('device', 'no GPU')}, torch {found.get('torch')}, Triton {found.get('triton')}",
    "checks": lambda found: _rows(found, "checks"),
    "times": lambda found: _rows(found, "times"),
    "tests": _tested,
    "clip": _clipped,
    **dict.fromkeys(("counters", "memcheck", "racecheck"), lambda found: str(found.get("summary", ""))),
    **dict.fromkeys(("float32", "bfloat16", "deterministic", "weights"), _trained),
}
