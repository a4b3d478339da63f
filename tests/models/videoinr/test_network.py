import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

import vinr_engine as vinr
from vinr_engine.models.videoinr.network import times_tensor
from vinr_engine.reference.sampling import axis_grid, sample_bilinear


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    model = vinr.VideoINR(
        nf=4, groups=2, front_blocks=1, back_blocks=1, feat_hidden=(8,), flow_hidden=(8,), encode_hidden=(8,)
    )
    # Untrained deformable convolutions have no offsets, and untrained flows are tiny: make both count.
    for name, parameter in model.named_parameters():
        if "conv_offset_mask" in name or name == "flow_imnet.net.1.weight":
            torch.nn.init.uniform_(parameter, -1, 1)
    return model.double().eval()


@settings(max_examples=25, deadline=None)
@given(
    B=st.integers(1, 2),
    T=st.integers(0, 3),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    out=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    upsample=st.sampled_from((1, 2, 4)),
)
def test_any_sizes(tiny, B, T, size, out, upsample):
    frames = torch.rand(B, 2, 3, *size, dtype=torch.float64)
    times = torch.rand(T, B, dtype=torch.float64)
    with torch.inference_mode():
        features = tiny.encode(frames)
        assert features.shape == (B, 3, 4, -(-size[0] // 4) * 4, -(-size[1] // 4) * 4)
        image, flow = tiny.query_with_flow(features, frames, times, out, upsample)
        assert image.shape == (B, T, 3, *out)
        assert flow.shape == (B, T, 4, *out)
        assert torch.isfinite(image).all()
        # Samples of a batch and times do not mix.
        for b in range(B):
            one = tiny(frames[b : b + 1], times[:, b], out, upsample)
            torch.testing.assert_close(one, image[b : b + 1])


def test_empty_batch(tiny):
    frames = torch.rand(0, 2, 3, 5, 6, dtype=torch.float64)
    assert tiny(frames, [0.0, 0.5], (7, 8)).shape == (0, 2, 3, 7, 8)


def test_time_forms_agree(tiny):
    frames = torch.rand(2, 2, 3, 4, 4, dtype=torch.float64)
    with torch.inference_mode():
        features = tiny.encode(frames)
        one = tiny.query(features, frames, 0.25, (8, 8))
        for times in ([0.25], torch.tensor([0.25]), torch.tensor([[0.25, 0.25]]), [[0.25, 0.25]]):
            assert torch.equal(tiny.query(features, frames, times, (8, 8)), one)


class Calls(TorchDispatchMode):
    """Notes every operator and its arguments."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append((func.overloadpacket._qualified_op_name, args))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("times", [0.3, [], [0.1, 1 / 3], [[0.1, 0.7, 1.0], [0.0, 0.2, 0.9]]])
def test_numbers_are_filled_in_where_they_are_needed(times, dtype):
    """A copy from the host to a GPU waits for the GPU. The meta device stands for one."""
    host = torch.as_tensor(times, dtype=dtype)
    with Calls() as calls:
        out = times_tensor(times, 3, torch.empty(0, dtype=dtype, device="meta"))
    assert (out.device.type, out.dtype) == ("meta", dtype)
    assert out.shape == times_tensor(times, 3, torch.empty(0, dtype=dtype)).shape
    assert [args[2] for name, args in calls.seen if name == "aten::new_full"] == host.flatten().tolist()
    assert {"aten::_to_copy", "aten::copy_"}.isdisjoint(name for name, _ in calls.seen)
    with Calls() as calls:  # which this test could see
        times_tensor(torch.rand(2), 3, torch.empty(0, device="meta"))
    assert "aten::_to_copy" in {name for name, _ in calls.seen}


def test_pyramids_are_what_pairs_share(tiny):
    clip = torch.rand(3, 1, 3, 6, 7, dtype=torch.float64)
    with torch.inference_mode():
        pyramids = [tiny.known(frame) for frame in clip]
        for i in (0, 1):
            features = tiny.encode(torch.stack([clip[i], clip[i + 1]], 1))
            torch.testing.assert_close(tiny.encode_pair(pyramids[i], pyramids[i + 1]), features)


def test_blocks_of_rows_do_not_show(tiny, monkeypatch):
    module = sys.modules["vinr_engine.reference.inr_query"]
    frames = torch.rand(1, 2, 3, 5, 6, dtype=torch.float64)
    with torch.inference_mode(), vinr.backend("reference"):
        features = tiny.encode(frames)
        whole = tiny.query(features, frames, 0.5, (23, 11))
        monkeypatch.setattr(module, "PIXELS_AT_ONCE", 40)
        torch.testing.assert_close(tiny.query(features, frames, 0.5, (23, 11)), whole)


def test_flow_moves_the_warp():
    """A constant flow of whole output pixels at scale 1 shifts what the colour network sees."""
    model = vinr.VideoINR(nf=4, groups=1, front_blocks=0, back_blocks=0, flow_hidden=(4,)).double().eval()
    with torch.no_grad():
        model.flow_imnet.net[1].weight.zero_()
        frames = torch.rand(1, 2, 3, 8, 9, dtype=torch.float64)
        features, flows = model.encode(frames), []
        for flow in ((0.0, 0.0, 0.0, 0.0), (2.0, -1.0, 2.0, -1.0)):
            model.flow_imnet.net[1].bias.copy_(torch.tensor(flow))
            out, returned = model.query_with_flow(features, frames, 0.5, (8, 9), 1)
            assert torch.equal(
                returned, torch.tensor(flow, dtype=torch.float64).reshape(1, 1, 4, 1, 1).expand_as(returned)
            )
            flows.append(out)
    # (x + 2, y - 1) of the still picture, which the shift of the base grid does not blur where it is the same.
    assert not torch.allclose(flows[0], flows[1])


BAD = {
    "frames": (
        lambda m, f, e: m.encode(f[:, 0]),
        r"frames must be \[B, 2, 3, h, w\] with h, w > 0, got \[1, 3, 6, 7\]",
    ),
    "no pixels": (lambda m, f, e: m.encode(f[..., :0]), r"frames must be"),
    "features": (lambda m, f, e: m.query(e[..., :6, :7], f, 0.5, (8, 8)), r"features must be .* = \[1, 3, 4, 8, 8\]"),
    "time above 1": (lambda m, f, e: m.query(e, f, 1.5, (8, 8)), r"times must lie in \[0, 1\], got 1.5"),
    "time below 0": (lambda m, f, e: m.query(e, f, [0.5, -0.1], (8, 8)), r"times must lie in \[0, 1\]"),
    "time NaN": (lambda m, f, e: m.query(e, f, float("nan"), (8, 8)), r"times must lie in \[0, 1\]"),
    "times": (lambda m, f, e: m.query(e, f, torch.zeros(2, 3), (8, 8)), r"times must be a number, \[T\] or \[T, B\]"),
    "size": (lambda m, f, e: m.query(e, f, 0.5, (0, 8)), r"size must be positive"),
    "upsample": (lambda m, f, e: m.query(e, f, 0.5, (8, 8), 0), r"frame_upsample must be"),
    "frame": (lambda m, f, e: m.known(f), r"frame must be \[B, 3, h, w\]"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_arguments(tiny, what):
    call, message = BAD[what]
    frames = torch.rand(1, 2, 3, 6, 7, dtype=torch.float64)
    with torch.inference_mode(), pytest.raises(ValueError, match=message):
        call(tiny, frames, torch.zeros(1, 3, 4, 8, 8, dtype=torch.float64))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(nf=0), "nf, groups, hr_features must be whole numbers from 1 up"),
        (dict(nf=6, groups=4), "groups must divide nf, got nf 6, groups 4"),
        (dict(back_blocks=-1), "front_blocks, back_blocks must be whole numbers from 0 up"),
        (dict(feat_hidden=()), "feat_hidden must be whole numbers"),
        (dict(flow_hidden=(64, 2.5)), "flow_hidden must be whole numbers"),
    ],
)
def test_bad_constructor_values(values, message):
    with pytest.raises(ValueError, match=message):
        vinr.VideoINR(**values)


@given(n_in=st.integers(1, 50), n_out=st.integers(1, 200))
def test_axis_grid(n_in, n_out):
    grid = axis_grid(n_in, n_out, torch.float64, torch.device("cpu"))
    for i in range(n_out):
        centre = (2 * i + 1) * n_in / (2 * n_out)
        assert grid.position[i].item() == pytest.approx(centre - 0.5, abs=1e-12)
        assert grid.nearest[i].item() == (2 * i + 1) * n_in // (2 * n_out)
    assert (grid.nearest >= 0).all()
    assert (grid.nearest < n_in).all()
    assert (grid.relative >= -1).all()
    assert (grid.relative < 1).all()


def test_sampling_is_grid_sample(rng):
    maps = torch.rand(2, 3, 5, 7, generator=rng, dtype=torch.float64)
    grid = torch.rand(2, 40, 1, 2, generator=rng, dtype=torch.float64) * 3 - 1.5
    expected = torch.nn.functional.grid_sample(maps, grid, padding_mode="zeros", align_corners=False)
    x, y = (((grid[..., 0, k] + 1) * n - 1) / 2 for k, n in ((0, 7), (1, 5)))
    torch.testing.assert_close(sample_bilinear(maps, y, x), expected[..., 0])


def test_sampling_large_maps_keeps_columns_apart():
    """Flat indices past 2^24 do not fit a float32."""
    maps = torch.zeros(1, 1, 4100, 4100)
    maps[0, 0, 4099, 4097] = 1
    at = torch.tensor([[4096.0, 4097.0, 4098.0]])
    assert sample_bilinear(maps, torch.full_like(at, 4099), at).tolist() == [[[0.0, 1.0, 0.0]]]


@pytest.mark.parametrize("how", ["autocast", "bfloat16"])
def test_low_precision(how):
    torch.manual_seed(0)
    model = vinr.VideoINR(nf=8, groups=2, front_blocks=1, back_blocks=1)
    frames = torch.rand(2, 2, 3, 8, 12)
    with torch.inference_mode():
        expected = model(frames, [0.0, 0.5], (16, 24))
        if how == "autocast":
            with torch.autocast("cpu", torch.bfloat16):
                out = model(frames, [0.0, 0.5], (16, 24))
            assert out.dtype == torch.float32
        else:
            out = model.bfloat16()(frames.bfloat16(), [0.0, 0.5], (16, 24))
            assert out.dtype == torch.bfloat16
    assert (out.float() - expected).abs().mean() < 0.1 * expected.abs().mean()
