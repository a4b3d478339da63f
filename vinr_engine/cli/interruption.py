"""Ctrl-C that lets a run keep what it has done."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any


class Interruption:
    """Within a with block the first SIGINT or SIGTERM only asks to stop; another one does what it did before."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """``say`` takes a remark of one line."""
        self.say = say
        self._asked = False
        self._before: dict[int, Any] = {}

    def asked(self) -> bool:
        """Whether to stop."""
        return self._asked

    def __enter__(self) -> Interruption:
        with suppress(ValueError):  # outside the main thread the host program minds its signals
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                if callable(before):  # not where it is ignored
                    signal.signal(number, self._handle)
                    self._before[number] = before
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            self._before[number](number, frame)
        self._asked = True
        self.say("stopping after the frame at hand; once more stops at once")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
