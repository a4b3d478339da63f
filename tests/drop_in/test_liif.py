import itertools

import pytest
import torch
from torch import nn

import golden_cases
import vinr_engine as vinr
from benchmarks.tolerances import GOLDEN, GOLDEN_GRADIENT, relative_error
from vinr_engine import reference
from vinr_engine.drop_in.liif import liif_query

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def grid(h, w, batch, dtype=torch.float64):
    """Coordinates and cells of every pixel of an output."""
    axes = [(torch.arange(n, dtype=dtype) * 2 + 1) / n - 1 for n in (h, w)]
    coordinates = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(1, -1, 2).expand(batch, -1, -1)
    return coordinates, torch.tensor([2 / h, 2 / w], dtype=dtype).expand_as(coordinates)


def problem(C=5, size=(6, 7), hidden=(16, 9), B=2, feat_unfold=True, cell_decode=True):
    rng = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.rand(shape, generator=rng, dtype=torch.float64) * 2 - 1

    widths = ((9 if feat_unfold else 1) * C + (4 if cell_decode else 2), *hidden, 3)
    layers = [(draw(b, a) * (3 / a) ** 0.5, draw(b) * 0.1) for a, b in itertools.pairwise(widths)]
    return draw(B, C, *size), layers


@pytest.fixture(scope="module")
def golden():
    return golden_cases.load("liif")


def check_golden(arrays, dtype, by):
    arrays = {k: torch.from_numpy(v) for k, v in arrays.items()}
    parameters = [f"param:imnet.layers.{i}." for i in range(0, 9, 2)]
    layers = [(arrays[p + "weight"].to(dtype), arrays[p + "bias"].to(dtype)) for p in parameters]
    features = arrays["feat"].to(dtype).requires_grad_()
    size = tuple(arrays["size"].tolist())
    if by == "size":
        out = liif_query(features, layers, size)
    else:
        coordinates, cells = grid(*size, 2, dtype)
        out = liif_query(features, layers, coordinates=coordinates, cells=cells).view(2, *size, 3)
    assert (out - arrays["rgb"]).abs().max() <= GOLDEN[dtype]
    (gradient,) = torch.autograd.grad(out.square().sum(), features)
    assert relative_error(gradient, arrays["grad_feat_of_sum_of_squares"]) <= GOLDEN_GRADIENT[dtype]


@DTYPES
@pytest.mark.parametrize("by", ["size", "coordinates"])
def test_golden(backend, golden, dtype, by):
    check_golden(golden, dtype, by)


def test_golden_on_every_instruction_set(variant, golden):
    check_golden(golden, torch.float32, "size")


@pytest.mark.parametrize("feat_unfold", [True, False])
@pytest.mark.parametrize("local_ensemble", [True, False])
@pytest.mark.parametrize("cell_decode", [True, False])
def test_options(backend, feat_unfold, local_ensemble, cell_decode):
    features, layers = problem(feat_unfold=feat_unfold, cell_decode=cell_decode)
    options = dict(feat_unfold=feat_unfold, local_ensemble=local_ensemble, cell_decode=cell_decode)
    coordinates, cells = grid(11, 17, 2)
    expected = reference.liif_query(features, layers, coordinates, cells, **options)
    torch.testing.assert_close(liif_query(features, layers, (11, 17), **options).view(2, -1, 3), expected)
    coordinates = torch.rand(2, 60, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2 - 1
    cells = torch.rand(2, 60, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = reference.liif_query(features, layers, coordinates, cells, **options)
    given = dict(cells=cells) if cell_decode else {}
    actual = liif_query(features, layers, coordinates=coordinates, **given, **options)
    torch.testing.assert_close(actual, expected)


def test_gradients(backend):
    features, layers = problem()
    coordinates, cells = (t.clone() for t in grid(5, 8, 2))
    leaves = [features, coordinates, cells, *(t for layer in layers for t in layer)]
    for t in leaves:
        t.requires_grad_()
    actual = liif_query(features, layers, coordinates=coordinates, cells=cells)
    expected = reference.liif_query(features, layers, coordinates, cells)
    weight = torch.rand(actual.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    pairs = zip(*(torch.autograd.grad(out, leaves, weight) for out in (actual, expected)), strict=True)
    for i, (a, b) in enumerate(pairs):
        assert relative_error(a, b) <= 1e-10, i


def test_takes_the_module_that_a_project_has(backend):
    class Mlp(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(49, 8), nn.ReLU(), nn.Linear(8, 3, bias=False))

    features, imnet = torch.rand(1, 5, 4, 4), Mlp()
    pairs = [(imnet.layers[0].weight, imnet.layers[0].bias), (imnet.layers[2].weight, torch.zeros(3))]
    expected = liif_query(features, pairs, (7, 7))
    assert torch.equal(liif_query(features, imnet, (7, 7)), expected)
    assert torch.equal(liif_query(features, imnet.layers, (7, 7)), expected)
    with pytest.raises(ValueError, match="liif_query: imnet must be Linear layers with a ReLU between them, got"):
        liif_query(features, nn.Sequential(nn.Linear(49, 8), nn.GELU(), nn.Linear(8, 3)), (7, 7))


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (6, 7), (30, 35), (13, 14)])
def test_sizes_where_centres_fall_on_edges(backend, size):
    features, layers = problem()
    coordinates, cells = grid(*size, 2)
    expected = reference.liif_query(features, layers, coordinates, cells)
    torch.testing.assert_close(liif_query(features, layers, size).view(2, -1, 3), expected)


def test_nothing_to_do(backend):
    features, layers = problem()
    assert liif_query(features[:0], layers, (5, 6)).shape == (0, 5, 6, 3)
    none = torch.zeros(2, 0, 2, dtype=torch.float64)
    assert liif_query(features, layers, coordinates=none, cells=none).shape == (2, 0, 3)


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_as_one_graph(dynamic):
    torch.compiler.reset()
    compiled = torch.compile(liif_query, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    features, layers = problem()
    features.requires_grad_()
    for size in ((9, 11), (12, 7)):
        actual, expected = compiled(features, layers, size), liif_query(features, layers, size)
        torch.testing.assert_close(actual, expected)
        torch.testing.assert_close(*(torch.autograd.grad(out.sum(), features) for out in (actual, expected)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(features=torch.zeros(5, 6, 7)), r"features must be \[B, C, h, w\], got \[5, 6, 7\]"),
        (dict(imnet=[]), "imnet needs a layer"),
        (dict(feat_unfold=False), r"imnet\[0\] weight must be \[out, in\] = \[16, 9\], got \[16, 49\]"),
        (dict(size=(0, 4)), r"size must be positive, got \(0, 4\)"),
        (dict(size=None), "either size or coordinates must be given"),
        (dict(coordinates=torch.zeros(2, 3, 2)), "either size or coordinates must be given"),
        (dict(size=None, coordinates=torch.zeros(1, 3, 2)), r"coordinates must be \[B, Q, 2\] = \[2, 3, 2\]"),
        (dict(size=None, coordinates=torch.zeros(2, 3, 2)), "cell_decode needs cells beside coordinates"),
    ],
)
def test_bad_arguments(changes, message):
    features, layers = problem()
    with pytest.raises(ValueError, match="liif_query: " + message):
        liif_query(**(dict(features=features, imnet=layers, size=(4, 4)) | changes))


def test_wrong_coordinates_read_no_memory(backend):
    """Far, infinite and NaN coordinates: clamped, or no colour; never a crash."""
    features, layers = problem()
    coordinates = torch.tensor([3.0, -1e30, torch.inf, -torch.inf, torch.nan], dtype=torch.float64)
    coordinates = coordinates.repeat(2, 2, 1).transpose(1, 2)
    out = liif_query(features, layers, coordinates=coordinates, cells=torch.ones_like(coordinates))
    assert torch.isfinite(out[:, 0]).all()
    assert out[:, -1].isnan().all()


def test_the_layer_below_says_who_ran():
    features, layers = problem()
    with vinr.backend("triton"), pytest.raises(vinr.BackendError, match="sampled_mlp: backend 'triton' cannot run"):
        liif_query(features, layers, (4, 4))
