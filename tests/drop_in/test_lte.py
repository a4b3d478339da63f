import pytest
import torch
from torch import nn

import golden_cases
from benchmarks.tolerances import LTE, LTE_GRADIENT, OP, relative_error
from vinr_engine import reference
from vinr_engine.drop_in.lte import accelerate, lte_query

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
CASES = ("lte4", "lte_fraction", "fast4", "fast_fraction")


@pytest.fixture(scope="module")
def golden():
    return golden_cases.sibling_cases("lte")


def parameters_of(case, seed, dtype):
    return golden_cases.sibling_parameters("lte", seed, dtype, fast=case.startswith("fast"))


def grid(size, batch, dtype, cell_factor=1.0):
    """Coordinates [B, HH, WW, 2] of every pixel of an output, and a cell for each picture."""
    axes = [(torch.arange(n, dtype=dtype) * 2 + 1) / n - 1 for n in size]
    coordinates = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).expand(batch, -1, -1, -1)
    return coordinates, (torch.tensor([2 / n for n in size], dtype=dtype) * cell_factor).expand(batch, 2)


def straight(p, features, coordinates, cells, image):
    """The reference on parameters by name, [B, 3, HH, WW]."""
    coef, freq = ((p[f"{name}.weight"], p[f"{name}.bias"]) for name in ("coef", "freq"))
    fast = "layers.0.weight" in p
    prefix = "layers" if fast else "imnet.layers"
    layers = [(p[f"{prefix}.{i}.weight"], p[f"{prefix}.{i}.bias"]) for i in range(0, 8, 2)]
    if fast:
        return reference.lte_fast_query(features, coef, freq, p["phase.weight"], layers, coordinates, cells, image)
    size = coordinates.shape[1:3]
    flat = coordinates.flatten(1, 2)
    each = cells[:, None].expand_as(flat)
    out = reference.lte_query(features, coef, freq, p["phase.weight"], layers, flat, each, image)
    return out.transpose(1, 2).unflatten(2, size)


def by_size(p, features, coordinates, cells, image):
    return lte_query(features, p, tuple(coordinates.shape[1:3]), cells=cells, image=image).permute(0, 3, 1, 2)


def by_coordinates(p, features, coordinates, cells, image):
    flat = coordinates.flatten(1, 2)
    out = lte_query(features, p, coordinates=flat, cells=cells[:, None].expand_as(flat), image=image)
    return out.transpose(1, 2).unflatten(2, coordinates.shape[1:3])


def check_golden(golden, name, dtype, query):
    case = {k: v.to(dtype) if torch.is_tensor(v) else v for k, v in golden[name].items()}
    p = {k: v.requires_grad_() for k, v in parameters_of(name, case["seed"], dtype).items()}
    features = case["features"].requires_grad_()
    coordinates, cells = grid(case["size"].tolist(), len(features), dtype, float(case["cell_factor"]))
    out = query(p, features, coordinates, cells, case["input"])
    assert (out - case["out"]).abs().max() <= LTE[dtype]
    names = ["features", *p]
    found = dict(zip(names, torch.autograd.grad(out, [features, *p.values()], case["grad"]), strict=True))
    checked = 0
    for key, expected in case.items():
        kind, _, which = key.partition(":")
        if kind == "grad" and which:
            assert relative_error(found[which], expected) <= LTE_GRADIENT[dtype], which
            checked += 1
        elif kind == "grad_norm":
            assert abs(float(found[which].norm()) / float(expected) - 1) <= LTE_GRADIENT[dtype], which
            checked += 1
    assert checked > len(p)


@pytest.mark.parametrize("case", CASES)
def test_reference_is_the_published_query(golden, case):
    check_golden(golden, case, torch.float64, straight)


@DTYPES
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("query", [by_size, by_coordinates], ids=["size", "coordinates"])
def test_golden(backend, golden, case, query, dtype):
    check_golden(golden, case, dtype, query)


def module_of(case, dtype=torch.float32, seed=3):
    """A stand-in for a project's module: its parameters' names, and an encoder of one convolution."""
    fast = case.startswith("fast")
    model = nn.Module()
    model.encoder = nn.Conv2d(3, 64, 3, padding=1)
    model.coef, model.freq = (nn.Conv2d(64, 256, 3, padding=1) for _ in range(2))
    model.phase = nn.Linear(2, 128, bias=False)
    leaves = []
    for out in (256, 256, 256, 3):
        leaves += [nn.Conv2d(256, out, 1) if fast else nn.Linear(256, out), nn.ReLU()]
    head = nn.Sequential(*leaves[:-1])
    if fast:
        model.layers = head
    else:
        model.imnet = nn.Module()
        model.imnet.layers = head
    missing = model.load_state_dict(parameters_of(case, seed, torch.float32), strict=False)
    assert not missing.unexpected_keys
    assert all("encoder" in name for name in missing.missing_keys)
    return model.to(dtype)


@pytest.mark.parametrize("case", ["lte", "fast"])
def test_accelerates_a_project_s_module(backend, case):
    model = module_of(case, torch.float64)
    p = dict(model.named_parameters())
    picture = torch.rand(2, 3, 5, 6, dtype=torch.float64) * 2 - 1
    coordinates, cells = grid((11, 13), 2, torch.float64)
    expected = straight(p, model.encoder(picture), coordinates, cells, picture)
    names, kind = list(model.state_dict()), type(model)
    assert accelerate(model) is model
    assert accelerate(model) is model  # a second time changes nothing
    assert isinstance(model, kind)
    assert list(model.state_dict()) == names
    if case == "lte":
        flat = coordinates.flatten(1, 2)
        each = cells[:, None].expand_as(flat)
        out = model(picture, flat, each).transpose(1, 2).unflatten(2, (11, 13))
        assert relative_error(model.query_rgb(flat[:, 7:20], each[:, 7:20]), out.flatten(2)[..., 7:20].mT) <= 1e-12
    else:
        out = model(picture, coordinates, cells)
    assert relative_error(out, expected) <= 1e-11
    out.square().sum().backward()
    assert all(parameter.grad.any() for parameter in model.parameters())


@pytest.mark.parametrize("case", ["lte", "fast"])
def test_a_module_and_its_parameters_are_one(backend, case):
    model, features = module_of(case), torch.rand(1, 64, 4, 5)
    expected = lte_query(features, dict(model.state_dict()), (7, 6))
    assert torch.equal(lte_query(features, model, (7, 6)), expected)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (6, 7), (30, 35)])
def test_sizes_where_centres_fall_on_edges(backend, size):
    p = parameters_of("lte", 3, torch.float64)
    features, image = torch.rand(1, 64, 6, 7, dtype=torch.float64), torch.rand(1, 3, 6, 7, dtype=torch.float64)
    coordinates, cells = grid(size, 1, torch.float64)
    expected = straight(p, features, coordinates, cells, image)
    assert relative_error(by_size(p, features, coordinates, cells, image), expected) <= 1e-11


def test_gradients_of_coordinates_cells_and_the_picture(backend):
    p = parameters_of("lte", 3, torch.float64)
    features, image = torch.rand(2, 64, 4, 5, dtype=torch.float64), torch.rand(2, 3, 4, 5, dtype=torch.float64)
    coordinates, cells = (torch.rand(2, 19, 2, dtype=torch.float64) * scale - 1 for scale in (2, 3))
    leaves = [t.requires_grad_() for t in (features, coordinates, cells, image)]
    prefix = "imnet.layers"
    layers = [(p[f"{prefix}.{i}.weight"], p[f"{prefix}.{i}.bias"]) for i in range(0, 8, 2)]
    coef, freq = ((p[f"{name}.weight"], p[f"{name}.bias"]) for name in ("coef", "freq"))
    expected = reference.lte_query(features, coef, freq, p["phase.weight"], layers, coordinates, cells, image)
    actual = lte_query(features, p, coordinates=coordinates, cells=cells, image=image)
    weight = torch.rand_like(actual)
    for a, b in zip(*(torch.autograd.grad(out, leaves, weight) for out in (actual, expected)), strict=True):
        assert relative_error(a, b) <= 1e-10


def test_autocast_keeps_frequencies(backend):
    p, features = parameters_of("lte", 3, torch.float32), torch.rand(1, 64, 6, 5)
    p["freq.weight"] *= 20  # of a size at which bfloat16 frequencies give other phases altogether
    expected = lte_query(features, p, (12, 10))
    with torch.autocast("cpu", torch.bfloat16):
        out = lte_query(features, p, (12, 10))
    assert out.dtype == torch.bfloat16
    assert relative_error(out, expected) <= OP[torch.bfloat16]


@pytest.mark.slow
@pytest.mark.parametrize("of", [module_of, parameters_of])
def test_compiles_as_one_graph(of):
    torch.compiler.reset()
    model, features = of("lte", dtype=torch.float32, seed=3), torch.rand(1, 64, 6, 7, requires_grad=True)
    compiled = torch.compile(lambda x: lte_query(x, model, (9, 11)), fullgraph=True, backend="aot_eager")
    actual, expected = compiled(features), lte_query(features, model, (9, 11))
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(*(torch.autograd.grad(out.sum(), features) for out in (actual, expected)))


def test_nothing_to_do(backend):
    p, features = parameters_of("lte", 3, torch.float32), torch.rand(1, 64, 6, 5)
    assert lte_query(features[:0], p, (5, 6)).shape == (0, 5, 6, 3)
    assert lte_query(features, p, coordinates=torch.zeros(1, 0, 2), cells=torch.zeros(1, 0, 2)).shape == (1, 0, 3)


def without(name, case="lte"):
    return {k: v for k, v in parameters_of(case, 3, torch.float32).items() if not k.startswith(name)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(size=None), "either size or coordinates must be given"),
        (dict(size=(5, 0)), r"size must be two positive numbers, got \(5, 0\)"),
        (
            dict(features=torch.zeros(1, 32, 4, 5)),
            r"features must be \[B, C, h, w\] = \[1, 64, 4, 5\], got \[1, 32, 4, 5\]",
        ),
        (dict(features=torch.zeros(64, 4, 5)), r"features must be \[B, C, h, w\], got \[64, 4, 5\]"),
        (dict(image=torch.zeros(1, 4, 4, 5)), r"image must be \[B, out, H, W\] = \[1, 3, 4, 5\]"),
        (dict(cells=torch.zeros(1, 9, 2)), r"cells must be \[B, 2\] with a size = \[1, 2\], got \[1, 9, 2\]"),
        (dict(size=None, coordinates=torch.zeros(1, 9, 2)), "coordinates need cells beside them"),
        (dict(size=None, coordinates=torch.zeros(1, 3, 3, 2)), r"coordinates must be \[B, Q, 2\], got \[1, 3, 3, 2\]"),
        (
            dict(size=None, coordinates=torch.zeros(1, 9, 2), cells=torch.zeros(1, 8, 2)),
            r"cells must be \[B, Q, 2\] or \[B, 2\] = \[1, 9, 2\], got \[1, 8, 2\]",
        ),
        (dict(model=without("phase")), r"model must have coef, freq, .*, got parameters without phase.weight"),
        (dict(model=without("imnet")), r"got parameters without layers.0.weight, layers.0.bias"),
        (dict(model=nn.Conv2d(3, 3, 3)), "got a Conv2d without coef, freq, phase, layers"),
        (
            dict(model=without("nothing") | {"phase.weight": torch.zeros(64, 2)}),
            r"phase.weight must be \[D / 2, 2\] = \[128, 2\], got \[64, 2\]",
        ),
        (dict(model=without("imnet.layers.2")), "got parameters without imnet.layers.2.weight, imnet.layers.2.bias"),
        (
            dict(model=without("nothing") | {"freq.weight": torch.zeros(256, 64, 1, 1)}),
            r"freq.weight must be \[D, C, 3, 3\] = \[256, 64, 3, 3\], got \[256, 64, 1, 1\]",
        ),
    ],
)
def test_bad_arguments(changes, message):
    model = parameters_of("lte", 3, torch.float32)
    given = dict(features=torch.zeros(1, 64, 4, 5), model=model, size=(5, 6)) | changes
    with pytest.raises(ValueError, match="lte_query: .*" + message):
        lte_query(**given)


def test_modules_of_the_other_kind_are_named():
    single, cells = torch.zeros(1, 9, 2), torch.zeros(1, 9, 2)
    picture = torch.zeros(1, 3, 4, 5)
    model = accelerate(module_of("fast"))
    with pytest.raises(ValueError, match=r"this is an LTE-fast module, coord must be \[B, HH, WW, 2\] and cell"):
        model(picture, single, cells)
    model = accelerate(module_of("lte"))
    with pytest.raises(ValueError, match=r"this is an LTE module, coord must be \[B, Q, 2\] .* LTE-fast takes"):
        model(picture, torch.zeros(1, 3, 3, 2), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="query_rgb needs gen_feat, or forward, before it"):
        accelerate(module_of("lte")).query_rgb(single, cells)
    model = module_of("lte")
    model.imnet.layers[1] = nn.GELU()
    with pytest.raises(ValueError, match="imnet must be Linear layers with a ReLU between them, got"):
        accelerate(model)
    model = module_of("lte")
    model.freq = nn.Conv2d(64, 256, 3)
    with pytest.raises(ValueError, match="freq must be a 3x3 convolution with padding 1 and a bias, got"):
        accelerate(model)
    model = module_of("lte")
    del model.encoder
    with pytest.raises(ValueError, match="model must have an encoder"):
        accelerate(model)
