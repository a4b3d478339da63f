"""The tests of kernels, on the GPU: all that are marked `gpu`, the golden networks first, several at once.

    python -m benchmarks.gpu.kit.tests --out FILE --folder DIR [--deadline S] [--dry-run]

Each worker is a process that takes a share of the tests; where it crashes, hangs or loses the GPU, that test fails and
a new process takes the rest. A later call runs what has no outcome yet. Exit code: 0 all passed, 1 some did not, 4
some are left.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.common.files import write_json
from benchmarks.gpu.kit import pieces
from benchmarks.gpu.kit.recorder import OUT_OF_ORDER, RECORD

ROOT = Path(__file__).resolve().parents[3]
FAILURES = ("failed", "error", "crashed")
SHARE = 25  # tests that a process takes at most: a share is what the end of a call may have to do again
FIRST = ("golden",)  # parts of names of the tests that come first
REHEARSED = 2  # tests of each file in a rehearsal
RECORDED = "outcomes.jsonl"
EACH = 150  # seconds of one test: its kernels are compiled, for all tests at once
_RUN = "import sys, pytest; sys.exit(pytest.main([*sys.argv[2:], *open(sys.argv[1]).read().splitlines()]))"


def collect(dry: bool) -> tuple[list[str], list[str]]:
    """Names of the tests, in the order in which they run, and files that cannot be collected.

    Raises RuntimeError if there are no tests.
    """
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    names = [line for line in lines if "::" in line and not line.startswith(("ERROR", "FAILED"))]
    broken = [line.removeprefix("ERROR ") for line in lines if line.startswith("ERROR ")]
    if not names:
        raise RuntimeError(f"pytest collects no tests (exit code {done.returncode}):\n{done.stdout}{done.stderr}")
    if broken:
        print(done.stdout)
    if dry:
        seen: collections.Counter[str] = collections.Counter()
        files = [name.split("::")[0] for name in names]
        numbers = [seen.update([file]) or seen[file] for file in files]  # type: ignore[func-returns-value]
        names = [name for name, number in zip(names, numbers, strict=True) if number <= REHEARSED]
    return sorted(names, key=lambda name: not any(part in name for part in FIRST)), broken


def outcomes(record: Path) -> dict[str, dict[str, Any]]:
    """Outcome of each test that has ended, by its name."""
    found = {}
    for line in record.read_text(encoding="utf-8").splitlines() if record.is_file() else []:
        with contextlib.suppress(json.JSONDecodeError):  # the last line of a process that was killed
            entry = json.loads(line)
            if "id" in entry:
                found[entry["id"]] = entry
    return found


class Runner:
    """Tests without an outcome, in processes, until a moment of time.monotonic."""

    def __init__(self, folder: Path, until: float, workers: int, save: Callable[[], None]) -> None:
        """save: is called when outcomes have come in."""
        self.folder, self.until, self.workers, self.save = folder, until, workers, save
        self.record = folder / RECORDED
        self._shares: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
        self._lock = threading.Lock()

    def run(self, names: Sequence[str]) -> None:
        done = outcomes(self.record)
        left = [name for name in names if name not in done]
        for first in range(0, len(left), SHARE):
            self._shares.put(left[first : first + SHARE])
        threads = [
            threading.Thread(target=self._work, args=(k,)) for k in range(min(self.workers, self._shares.qsize()))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, worker: int) -> None:
        own = self.folder / f"worker_{worker}.jsonl"
        while time.monotonic() < self.until:
            try:
                share = self._shares.get_nowait()
            except queue.Empty:
                return
            while share and time.monotonic() < self.until:
                share = self._share(own, share)

    def _share(self, own: Path, share: list[str]) -> list[str]:
        """Run these tests in one process; those that have no outcome after it."""
        own.unlink(missing_ok=True)
        chosen = own.with_suffix(".txt")
        chosen.write_text("\n".join(share), encoding="utf-8")
        options = ["-q", "-p", "benchmarks.gpu.kit.recorder", "-p", "no:cacheprovider", f"--timeout={EACH}",
                   "--timeout-method=thread", f"--basetemp={self.folder / own.stem}"]  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-c", _RUN, str(chosen), *options], stdin=subprocess.DEVNULL,
            env={**os.environ, RECORD: str(own)}, start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(max(0.1, self.until - time.monotonic()))
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        ended = outcomes(own)
        left = [name for name in share if name not in ended]
        if code not in (None, 0, 1, OUT_OF_ORDER) or (code in (0, 1) and left):
            # It crashed, or pytest-timeout ended it; or pytest could not run the rest, which would go on for ever.
            at = begun(own)
            guilty = [at] if at in left else left
            how = f"{signal.Signals(-code).name}" if code and code < 0 else f"exit code {code}"
            for name in guilty:
                ended[name] = {"id": name, "outcome": "crashed", "seconds": 0.0, "message": f"its process ended: {how}"}
            left = [name for name in left if name not in ended]
        with self._lock, open(self.record, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(entry) + "\n" for entry in ended.values())
            file.flush()
            self.save()
        return left


def begun(record: Path) -> str | None:
    """The test that began last."""
    lines = record.read_text(encoding="utf-8").splitlines() if record.is_file() else []
    names = [json.loads(line)["at"] for line in lines if line.startswith('{"at"') and line.endswith("}")]
    return names[-1] if names else None


def summary(names: Sequence[str], broken: Sequence[str], done: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the file says: counts, all that failed with its message, why others were skipped, the slowest."""
    counts = collections.Counter(done[name]["outcome"] if name in done else "left" for name in names)
    ended = [done[name] for name in names if name in done]
    reasons = collections.Counter(entry["message"].splitlines()[-1] if entry["message"] else "" for entry in ended
                                  if entry["outcome"] == "skipped")  # fmt: skip
    slowest = sorted(ended, key=lambda entry: -entry["seconds"])[:10]
    return {
        "counts": dict(counts),
        "failed": [entry for entry in ended if entry["outcome"] in FAILURES],
        "not_collected": list(broken),
        "skipped": dict(reasons),
        "slowest": [{"id": entry["id"], "seconds": entry["seconds"]} for entry in slowest],
    }


def main(argv: Sequence[str] | None = None) -> int:
    options = pieces.arguments(__doc__).parse_args(argv)
    until = time.monotonic() + options.deadline
    if not options.dry_run and not torch.cuda.is_available():
        print("PyTorch finds no NVIDIA GPU here")
        return 3
    names, broken = collect(options.dry_run)
    cores = len(os.sched_getaffinity(0))
    record = options.folder / RECORDED

    def save() -> None:
        write_json(options.out, summary(names, broken, outcomes(record)))

    Runner(options.folder, until, 2 if options.dry_run else max(1, min(10, cores - 2)), save).run(names)
    save()
    found = summary(names, broken, outcomes(record))
    print(found["counts"])
    if found["counts"].get("left"):
        return 4
    return 1 if found["failed"] or broken else 0


if __name__ == "__main__":
    sys.exit(main())
