"""The generated clips: the same every time, in motion as promised; the rule; and that bicubic keeps to it."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks.quality.generated import __main__ as command
from benchmarks.quality.generated import compression, moving, plain
from benchmarks.quality.generated.canvas import FRAMES, HEIGHT, WIDTH, Canvas, view
from benchmarks.quality.generated.measure import EXACT, Row, broken, measured, protocols, steps
from benchmarks.quality.generated.report import as_table, contact_sheet, summary
from benchmarks.quality.generated.suite import CLIPS, Clip, chosen
from vinr_engine.errors import UsageError
from vinr_engine.evaluation import sheet
from vinr_engine.evaluation.evaluate import evaluate
from vinr_engine.evaluation.restore import BLEND, NETWORK
from vinr_engine.models.network import Network

pytest.importorskip("skimage")
BY_TITLE = {clip.title: clip for clip in CLIPS}
BOTH = protocols([Fraction(4)], [2, 4])


class Bicubic(Network):
    """Bicubic and blend, as a network, with something added."""

    def __init__(self, added=0.0):
        self.added = added

    def query(self, features, frames, times, size, *, shared=None):
        first, last = (F.interpolate(frame, size, mode="bicubic").clamp(0, 1) for frame in frames.unbind(1))
        return torch.stack([torch.lerp(first, last, float(t)) for t in times], 1) + self.added


def first_of(kinds):
    return [next(clip for clip in CLIPS if clip.kind == kind) for kind in kinds]


def check_clip(clip):
    frames = clip.frames()
    assert frames.shape == (FRAMES, HEIGHT, WIDTH, 3)
    assert frames.dtype == np.uint8
    np.testing.assert_array_equal(frames, clip.frames())


@pytest.mark.parametrize("clip", first_of(["noise", "text", "screen", "objects", "layers"]), ids=lambda clip: clip.kind)
def test_clips_are_the_same_every_time(clip):
    check_clip(clip)


@pytest.mark.slow
def test_all_are_the_same_every_time():
    assert len(BY_TITLE) == len(CLIPS)
    for clip in CLIPS:
        check_clip(clip)


def test_clips_of_one_generator_differ_by_their_names():
    clip = BY_TITLE["noise: dark"]
    assert (clip.frames() != dataclasses.replace(clip, name="other").frames()).any()


@pytest.mark.parametrize(("dx", "dy"), [(3.0, 0.0), (1.5, -0.5), (0.25, 0.75)])
def test_a_pan_is_a_shift(dx, dy):
    frames = Clip("pan", "test", moving.pan("coffee", dx, dy)).frames().astype(int)
    # two, four or eight frames later, the shift is of whole pixels
    step = next(n for n in (1, 2, 4) if n * dx == int(n * dx) and n * dy == int(n * dy))
    x, y = int(step * dx), int(step * dy)
    later, first = frames[step][:, : WIDTH - x], frames[0][:, x:]
    later, first = (later[: HEIGHT - y], first[y:]) if y >= 0 else (later[-y:], first[:y])
    assert abs(later - first).max() <= 1
    assert abs(frames[1] - frames[0]).max() > 10


@pytest.mark.parametrize(
    ("title", "step", "x", "y"),
    [
        ("text: credits", 4, 0, 7),
        ("text: large, sideways", 4, 17, 0),
        ("text: page, fast", 2, 0, 23),
    ],
)
def test_text_moves_by_parts_of_a_pixel(title, step, x, y):
    frames = BY_TITLE[title].frames()
    np.testing.assert_array_equal(frames[step][: HEIGHT - y, : WIDTH - x], frames[0][y:, x:])
    assert (frames[1] != frames[0]).any()


def test_shapes_move_by_parts_of_a_pixel():
    areas, middles = [], []
    for n in range(4):
        canvas = Canvas((0, 0, 0), 4)
        canvas.fill(canvas.disc(60.0 + 0.25 * n, 90.0, 12.0), (1, 1, 1))
        shown = canvas.picture()[..., 0].astype(float)
        areas.append(shown.sum())
        middles.append((shown.sum(0) * (np.arange(WIDTH) + 0.5)).sum() / shown.sum())
    np.testing.assert_allclose(areas, np.pi * 12**2, rtol=2e-3)
    np.testing.assert_allclose(middles, [60, 60.25, 60.5, 60.75], atol=5e-3)


def test_stars_keep_their_light_and_speed():
    frames = np.stack(list(plain.stars(2.6)(np.random.default_rng(3))))
    spectra = np.fft.rfft(frames[:2, ..., 0] - 0.012, axis=-1)
    phase = np.angle((spectra[1] * spectra[0].conj()).sum(0))[1:20]
    shift = -phase / (2 * np.pi * np.arange(1, 20) / WIDTH)
    assert abs(shift.mean() - -2.6) < 0.2


def test_zoom_and_turn_leave_the_middle_where_it_is():
    texture = np.zeros((300, 400, 3), np.float32)
    texture[147:153, 197:203] = 1
    for zoom, angle in ((1.5, 0.0), (1.2, 0.4)):
        shown = view(texture, (200, 150), zoom, angle)[..., 0]
        rows, columns = np.indices(shown.shape) + 0.5
        assert shown.sum() == pytest.approx(36 / zoom**2, rel=0.02)
        assert (shown * columns).sum() / shown.sum() == pytest.approx(WIDTH / 2, abs=0.02)
        assert (shown * rows).sum() / shown.sum() == pytest.approx(HEIGHT / 2, abs=0.02)


def test_fades_reach_their_ends():
    frames = BY_TITLE["fade: to black"].frames().astype(int)
    assert frames[0].max() > 150
    assert frames[-1].max() == 0
    assert abs(2 * frames[4] - frames[0]).max() <= 1  # halfway there
    assert BY_TITLE["fade: to white"].frames()[-1].min() == 255


@pytest.mark.parametrize("damage", [compression.h264(36), compression.jpeg(20)])
def test_coding_loses_something_but_not_all(damage):
    clip = Clip("pan", "test", moving.pan("coffee", 1.0))
    before = [p[:-1, :-1] for p in clip.frames()]  # odd sides
    after = damage(before)
    assert [p.shape for p in after] == [p.shape for p in before]
    error = [np.square(a.astype(float) - b).mean() for a, b in zip(after, before, strict=True)]
    assert min(error) > 2
    assert max(error) < 300


@pytest.mark.parametrize(
    ("network", "blend", "expected"),
    [
        (30.0, 30.0, False), (29.96, 30.0, False), (29.94, 30.0, True), (60.0, 90.0, False), (49.0, 90.0, True),
        (51.0, 52.0, False), (49.9, 50.1, True),
    ],
)  # fmt: skip
def test_rule(network, blend, expected):
    assert broken(network, blend) is expected


def test_rule_refuses_what_is_no_number():
    with pytest.raises(ValueError, match="finite"):
        broken(float("nan"), 30.0)


def test_figures_are_those_of_vinr_evaluate(tmp_path):
    from PIL import Image

    clip, model = BY_TITLE["text: large, sideways"], Bicubic(0.01)
    for n, frame in enumerate(clip.frames()):
        Image.fromarray(frame).save(tmp_path / f"{n}.png")
    theirs = evaluate([tmp_path], model=model, scales=[4], keeps=[4]).results[0]
    row = measured(clip, clip.frames(), model, BOTH[1])
    for name, pair in (("kept", row.kept), ("between", row.between)):
        expected = [theirs.mean(method, name)[0] for method in theirs.methods[:2]]
        assert pair == pytest.approx(expected, abs=1e-6)


def test_damaged_inputs_are_what_both_methods_get():
    damaged = BY_TITLE["compressed: JPEG inputs, cat"]
    whole = dataclasses.replace(damaged, input_damage=None)
    truth = damaged.frames()
    assert truth.tobytes() == Clip(damaged.kind, damaged.name, damaged.draw).frames().tobytes()
    rows = [measured(clip, truth, Bicubic(), BOTH[0]) for clip in (damaged, whole)]
    assert rows[0].kept[0] == pytest.approx(rows[0].kept[1], abs=1e-4)
    assert rows[0].kept[1] < rows[1].kept[1] - 0.3


@pytest.mark.parametrize("title", ["flat: black", "pan: slow", "fade: cross", "compressed: H.264 inputs, pan"])
def test_bicubic_passes_and_a_network_that_adds_something_does_not(title):
    clip = BY_TITLE[title]
    truth = clip.frames()
    done = []
    for protocol in BOTH:
        assert not measured(clip, truth, Bicubic(), protocol, step=lambda: done.append(1)).broken
        assert measured(clip, truth, Bicubic(0.03), protocol).broken
    assert len(done) == sum(steps(protocol, FRAMES) for protocol in BOTH)


@pytest.mark.slow
def test_bicubic_passes_everywhere():
    for clip in CLIPS:
        truth = clip.frames()
        for protocol in BOTH:
            row = measured(clip, truth, Bicubic(), protocol)
            assert not row.broken, row.title


def row(kept, between):
    return Row(CLIPS[0], BOTH[0], kept, between, 0.0, sheet.Row("", {}))


def test_table_marks_what_is_below_and_what_is_exact():
    text = as_table([row((29.0, 30.0), (70.0, 80.0)), row((31.0, 30.0), (31.0, 31.01))])
    first, second = text.splitlines()[2:]
    assert "-1.00 **below**" in first
    assert "-10.00 (exact)" in first
    assert "below" not in second
    assert "+1.00" in second
    assert summary([row((29.0, 30.0), (70.0, 80.0))]).startswith("1 of 1 rows")
    assert summary([row((31.0, 30.0), (31.0, 31.01))]).startswith("None of 1")


def test_worst_frame_is_where_a_difference_is_seen():
    clip = BY_TITLE["fade: to black"]
    row = measured(clip, clip.frames(), Bicubic(0.002), BOTH[0])  # black becomes 60 dB, the last frame too
    shown = {name: float(caption.split()[0]) for name, (_, caption) in list(row.worst.crops.items())[1:]}
    assert min(shown.values()) < EXACT
    assert row.lowest == pytest.approx(shown[NETWORK] - shown[BLEND], abs=0.011)


def test_contact_sheet_has_a_place_for_each_clip():
    clips = first_of(["flat", "noise", "text", "stars"])
    sheet_of_four = np.asarray(contact_sheet(clips))
    assert sheet_of_four.shape[0] < 2.6 * np.asarray(contact_sheet(clips[:3])).shape[0]
    assert (sheet_of_four.reshape(-1, 3) > 200).all(1).any()


def test_clips_are_chosen_by_kind_and_title():
    assert {clip.kind for clip in chosen(["pan", "zoom"])} == {"pan", "zoom"}
    assert chosen(["flat: black"]) == [CLIPS[0]]
    assert chosen() == list(CLIPS)
    with pytest.raises(UsageError, match="no such clips: nonsense"):
        chosen(["pan", "nonsense"])


def test_command_writes_and_checks(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command.enlarge, "load", lambda weights: Bicubic(0.03 if weights else 0.0))
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"")
    common = ["--clips", "flat: grey", "--keeps", "4", "--check"]
    assert command.main([*common, "--output", str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["clips.png", "table.md", "worst.png"]
    assert "None of 1 rows" in capsys.readouterr().out
    assert command.main([*common, "--weights", str(weights)]) == 1
    assert "**below**" in capsys.readouterr().out
    assert command.main([*common[:4], "--weights", str(weights)]) == 0
    assert command.main(["--clips", "nonsense"]) == 1
    assert "no such clips" in capsys.readouterr().err
