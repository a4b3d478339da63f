"""Segments made each by itself, in any order: together they are what one run makes."""

import dataclasses
import os
import pickle
from fractions import Fraction

import pytest
import torch

from video.clips import Blend, panning, write
from video.test_resume import CASES, contents, shots
from vinr_engine.errors import SourceError, UsageError, VinrError
from vinr_engine.video import enlarge, render, segments
from vinr_engine.video.render import Run


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write(tmp_path_factory.mktemp("source") / "in.mp4", shots(), audio="aac", options={"crf": "4", "g": "4"})


class Apart(Run):
    """Makes the last segment first, each from what it would be sent as."""

    found: list

    def compute(self, backend):
        job, journal = self.job, self.journal
        clip = segments.Clip(
            os.path.abspath(job.src), segments.inputs.fingerprint(job.src), self.numbers, self.plan, self.output,
            self.target, self.lead, job.cuts, backend,
        )  # fmt: skip
        self.found.clear()
        counts = segments.find(
            clip, segments.pictures_from(self.source, journal.mark, self._open, self.say), journal.mark, journal.last,
            self.found.append,
        )  # fmt: skip
        made = []
        for segment in reversed(self.found):
            clip, segment = pickle.loads(pickle.dumps((clip, segment)))
            clip.check()
            width, height = self.plan.size
            enlarger = enlarge.Enlarger(Blend(), (height, width), torch.device("cpu"), "float32")
            made.append(pickle.loads(pickle.dumps(segments.make(clip, enlarger, segment, self.journal.folder))))
        for one in reversed(made):
            journal.draft().write_bytes(one.data)
            journal.commit(one.segment.frames, one.segment.last, one.segment.end, one.segment.counts)
        if not self.found[-1].counts:
            journal.complete(counts)


def apart(src, dst, **options):
    Apart.found = []
    return render.render(render.Job(os.fspath(src), os.fspath(dst), model=Blend(), **options), Apart)


@pytest.mark.parametrize("segment", [1, 4, 5, 18])
@pytest.mark.parametrize("case", CASES)
def test_segments_together_are_one_run(tmp_path, source, case, segment):
    name, options = CASES[case]
    options = {"space": 1, **options, "segment": segment}
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    whole = render.upscale(source, tmp_path / "whole" / name, model=Blend(), **options)
    parts = apart(source, tmp_path / "parts" / name, **options)
    assert contents(tmp_path / "parts" / name) == contents(tmp_path / "whole" / name)
    facts = ("frames_in", "frames_out", "cuts", "rate", "audio_streams")
    assert [getattr(parts, fact) for fact in facts] == [getattr(whole, fact) for fact in facts]
    assert sum(segment.frames for segment in Apart.found) == whole.frames_out


def test_times_that_fit_no_unit_of_time(tmp_path, source, monkeypatch):
    """Their rounding depends on the pictures before: each segment is told of them."""
    monkeypatch.setattr(render.Plan, "tick", lambda self, lead: Fraction(1, 7))
    options = {"space": 1, "time": 3, "segment": 4, "audio": "none"}
    render.upscale(source, tmp_path / "whole.mkv", model=Blend(), **options)
    apart(source, tmp_path / "parts.mkv", **options)
    assert contents(tmp_path / "parts.mkv") == contents(tmp_path / "whole.mkv")


def test_a_machine_that_sees_other_pictures_is_found(tmp_path, source, monkeypatch):
    def other(clip, enlarger, segment, folder):
        with monkeypatch.context() as patch:
            patch.setattr("vinr_engine.video.cuts.THRESHOLD", 1e9)
            return make(clip, enlarger, segment, folder)

    make = segments.make
    monkeypatch.setattr(segments, "make", other)
    with pytest.raises(VinrError, match="sees other pictures or scene cuts from output frame 12 on than the machine"):
        apart(source, tmp_path / "o.mp4", space=1, time=3, segment=12)


def test_what_another_machine_lacks(tmp_path, source):
    clip = segments.Clip(str(source), segments.inputs.fingerprint(str(source)), *[None] * 7)
    clip.check()
    with pytest.raises(SourceError, match=r"no such file: .*all machines must see the input under this path"):
        dataclasses.replace(clip, src=str(tmp_path / "in.mp4")).check()
    other = write(tmp_path / "in.mp4", panning(3, 16, 12))
    with pytest.raises(SourceError, match="another input than where the command was given, or has changed"):
        dataclasses.replace(clip, src=str(other)).check()
    with pytest.raises(UsageError, match=r"vinr_engine is .* on .*, and 0\.0\.1 where the command was given"):
        dataclasses.replace(clip, version="0.0.1").check()
