"""Frames that the input repeats: they cost nothing, and motion goes on through them where they are few."""

import shutil
from fractions import Fraction

import numpy as np
import pytest

from video.clips import Blend, leftovers, panning, read, seconds, write
from video.test_resume import Dies, Killed, contents
from vinr_engine.video.io.source import Faults, Picture
from vinr_engine.video.pipeline import Pipeline
from vinr_engine.video.plan import Plan
from vinr_engine.video.render import upscale
from vinr_engine.video.schedule import Multiply

STEP = Fraction(1, 24)


class Shows:
    """Enlarges pictures of one value each; what it gives is the value at a position, as a picture of it would show."""

    def __init__(self):
        self.asked = []

    def slot(self, rgb):
        return float(rgb[0, 0, 0])

    def pair(self, first, second):
        return Between(self, first, second)


class Between:
    def __init__(self, shows, first, second):
        self.shows, self.first, self.second = shows, first, second

    def expect(self, positions):
        self.expected = list(positions)

    def begin(self, position):
        value = self.first + float(position) * (self.second - self.first)
        self.shows.asked.append(value)
        return lambda: value


class Kept:
    def __init__(self):
        self.frames, self.marks = [], []

    def write(self, picture, at, duration):
        self.frames.append((at / STEP, self.frames[-1][1] if picture is None else round(picture(), 6)))

    def commit(self, mark):
        self.marks.append((len(self.frames), mark))


def pictures(values, step=STEP):
    for n, value in enumerate(values):
        faults = Faults(repaired=n % 2)
        yield Picture(n * step, step, np.full((3, 4, 4), value, "f4"), faults)


def shown(values, k=2, through=True, copies=True, step=STEP, interval=STEP):
    sink, shows = Kept(), Shows()
    plan = Plan((4, 4), Multiply(k), k / step, copies, None, step / k, 1, interval, through)
    counts = Pipeline(shows, plan, sink, None, Fraction(0)).run(pictures(values, step))
    return sink, shows, counts


def values(sink):
    return [value for _, value in sink.frames]


def test_motion_goes_on_through_a_few_repeats():
    sink, shows, counts = shown([0.0, 0.0, 0.4, 0.4, 0.4, 1.0, 1.0])
    assert values(sink) == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1, 1, 1]
    assert [at for at, _ in sink.frames] == [n / 2 for n in range(14)]
    assert (counts.frames_in, counts.frames_out, counts.repeats) == (7, 14, 4)
    assert counts.faults == Faults(repaired=3)
    assert len(shows.asked) == 11


def test_what_stands_still_is_held():
    """And moves when the input does: in the last step."""
    sink, shows, counts = shown([0.5] * 8 + [1.0])
    assert values(sink) == [0.5] * 15 + [0.75, 1, 1]
    assert len(shows.asked) == 4
    assert counts.repeats == 7


def test_without_interpolation_there_is_nothing_to_go_through():
    sink, _, counts = shown([0.0, 0.0, 1.0, 1.0], k=2, through=False)
    assert values(sink) == [0, 0, 0, 0.5, 1, 1, 1, 1]
    assert counts.repeats == 2


def test_pictures_that_are_nearly_repeats_lose_nothing():
    """A fade, of so little a frame that two neighbours are about the same: as steep as it is, to its end."""
    fade = [n / 255 for n in range(12)]
    sink, _, counts = shown(fade, k=1)
    assert values(sink) == pytest.approx(fade, abs=1e-6)
    sink, _, _ = shown(fade, k=2, copies=False)
    assert values(sink) == pytest.approx([n / 510 for n in range(23)], abs=1e-6)
    assert counts.frames_in == 12


def test_a_gap_is_held():
    """What the file leaves out is a picture that stands still: five seconds, then one that moved within a step."""
    sink = Kept()
    plan = Plan((4, 4), Multiply(240), Fraction(240), True, None, STEP, 1000, STEP)
    clip = [Picture(Fraction(at), STEP, np.full((3, 4, 4), at / 5, "f4")) for at in (0, 5)]
    Pipeline(Shows(), plan, sink, None, Fraction(0)).run(clip)
    assert [value for at, value in sink.frames if at * STEP < 5 - STEP] == [0] * 238
    assert [value for at, value in sink.frames if 5 - STEP <= at * STEP < 5] == [0, 0.5]


def test_a_slideshow_moves_all_the_time():
    sink, _, _ = shown([0.0, 1.0], k=240, step=Fraction(5), interval=Fraction(5))
    assert len(set(values(sink))) == 241


def test_a_long_gap_is_said(tmp_path):
    """Most of an hour of nothing asks for very many frames: whoever waits for these wants to know why."""
    source = write(tmp_path / "in.mkv", panning(3), stamps=[0, 100, 130100], codec="ffv1", options={"threads": "2"})
    notes = []
    done = upscale(source, tmp_path / "o.mkv", space=1, time=2, model=Blend(), note=notes.append)
    assert done.frames_out == 6
    assert [text for text in notes if "no frame" in text] == ["there is no frame from 0.200 s to 130.100 s"]


CLIPS = {
    "twos": [0.0, 0.0, 0.2, 0.2, 0.4, 0.4, 0.6],
    "still": [0.1, 0.3] + [0.5] * 9 + [0.9, 0.9],
    "fade": [n / 255 for n in range(9)],
    "nearly still": [0.5 + (n % 2) / 255 for n in range(9)] + [0.9],
    "ends": [0.2, 0.2, 0.8] + [0.4] * 6,
}


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("through", [True, False])
def test_a_run_goes_on_from_any_mark_alike(name, through):
    """From each output frame on, from the frame that its mark says to read."""
    clip = CLIPS[name]
    whole, _, counts = shown(clip, 3, through=through)
    assert len(whole.marks) == counts.frames_out
    for done, mark in whole.marks:
        begin = int(mark.since / STEP)
        sink, shows = Kept(), Shows()
        plan = Plan((4, 4), Multiply(3), 72, True, None, STEP / 3, 1, STEP, through)
        again = Pipeline(shows, plan, sink, None, Fraction(0), mark).run([*pictures(clip)][begin:])
        assert sink.frames == whole.frames[done:]
        assert again == counts


def test_of_a_video(tmp_path):
    """Drawn on twos, with a still: each run that dies anywhere gives the same file."""
    drawn = [picture for picture in panning(5, 48, 32, step=3) for _ in range(2)]
    source = write(tmp_path / "in.mkv", drawn[:8] + drawn[8:9] * 8, codec="ffv1", pixel_format="yuv444p", options={})
    options = {"space": 1, "time": 2, "segment": 3, "cuts": False}
    model = Blend()
    done = upscale(source, tmp_path / "o.mkv", model=model, **options)
    assert (done.frames_in, done.frames_out, done.repeats) == (16, 32, 11)
    assert seconds(read(tmp_path / "o.mkv")) == [Fraction(n, 20) for n in range(32)]
    assert len(model.times) == 17
    plain = upscale(source, tmp_path / "p.mkv", model=Blend(), repeats=False, **options)
    assert (plain.frames_out, plain.repeats) == (32, 11)
    assert contents(tmp_path / "p.mkv") != contents(tmp_path / "o.mkv")
    for at in range(len(model.times)):
        folder = tmp_path / str(at)
        folder.mkdir()
        with pytest.raises(Killed):
            upscale(source, folder / "o.mkv", model=Dies(at), **options)
        upscale(source, folder / "o.mkv", model=Blend(), **options)
        assert contents(folder / "o.mkv") == contents(tmp_path / "o.mkv")
        assert leftovers(folder) == []
        shutil.rmtree(folder)
