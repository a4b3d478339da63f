import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import golden_cases
import vinr_engine as vinr
from benchmarks.tolerances import OP, relative_error
from ops.against_reference import assert_like_its_definition
from ops.deform_attention.samples import EMPTY, SAMPLES, Sample
from thread_counts import assert_threads_change_nothing
from vinr_engine import backends, reference
from vinr_engine.ops import deform_attention

extension = pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)
samples = pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)
every = pytest.mark.parametrize("sample", [*SAMPLES, *EMPTY], ids=lambda s: s.name)
GOLDEN = golden_cases.sibling_cases("deform_attention")
FUNCTIONS = pytest.mark.parametrize("function", [deform_attention, reference.deform_attention], ids=["op", "reference"])


def gradients(arguments, function=deform_attention, wanted=(True, True, True), **options):
    """Of a random function of the output, of the tensors that are wanted."""
    tensors = [t.detach().requires_grad_(w) for t, w in zip(arguments, wanted, strict=False)]
    out = function(*tensors, *arguments[3:], **options)
    chosen = torch.rand(out.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(out)
    return torch.autograd.grad(out, [t for t in tensors if t.requires_grad], chosen)


def loop_oracle(q, kv, offset, heads, groups, kernel_size, padding):
    """The definition, a pixel and a head at a time."""
    B, c, C2, h, w = kv.shape
    C, (kh, kw) = C2 // 2, kernel_size
    d, K = C // heads, kh * kw
    out = torch.zeros_like(q)
    for b, i, j in itertools.product(range(B * c), range(h), range(w)):
        samples = torch.zeros(c * K, C2, dtype=q.dtype)
        for n, tap, channel in itertools.product(range(c), range(K), range(C2)):
            at = ((n * groups + channel // (C2 // groups)) * K + tap) * 2
            y = i - padding[0] + tap // kw + float(offset[b, at, i, j])
            x = j - padding[1] + tap % kw + float(offset[b, at + 1, i, j])
            plane = kv[b // c, (n + b) % c, channel]
            for v, u in itertools.product((math.floor(y), math.floor(y) + 1), (math.floor(x), math.floor(x) + 1)):
                if 0 <= v < h and 0 <= u < w:
                    samples[n * K + tap, channel] += plane[v, u] * (1 - abs(y - v)) * (1 - abs(x - u))
        for head in range(heads):
            one = slice(head * d, (head + 1) * d)
            weights = (samples[:, :C][:, one] @ q[b, 0, one, i, j] * d**-0.5).softmax(0)
            out[b, 0, one, i, j] = weights @ samples[:, C:][:, one]
    return out


def golden_arguments(case, dtype):
    a = {name: t.to(dtype) if torch.is_tensor(t) else t for name, t in GOLDEN[case].items()}
    return a, (a["q"], a["kv"], a["offset"], int(a["heads"]), int(a["groups"]), (3, 3), (1, 1))


@FUNCTIONS
@pytest.mark.parametrize("case", ["rvrt", "one_frame"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-9), (torch.float32, 1e-4)], ids=["64", "32"])
def test_golden(function, case, dtype, bound):
    a, arguments = golden_arguments(case, dtype)
    tensors = [t.requires_grad_() for t in arguments[:3]]
    out = function(*tensors, *arguments[3:])
    assert (out - a["out"]).abs().max() <= bound
    for name, found in zip(("q", "kv", "offset"), torch.autograd.grad(out, tensors, a["grad"]), strict=True):
        assert relative_error(found, a[f"grad:{name}"]) <= bound


@FUNCTIONS
def test_gradients_of_the_extension_that_v3_was_trained_with(function):
    """With an even number of groups the first half of the offsets moves keys alone."""
    a, arguments = golden_arguments("rvrt", torch.float64)
    tensors = [t.requires_grad_() for t in arguments[:3]]
    out = function(*tensors, *arguments[3:], keys_gradient_scaled_twice=True)
    assert (out - a["out"]).abs().max() <= 1e-9
    d_q, d_kv, d_offset = torch.autograd.grad(out, tensors, a["grad"])
    C = a["q"].shape[2]
    expected_kv, expected_offset = a["grad:kv"].clone(), a["grad:offset"].unflatten(1, (2, 4, 18)).clone()
    expected_kv[:, :, :C] *= (C / 4) ** -0.5
    expected_offset[:, :, :2] *= (C / 4) ** -0.5
    assert relative_error(d_q, a["grad:q"]) <= 1e-9
    assert relative_error(d_kv, expected_kv) <= 1e-9
    assert relative_error(d_offset, expected_offset.flatten(1, 3)) <= 1e-9


SMALL = [replace(s, size=(min(s.size[0], 2), min(s.size[1], 3))) for s in SAMPLES if s.heads * s.depth < 32]


@pytest.mark.parametrize("sample", SMALL, ids=lambda s: s.name)
def test_the_reference_is_the_definition(sample):
    arguments = sample.arguments()
    assert relative_error(reference.deform_attention(*arguments), loop_oracle(*arguments)) <= OP[torch.float64]


@every
def test_float64(sample):
    assert_like_its_definition(deform_attention, reference.deform_attention, gradients, sample.arguments())


@extension
@every
def test_float32_on_every_instruction_set(variant, sample):
    exact, single = sample.arguments(seed=3), sample.arguments(torch.float32, seed=3)
    assert_like_its_definition(deform_attention, reference.deform_attention, gradients, single, exact)


@st.composite
def drawn(draw):
    heads, depth = draw(st.integers(1, 4)), draw(st.integers(1, 20))
    groups = draw(st.sampled_from([g for g in range(1, 2 * heads * depth + 1) if 2 * heads * depth % g == 0][:8]))
    size = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    kernel_size = draw(st.sampled_from([(1, 1), (3, 3), (1, 3), (3, 1)]))
    clips, frames = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    layout = draw(st.sampled_from(("nchw", "nhwc", "sliced")))
    return Sample("drawn", clips, frames, heads, depth, groups, size, kernel_size, layout)


@extension
@settings(max_examples=40, deadline=None)
@given(sample=drawn(), seed=st.integers(0, 99))
def test_any_shape(sample, seed):
    assert_like_its_definition(deform_attention, reference.deform_attention, gradients, sample.arguments(seed=seed))


@samples
def test_gradcheck(sample):
    arguments = sample.arguments()
    leaves = [t.detach().requires_grad_() for t in arguments[:3]]
    assert torch.autograd.gradcheck(lambda *t: deform_attention(*t, *arguments[3:]), leaves, fast_mode=True)


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_only_wanted_gradients(wanted):
    arguments = SAMPLES[0].arguments()
    (actual,) = gradients(arguments, wanted=wanted)
    expected = gradients(arguments, reference.deform_attention)[wanted.index(True)]
    assert relative_error(actual, expected) <= OP[torch.float64]


@extension
@pytest.mark.parametrize("sample", SAMPLES[:6], ids=lambda s: s.name)
def test_opcheck(sample):
    q, kv, offset, *others = sample.arguments()
    arguments = q.squeeze(1), kv.flatten(0, 1), offset, sample.frames, *others, False
    leaves = [t.detach().requires_grad_() for t in arguments[:3]]
    torch.library.opcheck(torch.ops.vinr.deform_attention.default, (*leaves, *arguments[3:]))
    grad = torch.rand(arguments[0].shape, dtype=torch.float64)
    for mask in ([True, True, True], [True, False, True], [False, True, False]):
        torch.library.opcheck(torch.ops.vinr.deform_attention_backward.default, (grad, *arguments, mask))


@extension
@pytest.mark.parametrize("sample", SAMPLES[:3], ids=lambda s: s.name)
def test_compiles_as_one_graph(sample):
    torch.compiler.reset()
    compiled = torch.compile(deform_attention, fullgraph=True, backend="aot_eager")
    for size in ((5, 7), (8, 6)):
        arguments = replace(sample, size=size).arguments(torch.float32)
        torch.testing.assert_close(compiled(*arguments), deform_attention(*arguments))
        torch.testing.assert_close(gradients(arguments, compiled), gradients(arguments))


@extension
def test_threads_do_not_change_anything(variant):
    arguments = Sample("long", heads=4, depth=15, size=(23, 17), clips=2).arguments(torch.float32)
    assert_threads_change_nothing(lambda: [deform_attention(*arguments), *gradients(arguments)])


@extension
def test_several_bands(variant):
    """More tiles than are held at once between the steps of the backward pass."""
    sample = Sample("bands", heads=12, depth=15, groups=12, size=(27, 29))
    single, exact = sample.arguments(torch.float32), sample.arguments()
    assert_like_its_definition(deform_attention, reference.deform_attention, gradients, single, exact)


@extension
def test_what_lies_outside_is_not_read(variant):
    """Samples outside give no NaN; those at NaN positions give zeros, as does their gradient."""
    q, kv, offset, *others = Sample("outside").arguments(torch.float32)
    offset[:, :18] = 1e30
    offset[:, 18:36] = math.nan
    expected = reference.deform_attention(q.double(), kv.double(), offset.double(), *others)
    assert relative_error(deform_attention(q, kv, offset, *others), expected) <= OP[torch.float32]
    assert not gradients((q, kv, offset, *others))[2][:, :36].any()


@extension
def test_large_products(variant):
    """Scores of hundreds: one sample takes all weight, and nothing overflows."""
    q, kv, *others = SAMPLES[0].arguments(torch.float32)
    q = q * 300
    expected = reference.deform_attention(q.double(), kv.double(), others[0].double(), *others[1:])
    assert relative_error(deform_attention(q, kv, *others), expected) <= 20 * OP[torch.float32]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_are_computed_in_float32(dtype):
    q, kv, offset, *others = SAMPLES[0].arguments(torch.float32)
    q, kv = q.to(dtype), kv.to(dtype)
    out = deform_attention(q, kv, offset, *others)
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), reference.deform_attention(q.float(), kv.float(), offset, *others),
                               rtol=1e-2, atol=1e-2)  # fmt: skip


def test_the_reference_backend():
    arguments = SAMPLES[0].arguments()
    with vinr.backend("reference"):
        torch.testing.assert_close(deform_attention(*arguments), loop_oracle(*arguments))


def test_one_number_is_both():
    *arguments, kernel_size, padding = SAMPLES[0].arguments()
    assert torch.equal(deform_attention(*arguments), deform_attention(*arguments, kernel_size, padding))


def zeros(*shape):
    return torch.zeros(shape, dtype=torch.float64)


Q, KV, OFFSET = zeros(4, 1, 6, 3, 5), zeros(2, 2, 12, 3, 5), zeros(4, 72, 3, 5)
BAD = {
    "rank": ((Q, zeros(4, 12, 3, 5), OFFSET, 2, 2), r"kv must be \[B, c, 2 C, h, w\], got \[4, 12, 3, 5\]"),
    "frames": ((Q, zeros(2, 0, 12, 3, 5), OFFSET, 2, 2), "kv must have frames, and as many keys as values"),
    "odd": ((Q, zeros(2, 2, 11, 3, 5), OFFSET, 2, 2), "kv must have frames, and as many keys as values"),
    "q": ((zeros(4, 6, 3, 5), KV, OFFSET, 2, 2), r"q must be .* = \[4, 1, 6, 3, 5\], got \[4, 6, 3, 5\]"),
    "heads": ((Q, KV, OFFSET, 4, 2), "heads must divide C = 6, got 4"),
    "groups": ((Q, KV, OFFSET, 2, 5), "groups must divide 2 C = 12, got 5"),
    "offset": ((Q, KV, zeros(4, 36, 3, 5), 2, 2), r"offset must be .* = \[4, 72, 3, 5\], got \[4, 36, 3, 5\]"),
    "kernel": ((Q, KV, OFFSET, 2, 2, 3, 0), r"kernel_size must be 2 padding \+ 1, got \(3, 3\) and \(0, 0\)"),
    "dtype": ((Q, KV.float(), OFFSET, 2, 2), "kv must be torch.float64, got torch.float32"),
    "offset_dtype": ((Q.half(), KV.half(), OFFSET, 2, 2), "offset must be torch.float16, got torch.float64"),
    "whole": ((Q.long(), KV.long(), OFFSET, 2, 2), "q must hold floating-point"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_arguments(what):
    arguments, message = BAD[what]
    with pytest.raises(ValueError, match="deform_attention: " + message):
        deform_attention(*arguments)
