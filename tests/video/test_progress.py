"""What people see of a run while it goes on."""

import io
import sys

import pytest

from video.clips import Blend, panning, write
from vinr_engine.video import progress
from vinr_engine.video.job import Seconds
from vinr_engine.video.progress import Bar, duration
from vinr_engine.video.render import upscale


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (61, "1 min"), (3540, "59 min"), (3600, "1 h 0 min"), (11100, "3 h 5 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_line_now_and_then_where_there_is_no_terminal(capsys, clock):
    with Bar() as bar:
        bar.update(100, 500)  # that many are from an earlier run
        for _ in range(100):
            clock[0] += 1.25
            bar.stages(Seconds(total=10, compute=9, decode=1, encode=5, waiting=1))
            bar.update(100 + int((clock[0] - 1000) / 1.25), 500)
    err = capsys.readouterr().err.splitlines()
    assert err[0] == (
        "vinr: upscale: 148 of 500 frames, 0.8 frames/s, about 7 min left; "
        "compute 90 %, decode 10 %, encode 50 %, waiting 10 %"
    )
    assert len(err) == 2


def test_without_a_total_nothing_is_guessed(capsys, clock):
    with Bar() as bar:
        bar.update(0, None)
        clock[0] += 61
        bar.update(61, None)
    assert capsys.readouterr().err == "vinr: upscale: 61 frames, 1 frames/s\n"


def test_short_and_quiet_runs_say_nothing(capsys, clock):
    for quiet, seconds in ((False, 30), (True, 3000)):
        with Bar(quiet) as bar:
            bar.update(0, 10)
            clock[0] += seconds
            bar.update(5, 10)
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    with Bar(label="clip [a].mp4") as bar:
        bar.update(100, 500)
        bar.stages(Seconds(total=10, compute=9, decode=1, encode=5, waiting=1))
        bar.update(250, 500)
        bar.note("something")
        bar._progress.refresh()
    text = screen.getvalue()
    assert "250/500" in text
    assert "compute 90 %, decode 10 %, encode 50 %, waiting 10 %" in text
    assert "vinr: note: something" in text


@pytest.mark.parametrize("width", [18, 20, 39, 40, 74, 75, 139, 140])
def test_a_bar_fits_on_one_line_of_any_terminal(monkeypatch, width):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "dumb")
    with Bar(label="1 of 3: a/folder/of/clips/with/a/long/name.mp4") as bar:
        bar.update(100, 500)
        bar.stages(Seconds(total=10, compute=9, decode=1, encode=5, waiting=1))
        bar.update(250, 500)
        lines = bar._progress.console.render_lines(bar._progress.get_renderable())
    (line,) = ["".join(part.text for part in line).rstrip() for line in lines]
    assert len(line) <= width
    assert "250/500" in line


def test_stages_add_up(tmp_path):
    source = write(tmp_path / "in.mp4", panning(5))
    seen = []
    done = upscale(source, tmp_path / "o.mp4", space=2, time=2, model=Blend(), stages=seen.append)
    assert len(seen) == 11
    for stages in (*seen, done.stages):
        assert stages.compute + stages.waiting <= stages.total + 1e-6
        assert min(stages.decode, stages.compute, stages.encode, stages.waiting, stages.join) >= 0
    assert [s.total for s in seen] == sorted(s.total for s in seen)
    assert done.stages.join > 0
    assert done.stages.total == done.seconds
