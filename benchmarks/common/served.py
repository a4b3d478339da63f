"""The process that `benchmarks.common.child.Child` starts, seen from inside: requests and answers are lines of JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, Protocol, TextIO

from benchmarks.common.text import first_line


class Say(Protocol):
    """Says one message: answer=, or before it row= and at=."""

    def __call__(self, **message: object) -> None: ...


Answer = Callable[[dict[str, Any]], Any]


def own_stdout() -> TextIO:
    """Where answers go. What libraries print is no answer: from now on it goes to stderr."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def serve(begin: Callable[[Say], tuple[Any, Answer]], requests: TextIO, answers: TextIO) -> int:
    """Answers requests until they end; `begin` gives the greeting, and what answers. Returns the exit code."""

    def say(**message: object) -> None:
        answers.write(json.dumps(message, allow_nan=False) + "\n")
        answers.flush()

    try:
        greeting, answer = begin(say)
        say(answer=greeting)
        for line in requests:
            say(answer=answer(json.loads(line)))
    except Exception as error:
        say(error=first_line(error))
        return 1
    return 0
