"""The CUDA kernels of deform_conv2d, run on the host thread by thread, against the reference in float64."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import golden_cases
from benchmarks.tolerances import GOLDEN, OP, TF32, relative_error
from ops.deform_conv2d.samples import LARGER, SAMPLES, Sample
from simt import build
from vinr_engine import reference

PRECISIONS = ("float16", "bfloat16", "tf32", "float32")
TOLERANCES = dict(zip(PRECISIONS, (OP[torch.float16], OP[torch.bfloat16], TF32, OP[torch.float32]), strict=True))
GOLDEN_NAMES = ("plain3x3", "vinr64", "stride2", "dilated", "v1_nomask", "one_by_one")
ARGUMENTS = ("input", "offset", "weight", "bias", "mask")
# Small, yet with whole units of channels, more than one chunk of them, partial tiles of pixels and of outputs.
WIDE = Sample("wide", batch=2, channels=16, size=(5, 9), out_channels=72, offset_groups=2)
TINY = [
    WIDE,
    Sample("grouped", channels=32, size=(5, 6), out_channels=16, groups=2, offset_groups=4),
    Sample("group_of_40", channels=40, size=(3, 6), out_channels=9, bias=False),
    Sample("strided", channels=8, size=(11, 9), out_channels=8, stride=(2, 3), mask=False),
    Sample("apart", channels=8, size=(9, 9), out_channels=4, dilation=(2, 3), padding=(2, 3)),
]


def dtype_of(precision):
    return {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(precision, torch.float32)


def array(t):
    """A tensor's memory as NumPy sees it, strides and all; 16-bit numbers as uint16."""
    return None if t is None else (t.view(torch.uint16) if t.itemsize == 2 else t).numpy()


def run(precision, tensors, geometry, logits=False, channels_last=True, most_blocks=1 << 30):
    """The output of the kernel for tensors in the op's shapes, and the report."""
    input, offset, weight, bias, mask = tensors
    shape = (input.shape[0], weight.shape[0], *offset.shape[2:])
    layout = torch.channels_last if channels_last else torch.contiguous_format
    output = torch.full(shape, torch.nan, dtype=input.dtype).to(memory_format=layout)
    report = build.load("deform_conv2d").run(
        PRECISIONS.index(precision),
        array(input.permute(0, 2, 3, 1).contiguous()),
        array(offset),
        array(mask),
        logits,
        array(weight.permute(0, 2, 3, 1).contiguous()),
        array(bias),
        array(output),
        *geometry,
        most_blocks,
    )
    assert report["uninitialised_reads"] == 0
    return output, report


def cast(tensors, precision):
    return [None if t is None else t.to(dtype_of(precision)) for t in tensors]


def expected(tensors, geometry, logits=False):
    input, offset, weight, bias, mask = (None if t is None else t.double() for t in tensors)
    return reference.deform_conv2d(input, offset, weight, bias, *geometry, mask=mask.sigmoid() if logits else mask)


def check(precision, tensors, geometry, **options):
    output, report = run(precision, tensors, geometry, **options)
    wanted = expected(tensors, geometry, options.get("logits", False))
    assert relative_error(output, wanted) <= TOLERANCES[precision]
    return report


def even(t):
    """With evenly spaced pixels, as the binding hands tensors over."""
    return None if t is None else t.contiguous()


@pytest.mark.parametrize("sample", [*SAMPLES, *TINY], ids=lambda s: s.name)
def test_float32(sample):
    input, offset, weight, bias, mask = cast(sample.tensors(), "float32")
    report = check("float32", (input, even(offset), weight, even(bias), even(mask)), sample.geometry)
    assert report["launches"] == (sample.batch > 0)


@pytest.mark.parametrize("precision", PRECISIONS[:3])
@pytest.mark.parametrize("sample", [*TINY, Sample("odd", channels=6, groups=2, offset_groups=3)], ids=lambda s: s.name)
def test_matrix_precisions(sample, precision):
    check(precision, cast(sample.tensors(), precision), sample.geometry)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("sample", [*SAMPLES, *LARGER], ids=lambda s: s.name)
def test_whole_sample_list(sample, precision):
    input, offset, weight, bias, mask = cast(sample.tensors(seed=3), precision)
    check(precision, (input, even(offset), weight, even(bias), even(mask)), sample.geometry)


@pytest.mark.parametrize(
    "name", [n if n != "vinr64" else pytest.param(n, marks=pytest.mark.slow) for n in GOLDEN_NAMES]
)
def test_golden(name):
    case = {k.split("/")[1]: v for k, v in golden_cases.load("deform_conv2d").items() if k.startswith(name + "/")}
    geometry = tuple(map(tuple, case["stride_padding_dilation"].tolist()))
    tensors = [torch.from_numpy(case[a]) if a in case else None for a in ARGUMENTS]
    wanted = torch.from_numpy(case["out"])
    output, _ = run("float32", cast(tensors, "float32"), geometry)
    assert (output - wanted).abs().max() <= GOLDEN[torch.float32]
    for precision in PRECISIONS[:3]:
        output, _ = run(precision, cast(tensors, precision), geometry)
        # Offsets are rounded as well here, by up to a hundredth of a pixel in bfloat16.
        assert relative_error(output, wanted) <= 5 * TOLERANCES[precision]


@pytest.mark.parametrize("precision", ["float16", "float32"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_packed(precision, channels_last):
    """Offsets and logits are slices of one tensor, in either memory format; so is the output."""
    input, offset_mask, weight, bias = cast(WIDE.packed(), precision)
    if channels_last:
        offset_mask = offset_mask.contiguous(memory_format=torch.channels_last)
    offset, logits = offset_mask.split((36, 18), 1)
    tensors = input, offset, weight, bias, logits
    check(precision, tensors, WIDE.geometry, logits=True, channels_last=channels_last)


@pytest.mark.parametrize("sample", [WIDE, Sample("odd")], ids=lambda s: s.name)
def test_nan_shows_where_the_reference_shows_it(sample):
    """In corners inside the input, even of weight 0; not in those outside."""
    input, offset, weight, bias, mask = cast(sample.tensors(), "float16")
    offset[:, :, ::2] = 0
    input[:, :, 2, 3] = torch.nan
    output, _ = run("float16", (input, offset, weight, bias, mask), sample.geometry)
    wanted = expected((input, offset, weight, bias, mask), sample.geometry)
    assert 0 < wanted.isnan().sum() < wanted.numel()
    assert (output.isnan() == wanted.isnan()).all()


def test_a_block_makes_several_tiles():
    report = check("float16", cast(WIDE.tensors(), "float16"), WIDE.geometry, most_blocks=2)
    assert report["blocks"] == 2


def test_float32_positions_of_half_inputs():
    input, offset, weight, bias, mask = cast(WIDE.tensors(), "float16")
    wide_offset, wide_mask = (t.float() for t in WIDE.tensors()[1::3])
    check("float16", (input, wide_offset, weight, bias, wide_mask), WIDE.geometry)
    check("float16", (input, wide_offset, weight, bias, mask), WIDE.geometry)


def test_positions_that_are_not_finite():
    input, offset, weight, bias, mask = cast(WIDE.tensors(), "float32")
    offset[0, :, 0] = torch.nan
    offset[1, :, 1] = torch.inf
    offset[1, ::2, 2] = -torch.inf
    input[:, :, 0, 0] = torch.inf  # nobody looks here: no sample may touch it by a weight of 0
    offset[:, :, 3:] = 0
    output, _ = run("float32", (input, offset, weight, bias, mask), WIDE.geometry)
    assert (output[0, :, 0] == bias[:, None]).all()
    assert (output[1, :, 1] == bias[:, None]).all()
    assert output[:, :, 3:].isfinite().all()


@settings(deadline=None)  # the first call compiles
@given(n=st.integers(0, 2**31 - 1), divisor=st.integers(1, 2**31 - 1), small=st.integers(1, 1000))
def test_division_by_multiplication(n, divisor, small):
    quotient = build.load("deform_conv2d").quotient
    for d in (divisor, small):
        for m in (n, n // d * d, max(n // d * d - 1, 0), 2**31 - 1):
            assert quotient(m, d) == m // d


def test_each_sector_is_loaded_once_by_a_block_that_samples_whole_pixels():
    """With offsets of zero, a block's pixels and taps fall on whole pixels of the input: 16 halves are one sector."""
    sample = dataclasses.replace(WIDE, batch=1, size=(8, 8), out_channels=64, spread=0.0)
    report = check("float16", cast(sample.tensors(), "float16"), sample.geometry)
    assert report["blocks"] == 1
    assert report["sectors"]["input"]["loads"] == 64
    assert report["sectors"]["weight"]["loads"] == 64 * 9
    assert report["sectors"]["output"]["stores"] == 64 * 4
