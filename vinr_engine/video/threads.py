"""Reading and writing on threads of their own, beside the computation: in order, and a few pictures ahead at most."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .io.colour import Array
from .job import Seconds

if TYPE_CHECKING:
    from .chunks import Sink
    from .journal import Counts, Mark

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
    """The items of an iterator, which a thread takes from it; errors of it are raised in their place.

    ``busy``: seconds that the thread worked. ``waited``: seconds that callers waited for it.
    """

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self._thread = ThreadPoolExecutor(1, "vinr-read")
        self._waiting: deque[Future[Item | object]] = deque()
        self.busy = self.waited = 0.0

    def __next__(self) -> Item:
        while len(self._waiting) <= WAITING:
            self._waiting.append(self._thread.submit(self._next))
        began = time.monotonic()
        item = self._waiting.popleft().result()
        self.waited += time.monotonic() - began
        if item is _END:
            raise StopIteration
        return item  # type: ignore[return-value]

    def _next(self) -> Item | object:
        began = time.monotonic()
        try:
            return next(self._items, _END)
        finally:
            self.busy += time.monotonic() - began

    def close(self) -> None:
        """Stop the thread; the iterator is not in use after that."""
        join(self._thread)


class WriteBehind:
    """Writes to a sink by a thread. An error stops it, and is raised by the next call that comes to it.

    ``busy``: seconds that the thread worked, without those that it waited for pictures. ``waited``: seconds that
    callers waited for it.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._thread = ThreadPoolExecutor(1, "vinr-write")
        self._waiting: deque[Future[None]] = deque()
        self._failed = False
        self.busy = self.waited = 0.0

    def write(self, picture: Callable[[], Array] | None, at: Fraction, duration: Fraction) -> None:
        """As Sink.write, of a picture that the thread asks for; returns while it waits."""
        while self._waiting and (len(self._waiting) >= WAITING or self._waiting[0].done()):
            self._wait()
        self._waiting.append(self._thread.submit(self._write, picture, at, duration))

    def commit(self, mark: Mark) -> None:
        """As Sink.commit; returns while it waits."""
        self._waiting.append(self._thread.submit(self._work, lambda: self._sink.commit(mark)))

    def _wait(self) -> None:
        began = time.monotonic()
        self._waiting.popleft().result()
        self.waited += time.monotonic() - began

    def _write(self, picture: Callable[[], Array] | None, at: Fraction, duration: Fraction) -> None:
        if self._failed:
            return
        try:
            rgb = None if picture is None else picture()
        except BaseException:
            self._failed = True
            raise
        self._work(lambda: self._sink.write(rgb, at, duration))

    def _work(self, work: Callable[[], None]) -> None:
        if self._failed:
            return
        began = time.monotonic()
        try:
            work()
        except BaseException:
            self._failed = True
            raise
        finally:
            self.busy += time.monotonic() - began

    def finish(self, counts: Counts) -> None:
        """Wait for all that was written, and complete the output; see Sink.finish."""
        self.flush()
        began = time.monotonic()
        self._sink.finish(counts)
        self.busy += time.monotonic() - began
        self.waited += time.monotonic() - began

    def flush(self) -> None:
        """Wait for all that was written."""
        while self._waiting:
            self._wait()

    def close(self) -> None:
        """Stop the thread, then see Sink.close."""
        # While what waits is dropped from its front, the thread may still take a later one, such as a commit of
        # pictures some of which were dropped.
        self._failed = True
        join(self._thread)
        self._sink.close()


def seconds_of(total: float, pictures: ReadAhead[Any], writer: WriteBehind) -> Seconds:
    """Where ``total`` seconds went, of a run between both."""
    waiting = pictures.waited + writer.waited
    return Seconds(total, pictures.busy, total - waiting, writer.busy, waiting)
