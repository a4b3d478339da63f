"""Reading and writing beside the computation: order, bounds, errors, interruption."""

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from fractions import Fraction

import numpy as np
import pytest

from video.clips import Blend, leftovers, panning, read, write
from vinr_engine.errors import Cancelled, SinkError, SourceError, VinrError
from vinr_engine.video import threads
from vinr_engine.video.io import coders, image_coders, video_source
from vinr_engine.video.journal import Counts
from vinr_engine.video.render import upscale
from vinr_engine.video.threads import WAITING, ReadAhead, WriteBehind

PATIENCE = 30  # seconds: what takes longer hangs
COUNTS = Counts(6, 6, 0)


class Recorder:
    """A sink that waits to be allowed each frame, and fails where told to."""

    def __init__(self, fails_at=None):
        self.allowed = threading.Semaphore(0)
        self.written, self.closed, self.finished = [], False, False
        self.fails_at = fails_at

    def write(self, rgb, time, duration):
        assert self.allowed.acquire(timeout=PATIENCE)
        if time == self.fails_at:
            raise SinkError("the disk is full")
        self.written.append((None if rgb is None else float(rgb), int(time), threading.get_ident()))

    def finish(self, counts):
        self.finished = counts

    def close(self):
        self.closed = True


def test_reads_in_order_and_a_few_ahead():
    taken = []
    here = threading.Event()

    def items():
        for n in range(10):
            taken.append((n, threading.get_ident()))
            if n == WAITING:
                here.set()
            yield n

    ahead = ReadAhead(items())
    assert taken == []
    assert next(ahead) == 0
    assert here.wait(PATIENCE)  # without being asked
    ahead._waiting[-1].result()
    assert [n for n, _ in taken] == list(range(WAITING + 1))
    assert list(ahead) == list(range(1, 10))
    assert next(ahead, "end") == "end"
    ahead.close()
    assert {thread for _, thread in taken}.isdisjoint({threading.get_ident()})


def test_an_error_of_reading_comes_in_its_place_with_its_traceback():
    def broken():
        yield 1
        raise SourceError("unreadable")

    ahead = ReadAhead(broken())
    assert next(ahead) == 1
    with pytest.raises(SourceError, match="unreadable") as caught:
        next(ahead)
    assert any(frame.name == "broken" for frame in traceback.extract_tb(caught.value.__traceback__))
    assert list(ahead) == []
    ahead.close()


def test_writes_in_order_and_waits_when_too_many_wait():
    recorder = Recorder()
    writer = WriteBehind(recorder)
    done = []

    def feed():
        for n in range(6):
            writer.write(None if n == 3 else lambda n=n: np.float32(n), Fraction(n), Fraction(1))
            done.append(n)

    feeder = threading.Thread(target=feed)
    feeder.start()
    for allowed in range(6 - WAITING):
        deadline = time.monotonic() + PATIENCE
        while len(done) < WAITING + allowed and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)  # for what must not come
        assert len(done) == WAITING + allowed
        recorder.allowed.release()
    recorder.allowed.release(WAITING)
    feeder.join(PATIENCE)
    assert not recorder.finished
    writer.finish(COUNTS)
    writer.close()
    assert [(value, t) for value, t, _ in recorder.written] == [(None if n == 3 else n, n) for n in range(6)]
    assert {thread for _, _, thread in recorder.written}.isdisjoint({threading.get_ident()})
    assert recorder.finished == COUNTS
    assert recorder.closed


@pytest.mark.parametrize("finish", [False, True])
def test_an_error_of_writing_stops_it(finish):
    recorder = Recorder(fails_at=1)
    recorder.allowed.release(100)
    writer = WriteBehind(recorder)

    def feed():
        for n in range(2 if finish else 100):
            writer.write(lambda: np.float32(0), Fraction(n), Fraction(1))
        writer.finish(COUNTS)

    with pytest.raises(SinkError, match="disk is full") as caught:
        feed()
    assert any(frame.name == "_write" for frame in traceback.extract_tb(caught.value.__traceback__))
    writer.close()
    assert [t for _, t, _ in recorder.written] == [0]
    assert not recorder.finished
    assert recorder.closed


def test_an_error_of_the_picture_itself_stops_it():
    recorder = Recorder()
    recorder.allowed.release(9)
    writer = WriteBehind(recorder)

    def lost():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def feed():
        writer.write(lost, Fraction(0), Fraction(1))
        writer.write(None, Fraction(1), Fraction(1))
        writer.finish(COUNTS)

    with pytest.raises(RuntimeError, match="illegal memory access"):
        feed()
    writer.close()
    assert recorder.written == []


def test_closing_drops_what_has_not_begun_and_waits_for_what_has():
    recorder = Recorder()
    writer = WriteBehind(recorder)
    for n in range(WAITING):
        writer.write(lambda: np.float32(0), Fraction(n), Fraction(1))
    threading.Timer(0.05, recorder.allowed.release).start()
    writer.close()
    assert [t for _, t, _ in recorder.written] == [0]
    assert recorder.closed


def test_closing_commits_nothing_of_which_a_part_is_dropped(monkeypatch):
    """The thread may take a commit that waits while what waits before it is dropped."""
    sink = Recorder()
    committed = []
    sink.commit = committed.append
    writer = WriteBehind(sink)
    for n in range(2):
        writer.write(lambda n=n: np.float32(n), Fraction(n), Fraction(1))
    writer.commit("mark")
    dropped = writer._waiting[1]

    def join(thread):
        assert dropped.cancel()
        sink.allowed.release(10)
        thread.shutdown(wait=True)

    monkeypatch.setattr(threads, "join", join)
    writer.close()
    assert [time for _, time, _ in sink.written] == [0]
    assert committed == []


def test_nothing_is_released_while_it_is_in_use_even_when_interrupted(monkeypatch):
    recorder = Recorder()
    writer = WriteBehind(recorder)
    writer.write(lambda: np.float32(0), Fraction(0), Fraction(1))
    shutdown, calls = writer._thread.shutdown, []

    def interrupted(**options):
        calls.append(options)
        if len(calls) < 3:
            raise KeyboardInterrupt
        recorder.allowed.release()
        shutdown(**options)
        assert [t for _, t, _ in recorder.written] == [0]

    monkeypatch.setattr(writer._thread, "shutdown", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writer.close()
    assert len(calls) == 3


@pytest.fixture
def clip(tmp_path):
    return write(tmp_path / "in.mp4", panning(6))


def alive():
    return [t.name for t in threading.enumerate() if t.name.startswith("vinr-")]


def test_decoding_and_encoding_leave_the_computing_thread(tmp_path, clip, monkeypatch):
    threads = {}

    def note(kind, function):
        def noted(*args, **options):
            threads.setdefault(kind, set()).add(threading.current_thread().name)
            return function(*args, **options)

        return noted

    monkeypatch.setattr(video_source.VideoSource, "_rgb", note("read", video_source.VideoSource._rgb))
    monkeypatch.setattr(coders.VideoCoder, "code", note("write", coders.VideoCoder.code))
    monkeypatch.setattr(Blend, "query", note("compute", Blend.query))
    upscale(clip, tmp_path / "o.mp4", space=1, time=2, model=Blend())
    assert threads["compute"] == {threading.current_thread().name}
    assert threads["read"] == {"vinr-read_0"}
    assert threads["write"] == {"vinr-write_0"}
    assert len(read(tmp_path / "o.mp4")) == 12
    assert alive() == []


@pytest.mark.parametrize("where", ["read", "compute", "write"])
@pytest.mark.parametrize("target", ["o.mp4", "o"])
def test_a_failure_anywhere_leaves_no_thread_and_no_file(tmp_path, clip, monkeypatch, where, target):
    place = {
        "read": (video_source.VideoSource, "_rgb"),
        "compute": (Blend, "query"),
        "write": (coders.VideoCoder if target == "o.mp4" else image_coders.ImageCoder, "code"),
    }[where]
    real, calls = getattr(*place), []

    def third(*args, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyError(where)
        return real(*args, **options)

    monkeypatch.setattr(*place, third)
    with pytest.raises(KeyError, match=where):
        upscale(clip, tmp_path / target, space=1, time=4, model=Blend())
    assert alive() == []
    assert not (tmp_path / target).exists()
    assert leftovers(tmp_path) == []


class Together(Blend):
    """Answers four queries at once; the first waits until the third one has begun."""

    def at_once(self, size):
        return 4

    def __init__(self):
        super().__init__()
        self.begun, self.third = [], threading.Event()

    def query(self, features, frames, times, size, *, shared=None):
        self.begun.append(threading.current_thread().name)
        if len(self.begun) == 3:
            self.third.set()
        assert self.third.wait(PATIENCE)
        return super().query(features, frames, times, size)


def test_queries_at_once_come_out_in_order(tmp_path, clip):
    model = Together()
    for name, network in (("a.mp4", model), ("b.mp4", Blend())):
        upscale(clip, tmp_path / name, space=1, time=4, model=network)
    for one, other in zip(read(tmp_path / "a.mp4"), read(tmp_path / "b.mp4"), strict=True):
        assert one.pts == other.pts
        assert np.array_equal(one.to_ndarray(), other.to_ndarray())
    assert set(model.begun) == {"vinr-query_0", "vinr-query_1", "vinr-query_2"}
    assert alive() == []


@pytest.mark.parametrize("cancelled", [False, True], ids=["an error", "cancelled"])
def test_what_ends_while_queries_wait_leaves_none(tmp_path, clip, cancelled):
    class Fails(Together):
        def query(self, *args, **options):
            out = super().query(*args, **options)
            if not cancelled and len(self.begun) > 5:
                raise VinrError("broken")
            return out

    model = Fails()
    expected = (
        (Cancelled, r"interrupted; \d+ of about 48 output frames are kept") if cancelled else (VinrError, "broken")
    )
    with pytest.raises(expected[0], match=expected[1]):
        upscale(
            clip, tmp_path / "o.mp4", space=1, time=8, model=model, cancel=lambda: cancelled and len(model.begun) > 5
        )
    assert alive() == []
    assert leftovers(tmp_path) == ([".o.mp4.vinr"] if cancelled else [])
    assert not (tmp_path / "o.mp4").exists()


SLOW = """
import signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a caller may have it ignored
sys.path.insert(0, {tests!r})
from video.clips import Blend
from vinr_engine.cli import main as cli
from vinr_engine.video.io import {module}

real = {module}.{kind}.{method}
def slow(*args, **options):
    print("begun", flush=True)
    time.sleep(0.2)
    return real(*args, **options)
{module}.{kind}.{method} = slow
from vinr_engine.video import enlarge
enlarge.load = lambda *_: Blend()
sys.exit(cli.main(["upscale", {src!r}, {dst!r}, "--space", "1", "--time", "8"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "kind", "method"),
    [("video_source", "VideoSource", "_rgb"), ("coders", "VideoCoder", "code")],
    ids=["reading", "writing"],
)
def test_interruption_while_a_thread_works(tmp_path, clip, module, kind, method):
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    code = SLOW.format(tests=tests, module=module, kind=kind, method=method, src=str(clip), dst=str(tmp_path / "o.mp4"))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(2):
            assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1].startswith("vinr: interrupted; the segments that were complete are kept")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4"]
