"""Every instruction set of the CPU kernels, every memory format, and the packed form."""

import numpy as np
import pytest
import torch

import vinr_engine as vinr
from benchmarks.tolerances import OP, relative_error
from ops.deform_conv2d.samples import LARGER, SAMPLES, Sample
from thread_counts import assert_threads_change_nothing
from vinr_engine import backends, reference

deform_conv2d, deform_conv2d_packed = vinr.ops.deform_conv2d, vinr.ops.deform_conv2d_packed
needs_extension = pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)
VARIANTS = torch.ops.vinr.cpu_variants().split(",") if backends.extension().path is not None else []
samples = pytest.mark.parametrize("sample", SAMPLES + LARGER, ids=lambda s: s.name)
layouts = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
# Gradients of a bilinear sample jump where a position crosses a pixel; at these sizes float32 rounds none across.
GRADIENT = 10 * OP[torch.float32]


@pytest.fixture(params=VARIANTS)
def variant(request, monkeypatch):
    """Runs a test once for each instruction set of this machine."""
    monkeypatch.setenv("VINR_CPU", request.param)
    assert torch.ops.vinr.cpu_variant() == request.param
    with vinr.backend("cpu"):
        yield request.param


def run(tensors, geometry):
    if len(tensors) == 4:
        return deform_conv2d_packed(*tensors, *geometry)
    return deform_conv2d(*tensors[:4], *geometry, tensors[4])


def specification(tensors, geometry):
    if len(tensors) == 4:
        return reference.deform_conv2d_packed(*tensors, *geometry)
    return reference.deform_conv2d(*tensors[:4], *geometry, tensors[4])


def gradients(function, tensors, geometry, grad_output):
    leaves = [None if t is None else t.detach().requires_grad_() for t in tensors]
    return torch.autograd.grad(function(leaves, geometry), [t for t in leaves if t is not None], grad_output)


def in_layout(tensors, layout):
    return [t.contiguous(memory_format=layout) if t is not None and t.dim() == 4 else t for t in tensors]


@samples
@layouts
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_variants_match_the_reference(variant, sample, layout, packed):
    tensors = sample.packed(torch.float32, seed=2) if packed else sample.tensors(torch.float32, seed=2)
    wide = [None if t is None else t.double() for t in tensors]
    if not sample.sliced:
        tensors = in_layout(tensors, layout)
    expected = specification(wide, sample.geometry)
    actual = run(tensors, sample.geometry)
    assert relative_error(actual, expected) <= OP[torch.float32]
    grad_output = torch.rand(expected.shape, dtype=torch.float64) - 0.5
    wanted = gradients(specification, wide, sample.geometry, grad_output)
    given = gradients(run, tensors, sample.geometry, grad_output.float().contiguous(memory_format=layout))
    for a, b in zip(given, wanted, strict=True):
        assert relative_error(a, b) <= GRADIENT


@pytest.mark.parametrize("sample", LARGER, ids=lambda s: s.name)
def test_variants_in_bfloat16(variant, sample):
    tensors = sample.tensors(torch.bfloat16, seed=3)
    wide = [None if t is None else t.double() for t in tensors]
    expected = specification(wide, sample.geometry)
    assert relative_error(run(in_layout(tensors, torch.channels_last), sample.geometry), expected) <= OP[torch.bfloat16]
    # Samples rounded to bfloat16 tell that the machine's product of them ran.
    single = [None if t is None else t.float() for t in tensors]
    pairs = [list(pair) for pair in sample.geometry]
    actual = torch.ops.vinr.deform_conv2d(*single, *pairs, "bfloat16")
    assert (relative_error(actual, expected) > OP[torch.float32]) == (variant in ("avx512_bf16", "amx_bf16"))
    for layout in (torch.contiguous_format, torch.channels_last):
        assert torch.equal(run(in_layout(tensors, layout), sample.geometry), actual.bfloat16())
    grad_output = torch.rand(expected.shape, dtype=torch.float64) - 0.5
    wanted = gradients(specification, wide, sample.geometry, grad_output)
    given = gradients(run, tensors, sample.geometry, grad_output.bfloat16())
    for a, b in zip(given, wanted, strict=True):
        assert relative_error(a, b) <= 3 * OP[torch.bfloat16]


@needs_extension
def test_results_take_the_memory_format_of_their_argument():
    sample = Sample("format", batch=2, channels=16, offset_groups=2)
    for dtype in (torch.float32, torch.float64):
        for formats in ((0, 1, 0), (1, 0, 0), (1, 1, 1)):
            input, offset_mask, weight, bias = sample.packed(dtype)
            layout = [(torch.contiguous_format, torch.channels_last)[f] for f in formats]
            leaves = [
                input.contiguous(memory_format=layout[0]).requires_grad_(),
                offset_mask.contiguous(memory_format=layout[1]).requires_grad_(),
            ]
            out = deform_conv2d_packed(*leaves, weight, bias, *sample.geometry)
            assert out.is_contiguous(memory_format=layout[0])
            grads = torch.autograd.grad(out, leaves, torch.ones_like(out).contiguous(memory_format=layout[2]))
            assert [g.stride() for g in grads] == [t.stride() for t in leaves]


@needs_extension
def test_views_of_a_channels_last_tensor():
    sample = Sample("views", batch=2, channels=16, offset_groups=2)
    input, offset_mask, weight, bias = in_layout(sample.packed(torch.float32), torch.channels_last)
    offset, logits = offset_mask.split([36, 18], 1)
    expected = deform_conv2d(input, offset.contiguous(), weight, bias, *sample.geometry, logits.contiguous())
    torch.testing.assert_close(deform_conv2d(input, offset, weight, bias, *sample.geometry, logits), expected)
    wide = input.repeat(1, 2, 1, 1)[:, :16]  # pixels of 32 channels, of which every second 16 count
    actual = deform_conv2d(wide, offset, weight, bias, *sample.geometry, logits)
    torch.testing.assert_close(actual, expected)


@needs_extension
@layouts
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_opcheck(layout, dtype):
    sample = Sample("opcheck", batch=2, channels=16, offset_groups=2, size=(5, 4))
    pairs = [list(pair) for pair in sample.geometry]
    tensors = [t.requires_grad_() for t in in_layout(sample.tensors(dtype), layout)]
    torch.library.opcheck(torch.ops.vinr.deform_conv2d.default, (*tensors, *pairs, "ieee"))
    input, offset_mask, weight, bias = (t.requires_grad_() for t in in_layout(sample.packed(dtype), layout))
    torch.library.opcheck(
        torch.ops.vinr.deform_conv2d_packed.default, (input, offset_mask, weight, bias, *pairs, "ieee")
    )
    grad = torch.rand(2, 4, *sample.out_size, dtype=dtype)
    arguments = [t.detach() for t in (grad, input, offset_mask, weight)]
    for wanted in ([True] * 4, [False, True, False, True]):
        torch.library.opcheck(
            torch.ops.vinr.deform_conv2d_packed_backward.default, (*arguments, *pairs, wanted, "ieee")
        )
    input, offset, weight, bias, mask = (t.detach() for t in tensors)
    for wanted in ([True] * 5, [False, True, False, True, False]):
        arguments = (grad, input, offset, weight, mask, *pairs, wanted, "ieee")
        torch.library.opcheck(torch.ops.vinr.deform_conv2d_backward.default, arguments)


@needs_extension
@layouts
def test_opcheck_in_bfloat16(layout):
    sample = Sample("opcheck", batch=2, channels=16, offset_groups=2, size=(5, 4))
    pairs = [list(pair) for pair in sample.geometry]
    input, offset_mask, weight, bias = (
        t.bfloat16().requires_grad_() for t in in_layout(sample.packed(torch.float32), layout)
    )
    offset_mask = offset_mask.detach().float().requires_grad_()
    arguments = (input, offset_mask, weight, bias, *pairs, "bfloat16")
    torch.library.opcheck(torch.ops.vinr.deform_conv2d_packed.default, arguments)
    out = deform_conv2d_packed(*arguments[:4], *sample.geometry)
    leaves = arguments[:4]
    grads = torch.autograd.grad(out, leaves, torch.ones_like(out))
    assert [g.dtype for g in grads] == [t.dtype for t in leaves]
    with pytest.raises(RuntimeError, match="offset must be float32 where input is bfloat16"):
        torch.ops.vinr.deform_conv2d_packed(input, offset_mask.bfloat16(), weight, bias, *pairs, "ieee")


@needs_extension
@pytest.mark.parametrize("dynamic", [False, True])
@layouts
def test_packed_compiles_as_one_graph(layout, dynamic):
    compiled = torch.compile(deform_conv2d_packed, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for size in ((5, 6), (7, 4)):
        sample = Sample("compiled", size=size, offset_groups=2)
        tensors = [t.requires_grad_() for t in in_layout(sample.packed(), layout)]
        expected, actual = (f(*tensors, *sample.geometry) for f in (deform_conv2d_packed, compiled))
        torch.testing.assert_close(actual, expected)
        assert actual.stride() == expected.stride()
        for a, b in zip(*(torch.autograd.grad(o.sum(), tensors) for o in (actual, expected)), strict=True):
            torch.testing.assert_close(a, b)


def test_packed_gradcheck(backend):
    sample = Sample("gradcheck", size=(4, 3), channels=4, offset_groups=2, out_channels=2)
    leaves = [t.requires_grad_() for t in sample.packed()]
    assert torch.autograd.gradcheck(lambda *t: deform_conv2d_packed(*t, *sample.geometry), leaves, fast_mode=True)


def test_packed_low_precision(backend):
    sample = Sample("low", batch=2, channels=16, offset_groups=2)
    for dtype in (torch.bfloat16, torch.float16):
        input, offset_mask, weight, bias = sample.packed(dtype)
        expected = specification([t.double() for t in (input, offset_mask, weight, bias)], sample.geometry)
        for coordinates in (offset_mask, offset_mask.float()):
            out = deform_conv2d_packed(input, coordinates, weight, bias, *sample.geometry)
            assert out.dtype == dtype
            assert relative_error(out, expected) <= OP[dtype]


def test_packed_autocast_keeps_offsets(backend):
    sample = Sample("autocast")
    tensors = sample.packed(torch.float32)
    tensors[1].add_(100.3).sub_(100.0)  # offsets that bfloat16 would round visibly
    expected = specification([t.double() for t in tensors], sample.geometry)
    with torch.autocast("cpu", torch.bfloat16):
        out = run(tensors, sample.geometry)
    assert out.dtype == torch.bfloat16
    assert relative_error(out, expected) <= OP[torch.bfloat16]


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
@pytest.mark.parametrize("sample", LARGER, ids=lambda s: s.name)
def test_threads_do_not_change_anything(variant, sample, packed):
    tensors = sample.packed(torch.float32) if packed else sample.tensors(torch.float32)
    grad = torch.rand(sample.batch, sample.out_channels, *sample.out_size)

    def results():
        with torch.autocast("cpu", torch.bfloat16):
            rounded = run(tensors, sample.geometry)
        return [run(tensors, sample.geometry), *gradients(run, tensors, sample.geometry, grad), rounded]

    assert_threads_change_nothing(results)


@pytest.mark.parametrize("position", [float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 3e9])
def test_positions_far_outside_read_zero(variant, position):
    sample = Sample("outside", channels=16, offset_groups=2)
    input, offset_mask, weight, bias = sample.packed(torch.float32)
    offset_mask[:, :36] = position
    out = run((input, offset_mask, weight, bias), sample.geometry)
    assert torch.equal(out, bias.reshape(1, -1, 1, 1).expand_as(out))
    grads = gradients(run, (input, offset_mask, weight, bias), sample.geometry, torch.ones_like(out))
    assert not any(g.any() for g in grads[:3])
    assert torch.equal(grads[3], torch.full((4,), 30.0))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("channels", [6, 16, 48])
def test_only_the_corners_inside_are_read(variant, channels, value):
    """A value that no finite weight hides shows in the samples with a corner on it, and in no other."""
    H, W = 5, 7
    weight, offset = torch.ones(2, channels, 1, 1), torch.zeros(1, 4, H, W)
    for i, j in ((0, 0), (2, 3), (H - 1, W - 1)):
        input = torch.ones(1, channels, H, W)
        input[..., i, j] = value
        expected = torch.full((H, W), float(channels))
        expected[max(0, i - 1) : i + 1, max(0, j - 1) : j + 1] = float("nan")
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            for layout in (torch.contiguous_format, torch.channels_last):
                out = deform_conv2d(*(t.to(dtype) for t in (input.contiguous(memory_format=layout), offset, weight)))
                assert torch.equal(out.float().isfinite(), expected.isfinite().expand_as(out))
                assert set(out[out.isfinite()].tolist()) == {float(channels)}
        with vinr.backend("reference"):
            out = deform_conv2d(input, offset, weight)
        assert torch.equal(out.isfinite(), expected.isfinite().expand_as(out))


def test_what_lies_outside_reaches_no_gradient(variant):
    sample = Sample("outside", channels=16, offset_groups=2, size=(6, 7))
    for dtype in (torch.float32, torch.float64):
        tensors = sample.tensors(dtype)
        tensors[0][:, :, 0, 0] = float("nan")  # where the address of a corner outside may be put
        tensors[0][:, :, -1, -1] = float("inf")
        grad_output = torch.rand(1, 4, *sample.out_size, dtype=dtype)
        given = (run(tensors, sample.geometry), *gradients(run, tensors, sample.geometry, grad_output))
        wanted = (
            specification(tensors, sample.geometry),
            *gradients(specification, tensors, sample.geometry, grad_output),
        )
        for a, b in zip(given, wanted, strict=True):
            assert torch.equal(a.isfinite(), b.isfinite())
            torch.testing.assert_close(a.nan_to_num(0, 0, 0), b.nan_to_num(0, 0, 0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("logit", [float("inf"), -float("inf"), 200.0, -200.0, 88.5, -88.5, -0.0])
def test_extreme_mask_logits(variant, logit):
    sample = Sample("logits", channels=16, offset_groups=2)
    input, offset_mask, weight, bias = sample.packed(torch.float32)
    offset_mask[:, 36:] = logit
    tensors = (input, offset_mask, weight, bias)
    out = run(tensors, sample.geometry)
    torch.testing.assert_close(out, specification(tensors, sample.geometry), rtol=1e-4, atol=1e-5)
    assert all(g.isfinite().all() for g in gradients(run, tensors, sample.geometry, torch.ones_like(out)))


def test_indices_past_32_bits(variant):
    # Zeros that are never touched take no memory: 8.6 GB of addresses, two pages of data.
    try:
        pixels = np.zeros((1, 16385, 16384, 8), np.float32)
    except MemoryError:
        pytest.skip("this machine hands out no 8.6 GB of addresses")
    pixels[0, -1, -1] = np.arange(1, 9)
    input = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    offset = torch.zeros(1, 2, 2, 2)
    offset[0, :, 1, 1] = 0.25
    weight = torch.eye(8).reshape(8, 8, 1, 1)
    out = deform_conv2d(input, offset, weight, stride=(16384, 16383))
    expected = torch.zeros(1, 8, 2, 2)
    expected[0, :, 1, 1] = torch.arange(1.0, 9) * 0.75**2
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)
    leaf = offset.requires_grad_()
    (grad,) = torch.autograd.grad(deform_conv2d(input, leaf, weight, stride=(16384, 16383)).sum(), leaf)
    torch.testing.assert_close(grad[0, :, 1, 1], torch.full((2,), -36 * 0.75))


BAD = {
    "rank": (dict(offset_mask=torch.zeros(27, 5, 6)), r"offset_mask must be \[B, 3\*G\*K, H, W\], got \[27, 5, 6\]"),
    "channels": (dict(offset_mask=torch.zeros(1, 36, 5, 6)), r"offset_mask channels must be 3\*G\*K with K = 9 taps"),
    "size": (dict(offset_mask=torch.zeros(1, 27, 5, 7)), r"offset must be \[B, 2\*G\*K, H, W\] = \[1, 18, 5, 6\]"),
    "weight": (dict(weight=torch.zeros(4, 3, 3, 3)), r"input channels must be a multiple of weight.shape\[1\]"),
    "dtype": (dict(offset_mask=torch.zeros(1, 27, 5, 6, dtype=torch.float64)), r"offset must be torch.float32"),
    "stride": (dict(stride=0), r"stride must be at least 1, got 0"),
}


@pytest.mark.parametrize("what", BAD)
def test_packed_bad_arguments(backend, what):
    changes, message = BAD[what]
    names = ("input", "offset_mask", "weight", "bias")
    arguments = dict(zip(names, Sample("bad").packed(torch.float32), strict=True), padding=1)
    with pytest.raises(ValueError, match="deform_conv2d_packed: " + message):
        deform_conv2d_packed(**(arguments | changes))


@needs_extension
def test_the_packed_op_checks_for_itself():
    input, offset_mask, weight, bias = Sample("bad").packed(torch.float32)
    one = [1, 1]
    with pytest.raises(RuntimeError, match=r"offset_mask channels must be 3\*G\*K with K = 9 taps"):
        torch.ops.vinr.deform_conv2d_packed(input, offset_mask[:, :26], weight, bias, one, one, one, "ieee")
    with pytest.raises(RuntimeError, match=r"offset must be \[B, 2\*G\*K, H, W\] = \[1, 18, 5, 6\]"):
        torch.ops.vinr.deform_conv2d_packed(input, offset_mask[..., :5], weight, bias, one, one, one, "ieee")
