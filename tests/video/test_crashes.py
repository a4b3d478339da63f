"""Runs that are killed by SIGKILL, over and over: the same command goes on, and the output is as if nothing had been.

Half of the deaths are placed at a step that touches files (see dying.py), the others come at random moments.
"""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from video import dying
from video.clips import av, panning, tiny_weights, write
from video.test_resume import contents

OUTPUTS = ("o.mp4", "o.mkv", "o")
OPTIONS = {"space": 1, "time": 2, "segment": 10}
COMMAND = ["--space", "1", "--time", "2", "--segment", "10", "--quiet"]


def pictures(path):
    """A digest of each decoded picture, with its time."""
    if path.is_dir():
        return [hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(path.iterdir())]
    with av.open(str(path)) as container:
        return [(f.pts, hashlib.sha256(f.to_ndarray().tobytes()).hexdigest()) for f in container.decode(video=0)]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """60 pictures in two scenes, with sound."""
    tints = np.array([[1.0, 0.4, 0.3], [0.2, 0.6, 1.0]])
    shots = [(p * t).astype("u1") for n, t in enumerate(tints) for p in panning(30, 96, 64, seed=n)]
    return write(tmp_path_factory.mktemp("source") / "in.mp4", shots, rate=20, audio="aac", options={"g": "12"})


@pytest.fixture(scope="module")
def small_source(tmp_path_factory):
    """The same for a real network, which takes longer."""
    shots = [p for n in range(2) for p in panning(30, 16, 12, seed=n)]
    return write(tmp_path_factory.mktemp("source") / "in.mp4", shots, rate=20, audio="aac", options={"g": "12"})


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


class Whole:
    """The uninterrupted run of each output: what it wrote, the moments in it, and how long it took."""

    def __init__(self, folder, run):
        self.folder, self.run = folder, run
        self.known = {}

    def __call__(self, name):
        if name not in self.known:
            outcome = self.run(self.folder / name)
            path = self.folder / name
            assert len(pictures(path)) == (120 if path.is_file() else 119)
            self.known[name] = contents(path), pictures(path), outcome
        return self.known[name]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, source):
    return Whole(tmp_path_factory.mktemp("whole"), lambda path: dying.run(source, path, OPTIONS, aim=(None, None)))


def finished(folder, name, whole, said):
    """The output of a last run, which said that it is done or was already, is the uninterrupted one, and is alone."""
    expected, frames, _ = whole(name)
    if "error" in said:  # killed as the very last step was done: nothing is left to go on with
        assert "(--overwrite replaces" in said["text"], said
    assert [p.name for p in folder.iterdir()] == [name]
    assert contents(folder / name) == expected
    assert pictures(folder / name) == frames


def absent_or_whole(folder, name, whole):
    """DST is complete or not there, whenever the run dies."""
    if (folder / name).exists():
        assert contents(folder / name) == whole(name)[0]


def killed_at(folder, source, name, whole, phase, at, chance, times=1):
    """Dies at moment ``at`` of a phase; then ``times - 1`` times at a random one of a random phase."""
    counts = whole(name)[2].said["steps"]
    for n in range(times):
        outcome = dying.run(source, folder / name, OPTIONS, aim=(phase, at))
        assert outcome.died or n, "the moment never came"
        absent_or_whole(folder, name, whole)
        if not outcome.died:
            break
        phase = chance.choice(list(counts))
        at = chance.randrange(counts[phase])
    else:
        outcome = dying.run(source, folder / name, OPTIONS)
    finished(folder, name, whole, outcome.said)


def killed_after(folder, source, name, whole, chance, times=1):
    """Dies at random moments of the time that a run takes."""
    took = whole(name)[2].seconds
    for _ in range(times):
        while True:
            outcome = dying.run(source, folder / name, OPTIONS, after=chance.uniform(0, took))
            absent_or_whole(folder, name, whole)
            if outcome.died:
                break
            took *= 0.8  # it ran faster than the one that was measured
            for path in folder.iterdir():
                dying.remove(path)
    finished(folder, name, whole, dying.run(source, folder / name, OPTIONS).said)


@pytest.mark.parametrize(("phase", "share"), [("commit", 0.4), ("join", 0.5), ("end", 0.6), (None, 0)])
def test_a_killed_run_goes_on(tmp_path, source, whole, phase, share):
    chance = random.Random(phase)
    if phase is None:
        killed_after(tmp_path, source, "o.mp4", whole, chance)
    else:
        at = int(share * whole("o.mp4")[2].said["steps"][phase])
        killed_at(tmp_path, source, "o.mp4", whole, phase, at, chance)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("phase", list(dying.PHASES))
def test_kills_at_every_kind_of_step(tmp_path, source, whole, phase, number):
    """Ten moments of each phase, spread over it; every third one is followed by others in the resumed run."""
    name = OUTPUTS[number % 3]
    chance = random.Random(f"{phase} {number}")
    at = int((number + chance.random()) * whole(name)[2].said["steps"][phase] / 10)
    killed_at(tmp_path, source, name, whole, phase, at, chance, times=(1, 1, 2, 1, 3)[number % 5])


@pytest.mark.slow
@pytest.mark.parametrize("number", range(15))
def test_kills_at_random_moments(tmp_path, source, whole, number):
    killed_after(tmp_path, source, OUTPUTS[number % 3], whole, random.Random(number), times=(1, 1, 2, 1, 3)[number % 5])


def command(source, path, weights):
    return subprocess.Popen(
        [sys.executable, "-m", "vinr_engine.cli", "upscale", source, path, "--weights", weights, *COMMAND],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def begun(process, path):
    """When the command begins to keep what it does."""
    journal = path.with_name(f".{path.name}.vinr") / "journal.jsonl"
    while not journal.exists() and process.poll() is None:
        time.sleep(0.01)
    return time.monotonic()


@pytest.fixture(scope="module")
def whole_command(tmp_path_factory, small_source, weights):
    def run(path):
        with command(small_source, path, weights) as process:
            began = begun(process, path)
            assert process.wait() == 0
        return dying.Outcome(False, None, time.monotonic() - began)

    return Whole(tmp_path_factory.mktemp("whole"), run)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(5))
def test_kills_of_the_command(tmp_path, small_source, weights, whole_command, number):
    name, chance = OUTPUTS[number % 3], random.Random(number)
    took = whole_command(name)[2].seconds
    for _ in range((1, 1, 1, 2, 1)[number]):
        while True:
            with command(small_source, tmp_path / name, weights) as process:
                begun(process, tmp_path / name)
                time.sleep(chance.uniform(0, took))
                process.kill()
            absent_or_whole(tmp_path, name, whole_command)
            if process.returncode == -signal.SIGKILL:
                break
            took *= 0.8
            for path in tmp_path.iterdir():
                dying.remove(path)
    with command(small_source, tmp_path / name, weights) as process:
        _, error = process.communicate()
    assert process.returncode == 0 or "(--overwrite replaces" in error
    finished(tmp_path, name, whole_command, {})
