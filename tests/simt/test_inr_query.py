"""The query's CUDA kernels, run on the host, against the reference in float64 and the published network's outputs."""

import functools

import numpy as np
import pytest
import torch

import golden_cases
from benchmarks.tolerances import GOLDEN_QUERY, OP, TF32, relative_error
from ops.inr_query import samples
from simt import build
from vinr_engine import reference
from vinr_engine.ops.hoisting import hoist

# In the order of csrc's Precision, with the largest relative error against the reference.
PRECISIONS = {
    "float32": OP[torch.float32],
    "tf32": TF32,
    "float16": OP[torch.float16],
    "bfloat16": OP[torch.bfloat16],
}
# A GPU that holds all weights in shared memory, in 16 bits, and one that streams them; both with few multiprocessors.
LARGE, SMALL = (3, 227 << 10), (2, 99 << 10)


def arrays(tensors):
    return [np.ascontiguousarray(t.detach().numpy(), np.float32) for t in tensors]


def query(arguments, precision="float32", device=SMALL, images=2):
    """Image, flow and report of the kernels on float64 arguments of `vinr.ops.inr_query`."""
    features, frames, times, lr_size, size, *networks, u = arguments
    (maps, colours), layers = hoist(features, frames, *networks, u)
    B, T = maps.shape[0], times.shape[0]
    image = np.full((B, T, networks[2][-1][0].shape[0], *size), np.nan, np.float32)
    flow = np.full((B, T, 4, *size), np.nan, np.float32)
    colours = None if colours is None else arrays([colours])[0]
    report = build.load("inr_query").inr_query(
        list(PRECISIONS).index(precision), *device, images, *arrays([maps]), colours, *arrays([times]), lr_size, size,
        u, *map(arrays, layers), 30.0, image, flow,
    )  # fmt: skip
    assert report["uninitialised_reads"] == 0
    return torch.from_numpy(image), torch.from_numpy(flow), report


PUBLISHED = dict(C=12, hidden=((64, 64, 256), (64, 64, 256), (64, 64, 256, 256)), features=64)


def problem(**options):
    """Phases small enough that a product in 16 bits stays near the reference."""
    return samples.problem(**(dict(T=1, size=(9, 13), calm=3) | options))


def expected(arguments):
    return reference.inr_query(*arguments[:-1], frame_upsample=arguments[-1])


def check(arguments, precision="float32", published=False, **options):
    *actual, report = query(arguments, precision, **options)
    assert report["published"] == published
    for a, b in zip(actual, expected(arguments), strict=True):
        assert relative_error(a, b) <= PRECISIONS[precision]
    return report


@pytest.mark.parametrize(
    ("precision", "device"), [*((p, SMALL) for p in PRECISIONS), ("float16", LARGE), ("bfloat16", LARGE)]
)
def test_published_widths(precision, device):
    """Partial tiles, and more tiles than blocks; weights streamed, and, on the large device, resident."""
    check(problem(**PUBLISHED, size=(18, 34), flow=8.0), precision, published=True, device=device)


SHAPES = {
    "no upsampling": PUBLISHED | dict(u=1),
    "batch and times": PUBLISHED | dict(B=2, T=2, size=(5, 9)),
    "one row": PUBLISHED | dict(size=(1, 20)),
    "smaller than the frames": PUBLISHED | dict(size=(3, 4)),
    "far flow": PUBLISHED | dict(flow=500.0),
    "eight outputs": PUBLISHED | dict(outputs=8),
    "nine outputs": PUBLISHED | dict(outputs=9, size=(3, 9)),
    "some": {},
    "some, no upsampling": dict(u=1),
    "some, batch and times": dict(B=2, T=2),
    "odd widths": dict(hidden=((5, 33), (50, 3), (1, 70)), features=19, outputs=4),
    "other depths": dict(hidden=((16,), (20, 24, 17, 9), (8,)), features=1, u=3),
    "one pixel": dict(padded=(4, 4), lr_size=(1, 1), size=(1, 1)),
}


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name, precision):
    check(problem(seed=len(name), **SHAPES[name]), precision, published="C" in SHAPES[name] and name != "nine outputs")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", [{}, PUBLISHED], ids=["any widths", "published widths"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_wild_flow_reads_outside(bad, kind, precision):
    arguments = problem(**kind, size=(4, 9))
    weight, bias = arguments[6][-1]
    arguments[6][-1] = (weight, torch.full_like(bias, bad))
    if np.isnan(bad):  # nowhere at all: then what the maps hold does not matter
        for maps in arguments[:2]:
            maps[..., 0, 0] = torch.nan
    image, flow, _ = query(arguments, precision)
    assert torch.equal(flow.isnan(), torch.full_like(flow, bad).isnan())
    assert relative_error(image, expected(arguments)[0]) <= 2 * PRECISIONS[precision]


@functools.cache
def golden(case_name):
    case = golden_cases.tensors(case_name, torch.float64)
    model = golden_cases.model(case["seed"], torch.float64)
    networks = [n.layers() for n in (model.feat_imnet, model.flow_imnet, model.encode_imnet)]
    maps = case["encoded"].flatten(1, 2), case["frames"].flatten(1, 2), case["times"]
    sizes = tuple(case["frames"].shape[-2:]), tuple(case["size"].tolist())
    return (*maps, *sizes, *networks, golden_cases.frame_upsample(case_name)), case


QUICK = {("anisotropic_test", "float32"), *(("downscale1_train", precision) for precision in PRECISIONS)}


@pytest.mark.parametrize(
    ("case_name", "precision"),
    [
        pytest.param(case, precision, marks=() if (case, precision) in QUICK else pytest.mark.slow)
        for case in golden_cases.NETWORK_CASES
        for precision in PRECISIONS
    ],
)
def test_golden(case_name, precision):
    arguments, case = golden(case_name)
    image, flow, report = query(arguments, precision, device=LARGE)
    assert report["published"]
    assert (image - case["out"]).abs().max() <= GOLDEN_QUERY[precision]
    if "flow0" in case:
        assert (flow[:, 0] - case["flow0"]).abs().max() <= GOLDEN_QUERY[precision] * case["flow0"].abs().max()


def test_sines_are_exact_at_large_phases():
    rng = np.random.default_rng(0)
    phases = np.concatenate([rng.uniform(-r, r, 4000) for r in (1, 10, 1e4)]).astype(np.float32)
    approximate, polynomial = np.full_like(phases, np.nan), np.full_like(phases, np.nan)
    units = build.load("inr_query").sines(phases, approximate, polynomial)
    for actual, unit in zip((approximate, polynomial), units, strict=True):
        assert np.abs(actual - np.sin(phases.astype(np.float64) / unit)).max() <= 2e-6
    wild = np.array([np.inf, -np.inf, np.nan, 1e30], np.float32)
    polynomial = np.empty_like(wild)
    build.load("inr_query").sines(wild, np.empty_like(wild), polynomial)
    assert np.isnan(polynomial[:3]).all()
    assert abs(polynomial[3]) <= 1


@pytest.mark.parametrize(("flow", "longest"), [(8.0, 2), pytest.param(40.0, 8, marks=pytest.mark.slow)])
def test_traffic(flow, longest):
    """Unique 32-byte sectors of both passes a block, against maps read once, HR feature and flow written and read once,
    and the picture written."""
    arguments = problem(**PUBLISHED, padded=(16, 16), lr_size=(16, 16), size=(64, 64), flow=flow)
    _, moves, report = query(arguments, "float16", device=(8, 227 << 10), images=1)
    touched = report["sectors"]
    ideal = 16 * 16 * 256 * 4 + 64 * 64 * (8 * 4 + 2 * (64 * 2 + 4 * 4) + 3 * 4)
    names = ("maps", "colours", "hr", "flows", "image")
    actual = sum(touched[name]["loads_by_block"] + touched[name]["stores_by_block"] for name in names)
    assert 0.75 * longest < moves.abs().max() < longest
    assert actual * 32 <= 1.5 * ideal


def test_a_layer_too_wide_is_refused():
    with pytest.raises(RuntimeError, match="a layer is too wide for the GPU's shared memory"):
        query(problem(hidden=((16,), (800,), (8,)), size=(1, 1)))
