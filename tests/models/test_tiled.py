"""Tiles of frames: that they cover a frame, add up to one, and show no seams; which ones a budget takes."""

import itertools
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from video.clips import Blend
from vinr_engine import memory
from vinr_engine.errors import SourceError
from vinr_engine.models import load_network
from vinr_engine.models.tiled import RAMP, Tiled, estimate, fitted, least_tile, spans, step_of, tilings

CPU = torch.device("cpu")


class Modest(Blend):
    """Says what it needs."""

    reach = 8

    def need(self, frames, size):
        return memory.Need(1000 * frames[0] * frames[1], 0, 5000 * frames[0] * frames[1])


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(1, 5), st.integers(0, 40), st.integers(0, 60))
def test_tiles_cover_an_axis_once(steps, step, reach, more):
    length, tile = steps * step, least_tile(step, reach) + more * step
    found = spans(length, tile, step, reach)
    assert found[0].begin == 0
    assert found[-1].end == length
    total = torch.zeros(2 * length, dtype=torch.float64)
    for span in found:
        assert span.end == min(length, span.begin + tile)
        assert span.begin % step == 0
        # what counts lies far from a cut
        assert span.begin == 0 or span.first - RAMP / 2 >= span.begin + reach
        assert span.end == length or span.until + RAMP / 2 <= span.end - reach
        total[2 * span.begin : 2 * span.end] += span.shares(Fraction(2), total)
    torch.testing.assert_close(total, torch.ones_like(total))
    assert all(a.until == b.first for a, b in itertools.pairwise(found))


def test_tiles_that_are_too_short():
    with pytest.raises(ValueError, match=f"multiples of 3 of at least {least_tile(3, 10)} pixels, got 12"):
        spans(99, 12, 3, 10)


@pytest.mark.parametrize("size", [(180, 300), (225, 375), (91, 300)])
def test_tiles_of_a_local_network_are_the_whole(rng, size):
    frames, model = torch.rand(1, 2, 3, 90, 150, generator=rng), Modest()
    tiled = Tiled(model, (90 if size[0] == 91 else 60, 66), (90, 150), size)
    known = [tiled.known(frame) for frame in frames.unbind(1)]
    got = tiled.query(tiled.encode_pair(*known), frames, [0.25, 0.5], size)
    expected = model.query(model.encode_pair(*frames.unbind(1)), frames, [0.25, 0.5], size)
    torch.testing.assert_close(got, expected)


def test_an_axis_without_a_common_divisor_is_not_cut():
    assert step_of(90, 91) == 90
    assert all(tiled.axes[0] == spans(90, 90, 1, 8) for tiled in tilings(Modest(), (90, 150), (91, 300)))


def test_the_largest_tiles_that_fit():
    model, frames, size = Modest(), (400, 600), (800, 1200)
    whole = estimate(model, frames, size, CPU)
    assert fitted(model, frames, size, whole, CPU) is model
    before = frames
    for part in (0.99, 0.9, 0.8):
        limit = int(memory.fixed(frames, size, CPU) + part * (whole - memory.fixed(frames, size, CPU)))
        tiled = fitted(model, frames, size, limit, CPU)
        assert estimate(tiled, frames, size, CPU) <= limit
        assert tiled.tile[0] * tiled.tile[1] <= before[0] * before[1]
        assert fitted(model, frames, size, limit, CPU).tile == tiled.tile
        assert tiled.together == 1 + (limit - estimate(tiled, frames, size, CPU)) // (12 * 800 * 1200)
        before = tiled.tile
    with pytest.raises(SourceError, match=r"600x400 enlarged to 1200x800 do not fit in 1MB .*: --memory (\S+) is") as e:
        fitted(model, frames, size, 10**6, CPU)
    least = memory.parse(str(e.value).split("--memory ")[1].split()[0], 0)
    assert isinstance(fitted(model, frames, size, least, CPU), Tiled)


def test_a_network_that_does_not_say_what_it_needs_is_left_alone():
    model = Blend()
    assert fitted(model, (400, 600), (800, 1200), 1, CPU) is model


def moving(kind, h, w, shift):
    torch.manual_seed(0)
    if kind == "gradient":
        y, x = (torch.linspace(0, 1, n + 32) for n in (h, w))
        large = (0.3 * y[:, None] + 0.7 * x).expand(1, 3, h + 32, w + 32)
    else:
        large = F.interpolate(torch.rand(1, 3, h // 5 + 8, w // 5 + 8), (h + 32, w + 32), mode="bicubic").clamp(0, 1)
    return torch.stack([large[..., :h, :w], large[..., shift[0] : h + shift[0], shift[1] : w + shift[1]]], 1)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "shift"), [("gradient", (2, 5)), ("texture", (4, 6)), ("texture", (0, 24))])
def test_no_seams_with_the_shipped_weights(kind, shift):
    """Against whole frames 1e-3 at most, and across seams no larger steps than elsewhere."""
    model, (h, w), scale = load_network(None), (64, 420), 2
    frames, size = moving(kind, h, w, shift), (64 * scale, 420 * scale)
    tiled = Tiled(model, (64, 256), (h, w), size)
    assert len(tiled.axes[1]) > 1
    with torch.inference_mode():
        whole = model.query(tuple(model.known(f, size) for f in frames.unbind(1)), frames, 0.5, size)
        found = tiled.query(tiled.encode_pair(*frames.unbind(1)), frames, 0.5, size)
    error = found - whole
    assert error.abs().max() < 1e-3
    steps = (found[..., 1:] - found[..., :-1]).abs().mean((0, 1, 2, 3))
    of_whole = (whole[..., 1:] - whole[..., :-1]).abs().mean((0, 1, 2, 3))
    beyond = steps - of_whole
    seams = torch.zeros(len(steps), dtype=torch.bool)
    for span in tiled.axes[1][1:]:
        seams[(span.first - RAMP) * scale : (span.first + RAMP) * scale] = True
    assert beyond[seams].max() < 1e-4
