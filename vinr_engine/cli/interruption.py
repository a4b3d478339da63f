"""The signals that end a command, and what is said of it then."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from vinr_engine.cli.start_up import ENDING

_signals: list[int] = []
_message = ""


class Interrupted(KeyboardInterrupt):
    """A class of our own: Python kills itself by SIGINT at exit if a plain KeyboardInterrupt ever left an exec()."""


def watch(message: str) -> None:
    """Let the signals that end a command raise Interrupted from now on; ``message``: see `say`."""
    _signals.clear()
    say(message)
    with suppress(ValueError):  # outside the main thread the host program minds its signals
        for number in ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it, and jobs of scripts in the background
                signal.signal(number, _interrupted)


def _interrupted(number: int, frame: Any) -> None:
    _signals.append(number)
    raise Interrupted


@contextmanager
def asking(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Within the block the first signal only asks to stop; another one does what it did before.

    Gives what tells whether to stop; ``say`` takes a remark of one line.
    """
    asked: list[int] = []
    before: dict[int, Any] = {}

    def ask(number: int, frame: Any) -> None:
        if asked:
            before[number](number, frame)
        asked.append(number)
        say("stopping after the frame at hand; once more stops at once")

    with suppress(ValueError):  # as above
        for caught in ENDING:
            handler = signal.getsignal(caught)
            if callable(handler):  # not where it is ignored
                before[caught] = handler
                signal.signal(caught, ask)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def came() -> bool:
    """Whether a signal came: C code turns a KeyboardInterrupt that meets it into errors of its own."""
    return bool(_signals)


def say(message: str) -> None:
    """Change what is said of an interruption."""
    global _message
    _message = message


def message() -> str:
    """What is said of an interruption."""
    return _message
