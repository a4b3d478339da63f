"""Standard input and output."""

import io
import os
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from video.clips import Blend, av, leftovers, panning, read, seconds, tiny_weights, write
from video.rich import Sound, rich, streams
from video.test_resume import Dies, Killed, coded
from vinr_engine.errors import Cancelled, SinkError, SourceError, UsageError
from vinr_engine.video.io import planes
from vinr_engine.video.io.spool import spooled
from vinr_engine.video.render import upscale


@pytest.fixture
def pipe(monkeypatch):
    """Gives a function that puts bytes into standard input, as a pipe."""
    threads, inputs = [], []

    def feed(data):
        out, into = os.pipe()

        def write_all():
            with os.fdopen(into, "wb") as file:
                file.write(data)

        threads.append(threading.Thread(target=write_all))
        threads[-1].start()
        inputs.append(os.fdopen(out))
        monkeypatch.setattr(sys, "stdin", inputs[-1])

    yield feed
    for thread, file in zip(threads, inputs, strict=True):
        thread.join()
        file.close()


class Standard:
    """Takes the place of standard output."""

    def __init__(self):
        self.buffer = io.BytesIO()


def run(source, target, **options):
    """(the summary, the notes)"""
    notes = []
    options = {"space": 1, "time": 1, "model": Blend(), **options}
    return upscale(source, target, note=notes.append, **options), notes


@pytest.mark.parametrize("muxer", ["matroska", "mp4", "mpegts"])
def test_a_pipe_is_read_as_a_file_is(tmp_path, pipe, muxer):
    source = rich(tmp_path / "in", sounds=[Sound()], muxer=muxer)
    run(source, tmp_path / "whole.mkv", time=2, start="0.5")
    pipe(source.read_bytes())
    run("-", tmp_path / "out.mkv", time=2, start="0.5")
    assert coded(tmp_path / "out.mkv") == coded(tmp_path / "whole.mkv")
    assert len(streams(tmp_path / "out.mkv")) == 2
    assert leftovers(tmp_path) == []


def test_a_run_that_died_goes_on_where_the_same_is_piped_again(tmp_path, pipe):
    source = rich(tmp_path / "in", sounds=[Sound()], muxer="matroska")
    run(source, tmp_path / "whole.mkv", segment=5)
    pipe(source.read_bytes())
    with pytest.raises(Killed):
        run("-", tmp_path / "out.mkv", segment=5, model=Dies(12))
    pipe(source.read_bytes())
    done, _ = run("-", tmp_path / "out.mkv", segment=5)
    assert done.resumed == 10
    assert coded(tmp_path / "out.mkv") == coded(tmp_path / "whole.mkv")
    pipe(b"")
    with pytest.raises(SourceError, match="is empty"):
        run("-", tmp_path / "empty.mkv")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("given", "expected", "place"),
    [("yuv420p", "yuv420p", "left"), ("yuv420p", "yuv420p", "center"), ("yuv422p", "yuv422p", "left"),
     ("yuv444p", "yuv444p", "left"), ("yuv420p10le", "yuv420p10le", "left"), ("yuv422p10le", "yuv422p10le", "left"),
     ("yuv444p12le", "yuv444p12le", "left")],
)  # fmt: skip
def test_pictures_on_standard_output(tmp_path, monkeypatch, given, expected, place):
    options = {"chroma_sample_location": place}
    source = write(tmp_path / "in.mkv", panning(5, 48, 34), codec="ffv1", pixel_format=given, options=options)
    out = Standard()
    monkeypatch.setattr(sys, "stdout", out)
    done, _ = run(source, "-", time=2, segment=3)
    monkeypatch.undo()
    (tmp_path / "out.y4m").write_bytes(out.buffer.getvalue())
    frames = read(tmp_path / "out.y4m")
    assert done.frames_out == len(frames) == 10
    assert frames[0].format.name == expected
    assert seconds(frames) == [Fraction(n, 20) for n in range(10)]
    for a, b in zip(read(source), frames[::2], strict=True):
        for one, other in zip(planes.read(a)[0], planes.read(b)[0], strict=True):
            assert np.abs(one.astype(int) - other).max() <= 3 * 2 ** (max(c.bits for c in a.format.components) - 8)


def test_the_shape_of_pixels_on_standard_output(tmp_path, monkeypatch):
    source = write(tmp_path / "in.mp4", panning(2), aspect=Fraction(4, 3))
    out = Standard()
    monkeypatch.setattr(sys, "stdout", out)
    run(source, "-")
    monkeypatch.undo()
    (tmp_path / "out.y4m").write_bytes(out.buffer.getvalue())
    with av.open(str(tmp_path / "out.y4m")) as found:
        assert found.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


def test_times_that_vary_become_repeats_on_standard_output(tmp_path, monkeypatch):
    source = write(tmp_path / "in.mkv", panning(4), stamps=[0, 100, 400, 500], codec="ffv1", options={})
    out = Standard()
    monkeypatch.setattr(sys, "stdout", out)
    run(source, "-", time=None, fps=10)
    monkeypatch.undo()
    assert out.buffer.getvalue().count(b"FRAME\n") == 6


def test_a_reader_that_goes_is_an_error_of_one_line(tmp_path, monkeypatch):
    source = write(tmp_path / "in.mkv", panning(4))

    class Gone(io.BytesIO):
        def write(self, data):
            raise BrokenPipeError(32, "Broken pipe")

    out = Standard()
    out.buffer = Gone()
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(SinkError, match="cannot write standard output: Broken pipe"):
        run(source, "-")


def test_the_command_between_two_pipes(tmp_path):
    source = rich(tmp_path / "in.mkv", 5, sounds=[Sound()])
    weights = tiny_weights(tmp_path / "w.safetensors")
    command = [
        sys.executable,
        "-m",
        "vinr_engine.cli",
        "upscale",
        "-",
        "-",
        "--space",
        "2",
        "--time",
        "2",
        "--weights",
        str(weights),
    ]
    done = subprocess.run(command, input=source.read_bytes(), capture_output=True, check=True, cwd=tmp_path)
    (tmp_path / "out.y4m").write_bytes(done.stdout)
    frames = read(tmp_path / "out.y4m")
    assert (len(frames), frames[0].width, frames[0].height) == (10, 96, 64)
    assert b"10 frames from 5" in done.stderr
    assert b"left out: audio 1 (aac) (the output holds pictures alone)" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mkv", "out.y4m", "w.safetensors"]


def test_options_that_do_not_go_with_standard_output(tmp_path):
    source = write(tmp_path / "in.mkv", panning(2))
    with pytest.raises(UsageError, match="--codec and --crf are for a video file"):
        run(source, "-", codec="ffv1")


def test_a_second_run_leaves_the_first_ones_input_alone(tmp_path, pipe):
    pipe(b"one")
    with spooled(str(tmp_path / "out.mkv")) as path:
        pipe(b"another")
        with pytest.raises(SinkError, match="another run is writing"), spooled(str(tmp_path / "out.mkv")):
            raise AssertionError
        assert Path(path).read_bytes() == b"one"
    assert leftovers(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_what_another_user_puts_in_the_way_is_not_followed(tmp_path, pipe):
    (tmp_path / "precious").write_bytes(b"keep")
    (tmp_path / ".out.mkv.stdin").symlink_to(tmp_path / "precious")
    pipe(b"one")
    with pytest.raises(SinkError, match="cannot write"), spooled(str(tmp_path / "out.mkv")):
        raise AssertionError
    assert (tmp_path / "precious").read_bytes() == b"keep"


@pytest.mark.parametrize(("size", "said"), [("64x48", False), ("1280x720", True)])
def test_a_matrix_that_readers_would_not_guess_is_said(tmp_path, monkeypatch, size, said):
    source = write(tmp_path / "in.mkv", panning(1))
    monkeypatch.setattr(sys, "stdout", Standard())
    _, notes = run(source, "-", space=None, size=size)
    monkeypatch.undo()
    assert any("Y4M does not say the colour matrix: it is number 6" in note for note in notes) == said


def test_an_interruption_does_not_promise_that_pictures_on_standard_output_are_kept(tmp_path, monkeypatch):
    source = write(tmp_path / "in.mkv", panning(10))
    out, asked = Standard(), iter([False] * 7 + [True] * 9)
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(Cancelled, match=r"^interrupted; 7 output frames were written$"):
        run(source, "-", segment=3, keep_partial=True, cancel=lambda: next(asked))
    monkeypatch.undo()
    assert out.buffer.getvalue().count(b"FRAME\n") == 7
    assert leftovers(tmp_path) == []
