"""The benchmark of peers: stand-ins that need no package. No time is asserted."""

import json
from dataclasses import replace
from fractions import Fraction
from importlib import metadata

import numpy as np
import pytest

from benchmarks.common.child import Died
from benchmarks.quality.peers import cost, files, listed, quality, report, run, stages
from benchmarks.quality.peers.ffmpeg import Lanczos, Minterpolate
from benchmarks.quality.peers.listed import Peer, Settings
from benchmarks.quality.peers.rife import Rife3
from benchmarks.quality.peers.stages import Need
from vinr_engine.evaluation.clips import find
from vinr_engine.evaluation.evaluate import evaluate
from vinr_engine.evaluation.protocol import Protocol
from vinr_engine.evaluation.restore import BLEND

HALVES = [Fraction(n, 2) for n in range(3)]
QUARTERS = [Fraction(n, 4) for n in range(5)]
ABSENT = Need("no-such-package", "no_such/weights.bin")


def ramp(count, size=(3, 32, 48)):
    """Frames of one grey each, 20/255 apart."""
    return [np.full(size, np.float32(20 * n / 255)) for n in range(count)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Twelve frames of 64x48 in a file: windows of 2 and of 4 leave the last ones over."""
    path = tmp_path_factory.mktemp("peers") / "slide.mp4"
    files.write(path, 12, (64, 48))
    return str(path)


def lost(clip, keep, frames=None):
    (one,) = find([clip])
    return quality.lose(one, Protocol(keep=keep), frames)


def starting(key):
    (peer,) = listed.chosen(key)
    return peer.start(Settings())


def stub(key, restore, needs=()):
    return Peer(key, f"the peer {key}", lambda settings: restore, needs)


@pytest.mark.parametrize("frames", [12, 7])
def test_figures_are_those_of_vinr_evaluate(clip, frames):
    peers = {key: starting(key) for key in ("ours", "bicubic")}
    steps = []
    rows = quality.run(find([clip]), (2, 4), peers, frames, lambda done, total: steps.append((done, total)))
    results = evaluate([clip], keeps=[2, 4], max_frames=frames, device="cpu").results
    found = {(row.clip, row.keep, row.peer, row.frames): (row.psnr, row.ssim) for row in rows}
    for result in results:
        for key, name in (("ours", result.methods[0]), ("bicubic", BLEND)):
            for subset in ("all", "kept", "between"):
                wanted = result.mean(name, subset)
                for of in ("slide", "mean"):
                    assert found[of, result.protocol.keep, key, subset] == pytest.approx(tuple(wanted), abs=2e-4)
    assert len(found) == len(rows) == 2 * 2 * 2 * 3
    total = 2 * sum((frames - 1) // keep * keep + 1 for keep in (2, 4))
    assert steps == [(n + 1, total) for n in range(total)]


def test_a_peer_that_gives_what_was_lost_is_perfect(clip):
    whole = lost(clip, 4)
    truths = [truth.numpy() for truth in whole.truths()]
    assert (len(whole.kept), len(truths), whole.count) == (3, 9, 9)
    assert [list(times) for times in whole.times] == [QUARTERS, QUARTERS]
    (row, *_) = quality.run(find([clip]), (4,), {"stub": lambda frames, times: iter(truths)}, None, lambda *a: None)
    assert (row.psnr, row.ssim) == (100, 1)


@pytest.mark.parametrize(
    ("pictures", "said"),
    [
        ([np.zeros((3, 48, 64), np.float32)] * 2, "frame 2 of slide: no picture"),
        ([np.zeros((3, 48, 64), np.float32)] * 12, "more pictures than frames"),
        ([np.zeros((3, 47, 64), np.float32)] * 11, r"one of \[3, 47, 64\]"),
    ],
)
def test_a_peer_that_gives_something_else_is_an_error(clip, pictures, said):
    with pytest.raises(RuntimeError, match=said):
        list(quality.scores(lost(clip, 2), lambda frames, times: iter(pictures), lambda: None))


def test_too_short_a_clip_is_named(clip):
    with pytest.raises(Exception, match="the clip slide is too short: a window needs 5 frames"):
        lost(clip, 4, frames=4)


@pytest.mark.parametrize("times", [HALVES, QUARTERS])
def test_minterpolate_gives_every_frame_at_its_time(times):
    kept = ramp(4)
    out = list(Minterpolate()(iter(kept), [times] * 3))
    steps = len(times) - 1
    assert len(out) == 3 * steps + 1
    assert all(np.array_equal(out[n * steps], frame) for n, frame in enumerate(kept))
    for n, frame in enumerate(out):
        # There and back through limited range; greys move nowhere, and are mixed. The first window has the nearest.
        position = n / steps if n > steps else float(2 * n > steps)
        grey = 20 * position / 255
        assert np.abs(frame - grey).max() <= 2.01 / 255


@pytest.mark.parametrize("key", ["bicubic", "minterpolate-lanczos", "ours"])
def test_one_peer_restores_clips_of_several_sizes(key):
    restore = starting(key)
    for h, w in ((16, 24), (24, 16)):
        out = list(restore(iter(ramp(2, (3, h, w))), [HALVES]))
        assert [picture.shape for picture in out] == [(3, 4 * h, 4 * w)] * 3


def test_lanczos_enlarges():
    (frame,) = ramp(1)
    frame[:, :, 24:] = 1
    out = Lanczos()(frame)
    assert out.shape == (3, 128, 192)
    assert np.abs(out[:, :, :80]).max() <= 1.01 / 255
    assert np.abs(out[:, :, 112:] - 1).max() <= 1.01 / 255


def test_halving_asks_for_middles_of_middles():
    asked = []
    made = Rife3.__new__(Rife3)
    made._middle = lambda a, b: asked.append((float(a), float(b))) or (a + b) / 2
    assert [float(v) for v in made(iter([0.0, 4.0, 8.0]), [QUARTERS] * 2)] == list(range(9))
    assert asked == [(0, 4), (0, 2), (2, 4), (4, 8), (4, 6), (6, 8)]
    with pytest.raises(ValueError, match="halves windows"):
        list(made(iter([0.0, 3.0]), [[Fraction(n, 3) for n in range(4)]]))
    with pytest.raises(ValueError, match="evenly spaced"):
        list(made(iter([0.0, 3.0]), [[Fraction(0), Fraction(1, 3), Fraction(1)]]))


def test_stages_take_as_many_windows_as_pairs():
    for times in ([], [HALVES] * 2):
        with pytest.raises(ValueError, match="zip"):
            list(stages.between(iter(ramp(2)), times, lambda a, b, inside: []))
    with pytest.raises(ValueError, match="no frames"):
        list(stages.between(iter([]), [], lambda a, b, inside: []))


def test_missing_peers_are_named_and_left_out(clip, tmp_path, monkeypatch, capsys):
    def never(settings):
        raise AssertionError("it was started")

    absent = Peer("absent", "the absent peer", never, (ABSENT,))
    there = stub("there", listed.chosen("bicubic")[0].start(Settings()))
    monkeypatch.setattr(listed, "PEERS", (there, absent))
    output = tmp_path / "peers.json"
    words = ["--quality", "--clips", clip, "--max-frames", "5", "--output", str(output)]
    assert run.main(words) == 0
    out, err = capsys.readouterr()
    line = "the absent peer: no-such-package is not installed: pip install --no-deps --group peers"
    assert f"left out: {line}" in err
    assert f"Left out: {line}" in out
    found = json.loads(output.read_text())
    assert found["missing"] == [line]
    assert {row["peer"] for row in found["quality"]["rows"]} == {"there"}
    assert run.main(["--show", "--output", str(output)]) == 0
    assert capsys.readouterr().out == out


def test_a_package_without_the_file_counts_as_missing():
    name = next(d.metadata["Name"] for d in metadata.distributions() if d.metadata["Name"] == "numpy")
    assert Need(name, "numpy/__init__.py").find() is not None
    assert Need(name, "numpy/no_such_file").find() is None
    with pytest.raises(FileNotFoundError, match="no-such-package is not installed: pip install"):
        ABSENT.path_there()


def test_cost_is_measured_in_a_process_of_its_own():
    steps = []
    (peer,) = listed.chosen("bicubic")
    (row,) = cost.run([peer], ["16x12"], Settings(), 1, 2, lambda: steps.append(1))
    assert (row.peer, row.size, row.where, row.repeats) == ("bicubic", "16x12", cost.MEMORY, 2)
    assert row.least_s <= row.cpu_s <= row.most_s
    assert row.peak_mb is None or row.peak_mb > 1
    assert len(steps) == 2


def test_a_failing_process_is_named():
    (peer,) = listed.chosen("bicubic")
    with pytest.raises(RuntimeError, match=r"a stranger at 16x12: .*there is no peer 'stranger'"):
        cost.run([replace(peer, key="stranger", name="a stranger")], ["16x12"], Settings(), 1, 1, lambda: None)
    with pytest.raises(Died):
        cost.in_memory(peer, "16xtwelve", Settings(), 1, 1, lambda: None)


def test_a_file_is_enlarged_and_its_process_tells_its_peak(tmp_path):
    source, target = tmp_path / "in.mp4", tmp_path / "out.mp4"
    files.write(source, 2, files.TINY)
    done = files.process([*files.PEAK, *files.upscale(source, target, Settings())], 1)
    peak = json.loads(done.printed.splitlines()[-1])
    assert target.stat().st_size > 0
    assert done.cpu_s > 0
    assert peak is None or peak > 10**6
    with pytest.raises(RuntimeError, match="no such"):
        files.process([*files.PEAK, *files.upscale(tmp_path / "no.mp4", target, Settings())], 1)


def rows_of(values):
    """kept and between, all as their mean; of one clip and the mean over clips alike."""
    return [
        quality.Row(clip, 2, peer, frames, value, 0.9)
        for clip in ("slide", "mean")
        for peer, (kept, between) in values.items()
        for frames, value in (("all", (kept + between) / 2), ("kept", kept), ("between", between))
    ]


def test_tables():
    rows = rows_of({"ours": (30, 28), "bicubic": (27, 26), "span-rife4": (31.11, 28.01)})
    lines = report.quality_table(rows).splitlines()
    assert lines[0] == "| clip | frames kept | ours | bicubic + blend | SPAN, then RIFE 4 |"
    assert lines[2] == "| slide | 1 of 2 | 30.00 / 28.00 | 27.00 / 26.00 | 31.11 / 28.01 |"
    costs = [
        cost.Row("ours", "160x90", cost.MEMORY, 0.432, 0.4, 0.5, 3, 624.4),
        cost.Row("ours", "160x90", cost.FILE, 0.5, 0.4, 0.5, 3, None),
        cost.Row("rife4-span", "160x90", cost.MEMORY, 0.25, 0.2, 0.3, 3, 700.0),
        cost.Row("rife3-span", "160x90", cost.MEMORY, 0.26, 0.2, 0.3, 3, 500.0),
    ]
    assert report.cost_table(costs).splitlines()[2:] == [
        "| ours | 0.432 s, 624 MB |", "| ours, file to file | 0.5 s |", "| RIFE 4, then SPAN | 0.25 s, 700 MB |",
        "| RIFE 3, then SPAN | 0.26 s, 500 MB |",
    ]  # fmt: skip
    starts = [files.Start(files.TORCH, 9.0, 1.2, 3), files.Start(files.UPSCALE, 9.1, 2.0, 3)]
    assert report.demands(rows, costs, starts).splitlines()[2:] == [
        "| kept, 1 of 2, mean | 31.01 dB (SPAN, then RIFE 4, -0.1) | 30.00 dB | not reached |",
        "| kept, 1 of 2, worst clip, above that peer | -0.3 dB | -1.11 dB (slide) | not reached |",
        "| between, 1 of 2, mean | 28.01 dB (SPAN, then RIFE 4, +0.0) | 28.00 dB | not reached |",
        "| between, 1 of 2, worst clip, above that peer | -0.3 dB | -0.01 dB (slide) | reached |",
        "| CPU seconds of a further frame, 160x90 | 0.25 s (RIFE 4, then SPAN) | 0.432 s | not reached |",
        "| peak memory, 160x90 | 700 MB (RIFE 4, then SPAN) | 624 MB | reached |",
        "| start-up above `import torch`, CPU | 0.5 s | 0.80 s | not reached |",
    ]
    assert report.demands([], [], []) == report.quality_table([]) == ""


@pytest.mark.parametrize(
    "words", [["--peers", "span"], ["--sizes", "16"], ["--sizes", "4x4"], ["--repeats", "0"], ["--cost", "--quality"]]
)
def test_wrong_options(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        run.main(words)
    assert stopped.value.code == 2
    assert capsys.readouterr().out == ""


def test_weights_that_are_missing_are_one_line(clip, tmp_path, capsys):
    words = ["--quality", "--clips", clip, "--peers", "ours", "--weights", str(tmp_path / "no.safetensors")]
    assert run.main(words) == 1
    assert "no.safetensors" in capsys.readouterr().err


def test_nothing_to_show(tmp_path, capsys):
    for words, said in (
        ([], "--show needs --output"),
        (["--output", str(tmp_path / "a.json")], "holds nothing measured"),
    ):
        with pytest.raises(SystemExit, match="2"):
            run.main(["--show", *words])
        assert said in capsys.readouterr().err
