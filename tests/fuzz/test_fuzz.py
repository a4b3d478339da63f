"""The corpus that `make fuzz` damages, whole; some of its cases; and that it would see what it is there for."""

import sys
from pathlib import Path
from random import Random

import pytest

from fuzz import __main__ as program
from fuzz import media, parameters
from fuzz.make_corpus import FILES
from fuzz.mutate import CHANGES, mutated
from video.clips import Blend
from vinr_engine.video.render import upscale

FROM_FFMPEG = {"packed.avi", "cover-first.mkv"}
"""Which PyAV cannot write."""


def test_the_corpus_is_all_there():
    assert {path.name for path in media.files()} == {*FILES, *FROM_FFMPEG}
    assert all(0 < path.stat().st_size < 40000 for path in media.files())


@pytest.mark.parametrize("path", media.files(), ids=lambda path: path.name)
def test_each_file_is_read_whole(tmp_path, path):
    notes = []
    done = upscale(path, tmp_path / "o.mkv", space=1, time=1, model=Blend(), note=notes.append)
    assert done.faults.held == done.faults.dropped == 0, notes
    assert done.frames_in >= 1


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_changes_can_take_any_file(change):
    for seed in range(40):
        rng = Random(seed)
        for size in (0, 1, 2, 50):
            assert isinstance(change(bytearray(rng.randbytes(size)), [b"other", b""], rng), bytearray)


def test_cases_are_the_same_again():
    assert mutated(b"0123456789" * 9, [b"abc"], Random(5)) == mutated(b"0123456789" * 9, [b"abc"], Random(5))


@pytest.mark.parametrize(
    "case", [parameters.checkpoint_case, parameters.configuration_case, parameters.op_case], ids=lambda c: c.__name__
)
def test_some_cases(tmp_path, case):
    """Of each kind; those of media are in CI's own step."""
    seen = {case(Random(seed), tmp_path).split()[-1] for seed in range(60)}
    assert "refused" in seen
    assert seen & {"loaded", "answered"}


FAULTS = {
    "raises": "raise KeyError('an error that is no message')",
    "dies": "os.kill(os.getpid(), 11)",
    "hangs": "time.sleep(1000)",
    "leaves": "open(os.path.join(os.path.dirname(job.dst), '.left'), 'w').close()",
    "speaks": "raise errors.SourceError('two\\nlines')",
}
PATCHED = """
import os, sys, time
from fuzz import __main__ as program, media
from vinr_engine import errors
real = media.render
def render(job):
    {fault}
    return real(job)
media.render = render
program.main()
"""


@pytest.mark.parametrize("fault", [pytest.param(name, marks=pytest.mark.slow) for name in FAULTS])
def test_it_finds(tmp_path, monkeypatch, fault):
    """Each kind of fault, once it is in the tool; and goes on after it."""
    script = tmp_path / "patched.py"
    script.write_text(PATCHED.format(fault=FAULTS[fault]))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setattr(program, "WORKS", [sys.executable, str(script), "--work"])
    monkeypatch.setattr(program, "PATIENCE", 20.0)
    monkeypatch.setattr(program, "MOST_FINDINGS", 2)
    watch = program.Watch(150, 0, 1, ["media"], tmp_path / "found")
    watch.run()
    assert len(watch.findings) == 2
    for number in watch.findings:
        place = tmp_path / "found" / f"media-{number}"
        assert (place / "why.txt").read_text()
        assert any(path.name.startswith("in.") for path in place.iterdir())
