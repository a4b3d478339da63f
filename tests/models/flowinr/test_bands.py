"""FlowINR by bands of rows: what it gives is what whole maps give."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from vinr_engine.models import FlowINR
from vinr_engine.models.flowinr import bands
from vinr_engine.models.flowinr.bands import bilinear_rows, output_rows
from vinr_engine.models.layers import rows as rows_module

SMALL = {"nf": 8, "blocks": 2, "merge_blocks": 1, "pyramid": [8, 8, 8]}
WHOLE = 1 << 40


def trained():
    """With weights as large as trained ones, in all of its parts."""
    torch.manual_seed(0)
    network = FlowINR(**SMALL).eval()
    with torch.no_grad():
        network.merge.decoder.functions.normal_(std=0.05)
        network.merge.flow.weight.normal_(std=0.02)
        for step in network.motion.steps:
            step.conv3.weight.normal_(std=0.05)
    return network


@pytest.fixture
def model():
    return trained()


def pair(h, w, kind="texture"):
    """Frames [1, 2, 3, h, w] of large motion."""
    torch.manual_seed(1)
    if kind == "gradient":
        y, x = (torch.linspace(0, 1, n) for n in (h, w))
        first = (y[:, None] * x).expand(1, 3, h, w)
    else:
        first = F.interpolate(torch.rand(1, 3, h // 5 + 1, w // 5 + 1), (h, w), mode="bicubic").clamp(0, 1)
    return torch.stack([first, torch.roll(first, (7, -5), (2, 3))], 1)


def pictures(model, frames, size, pixels, monkeypatch, times=(0.0, 0.37, 1.0)):
    monkeypatch.setattr(bands, "PIXELS", pixels)
    with torch.inference_mode():
        known = [model.known(frame, size) for frame in frames.unbind(1)]
        return known, model.query(tuple(known), frames, list(times), size)


@pytest.mark.parametrize("rows", [1, 2, 7, 30])
@pytest.mark.parametrize("scale", [(2, 2), (4, 4), (1.5, 1.5), (2.7, 2.7), (1, 1), (0.8, 0.8), (2.03, 3.1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bands_give_what_whole_maps_give(model, monkeypatch, rows, scale, dtype):
    h, w = 31, 44  # no multiples of the search's levels
    frames, size = pair(h, w).to(dtype), (int(h * scale[0]), int(w * scale[1]))
    known, expected = pictures(model.to(dtype), frames, size, WHOLE, monkeypatch)
    by_bands, found = pictures(model, frames, size, rows * w, monkeypatch)
    tolerance = 2e-5 if dtype == torch.float32 else 1e-6  # rows of bilinear maps are told apart by whole numbers
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
    for one, other in zip(known, by_bands, strict=True):
        assert one.levels[0].shape == other.levels[0].shape
        for name in ("detail", "contrast", "features", "enlarged"):
            torch.testing.assert_close(getattr(other, name), getattr(one, name), rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 120), st.integers(1, 120), st.integers(1, 40))
def test_any_sizes_and_bands(h, w, H, W, rows):
    model = trained()
    with pytest.MonkeyPatch.context() as patch:
        _, expected = pictures(model, pair(h, w), (H, W), WHOLE, patch, times=(0.4,))
        _, found = pictures(model, pair(h, w), (H, W), rows * w, patch, times=(0.4,))
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-5)


@pytest.mark.parametrize("shape", [(1, 70), (2, 9), (9, 8), (70, 3)])
def test_takes_frames_of_any_size(model, monkeypatch, shape):
    frames, size = pair(*shape), (2 * shape[0], 2 * shape[1])
    _, expected = pictures(model, frames, size, WHOLE, monkeypatch)
    _, found = pictures(model, frames, size, 1, monkeypatch)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", ["texture", "gradient"])
def test_no_seam_between_bands(model, monkeypatch, kind):
    """Steps from a band's last row to the next one's first are no larger than in whole frames, by as much as rows
    elsewhere differ from theirs."""
    frames, size, rows = pair(48, 64, kind), (96, 128), 8
    _, expected = pictures(model, frames, size, WHOLE, monkeypatch)
    _, found = pictures(model, frames, size, rows * 64, monkeypatch)
    steps = ((found - expected)[..., 1:, :] - (found - expected)[..., :-1, :]).abs().amax((0, 1, 2, 4))
    seams = torch.zeros(len(steps), dtype=torch.bool)
    seams[2 * rows - 1 :: 2 * rows] = True
    assert steps[seams].max() <= 2 * steps[~seams].max() + 1e-6


def test_other_sizes_than_those_announced(model, monkeypatch):
    """A frame's enlargement is made from what is known of it."""
    frames = pair(31, 44)
    for size in ((62, 88), (50, 61)):
        with torch.inference_mode():
            monkeypatch.setattr(bands, "PIXELS", WHOLE)
            known = tuple(model.known(frame) for frame in frames.unbind(1))
            expected = model.query(known, frames, 0.3, size)
            monkeypatch.setattr(bands, "PIXELS", 5 * 44)
            known = tuple(model.known(frame) for frame in frames.unbind(1))
            torch.testing.assert_close(model.query(known, frames, 0.3, size), expected, rtol=0, atol=2e-5)


def test_large_tables_of_functions_are_made_row_by_row(model, monkeypatch):
    frames, size = pair(31, 44), (64, 97)
    _, expected = pictures(model, frames, size, WHOLE, monkeypatch)
    monkeypatch.setattr(bands, "LARGE_TABLE", 1000)
    _, found = pictures(model, frames, size, WHOLE, monkeypatch)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


def test_with_operands_in_bfloat16(model, monkeypatch):
    frames, size = pair(40, 64), (80, 128)
    _, exact = pictures(model, frames, size, WHOLE, monkeypatch)
    with torch.autocast("cpu", torch.bfloat16):
        _, whole = pictures(model, frames, size, WHOLE, monkeypatch)
        _, found = pictures(model, frames, size, 8 * 64, monkeypatch)
    assert found.dtype == torch.float32
    assert (found - exact).abs().mean() < 1.5 * (whole - exact).abs().mean()


def test_gradients_take_whole_maps(model, monkeypatch):
    monkeypatch.setattr(bands, "PIXELS", 1)
    frames = pair(16, 16)
    model(frames, 0.5, (32, 32)).sum().backward()
    assert model.enlarger.head.weight.grad is not None
    with torch.no_grad():
        assert rows_module.take_bands()


@pytest.mark.parametrize(("h", "H"), [(5, 5), (5, 10), (4, 6), (10, 27), (7, 3), (9, 10), (3, 100)])
def test_output_rows_are_those_whose_centres_lie_inside(h, H):
    for first in range(h):
        begin, end = output_rows(first, first + 1, h, H)
        assert list(range(begin, end)) == [i for i in range(H) if (2 * i + 1) * h // (2 * H) == first]


@pytest.mark.parametrize("size", [(20, 30), (7, 9), (9, 8), (23, 31)])
def test_bilinear_rows_are_those_of_torch(size):
    maps = torch.rand(1, 2, 9, 13, dtype=torch.float64)
    expected = F.interpolate(maps, size, mode="bilinear", align_corners=False)
    for first in range(0, size[0], 3):
        last = min(size[0], first + 3)
        torch.testing.assert_close(bilinear_rows(maps, first, last, size), expected[:, :, first:last])
