"""Whole evaluations of tiny clips: figures against numpy, means, protocols, outputs, errors."""

import csv
import json
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from benchmarks import tolerances
from evaluation.frames import folder
from video.clips import Blend, leftovers, write
from vinr_engine import memory
from vinr_engine.errors import SinkError, SourceError, UsageError, VinrError, WeightsError
from vinr_engine.evaluation import sheet
from vinr_engine.evaluation.evaluate import evaluate
from vinr_engine.evaluation.metrics import Variant, measure
from vinr_engine.evaluation.protocol import Protocol, named
from vinr_engine.evaluation.resize import resize
from vinr_engine.evaluation.restore import BLEND, NEAREST, NETWORK
from vinr_engine.evaluation.results import ClipFacts, Frame, Result


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    return root, [folder(root / name, 7, seed=n, width=50 + 3 * n)[1] for n, name in enumerate("ab")]


def restored(pictures, t, first, last, method, kernel):
    """What a baseline, or the stand-in for the network, makes of a window, from whole pictures [h, w, 3]."""
    truth = [torch.from_numpy(p).permute(2, 0, 1).double() / 255 for p in pictures]
    H, W = (side // 2 * 2 for side in truth[0].shape[1:])
    top, left = (truth[0].shape[1] - H) // 2, (truth[0].shape[2] - W) // 2
    truth = [x[:, top : top + H, left : left + W] for x in truth]
    low = [(resize(truth[n], 0.5).clamp(0, 1) * 255).round() / 255 for n in (first, last)]

    def up(x, mode):
        if mode == "matlab":
            return resize(x, 2).clamp(0, 1)
        return F.interpolate(x[None], (H, W), mode="bicubic" if mode == "torch" else mode)[0].clamp(0, 1)

    if method == NEAREST:
        return up(low[0 if t <= 0.5 else 1], kernel), truth
    mode = "bilinear" if method == NETWORK else kernel
    return (1 - t) * up(low[0], mode) + t * up(low[1], mode), truth


@pytest.mark.parametrize(("keep", "kernel", "windows"), [(2, "torch", "shared"), (3, "matlab", "disjoint")])
def test_figures_of_every_frame(clips, keep, kernel, windows):
    root, content = clips
    report = evaluate([root], model=Blend(), scales=[2], keeps=[keep], bicubic=kernel, windows=windows)
    (result,) = report.results
    assert [(c.name, c.size) for c in result.clips] == [("a", (50, 40)), ("b", (52, 40))]
    step = keep + 1 if windows == "disjoint" else keep
    starts = range(0, 7 - keep, step)
    assert [(f.clip, f.number, f.index) for f in result.frames] == [
        (c, s + i, i) for c in range(2) for s in starts for i in range(keep + 1)
    ]
    for frame in result.frames:
        start = frame.number - frame.index
        t = frame.index / keep
        assert frame.time == pytest.approx(t)
        between = 0 < frame.index < keep
        assert set(frame.scores) == {NETWORK, BLEND} | ({NEAREST} if between else set())
        for method, scores in frame.scores.items():
            picture, truth = restored(content[frame.clip], t, start, start + keep, method, kernel)
            expected = measure(picture, truth[frame.number], result.protocol.variants())
            for variant, got, wanted in zip(result.protocol.variants(), scores, expected.numpy(), strict=True):
                # enlarging by two makes exact ties, which float32 and float64 round to different sides
                ties = 100 if variant.quantised else 1
                np.testing.assert_allclose(got[0], wanted[0], rtol=0, atol=ties * tolerances.PSNR)
                np.testing.assert_allclose(got[1], wanted[1], rtol=0, atol=ties * tolerances.SSIM)


def constructed():
    """Two clips of one and two windows of nine frames, PSNR of known values."""
    protocol = Protocol(keep=8)
    result = Result(protocol, (NETWORK,), [ClipFacts("a", (64, 64), 9, 1), ClipFacts("b", (64, 64), 17, 2)])
    for clip, windows in ((0, 1), (1, 2)):
        for window in range(windows):
            for i in range(9):
                scores = np.full((8, 2), 0.5)
                scores[:, 0] = 100 * clip + 10 * window + i + np.arange(8) / 100
                result.frames.append(Frame(clip, 8 * window + i, i, i / 8, {NETWORK: scores}))
    return result


def test_means_over_subsets_clips_and_frames():
    result = constructed()
    assert result.protocol.variants()[0] == Variant("Y", True, 0)

    def mean(*args, **kwargs):
        return result.mean(NETWORK, *args, **kwargs)[0]

    a, b = np.arange(9), np.concatenate([100 + np.arange(9), 110 + np.arange(9)])
    both = np.concatenate([a, b])
    assert mean("all", last=True) == pytest.approx((a.mean() + b.mean()) / 2)
    assert mean("all", last=True, over="frames") == pytest.approx(both.mean())
    assert mean("all") == pytest.approx((a[:8].mean() + np.delete(b, [8, 17]).mean()) / 2)
    assert mean("centre", last=True, clip=0) == pytest.approx((0 + 4 + 8) / 3)
    assert mean("centre", clip=0) == pytest.approx(2)
    assert mean("kept", last=True, clip=0) == pytest.approx(4)
    assert mean("between", clip=0) == mean("between", clip=0, last=True) == pytest.approx(4)
    assert mean("all", variant=result.protocol.variants()[3], clip=0, last=True) == pytest.approx(4.03)
    assert result.mean(BLEND, "all") is None
    for frame in result.frames:
        frame.scores[BLEND] = frame.scores[NETWORK] - 1 - frame.clip
    assert result.gain(NETWORK, BLEND, "all") == pytest.approx((1.5, 1))


def test_protocols():
    published = named("videoinr", "gopro")
    assert (published.scale, published.keep, published.disjoint) == (4, 8, True)
    assert (published.variant, published.last, published.over) == (Variant("Y", True, 0), True, "clips")
    vid4 = named("videoinr", "vid4")
    assert (vid4.keep, vid4.disjoint) == (2, False)
    assert named("vinr", "auto").keep == 2
    for scale, borders in ((Fraction(4), {0, 4}), (Fraction(5, 2), {0, 3})):
        assert {v.border for v in Protocol(scale=scale).variants()} == borders
    with pytest.raises(UsageError, match="--protocol"):
        named("other", "auto")


def test_still_pictures(tmp_path):
    path, content = folder(tmp_path / "photographs", 2, 61, 50)
    report = evaluate([path], model=Blend(), still=True)
    assert [r.protocol.scale for r in report.results] == [2, 3, 4]
    for result in report.results:
        s = int(result.protocol.scale)
        assert [c.size for c in result.clips] == [(61 // s * s, 50 // s * s)] * 2
        assert result.methods == (NETWORK, BLEND)
        for clip in range(2):
            kept, between = (result.mean(BLEND, subset, clip=clip) for subset in ("kept", "between"))
            np.testing.assert_allclose(kept, between, atol=tolerances.PSNR)
    with pytest.raises(UsageError, match="--keep and --still"):
        evaluate([path], baselines=True, still=True, keeps=[2])


def test_times_come_from_timestamps(tmp_path):
    pictures = list(folder(tmp_path / "frames", 5)[1])
    clip = write(tmp_path / "uneven.mp4", pictures, stamps=[0, 100, 400, 500, 800])
    model = Blend()
    (result,) = evaluate([clip], model=model, scales=[2]).results
    assert [f.time for f in result.frames] == [0, 0.25, 1] * 2
    assert model.times == [0, 0.25, 1] * 2


def test_only_one_window_is_held(clips, monkeypatch):
    """Each frame is shrunk at most once, and only kept ones are; pyramids are shared between windows."""
    root, _ = clips
    model = Blend()
    evaluate([root / "a"], model=model, scales=[2], keeps=[3])
    assert (model.frames, model.encodings, len(model.times)) == (3, 2, 8)


def test_crop_max_frames_and_border(clips):
    root, _ = clips
    (result,) = evaluate([root], baselines=True, scales=["2.5"], crop="43x31", max_frames=4, border=2).results
    assert [(c.size, c.frames, c.windows) for c in result.clips] == [((40, 30), 3, 1)] * 2
    assert {v.border for v in result.protocol.variants()} == {0, 2}
    assert result.protocol.variant.border == 2
    assert result.methods == (BLEND, NEAREST)


def test_crop_larger_than_a_clip(clips):
    root, _ = clips
    with pytest.raises(SourceError, match=r"is \d+x\d+, smaller than --crop 4000x31"):
        evaluate([root], baselines=True, scales=["2.5"], crop="4000x31")


def test_output(clips, tmp_path):
    root, _ = clips
    output = tmp_path / "results"
    seen = []
    report = evaluate(
        [root], model=Blend(), scales=[2], keeps=[2, 3], output=output, progress=lambda *a: seen.append(a)
    )
    assert sorted(p.name for p in output.iterdir()) == [
        "frames.csv", "results.json", "sheet_x2_k2.png", "sheet_x2_k3.png"
    ]  # fmt: skip
    assert leftovers(tmp_path) == []
    assert seen == [(n + 1, 34) for n in range(34)]  # (3 windows of 3 and 2 of 4) of two clips
    content = json.loads((output / "results.json").read_text())
    assert content["weights"] == "given model"
    run, result = content["runs"][1], report.results[1]
    assert run["protocol"]["keep"] == 3
    row = next(r for r in run["results"] if r["clip"] == "b" and r["method"] == NETWORK)
    assert row["between"]["psnr"] == result.mean(NETWORK, "between", clip=1)[0]
    variant = next(
        v for v in run["variants"]
        if (v["method"], v["channels"], v["quantised"], v["border"]) == (BLEND, "RGB", False, 2)
        and (v["subset"], v["last"], v["over"]) == ("centre", True, "frames")
    )  # fmt: skip
    assert variant["ssim"] == result.mean(BLEND, "centre", Variant("RGB", False, 2), True, "frames")[1]
    with open(output / "frames.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = [
        float(r["psnr"]) for r in rows
        if (r["keep"], r["clip"], r["method"], r["channels"], r["quantised"], r["border"])
        == ("3", "a", BLEND, "Y", "1", "0")
    ]  # fmt: skip
    assert np.mean(chosen) == pytest.approx(result.mean(BLEND, "all", last=True, clip=0)[0], abs=1e-6)
    text = report.as_text()
    for method in (NETWORK, BLEND, NEAREST):
        figures = result.mean(method, "between")
        assert f"{figures[0]:.2f} / {figures[1]:.4f}" in text
    assert f"[{result.mean(NETWORK, 'all')[0]:.2f}]" in text
    with pytest.raises(SinkError, match="--overwrite"):
        evaluate([root], baselines=True, scales=[2], output=output)
    evaluate([root], baselines=True, scales=[2], output=output, overwrite=True)
    assert len(list(output.iterdir())) == 3
    (output / "mine.txt").write_text("x")
    with pytest.raises(SinkError, match="holds other files"):
        evaluate([root], baselines=True, scales=[2], output=output, overwrite=True)


def test_sheet_shows_the_worst_place(rng):
    truth = torch.rand(3, 200, 300, generator=rng)
    blend = truth.clone()
    blend[:, 110:130, 210:240] = 0
    row = sheet.row("title", truth, {BLEND: blend, NETWORK: truth}, {BLEND: "low", NETWORK: "high"})
    top, left, height, width = sheet.worst_place(blend, truth)
    assert top <= 110 < 130 <= top + height
    assert left <= 210 < 240 <= left + width
    assert list(row.crops) == ["ground truth", BLEND, NETWORK]
    pixels, caption = row.crops[BLEND]
    assert caption == "low"
    expected = (blend[:, top : top + height, left : left + width] * 255).round().byte().permute(1, 2, 0).numpy()
    assert (pixels == expected).all()
    image = sheet.draw([row, row])
    assert image.width == 3 * (288 + 8) + 8
    drawn = np.asarray(image)
    enlarged = np.repeat(np.repeat(expected, 3, 0), 3, 1)
    column = drawn[:, 8 + 296 : 8 + 296 + 288]
    starts = [y for y in range(len(drawn) - 288) if (column[y] == enlarged[0]).all()]
    assert len({y for y in starts if (column[y : y + 288] == enlarged).all()}) == 2


def test_evaluation_in_little_memory(tmp_path):
    """On tiles; a network that does not say what it needs is left alone."""

    class Modest(Blend):
        def need(self, frames, size):
            return memory.Need(0, 0, 10_000 * frames[0] * frames[1])

    path, _ = folder(tmp_path / "wide", 3, 600, 80)
    limit = memory.fixed((40, 300), (80, 600), torch.device("cpu")) + 100_000_000
    whole, tiled = (
        evaluate([path], model=model, scales=[2], memory=f"{limit // 1000}KB").results[0]
        for model in (Blend(), Modest())
    )
    for a, b in zip(whole.frames, tiled.frames, strict=True):
        np.testing.assert_allclose(a.scores[NETWORK], b.scores[NETWORK], atol=tolerances.PSNR)
    with pytest.raises(SourceError, match="is the least that would do"):
        evaluate([path], model=Modest(), scales=[2], memory="1MB")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [({"scales": [0.5]}, UsageError, "--scale"), ({"scales": ["nan"]}, UsageError, "--scale"),
     ({"keeps": [1]}, UsageError, "--keep"), ({"keeps": ["2.5"]}, UsageError, "--keep"),
     ({"keeps": [7]}, SourceError, "clip a is too short: 7 frames, and a window needs 8"),
     ({"max_frames": 2}, SourceError, "max-frames 2: a window needs 3"),
     ({"max_frames": 0}, UsageError, "--max-frames"),
     ({"scales": [16]}, SourceError, "too small for --scale 16"), ({"border": -1}, UsageError, "--border"),
     ({"border": 20}, SourceError, "too small"), ({"crop": "0x9"}, UsageError, "--crop"),
     ({"windows": "x"}, UsageError, "--windows"), ({"bicubic": "x"}, UsageError, "--bicubic"),
     ({"memory": "much"}, UsageError, "--memory"), ({"weights": "none.pth"}, UsageError, "--baselines"),
     ({"baselines": False, "weights": "none.pth"}, WeightsError, "no such weights"),
     ({"device": "tpu"}, UsageError, "--device"), ({"dtype": "int8"}, UsageError, "--dtype")],
)  # fmt: skip
def test_wrong_arguments(clips, tmp_path, options, error, message):
    root, _ = clips
    with pytest.raises(error, match=message) as caught:
        evaluate([root], output=tmp_path / "out", **{"baselines": True, "scales": [2], **options})
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_frame_that_breaks_off_leaves_nothing(tmp_path):
    path, _ = folder(tmp_path / "clip")
    whole = (path / "0004.png").read_bytes()
    (path / "0004.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=r"unreadable image .*0004\.png"):
        evaluate([path], baselines=True, scales=[2], output=tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["clip"]


def test_a_network_that_is_not_finite_is_an_error(clips):
    class Broken(Blend):
        def query(self, *args, **kwargs):
            return super().query(*args, **kwargs) * float("nan")

    with pytest.raises(VinrError, match="not finite"):
        evaluate([clips[0]], model=Broken(), scales=[2])


def test_lpips_names_what_is_missing(clips, monkeypatch):
    from vinr_engine.evaluation import perceptual

    monkeypatch.setattr(perceptual, "PACKAGES", ("torch", "no_such_package"))
    with pytest.raises(UsageError, match="--lpips needs no_such_package: pip install"):
        evaluate([clips[0]], baselines=True, scales=[2], lpips=True)


def test_lpips_is_reported(clips, monkeypatch, tmp_path):
    from vinr_engine.evaluation import perceptual

    # the real one fetches weights; what is tested is that each picture's own distance reaches the means
    monkeypatch.setattr(perceptual, "check", lambda: None)
    monkeypatch.setattr(perceptual, "lpips", lambda device: lambda a, b: float((a - b).abs().mean()))
    report = evaluate([clips[0]], baselines=True, scales=[2], lpips=True, output=tmp_path / "out")
    (result,) = report.results
    kept = [f.lpips[BLEND] for f in result.frames if f.index == 0 and f.clip == 0]
    assert 0 < result.mean(BLEND, "kept", clip=0)[2] == pytest.approx(np.mean(kept))
    assert json.loads(report.as_json())["runs"][0]["results"][0]["kept"]["lpips"] == pytest.approx(np.mean(kept))
    assert "LPIPS" in report.as_text()


def test_a_picture_alone_needs_still(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "p.png")
    with pytest.raises(SourceError, match="one image"):
        evaluate([tmp_path / "p.png"], baselines=True)
