"""Feeds damaged files and wrong arguments to everything that takes them, for so many seconds: see `make fuzz`.

Cases are numbered: one of a kind and a number is always the same. Each worker is a process of its own, watched by this
one: a case that raises what it may not, ends its process or takes too long is a finding, whose number and files are
kept. The exit code is 1 if there is any.
"""

from __future__ import annotations

import argparse
import collections
import json
import resource
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random

KINDS = {"media": 8, "checkpoints": 1, "configurations": 1, "ops": 2}
"""Each kind, and its share of the cases."""
PATIENCE = 180.0
"""Seconds that a case may take; most take a hundredth of one, on a machine at rest."""
MOST_FINDINGS = 50
"""After so many it stops."""
WORKS = [sys.executable, "-m", "fuzz", "--work"]
"""The command of a worker."""
MEMORY = 12 << 30
"""Bytes of addresses that a worker may have: PyTorch alone asks for 5 GB."""


def kind_of(number: int) -> str:
    """Of a case."""
    shares = [kind for kind, share in KINDS.items() for _ in range(share)]
    return shares[number % len(shares)]


def function(kind: str) -> Callable[[Random, Path], str]:
    """What tries a case of that kind."""
    from fuzz import media, parameters

    return {
        "media": media.case,
        "checkpoints": parameters.checkpoint_case,
        "configurations": parameters.configuration_case,
        "ops": parameters.op_case,
    }[kind]


def attempt(number: int, folder: Path) -> str:
    """Case ``number``, in an empty folder."""
    return function(kind_of(number))(Random(number), folder)


def work(first: int, step: int, kinds: list[str]) -> None:
    """A worker: one case after another; a line of JSON before each, and one after."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import torch

    torch.set_num_threads(1)
    place = Path(tempfile.mkdtemp(prefix="vinr-fuzz-"))
    number = first
    while True:
        if kind_of(number) in kinds:
            folder = place / str(number)
            folder.mkdir()
            print(json.dumps({"begun": number, "folder": str(folder)}), flush=True)
            line: dict[str, object] = {"done": number}
            try:
                line["became"] = attempt(number, folder)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    shutil.rmtree(place)
                    return
                line["finding"] = "".join(traceback.format_exception(error))
            print(json.dumps(line), flush=True)
            if "finding" not in line:
                shutil.rmtree(folder)
        number += step


class Worker:
    """One process, and the case that it is at."""

    def __init__(self, first: int, step: int, kinds: list[str]) -> None:
        self.step, self.kinds = step, kinds
        self.number, self.folder = first, ""
        self.start(first)

    def start(self, first: int) -> None:
        """Begin with that case."""
        self.began = time.monotonic() + PATIENCE  # loading takes a while
        words = [*WORKS, str(first), str(self.step), *self.kinds]
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115, see stop
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=self.errors, bufsize=0)

    def said(self) -> bytes:
        """The end of what it wrote to standard error."""
        self.errors.seek(0)
        return self.errors.read()[-4000:]

    def stop(self) -> None:
        """Kill it, if it is alive, and what it left."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.errors.close()


class Watch:
    """All workers, and what they found."""

    def __init__(self, seconds: float, first: int, workers: int, kinds: list[str], keep: Path) -> None:
        self.until = time.monotonic() + seconds
        self.keep = keep
        self.findings: list[int] = []
        self.counts: collections.Counter[str] = collections.Counter()
        self.workers = [Worker(first + n, workers, kinds) for n in range(workers)]

    def run(self) -> None:
        """Until the time is over."""
        with selectors.DefaultSelector() as selector:
            for worker in self.workers:
                selector.register(worker.process.stdout, selectors.EVENT_READ, worker)  # type: ignore[arg-type]
            said = time.monotonic()
            while time.monotonic() < self.until and len(self.findings) < MOST_FINDINGS:
                for key, _ in selector.select(1):
                    worker = key.data
                    line = key.fileobj.readline()  # type: ignore[union-attr]
                    if line:
                        self.take(worker, json.loads(line))
                    else:
                        selector.unregister(key.fileobj)
                        code = worker.process.wait()
                        self.lost(worker, f"the process ended with {code}")
                        selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
                for worker in self.workers:
                    if time.monotonic() - worker.began > PATIENCE:
                        selector.unregister(worker.process.stdout)
                        self.lost(worker, f"no answer for {PATIENCE:.0f} s")
                        selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
                if time.monotonic() - said > 60:
                    said = time.monotonic()
                    print(self.total(), flush=True)
        for worker in self.workers:
            worker.stop()
            if worker.folder:
                shutil.rmtree(Path(worker.folder).parent, ignore_errors=True)

    def take(self, worker: Worker, line: dict[str, object]) -> None:
        """A line of a worker."""
        worker.began = time.monotonic()
        if "begun" in line:
            worker.number, worker.folder = int(str(line["begun"])), str(line["folder"])
            return
        if "finding" in line:
            self.found(worker, str(line["finding"]))
            return
        *_, became = str(line["became"]).split()
        self.counts[f"{kind_of(worker.number)}: {became}"] += 1

    def lost(self, worker: Worker, why: str) -> None:
        """A worker that does not go on: the next one begins after its case."""
        worker.process.kill()
        worker.process.wait()
        text = worker.said().decode(errors="replace")
        self.found(worker, f"{why}\n{text}")
        worker.stop()
        worker.start(worker.number + worker.step)

    def found(self, worker: Worker, text: str) -> None:
        """Keep a case, and say so."""
        number = worker.number
        self.findings.append(number)
        place = self.keep / f"{kind_of(number)}-{number}"
        place.mkdir(parents=True, exist_ok=True)
        (place / "why.txt").write_text(text)
        if worker.folder and Path(worker.folder).is_dir():
            shutil.copytree(worker.folder, place, dirs_exist_ok=True)
            shutil.rmtree(worker.folder)
        print(f"finding: {place}: {text.strip().splitlines()[-1][:200]}", flush=True)

    def total(self) -> str:
        """Of all cases, in a line."""
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))
        return f"{sum(self.counts.values())} cases without, {len(self.findings)} with a finding; {counts}"


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="how long [default: 120]")
    parser.add_argument("--first", type=int, default=0, help="number of the first case [default: 0]")
    parser.add_argument("--workers", type=int, default=2, help="processes [default: 2]")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), help="kinds of cases [default: all]")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="where findings go [default: build/fuzz]")
    parser.add_argument("--case", type=int, help="try this one alone, here")
    parser.add_argument("--work", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(int(given.work[0]), int(given.work[1]), given.work[2:])
        return 0
    if given.case is not None:
        with tempfile.TemporaryDirectory(prefix="vinr-fuzz-") as folder:
            print(f"{kind_of(given.case)}: {attempt(given.case, Path(folder))}")
        return 0
    watch = Watch(given.seconds, given.first, given.workers, given.only, given.keep)
    watch.run()
    print(watch.total())
    return 1 if watch.findings or not watch.counts else 0


if __name__ == "__main__":
    sys.exit(main())
