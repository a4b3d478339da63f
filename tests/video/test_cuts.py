import numpy as np
import pytest

from video.clips import scene
from vinr_engine.video.cuts import CutDetector, is_cut


def picture(seed, dx=0, dy=0, gain=1.0, offset=0.0, noise=0.0):
    rng = np.random.default_rng(seed)
    coarse = 0.4 * scene(240, 160, seed).astype(np.float32) / 255 + 0.5 * rng.uniform(0, 1, 3)
    # things of one size, others in each scene
    for _ in range(40):
        x, y, w, h = rng.integers(0, 220), rng.integers(0, 140), rng.integers(8, 60), rng.integers(8, 60)
        coarse[y : y + h, x : x + w] = 0.5 * coarse[y : y + h, x : x + w] + 0.5 * rng.uniform(0, 1)
    whole = coarse[20 + dy : 116 + dy, 30 + dx : 190 + dx]
    whole = np.clip(whole * gain + offset + rng.normal(0, noise, whole.shape), 0, 1)
    return whole.transpose(2, 0, 1).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"dx": 16},
        {"dx": -12, "dy": 9},
        {"gain": 0.7},
        {"gain": 1.3},
        {"noise": 0.06},
        {"gain": 0.6, "offset": 0.35},
    ],
)
def test_one_scene(seed, change):
    assert not is_cut(picture(seed), picture(seed, **change))


def test_cuts_are_found():
    found = [is_cut(picture(a), picture(b)) for a in range(6) for b in range(6) if a != b]
    assert np.mean(found) > 0.9


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 2, 9), (3, 7, 5), (3, 64, 1)])
def test_tiny_and_flat_pictures(shape):
    flat = np.full(shape, 0.4, np.float32)
    assert not is_cut(flat, flat)
    assert isinstance(is_cut(flat, np.zeros(shape, np.float32)), bool)


def test_detector_streams():
    detector = CutDetector()
    assert [detector.cut_before(picture(s)) for s in (1, 1, 2, 2)] == [False, False, True, False]
