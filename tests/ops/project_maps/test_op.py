import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.tolerances import OP, relative_error
from ops.project_maps.samples import EMPTY, PUBLISHED, SAMPLES, Sample
from thread_counts import COUNTS, assert_threads_change_nothing, results_by_threads
from vinr_engine import backends, reference
from vinr_engine.ops.project_maps import on_a_gpu, output_shape, project_maps, torch_product

pytestmark = pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)
samples = pytest.mark.parametrize("sample", [*SAMPLES, PUBLISHED], ids=lambda s: s.name)
every = pytest.mark.parametrize("sample", [*SAMPLES, PUBLISHED, *EMPTY], ids=lambda s: s.name)


@pytest.fixture(autouse=True)
def poisoned():
    """What torch.empty gives, which is what the ops fill, holds NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def forward(arguments, function=project_maps):
    return function(*arguments)


def gradients(arguments, function=project_maps, wanted=None):
    """Of a random function of the output, of every tensor or of those numbered in `wanted`, the weight last."""
    maps, weight = arguments
    leaves = [t.detach().requires_grad_(wanted is None or i in wanted) for i, t in enumerate((*maps, weight))]
    out = function(leaves[:-1], leaves[-1])
    chosen = torch.rand(out.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(out)
    return torch.autograd.grad(out, [t for t in leaves if t.requires_grad], chosen)


def loop_oracle(maps, weight):
    """The definition, one multiplication at a time."""
    (B, _, h, w), O = maps[0].shape, len(weight)
    out = torch.zeros(B, h, w, O, dtype=torch.float64)
    for b, y, x, o in itertools.product(range(B), range(h), range(w), range(O)):
        joined = [v for m in maps for v in m[b, :, y, x].tolist()]
        out[b, y, x, o] = sum(v * a for v, a in zip(joined, weight[o].tolist(), strict=True))
    return out


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.outputs <= 16], ids=lambda s: s.name)
@pytest.mark.parametrize("function", [project_maps, reference.project_maps, torch_product])
def test_matches_the_definition(function, sample):
    arguments = sample.arguments()
    assert relative_error(forward(arguments, function), loop_oracle(*arguments)) <= OP[torch.float64]


@every
def test_float64(sample):
    arguments = sample.arguments()
    assert relative_error(forward(arguments), forward(arguments, reference.project_maps)) <= OP[torch.float64]
    expected = gradients(arguments, reference.project_maps)
    for i, (a, b) in enumerate(zip(gradients(arguments), expected, strict=True)):
        assert relative_error(a, b) <= OP[torch.float64], i


@every
def test_float32_on_every_instruction_set(variant, sample):
    exact, single = sample.arguments(seed=3), sample.arguments(torch.float32, seed=3)
    assert relative_error(forward(single), forward(exact, reference.project_maps)) <= OP[torch.float32]
    expected = gradients(exact, reference.project_maps)
    for i, (a, b) in enumerate(zip(gradients(single), expected, strict=True)):
        assert a.dtype == torch.float32
        assert relative_error(a, b) <= OP[torch.float32], i


@settings(max_examples=60, deadline=None)
@given(
    sample=st.builds(
        Sample,
        name=st.just("drawn"),
        batch=st.integers(0, 3),
        size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
        channels=st.lists(st.integers(0, 70), min_size=1, max_size=4).map(tuple),
        outputs=st.integers(1, 150),
        layout=st.sampled_from(("nchw", "nhwc", "stacked", "sliced", "broadcast")),
    ),
    seed=st.integers(0, 99),
)
def test_any_shape(sample, seed):
    arguments = sample.arguments(seed=seed)
    assert relative_error(forward(arguments), forward(arguments, reference.project_maps)) <= OP[torch.float64]
    expected = gradients(arguments, reference.project_maps)
    for a, b in zip(gradients(arguments), expected, strict=True):
        assert relative_error(a, b) <= OP[torch.float64]


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.layout != "broadcast"], ids=lambda s: s.name)
def test_gradcheck(sample):
    maps, weight = sample.arguments()
    leaves = [t.detach().requires_grad_() for t in (*maps, weight)]
    assert torch.autograd.gradcheck(lambda *t: project_maps(t[:-1], t[-1]), leaves, fast_mode=True)


@pytest.mark.parametrize("wanted", [w for n in (1, 2) for w in itertools.combinations(range(4), n)])
def test_only_wanted_gradients(wanted):
    arguments = Sample("wanted", channels=(5, 18, 1)).arguments()
    expected = gradients(arguments, reference.project_maps)
    for i, actual in zip(wanted, gradients(arguments, wanted=wanted), strict=True):
        assert relative_error(actual, expected[i]) <= OP[torch.float64]
    maps, weight = arguments
    mask = [i in wanted for i in range(4)]
    raw, d_weight = torch.ops.vinr.project_maps_backward(
        torch.ones(2, 5, 7, 10, dtype=torch.float64), [m.permute(0, 2, 3, 1) for m in maps], weight, mask
    )
    assert [d.numel() > 0 for d in (*raw, d_weight)] == mask


def test_an_expanded_gradient():
    maps, weight = SAMPLES[0].arguments()
    leaves = [maps[0].requires_grad_(), weight.requires_grad_()]
    actual = torch.autograd.grad(project_maps(maps, weight).sum(), leaves)
    expected = torch.autograd.grad(reference.project_maps(maps, weight).sum(), leaves)
    torch.testing.assert_close(actual, expected)


def test_second_backward_says_what_to_do():
    maps, weight = SAMPLES[0].arguments()
    weight.requires_grad_()
    (grad,) = torch.autograd.grad(project_maps(maps, weight).square().sum(), weight, create_graph=True)
    with pytest.raises(NotImplementedError, match="project_maps: no second derivative"):
        grad.sum().backward()


THREADED = [  # more tiles than slabs; an image of fewer
    Sample("long", batch=1, size=(61, 43), channels=(33, 6), outputs=80, layout="stacked"),
    Sample("short", batch=3, size=(11, 13), channels=(20,), outputs=7),
    replace(PUBLISHED, size=(31, 37)),
]
threaded = pytest.mark.parametrize("sample", THREADED, ids=lambda s: s.name)


@threaded
def test_threads_do_not_change_anything(variant, sample):
    arguments = sample.arguments(torch.float32)
    assert_threads_change_nothing(lambda: [forward(arguments), *gradients(arguments)])


@threaded
def test_threads_do_not_change_anything_in_float64(sample):
    arguments = sample.arguments()
    assert_threads_change_nothing(lambda: [forward(arguments), *gradients(arguments)])


@threaded
def test_sums_split_by_threads_would_be_found(sample):
    """The same gradient of the weight from as many parts of the rows as there are threads, on the same samples."""
    maps, weight = sample.arguments(torch.float32)

    def split_by_threads():
        parts = zip(*(m.chunk(torch.get_num_threads(), 2) for m in maps), strict=True)
        ones = [gradients((list(part), weight), wanted=[len(maps)])[0] for part in parts]
        return [torch.stack(ones).sum(0)]

    with pytest.raises(AssertionError, match="differs between 1 and 2 threads"):
        assert_threads_change_nothing(split_by_threads)


def test_each_number_of_threads_is_used():
    assert [n.item() for (n,) in results_by_threads(lambda: [torch.tensor(torch.get_num_threads())])] == list(COUNTS)


@every
def test_opcheck(sample):
    maps, weight = sample.arguments()
    planes = [m.permute(0, 2, 3, 1).detach().requires_grad_() for m in maps]
    torch.library.opcheck(torch.ops.vinr.project_maps.default, (planes, weight.detach().requires_grad_()))
    grad = torch.rand(sample.batch, *sample.size, sample.outputs, dtype=torch.float64)
    detached = [m.detach() for m in planes]
    for mask in ([True] * len(maps) + [True], [True] + [False] * len(maps), [False] * len(maps) + [True]):
        torch.library.opcheck(torch.ops.vinr.project_maps_backward.default, (grad, detached, weight, mask))


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("sample", [*SAMPLES[:5], PUBLISHED], ids=lambda s: s.name)
def test_compiles_as_one_graph(sample, dynamic):
    torch.compiler.reset()
    compiled = torch.compile(project_maps, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for size in ((5, 7), (8, 6)):
        maps, weight = replace(sample, size=size).arguments(torch.float32)
        leaves = [t.detach().requires_grad_() for t in (*maps, weight)]
        actual, expected = (f(leaves[:-1], leaves[-1]) for f in (compiled, project_maps))
        torch.testing.assert_close(actual, expected)
        torch.testing.assert_close(*(torch.autograd.grad(out.sum(), leaves) for out in (actual, expected)))


def test_what_a_gpu_gets():
    """The kernel that a program moved to a GPU finds there; here, on the CPU."""
    maps, weight = PUBLISHED.arguments()
    out = on_a_gpu([m.permute(0, 2, 3, 1) for m in maps], weight)
    assert relative_error(out, reference.project_maps(maps, weight)) <= OP[torch.float64]


def zeros(*shape):
    return torch.zeros(shape, dtype=torch.float64)


BAD = {
    "no map": ([], zeros(4, 0), "a map is needed"),
    "rank": ([zeros(2, 3, 4)], zeros(4, 4), r"maps.* must be \[B, h, w, C\], got \[2, 3, 4\]"),
    "sizes": (
        [zeros(2, 3, 4, 5), zeros(2, 4, 4, 5)],
        zeros(4, 10),
        r"maps.* must be \[B, h, w, C\] = \[2, 3, 4, 5\], got \[2, 4, 4, 5\]",
    ),
    "weight": ([zeros(2, 3, 4, 5)], zeros(4, 6), r"weight must be \[O, C\] = \[4, 5\], got \[4, 6\]"),
    "weight's rank": ([zeros(2, 3, 4, 5)], zeros(5), r"weight must be \[O, C\], got \[5\]"),
    "dtype": ([zeros(2, 3, 4, 5)], zeros(4, 5).float(), "weight must (be torch.float64|have the dtype)"),
    "whole numbers": ([zeros(2, 3, 4, 5).long()], zeros(4, 5).long(), "maps.* must (hold floating|be float32)"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_arguments(what):
    maps, weight, message = BAD[what]
    with pytest.raises(RuntimeError, match="project_maps: " + message):
        torch.ops.vinr.project_maps(maps, weight)
    with pytest.raises(ValueError, match="project_maps: " + message):
        output_shape(maps, weight)


@pytest.mark.parametrize(
    ("grad", "mask", "message"),
    [
        (zeros(1, 2, 2, 4), [True] * 2, r"grad_output must be \[B, h, w, O\] = \[1, 2, 2, 3\], got \[1, 2, 2, 4\]"),
        (zeros(1, 2, 2, 3).float(), [True] * 2, "grad_output must have the dtype"),
        (zeros(1, 2, 2, 3), [True], "output_mask must have an entry for each map and one for the weight, 2, got 1"),
    ],
)
def test_bad_arguments_of_the_backward_op(grad, mask, message):
    with pytest.raises(RuntimeError, match="project_maps: " + message):
        torch.ops.vinr.project_maps_backward(grad, [zeros(1, 2, 2, 5)], zeros(3, 5), mask)
