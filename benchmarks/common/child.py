"""A process that measures, seen from the one that started it, which no error or crash of it reaches."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]  # from where `-m benchmarks...` is found
PATIENCE = 30.0  # seconds that a killed process may take to end: one may hang in the driver


# Seconds that it may be silent, given what it is at.
Patience = Callable[[str | None], float]


class Died(Exception):
    """The process reported an error, ended, or was silent for too long: it is gone. at: what it was at, if it said."""

    def __init__(self, at: str | None, reason: str) -> None:
        super().__init__(reason)
        self.at = at


class Child:
    """A process that answers requests one after another.

    rows: what it has said of the last request before its answer.
    """

    def __init__(self, command: Sequence[str], patience: Patience) -> None:
        """Raises Died if it does not come to its greeting, `greeting`."""
        self.rows: list[dict[str, Any]] = []
        # In a session of its own, whose other processes, such as compilers, end with it.
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", cwd=ROOT, start_new_session=True
        )
        self._lines: queue.Queue[str] = queue.Queue()  # an empty one: the process has ended
        threading.Thread(target=self._watch, daemon=True).start()
        self.greeting = self._answer(patience)

    def _watch(self) -> None:
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        self.process.wait()
        reader.join(1.0)  # other processes may hold its stdout open
        self._lines.put("")

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as lines:
            for line in lines:
                self._lines.put(line)

    def ask(self, request: Mapping[str, Any], patience: Patience) -> Any:
        """Its answer. Raises Died."""
        self.rows = []
        assert self.process.stdin
        with contextlib.suppress(OSError):  # it has ended: so have its lines
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        return self._answer(patience)

    def _answer(self, patience: Patience) -> Any:
        at = None
        while True:
            seconds = max(patience(at), 0.0)
            try:
                line = self._lines.get(timeout=seconds)
            except queue.Empty:
                self.stop()
                raise Died(at, f"timed out after {seconds:.3g} s") from None
            if not line:
                raise Died(at, f"crashed: {self.stop()}")
            if not line.endswith("\n"):  # it ends within a line
                continue
            message = json.loads(line)
            if "error" in message:
                self.stop()
                raise Died(at, message["error"])
            if "answer" in message:
                return message["answer"]
            if "row" in message:
                self.rows.append(message["row"])
            else:
                at = message["at"]

    def stop(self) -> str:
        """Ends it, if it has not ended; how it ended, in words."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self.process.stdin.close()  # type: ignore[union-attr]
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return "does not end"
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
