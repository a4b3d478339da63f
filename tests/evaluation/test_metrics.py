"""PSNR and SSIM against formulae written anew in numpy, and against torchmetrics."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import tolerances
from vinr_engine.evaluation import metrics
from vinr_engine.evaluation.metrics import Variant, measure, ssim_map, variants


@pytest.fixture
def judge():
    """torchmetrics' functions of pictures."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what torchmetrics itself imports
        return pytest.importorskip("torchmetrics.functional.image")


def pictures(rng, height=40, width=47, noise=0.1):
    truth = torch.rand(3, height, width, generator=rng)
    return (truth + noise * torch.randn(3, height, width, generator=rng)).clamp(0, 1), truth


def prepared(picture, variant):
    """A picture as numpy [C, H, W] in 0 to 255, by the variant's choices."""
    x = picture.double().numpy() * 255
    if variant.quantised:
        x = np.floor(x + 0.5)
    if variant.channels == "Y":
        x = (16 + (65.481 * x[0] + 128.553 * x[1] + 24.966 * x[2]) / 255)[None]
    b = variant.border
    return x[:, b : x.shape[1] - b, b : x.shape[2] - b]


def plain_ssim(a, b):
    """SSIM's definition, window by window, with a two-dimensional kernel: one channel in 0 to 255."""
    at = np.arange(11) - 5.0
    kernel = np.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * 1.5**2))
    kernel /= kernel.sum()

    def mean(x):
        return (np.lib.stride_tricks.sliding_window_view(x, (11, 11)) * kernel).sum((-1, -2))

    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return ((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean()


@pytest.mark.parametrize("variant", variants((0, 3)), ids=str)
def test_measure_against_numpy(rng, variant):
    picture, truth = pictures(rng)
    a, b = prepared(picture, variant), prepared(truth, variant)
    psnr = 10 * np.log10(255**2 / np.mean((a - b) ** 2))
    ssim = np.mean([plain_ssim(x, y) for x, y in zip(a, b, strict=True)])
    got = measure(picture, truth, [variant])
    assert got.shape == (1, 2)
    assert got[0, 0] == pytest.approx(psnr, abs=tolerances.PSNR)
    assert got[0, 1] == pytest.approx(ssim, abs=tolerances.SSIM)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("height", [11, 42, 43, 100])  # one row of windows, one band, a row more, several bands
def test_measure_against_torchmetrics(rng, judge, dtype, height):
    picture, truth = (x.to(dtype) for x in pictures(rng, height, 33))
    a, b = picture[None], truth[None]
    _, whole = judge.structural_similarity_index_measure(a, b, data_range=1.0, return_full_image=True)
    # torchmetrics mirrors the edges: only where the window lies inside are the definitions one
    torch.testing.assert_close(ssim_map(picture, truth), whole[0, :, 5:-5, 5:-5], rtol=0, atol=tolerances.SSIM)
    got = measure(picture, truth, [Variant("RGB", False, 0)])
    assert got[0, 0] == pytest.approx(float(judge.peak_signal_noise_ratio(a, b, data_range=1.0)), abs=tolerances.PSNR)


def test_variants_come_in_the_order_asked_for(rng):
    picture, truth = pictures(rng)
    wanted = variants((4, 0, 4))
    assert len(wanted) == 8
    got = measure(picture, truth, wanted)
    for n, variant in enumerate(wanted):
        assert torch.equal(got[n], measure(picture, truth, [variant])[0])
    assert len(torch.unique(got[:, 0])) == 8  # each choice matters


def test_equal_pictures_have_finite_figures(rng):
    picture, _ = pictures(rng)
    assert measure(picture, picture, [Variant("Y", True, 0)]).tolist() == [[metrics.MAX_PSNR, pytest.approx(1)]]


def test_luma_of_white_black_and_primaries():
    rgb = torch.tensor([[1.0, 0, 1, 0, 0], [1, 0, 0, 1, 0], [1, 0, 0, 0, 1]])[:, None]
    y = metrics.luma(rgb)[0, 0] * 255
    assert y.tolist() == pytest.approx([235, 16, 81.481, 144.553, 40.966], abs=1e-3)


def test_ssim_of_flat_bright_pictures_survives_float32(rng):
    truth = 0.95 + 0.002 * torch.randn(1, 200, 200, generator=rng)
    picture = truth + 0.004 * torch.randn(1, 200, 200, generator=rng)
    exact = ssim_map(picture.double(), truth.double()).mean()
    assert float(ssim_map(picture, truth).mean()) == pytest.approx(float(exact), abs=tolerances.SSIM)


@given(st.integers(11, 60), st.integers(11, 60), st.integers(0, 2**31))
def test_ssim_is_symmetric_and_at_most_one(height, width, seed):
    a, b = torch.rand(2, 1, height, width, generator=torch.Generator().manual_seed(seed))
    one, other = ssim_map(a, b), ssim_map(b, a)
    assert one.shape == (1, height - 10, width - 10)
    torch.testing.assert_close(one, other, rtol=0, atol=tolerances.SSIM)
    assert float(one.max()) <= 1 + tolerances.SSIM


@pytest.mark.parametrize(
    ("a", "b", "border"), [((3, 18, 40), (3, 18, 40), 4), ((3, 40, 40), (3, 40, 41), 0), ((1, 40, 40), (1, 40, 40), 0)]
)
def test_measure_refuses(a, b, border):
    with pytest.raises(ValueError, match=r"measure: picture and truth must be \[3, H, W\]"):
        measure(torch.zeros(a), torch.zeros(b), [Variant("Y", True, border)])
