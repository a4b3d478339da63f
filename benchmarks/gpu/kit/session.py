"""One call of the kit on the host: pieces one after another until the deadline; see run.py for the command line.

Each piece is a process in a session of its own, so that a crash or a hang of the GPU costs that piece alone. What it
found lies in the state's folder and, gathered with all others' into one file, in the folder of results.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.files import read_json, write_json, write_text
from benchmarks.gpu.kit import guard, pieces, run
from benchmarks.gpu.kit.pieces import Piece, Place

DONE, WRONG, FAILED, UNAVAILABLE, UNFINISHED = "done", "wrong", "failed", "not available", "not finished"
FINISHED, NO_GPU, NOT_FINISHED = 0, 3, 4
ENDINGS = {0: DONE, 1: WRONG, 3: UNAVAILABLE, 4: UNFINISHED}
MARGIN = 6.0  # seconds of a call that no piece gets: to end the last one, and to write
REFRESH = 5.0  # seconds between two looks at a piece that runs
ATTEMPTS = 3  # of a piece that crashes or is cut off by the deadline
LOG_KEPT = 400_000  # characters of each piece's log that come back
PATIENCE = 20.0  # seconds for a killed process to end: one may hang in the driver


@dataclass
class Standing:
    """How a piece stands. seconds: of all attempts together."""

    name: str
    group: str
    status: str
    note: str = ""
    seconds: float = 0.0
    attempts: int = 0
    found: Any = None


class Session:
    """One call."""

    def __init__(self, state: Path, out: Path, deadline: float, dry: bool) -> None:
        """state: the folder that outlasts the call; deadline: seconds from now."""
        self.state, self.out, self.dry = state, out, dry
        self.end = time.monotonic() + deadline
        self.standings = {piece.name: self._read(piece) for piece in pieces.PIECES}

    def place(self, piece: Piece) -> Place:
        return piece.place(self.state, self.dry)

    def log(self, piece: Piece) -> Path:
        return self.state / "logs" / f"{piece.name}.log"

    def _read(self, piece: Piece) -> Standing:
        before = read_json(self.state / "standings" / f"{piece.name}.json")
        return Standing(**before) if before else Standing(piece.name, piece.group, UNFINISHED)

    def forget(self, piece: Piece) -> None:
        """As if it had never run, nor any other that writes to the same file."""
        for other in pieces.PIECES:
            place = self.place(other)
            if place.found == self.place(piece).found:
                shutil.rmtree(place.folder, ignore_errors=True)
                for path in (place.found, self.log(other), self.state / "standings" / f"{other.name}.json"):
                    path.unlink(missing_ok=True)
                self.standings[other.name] = Standing(other.name, other.group, UNFINISHED)

    @property
    def left(self) -> float:
        """Seconds that a piece may take."""
        return self.end - time.monotonic() - MARGIN

    def work(self, chosen: Sequence[Piece]) -> int:
        """Run what is left of the pieces; the exit code."""
        for piece in chosen:
            standing = self.standings[piece.name]
            if standing.status != UNFINISHED and not piece.again:
                continue
            if self.left < piece.least:
                say(f"{piece.name}: left for the next call, {max(self.left, 0):.0f} s are too few")
                continue
            self._run(piece, standing)
            self.save()
            if piece.name == "host" and standing.status == UNAVAILABLE:
                return NO_GPU
        statuses = [self.standings[piece.name].status for piece in chosen]
        if UNFINISHED in statuses:
            return NOT_FINISHED
        return 1 if {WRONG, FAILED} & set(statuses) else FINISHED

    def _run(self, piece: Piece, standing: Standing) -> None:
        if piece.again:
            standing.seconds, standing.attempts = 0.0, 0
        limit = pieces.DRY_LIMIT if self.dry else max(piece.limit - standing.seconds, piece.least)
        allowed = min(limit, self.left)
        place, log = self.place(piece), self.log(piece)
        for folder in (place.folder, place.found.parent, log.parent):
            folder.mkdir(parents=True, exist_ok=True)
        say(f"{piece.name}: {piece.title}; at most {allowed:.0f} s")
        began = time.monotonic()
        with open(log, "ab") as output:
            process = subprocess.Popen(
                piece.command(place, allowed - MARGIN / 2), stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            try:
                code = self._wait(process, began + allowed)
            finally:
                stop(process)
        seconds = time.monotonic() - began
        standing.seconds += seconds
        standing.attempts += 1
        standing.status, standing.note = self._judge(piece, standing, code, cut=allowed < limit)
        standing.found = piece.shown(read_json(place.found))
        write_json(self.state / "standings" / f"{piece.name}.json", asdict(standing))
        say(f"{piece.name}: {standing.status} after {seconds:.0f} s. {self._line(standing)}")

    def _wait(self, process: subprocess.Popen[bytes], until: float) -> int | None:
        """Its exit code, None if it took too long; meanwhile what it finds is written out."""
        while time.monotonic() < until:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(max(0.05, min(REFRESH, until - time.monotonic())))
            self.save()
        return None

    def _judge(self, piece: Piece, standing: Standing, code: int | None, cut: bool) -> tuple[str, str]:
        """Status and note of an attempt that ended so; code None: it was killed, by the deadline if `cut`."""
        if code in ENDINGS:
            return ENDINGS[code], last_line(self.log(piece)) if code == 3 else ""
        if code is None and cut:
            how = "cut off by the deadline"
        elif code is None:
            how = "took too long"
        else:
            how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            how = "raised" if code == guard.RAISED else how
        # What can go on does; what would only begin again does so where the deadline alone was to blame.
        again = standing.attempts < ATTEMPTS and (cut and code is None or piece.resumable)
        return UNFINISHED if again else FAILED, f"{how}: {last_line(self.log(piece))}"

    def _line(self, standing: Standing) -> str:
        parts = (pieces.headline(standing.name, standing.found), standing.note)
        return "; ".join(part for part in parts if part)

    def save(self) -> None:
        """Everything so far, into the folder of results: few files, each whole."""
        for piece in pieces.PIECES:
            standing = self.standings[piece.name]
            found = piece.shown(read_json(self.place(piece).found))
            standing.found = standing.found if found is None else found
        write_json(
            self.out / "results.json",
            {
                "format": 1,
                "kit": read_json(Path("build_info.json")),
                "rehearsal": self.dry,
                "pieces": [asdict(self.standings[piece.name]) for piece in pieces.PIECES],
            },
        )
        write_text(self.out / "log.txt", self._logs())
        for piece in pieces.PIECES:
            for name in piece.kept:
                path = self.place(piece).folder / name
                if path.is_file():
                    part = self.out / f".{path.name}.part"
                    shutil.copyfile(path, part)
                    os.replace(part, self.out / path.name)

    def _logs(self) -> str:
        parts = []
        for piece in pieces.PIECES:
            with contextlib.suppress(FileNotFoundError):
                text = self.log(piece).read_text(encoding="utf-8", errors="replace")
                parts.append(f"==== {piece.name}\n{text[-LOG_KEPT:]}")
        return "\n".join(parts)

    def table(self, chosen: Sequence[Piece]) -> str:
        """How the pieces stand, a line each."""
        lines = []
        for piece in chosen:
            s = self.standings[piece.name]
            lines.append(f"{s.name:<14}{s.status:<15}{s.seconds:>5.0f} s  {self._line(s) or piece.title}")
        return "\n".join(lines)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End it and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "it said nothing")


def say(text: str) -> None:
    print(text, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = run.parser()
    options = parser.parse_args(argv)
    try:
        chosen = pieces.of(options.group, options.only)
        forgotten = pieces.of("all", options.again) if options.again else []
    except ValueError as error:
        parser.error(str(error))
    session = Session(options.state, options.out, options.deadline, options.dry_run)
    for piece in forgotten:
        session.forget(piece)
    if options.list:
        say(session.table(chosen))
        return FINISHED
    began = time.monotonic()
    code = session.work(chosen)
    session.save()
    say("")
    say(session.table(chosen))
    say(f"{time.monotonic() - began:.0f} s; results so far: {session.out / 'results.json'}")
    if code == NOT_FINISHED:
        say("not finished: type the same line again")
    return code


if __name__ == "__main__":
    sys.exit(main())
