"""The command line: exit codes, one line on standard error, no traceback, nothing left behind."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time

import pytest
import torch

import vinr_engine as vinr
from evaluation.frames import folder
from video.clips import leftovers, panning, read, tiny_weights, write
from vinr_engine import demo
from vinr_engine.cli import main as cli


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write(tmp_path_factory.mktemp("clip") / "in.mp4", panning(3, 16, 12), audio="aac")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


def run(capsys, *arguments):
    code = cli.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_upscale(tmp_path, clip, weights, capsys):
    code, out, err = run(capsys, "upscale", clip, tmp_path / "o.mp4", "--space", 2, "--time", 2, "--weights", weights)
    assert (code, err) == (0, "")
    assert out.count("\n") == 3
    assert "\nread 3 frames; copied: audio" in out
    assert re.search(r"\ncompute .* decode .* encode .*; waiting .* joining", out)
    for part in ("o.mp4", "6 frames from 3", "32x24", "20 fps", str(weights)):
        assert part in out
    assert len(read(tmp_path / "o.mp4")) == 6
    code, out, err = run(
        capsys, "upscale", clip, tmp_path / "png", "--size", "20x16", "--fps", "15", "--weights", weights, "--quiet",
        "--dtype", "bfloat16", "--backend", "reference", "--no-cuts",
    )  # fmt: skip
    assert (code, out, err) == (0, "", "")
    assert len(list((tmp_path / "png").iterdir())) == 4


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [(["upscale", "SRC"], 2, "DST"), (["upscale", "no.mp4", "DST", "--untrained"], 1, "no such file"),
     (["upscale", "SRC", "DST", "--weights", "x", "--untrained"], 2, "exclude"),
     (["upscale", "SRC", "DST", "--untrained", "--space", "0"], 2, "--space"),
     (["upscale", "SRC", "DST", "--untrained", "--space", "nan"], 2, "--space"),
     (["upscale", "SRC", "DST", "--untrained", "--space", "two"], 2, "--space"),
     (["upscale", "SRC", "DST", "--untrained", "--time", "1.5"], 2, "--time"),
     (["upscale", "SRC", "DST", "--untrained", "--fps", "fast"], 2, "--fps"),
     (["upscale", "SRC", "DST", "--untrained", "--device", "tpu"], 2, "--device"),
     (["upscale", "SRC", "DST", "--untrained", "--backend", "magic"], 2, "--backend"),
     (["upscale", "SRC", "DST", "--untrained", "--codec", "magic"], 2, "libx264"),
     (["upscale", "SRC", "DST", "--untrained", "--start", "9"], 1, "range"),
     (["upscale", "SRC", "SRC", "--untrained"], 2, "is the input"),
     (["upscale", "SRC", "DST", "--untrained", "--audio", "mp9"], 2, "--audio must be auto, copy, aac"),
     (["upscale", "SRC", "DST", "--untrained", "--audio", "copy", "--no-audio"], 2, "exclude"),
     (["downscale"], 2, "downscale"), (["upscale", "SRC", "DST", "--nonsense"], 2, "--nonsense")],
)  # fmt: skip
def test_errors_are_one_line(tmp_path, clip, capsys, monkeypatch, arguments, code, text):
    monkeypatch.chdir(tmp_path)
    arguments = [{"SRC": str(clip), "DST": "o.mp4"}.get(a, a) for a in arguments]
    got, out, err = run(capsys, *arguments)
    assert got == code
    assert out == ""
    assert err.startswith("vinr: ")
    assert err.count("\n") == 1
    assert text in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_default_weights(tmp_path, clip, capsys):
    code, out, err = run(capsys, "upscale", clip, tmp_path / "o.mp4", "--space", 2, "--time", 2)
    assert (code, err) == (0, "")
    assert "weights: the package's own (flowinr.safetensors)" in out
    assert len(read(tmp_path / "o.mp4")) == 6


def test_unexpected_errors_are_one_line_too(tmp_path, clip, weights, capsys, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr(vinr.VideoINR, "query", broken)
    code, out, err = run(capsys, "upscale", clip, tmp_path / "o.mp4", "--weights", weights)
    assert code == 1
    assert err.count("\n") == 1
    assert "RuntimeError: first second" in err
    assert list(tmp_path.iterdir()) == []


def test_help_and_version(capsys):
    assert run(capsys, "--version")[:2] == (0, f"vinr {vinr.__version__}\n")
    assert "upscale" in run(capsys)[1]
    code, out, _ = run(capsys, "upscale", "--help")
    assert code == 0
    assert "--no-audio" in out
    assert "k N frames" in out


def test_info(capsys):
    code, out, _ = run(capsys, "info")
    assert code == 0
    assert torch.__version__ in out
    assert "backend reference" in out
    assert len({line.index("  ") for line in out.splitlines() if line.startswith("vinr_engine")}) == 1
    code, out, _ = run(capsys, "info", "--json")
    facts = json.loads(out)
    assert facts["versions"]["vinr_engine"] == vinr.__version__
    assert {b["name"] for b in facts["backends"]} >= {"reference", "cpu"}


def test_demo(tmp_path, weights, capsys, monkeypatch):
    monkeypatch.setattr(demo, "SPACE", 2)
    monkeypatch.setattr(demo, "TIME", 4)
    code, out, _ = run(capsys, "demo", tmp_path / "d", "--weights", weights, "--quiet")
    names = ["bicubic.mp4", "comparison.png", "low_resolution.mp4", "upscaled.mp4"]
    assert code == 0
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == names
    assert all(name in out for name in names)
    assert f"Weights: {weights}" in out
    shown = [read(tmp_path / "d" / n) for n in names if n.endswith(".mp4")]
    assert {(len(f), f[0].width, f[0].height) for f in shown} == {(28, 256, 144)}


@pytest.mark.parametrize(
    ("options", "text"),
    [(["--weights", "no.pth"], "no such weights"), (["--device", "tpu"], "--device"), (["--dtype", "x"], "--dtype"),
     (["--backend", "cuda"], "--backend"), (["--weights", __file__], "not a checkpoint")],
)  # fmt: skip
def test_demo_refuses_before_it_writes(tmp_path, capsys, options, text):
    code, out, err = run(capsys, "demo", tmp_path / "d", *options)
    assert (code, out) == (2, "")
    assert text in err
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_backend_variable_is_one_line(clip, tmp_path, weights):
    command = [sys.executable, "-m", "vinr_engine.cli"]
    environment = {**os.environ, "VINR_BACKEND": "magic"}
    wrong = subprocess.run(
        [*command, "upscale", str(clip), str(tmp_path / "o.mp4"), "--weights", str(weights)],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1
    assert "VINR_BACKEND" in wrong.stderr
    assert subprocess.run([*command, "info"], env=environment, capture_output=True).returncode == 0


def default_interrupt():
    # A suite started in the background hands an ignored SIGINT on to its children.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="module")
def true_clips(tmp_path_factory):
    root = tmp_path_factory.mktemp("true")
    for n, name in enumerate(("one", "two")):
        folder(root / name, 5, seed=n)
    return root


def test_evaluate(tmp_path, true_clips, weights, capsys):
    arguments = ["evaluate", true_clips, "--weights", weights, "--scale", "2", "--keep", "2,4"]
    code, out, err = run(capsys, *arguments, "-o", tmp_path / "out")
    assert code == 0
    assert err.startswith("vinr: note: wrote results.json")
    assert f"weights: {weights}" in out
    for part in ("VideoINR", "bicubic + blend", "mean of 2 clips", "1 of 4 frames kept", "border 2", "between"):
        assert part in out
    assert leftovers(tmp_path) == []
    code, printed, err = run(capsys, *arguments, "--json", "--quiet")
    assert (code, err) == (0, "")
    stored = json.loads((tmp_path / "out" / "results.json").read_text())
    for one, other in zip(json.loads(printed)["runs"], stored["runs"], strict=True):
        assert one["results"] == other["results"]
    # an untrained network's picture means nothing, and the table says so
    gains = [r["all"]["psnr"] for r in stored["runs"][0]["results"] if r["clip"] is None]
    assert gains[0] < gains[1] - 1


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [(["--baselines", "--protocol", "x"], 2, "--protocol"),
     (["--baselines", "--keep", "2,x"], 2, "--keep"), (["--baselines", "--layout", "vid5"], 2, "--layout"),
     (["--baselines", "--list", "none.txt"], 1, "cannot read the list"),
     (["--baselines", "--keep", "8"], 1, "too short"), (["--baselines", "-o", "no/such"], 1, "does not exist")],
)  # fmt: skip
def test_evaluate_refuses_in_one_line(tmp_path, true_clips, capsys, monkeypatch, options, code, text):
    monkeypatch.chdir(tmp_path)
    got, out, err = run(capsys, "evaluate", true_clips, *options)
    assert (got, out) == (code, "")
    assert err.startswith("vinr: ")
    assert err.count("\n") == 1
    assert text in err
    assert list(tmp_path.iterdir()) == []


def start(*arguments, **options):
    options = {"preexec_fn": default_interrupt} | options
    return subprocess.Popen(
        [sys.executable, "-m", "vinr_engine.cli", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, **options,
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interruption(tmp_path, weights, number):
    source = write(tmp_path / "in.mp4", panning(30, 48, 32))
    process = start("upscale", source, tmp_path / "o.mp4", "--weights", weights, "--time", 64)
    deadline = time.monotonic() + 60
    drafts = tmp_path / ".o.mp4.vinr"
    while not any(p.stat().st_size for p in drafts.glob("chunk-*.draft")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    note, end = err.splitlines()
    assert note == "vinr: note: stopping after the frame at hand; once more stops at once"
    assert re.fullmatch(r"vinr: interrupted; \d+ of about 1920 output frames are kept, and the same .* from there", end)
    assert sorted(p.name for p in drafts.iterdir()) == ["chunk-000000.packets", "journal.jsonl"]


def test_an_interruption_that_c_code_turned_into_another_error(tmp_path, clip, weights, capsys, monkeypatch):
    def swallowed(*args, **kwargs):
        try:
            signal.raise_signal(signal.SIGTERM)  # which asks
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise ValueError("could not determine the shape of object") from None

    monkeypatch.setattr(vinr.VideoINR, "query", swallowed)
    code, _, err = run(capsys, "upscale", clip, tmp_path / "o.mp4", "--weights", weights)
    assert code == 130
    assert err.splitlines()[-1].startswith("vinr: interrupted; the segments that were complete are kept")
    assert list(tmp_path.iterdir()) == []


def test_file_size_limit(tmp_path, clip, weights):
    """A real write that the system refuses, at the end of a file, as on a full disk."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    process = start("upscale", clip, tmp_path / "o.mp4", "--weights", weights, preexec_fn=limit)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.startswith("vinr: cannot write")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_hangup_that_is_ignored(tmp_path, weights):
    """As by nohup: the run goes on."""
    source = write(tmp_path / "in.mp4", panning(4, 48, 32))

    def ignored():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = start("upscale", source, tmp_path / "o.mp4", "--weights", weights, "--time", 8, preexec_fn=ignored)
    while process.poll() is None and not (tmp_path / ".o.mp4.vinr").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(read(tmp_path / "o.mp4")) == 32


@pytest.mark.parametrize("when", ["vinr_engine.errors", "typer", "vinr_engine.cli.main", "vinr_engine.video.job"])
def test_an_interruption_while_the_program_loads(when):
    """Ctrl-C as that module is asked for."""
    code = f"""
import os, signal, sys
from importlib.abc import MetaPathFinder
class Presses(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {when!r}:
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
from vinr_engine.cli.__main__ import run
sys.meta_path.insert(0, Presses())
sys.exit(run())
"""
    done = subprocess.run([sys.executable, "-c", code, "info"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "vinr: interrupted; nothing was written\n")


def test_names_that_are_no_text(tmp_path, clip, weights):
    """Where the output must be UTF-8, which such a name is not; and where it is ASCII."""
    for encoding in ("utf-8:strict", "ascii:strict"):
        name = os.path.join(os.fsencode(tmp_path), b"caf\xe9-" + encoding[:3].encode() + b".mp4")
        done = subprocess.run(
            [sys.executable, "-m", "vinr_engine.cli", "upscale", clip, name, "--weights", weights, "--time", "1"],
            env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, b"")
        assert os.path.exists(name)
        assert (name if encoding.startswith("utf") else b"/caf") in done.stdout


def test_a_working_directory_that_is_gone(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    code = "import os, sys; os.rmdir(os.getcwd()); from vinr_engine.cli.__main__ import run; sys.exit(run())"
    done = subprocess.run([sys.executable, "-c", code, "info"], cwd=gone, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch("vinr: the working directory cannot be entered any more .*\n", done.stderr)
