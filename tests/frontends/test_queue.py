"""The queue: what is planned of names, and what becomes of clips, most of them with a stand-in for the network."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

import vinr_engine as vinr
from video.clips import Blend, leftovers, panning, read, write
from vinr_engine.cli import main as cli
from vinr_engine.errors import Cancelled, SinkError, UsageError, WeightsError
from vinr_engine.frontends import queue, report
from vinr_engine.video import enlarge, journal, render
from vinr_engine.video.job import Job


def files(folder, *names):
    """Empty files; a name that ends in a slash is a folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.touch()


def images(folder, count=2):
    folder.mkdir(parents=True)
    for n, picture in enumerate(panning(count, 16, 12)):
        Image.fromarray(picture).save(folder / f"{n:03}.png")
    return folder


def clip(path, count=2, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    return write(path, panning(count, 16, 12), **options)


def places(folder, *sources, to=None):
    """{src: dst} of the plan for names in `folder`, where it runs; the output folder is out."""
    return {pair.src: pair.refused or pair.dst for pair in queue.plan(sources, "out", to)}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_outputs_are_called_as_their_inputs(here):
    files(here, "a.mp4", "b.MKV", "c.avi", "d.with.dots.webm")
    expected = {
        "a.mp4": "out/a.mp4",
        "b.MKV": "out/b.mkv",
        "c.avi": "out/c.avi",
        "d.with.dots.webm": "out/d.with.dots.webm",
    }
    assert places(here, *expected) == expected
    assert places(here, "a.mp4", "c.avi", to="webm") == {"a.mp4": "out/a.webm", "c.avi": "out/c.webm"}
    assert places(here, "a.mp4", to=".MP4") == {"a.mp4": "out/a.mp4"}
    assert places(here, "a.mp4", "d.with.dots.webm", to="png") == {
        "a.mp4": f"out/a{os.sep}", "d.with.dots.webm": f"out/d.with.dots{os.sep}",
    }  # fmt: skip


def test_folders_patterns_and_globs(here):
    files(here, "season/e10.mp4", "season/e9.mkv", "season/e9.srt", "season/.hidden.mp4", "season/cover.jpg")
    files(
        here,
        "season/deep/e1.mp4",
        "shots/s1.v2/001.png",
        "empty/x.txt",
        "p/f_001.png",
        "p/0001.png",
        "[x].mp4",
        "x.mp4",
    )
    assert places(here, "season") == {"season/e9.mkv": "out/e9.mkv", "season/e10.mp4": "out/e10.mp4"}
    assert places(here, "shots/s1.v2/") == {"shots/s1.v2/": "out/s1.v2.mkv"}
    assert places(here, "p/f_%03d.png", "p/%04d.png") == {"p/f_%03d.png": "out/f.mkv", "p/%04d.png": "out/p.mkv"}
    assert places(here, "empty", "no*.mp4") == {
        "empty": "empty holds neither videos nor images", "no*.mp4": "no file matches no*.mp4",
    }  # fmt: skip
    assert list(places(here, "season/*.m*", "season/e9.mkv", "./season/e10.mp4")) == ["season/e9.mkv", "season/e10.mp4"]
    assert list(places(here, "season/**/*.mp4")) == ["season/deep/e1.mp4", "season/e10.mp4"]
    assert list(places(here, "sho*/*")) == ["shots/s1.v2"]
    assert list(places(here, "[x].mp4")) == ["[x].mp4"]


def test_images_and_animations(here):
    files(
        here, "photo.jpg", "scan.tif", "odd.bmp", "a.gif", "b.webp", "c.apng", "moving/2.gif", "moving/10.gif", "d.mp4"
    )
    assert places(here, "photo.jpg", "scan.tif", "odd.bmp", "a.gif", "b.webp", "c.apng") == {
        "photo.jpg": "out/photo.jpg", "scan.tif": "out/scan.tif", "odd.bmp": "out/odd.png", "a.gif": "out/a.gif",
        "b.webp": "out/b.webp", "c.apng": "out/c.apng",
    }  # fmt: skip
    assert places(here, "moving") == {"moving/2.gif": "out/2.gif", "moving/10.gif": "out/10.gif"}
    assert places(here, "d.mp4", "photo.jpg", to="tif") == {
        "d.mp4": "out/d/frame_%06d.tif", "photo.jpg": "out/photo.tif",
    }  # fmt: skip
    assert places(here, "d.mp4", "photo.jpg", to=".webp") == {"d.mp4": "out/d.webp", "photo.jpg": "out/photo.webp"}
    assert places(here, "photo.jpg", to="png") == {"photo.jpg": "out/photo.png"}


def test_images_among_clips(here):
    """What is asked of clips is nothing that an image could be refused for."""
    clip(here / "a.mp4")
    Image.fromarray(panning(1, 16, 12)[0]).save(here / "photo.png")
    entries = rendered(queue.plan(["a.mp4", "photo.png"], "out", "tif"))
    assert [entry.reason for entry in entries] == ["", ""]
    assert [entry.summary.frames_out for entry in entries] == [3, 1]
    assert sorted(p.name for p in (here / "out" / "a").iterdir()) == [f"frame_{n:06d}.tif" for n in range(3)]
    again = rendered(queue.plan(["a.mp4", "photo.png"], "out", "tif"))
    assert [entry.status for entry in again] == ["skipped", "skipped"]


def test_what_cannot_work_for_all_is_refused_before_any_work(here):
    files(here, "a.mp4", "a.mkv", "x/a.mp4", "out/a.mp4", "shots/out/001.png")
    for sources, to, texts in (
        (["a.mp4", "x/a.mp4"], None, ["out/a.mp4", " a.mp4", "x/a.mp4"]),
        (["a.mp4", "a.mkv"], "mp4", ["out/a.mp4", "a.mkv"]),
        (["out"], None, ["out/a.mp4", "input"]),
        (["a.mp4", "out/a.mp4"], "mkv", ["out/a.mkv"]),
        (["x/a.mp4", "out"], None, ["out/a.mp4"]),
        (["a.mp4"], "xyz", ["--to", ".webm", ".gif", ".png", "'xyz'"]),
    ):
        with pytest.raises(UsageError) as caught:
            queue.plan(sources, "out", to)
        assert all(text in str(caught.value) for text in texts), caught.value
    with pytest.raises(UsageError, match="input"):
        queue.plan(["shots/out"], "shots", "png")


def rendered(pairs, **options):
    return list(queue.run(pairs, Job("", "", **({"space": 2, "time": 2, "model": Blend()} | options))))


def test_a_clip_that_fails_does_not_stop_the_others(here):
    clip(here / "a.mp4")
    (here / "b.mp4").write_bytes(b"no video")
    images(here / "shot")
    clip(here / "d.mp4", 3)
    pairs = queue.plan(["a.mp4", "b.mp4", "no.mp4", "shot", "none*", "d.mp4"], "new/out")
    notes = []
    entries = rendered(pairs, note=notes.append)
    assert [entry.status for entry in entries] == ["done", "failed", "failed", "done", "failed", "done"]
    assert [entry.error for entry in entries] == ["", "SourceError", "SourceError", "", "SourceError", ""]
    assert sorted(p.name for p in (here / "new/out").iterdir()) == ["a.mp4", "d.mp4", "shot.mkv"]
    assert [len(read(here / "new/out" / name)) for name in ("a.mp4", "shot.mkv", "d.mp4")] == [4, 4, 6]
    lines = report.as_text(entries).splitlines()
    assert lines[-1].startswith("3 done, 3 failed; 14 frames in ")
    starts = [lines[0].index(name) for name in ("status", "input", "output")]
    assert [lines[1][start:].split()[0] for start in starts] == ["done", "a.mp4", "new/out/a.mp4"]
    assert [lines[3][start:].split("  ")[0] for start in starts] == ["failed", "no.mp4", "no such file: no.mp4"]
    assert [lines[1].index("32x24"), lines[3].index("-")] == [lines[4].index("32x24"), lines[2].index("-")]
    stored = json.loads(report.as_json(entries))
    assert [job["status"] for job in stored["jobs"]] == [entry.status for entry in entries]
    assert stored["jobs"][0] | {"frames_in": 2, "frames_out": 4, "size": [32, 24], "rate": "20"} == stored["jobs"][0]
    assert stored["jobs"][2] == {
        "src": "no.mp4", "dst": "new/out/no.mp4", "status": "failed", "reason": "no such file: no.mp4",
        "error": "SourceError",
    }  # fmt: skip
    assert stored["totals"] | {"done": 3, "skipped": 0, "failed": 3, "frames": 14} == stored["totals"]


def test_what_is_there_is_skipped_and_nothing_else_is(here):
    for name in "ab":
        clip(here / f"{name}.mp4")
    pairs = queue.plan(["a.mp4", "b.mp4"], "out")
    (here / "out").mkdir()
    (here / "out/a.mp4").write_bytes(b"kept")
    entries = rendered(pairs)
    assert [entry.status for entry in entries] == ["skipped", "done"]
    assert "out/a.mp4 exists (--overwrite" in entries[0].reason
    assert (here / "out/a.mp4").read_bytes() == b"kept"
    assert [entry.status for entry in rendered(pairs)] == ["skipped", "skipped"]
    assert [entry.status for entry in rendered(pairs, overwrite=True)] == ["done", "done"]
    assert len(read(here / "out/a.mp4")) == 4
    pairs = queue.plan(["a.mp4", "b.mp4"], "out", "png")
    (here / "out/b").mkdir()
    assert [entry.status for entry in rendered(pairs)] == ["done", "done"]
    assert [entry.status for entry in rendered(pairs)] == ["skipped", "skipped"]
    assert leftovers(here / "out") == []


def test_nothing_hidden_stays_beside_an_output_that_was_just_done_when_its_run_died(here, monkeypatch):
    class Killed(BaseException):
        pass

    def dies(self):
        raise Killed

    clip(here / "a.mp4")
    pairs = queue.plan(["a.mp4"], "out")
    with monkeypatch.context() as patch:
        patch.setattr(journal.Journal, "remove", dies)
        with pytest.raises(Killed):
            rendered(pairs)
    assert leftovers(here / "out") == [".a.mp4.vinr"]
    assert [entry.status for entry in rendered(pairs)] == ["skipped"]
    assert leftovers(here / "out") == []


def test_the_rate_of_images_is_for_images(here):
    clip(here / "a.mp4")
    images(here / "shot")
    entries = rendered(queue.plan(["a.mp4", "shot"], "out"), input_fps="5")
    assert [entry.summary.rate for entry in entries] == [20, 10]
    with pytest.raises(UsageError, match="--input-fps is for images"):
        rendered(queue.plan(["a.mp4"], "more"), input_fps="5")


def test_bare_streams_in_a_folder_take_the_rate(here):
    (here / "bare").mkdir()
    write(here / "bare/a.h264", panning(4), rate=50)
    write(here / "bare/b.mp4", panning(4), rate=50)
    entries = rendered(queue.plan(["bare"], "out"), input_fps="5")
    assert [entry.status for entry in entries] == ["done", "done"]
    assert [entry.summary.rate for entry in entries] == [10, 100]


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [({"space": 0}, UsageError, "--space"), ({"device": "tpu"}, UsageError, "--device"),
     ({"model": None, "weights": "no.pth"}, WeightsError, "no such weights"),
     ({"model": None, "weights": __file__}, WeightsError, "not a checkpoint"),
     ({"weights": "no.pth"}, UsageError, "exclude"), ({"backend": "magic"}, UsageError, "--backend")],
)  # fmt: skip
def test_what_is_wrong_for_all_stops_at_once(here, options, kind, text):
    clip(here / "a.mp4")
    with pytest.raises(kind, match=text):
        rendered(queue.plan(["a.mp4", "a*"], "out"), **options)
    assert not (here / "out").exists()


def test_options_of_another_kind_of_output_and_a_place_that_cannot_be(here):
    clip(here / "a.mp4")
    with pytest.raises(UsageError, match="--codec"):
        rendered(queue.plan(["a.mp4"], "out", "png"), codec="libx264")
    with pytest.raises(SinkError, match="not a folder"):
        rendered(queue.plan(["a.mp4"], "a.mp4/out"))


@pytest.fixture
def weights(here):
    torch.manual_seed(0)
    vinr.save_checkpoint(vinr.VideoINR(nf=8, groups=2, front_blocks=1, back_blocks=1), "tiny.safetensors")
    return "tiny.safetensors"


def test_one_network_for_all_and_it_is_called_what_it_is(here, weights, monkeypatch):
    for name in "ab":
        clip(here / f"{name}.mp4")
    loaded = []
    load = enlarge.load
    monkeypatch.setattr(enlarge, "load", lambda *arguments: loaded.append(arguments) or load(*arguments))
    pairs = queue.plan(["a.mp4", "b.mp4"], "out")
    entries = rendered(pairs, model=None, weights=weights, device="cpu")
    alone = vinr.upscale("a.mp4", "alone.mp4", space=2, time=2, weights=weights, device="cpu")
    assert [entry.summary.weights for entry in entries] == [alone.weights, alone.weights] == [weights, weights]
    assert len(loaded) == 2  # one for the queue
    assert (here / "out/a.mp4").read_bytes() == (here / "alone.mp4").read_bytes()
    entries = rendered(pairs, model=None, device="cpu", overwrite=True)
    assert [entry.summary.weights for entry in entries] == [enlarge.DEFAULT_NAME] * 2
    del loaded[:]
    assert [entry.status for entry in rendered(pairs, model=None, device="cpu")] == ["skipped"] * 2
    assert loaded == []


def test_untrained_is_said_once(here):
    for name in "ab":
        clip(here / f"{name}.mp4", 1)
    notes = []
    options = {"model": None, "untrained": True, "size": "16x12", "space": None, "time": 1, "device": "cpu"}
    entries = rendered(queue.plan(["a.mp4", "b.mp4"], "out"), note=notes.append, **options)
    assert [entry.summary.weights for entry in entries] == ["untrained"] * 2
    assert [note for note in notes if "untrained" in note] == [notes[0]]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Cancelled])
def test_an_interruption_ends_the_queue(here, monkeypatch, kind):
    def meets(job):
        if job.src == "b.mp4":
            raise kind("asked to")
        return done(job)

    done = render.render
    monkeypatch.setattr(render, "render", meets)
    for name in "abc":
        clip(here / f"{name}.mp4")
    entries = []
    with pytest.raises(kind):
        entries.extend(queue.run(queue.plan(["*.mp4"], "out"), Job("", "", space=2, time=2, model=Blend())))
    assert [entry.status for entry in entries] == ["done", "interrupted"]


def test_an_interruption_that_became_another_error(here):
    clip(here / "a.mp4")
    clip(here / "b.mp4")
    entries = []
    (here / "a.mp4").write_bytes(b"no video")
    with pytest.raises(KeyboardInterrupt):
        entries.extend(
            queue.run(queue.plan(["a.mp4", "b.mp4"], "out"), Job("", "", model=Blend()), stopped=lambda: True)
        )
    assert [entry.status for entry in entries] == ["interrupted"]


def test_an_unexpected_error_is_of_its_clip_alone(here, monkeypatch):
    class Broken(Blend):
        def query(self, features, frames, *rest, **named):
            if frames.shape[-1] == 20:
                raise RuntimeError("first\nsecond")
            return super().query(features, frames, *rest, **named)

    write(here / "a.mp4", panning(2, 20, 12))
    clip(here / "b.mp4")
    pairs = queue.plan(["a.mp4", "b.mp4"], "out")
    entries = rendered(pairs, model=Broken())
    assert [entry.status for entry in entries] == ["failed", "done"]
    assert entries[0].reason == "RuntimeError: first second"
    monkeypatch.setenv("VINR_DEBUG", "1")
    with pytest.raises(RuntimeError, match="first"):
        rendered(pairs, model=Broken(), overwrite=True)


def command(capsys, *words):
    code = cli.main(["upscale", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command(here, weights, capsys):
    clip(here / "in/a.mp4")
    (here / "in/b.mp4").write_bytes(b"no video")
    words = ["in", "-o", "out", "--to", "mkv", "--space", 2, "--time", 2, "--weights", weights, "--device", "cpu"]
    code, out, err = command(capsys, *words)
    assert code == 1
    assert out.splitlines()[-1].startswith("1 done, 1 failed; 4 frames")
    assert err.startswith("vinr: 1 of 2: out/a.mkv: 4 frames from 2")
    assert "vinr: 2 of 2: in/b.mp4: failed: " in err
    code, out, err = command(capsys, *words, "--json", "--quiet")
    assert [job["status"] for job in json.loads(out)["jobs"]] == ["skipped", "failed"]
    assert (code, err.count("\n")) == (1, 1)
    os.remove("in/b.mp4")
    code, out, err = command(capsys, *words, "--quiet")
    assert (code, out, err) == (0, "", "")


def test_the_command_with_two_names_prints_json_too(here, weights, capsys):
    clip(here / "a.mp4")
    words = ["--space", 2, "--time", 2, "--weights", weights, "--device", "cpu", "--json"]
    code, out, err = command(capsys, "a.mp4", "o.mp4", *words)
    assert (code, err) == (0, "")
    (job,) = json.loads(out)["jobs"]
    assert (job["status"], job["dst"], job["frames_out"], job["weights"]) == ("done", "o.mp4", 4, weights)
    code, out, err = command(capsys, "a.mp4", "o.mp4", *words)
    assert (code, out) == (1, "")
    assert "exists" in err


@pytest.mark.parametrize(
    ("words", "text"),
    [(["a.mp4", "b.mp4", "c.mp4"], "--output-dir"), (["a.mp4", "b.mp4", "--to", "mp4"], "--output-dir"), ([], "SRC"),
     (["a.mp4", "x/a.mp4", "-o", "out"], "x/a.mp4"), (["a.mp4", "-o", "out", "--weights", "no.pth"], "no such weights"),
     (["a.mp4", "-o", "out", "--space", "0"], "--space")],
)  # fmt: skip
def test_the_command_refuses_in_one_line(here, capsys, words, text):
    code, out, err = command(capsys, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert text in err
    assert list(here.iterdir()) == []


def default_interrupt():
    # A suite started in the background hands an ignored SIGINT on to its children.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupted_command_says_what_was_done(here, weights):
    clip(here / "a.mp4")
    write(here / "b.mp4", panning(30, 48, 32))
    clip(here / "c.mp4")
    words = ["a.mp4", "b.mp4", "c.mp4", "-o", "out", "--weights", weights, "--time", "64", "--json", "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "vinr_engine.cli", "upscale", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, preexec_fn=default_interrupt,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    out = Path("out")
    while not (out.is_dir() and any(p.name.startswith(".b") for p in out.iterdir())):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    printed, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith("vinr: interrupted; 1 of 3 are done, the same command does the others\n")
    assert [job["status"] for job in json.loads(printed)["jobs"]] == ["done", "interrupted", "waiting"]
