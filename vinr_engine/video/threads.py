"""Reading and writing on threads of their own, beside the computation: in order, and a few pictures ahead at most."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from typing import TYPE_CHECKING, Generic, TypeVar

from .io.colour import Array

if TYPE_CHECKING:
    from .io.outputs import Sink

WAITING = 2
"""Items at most that wait between two threads."""

Item = TypeVar("Item")
_END = object()


def join(thread: ThreadPoolExecutor) -> None:
    """Drop what has not begun and wait for what has, one picture's work, even when interrupted meanwhile.

    What the thread works on is released next: it must not be in use then.
    """
    interruption: KeyboardInterrupt | None = None
    while True:
        try:
            thread.shutdown(wait=True, cancel_futures=True)
            break
        except KeyboardInterrupt as error:
            interruption = error
    if interruption is not None:
        raise interruption


class ReadAhead(Iterator[Item], Generic[Item]):
    """The items of an iterator, which a thread takes from it; errors of it are raised in their place."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self._thread = ThreadPoolExecutor(1, "vinr-read")
        self._waiting: deque[Future[Item | object]] = deque()

    def __next__(self) -> Item:
        while len(self._waiting) <= WAITING:
            self._waiting.append(self._thread.submit(next, self._items, _END))
        item = self._waiting.popleft().result()
        if item is _END:
            raise StopIteration
        return item  # type: ignore[return-value]

    def close(self) -> None:
        """Stop the thread; the iterator is not in use after that."""
        join(self._thread)


class WriteBehind:
    """Writes to a sink by a thread. An error stops it, and is raised by the next call that comes to it."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._thread = ThreadPoolExecutor(1, "vinr-write")
        self._waiting: deque[Future[None]] = deque()
        self._failed = False

    def write(self, picture: Callable[[], Array] | None, time: Fraction, duration: Fraction) -> None:
        """As Sink.write, of a picture that the thread asks for; returns while it waits."""
        while self._waiting and (len(self._waiting) >= WAITING or self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(self._write, picture, time, duration))

    def _write(self, picture: Callable[[], Array] | None, time: Fraction, duration: Fraction) -> None:
        if self._failed:
            return
        try:
            self._sink.write(None if picture is None else picture(), time, duration)
        except BaseException:
            self._failed = True
            raise

    def finish(self) -> None:
        """Wait for all that was written, and complete the output; see Sink.finish."""
        while self._waiting:
            self._waiting.popleft().result()
        self._sink.finish()

    def close(self) -> None:
        """Stop the thread, then see Sink.close."""
        join(self._thread)
        self._sink.close()
