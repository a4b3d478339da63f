import pytest
import torch
from torch import nn

from benchmarks.tolerances import GOLDEN_SPLATTED
from golden_splatting import assert_golden_gradients, case_of, size_of
from vinr_engine import reference
from vinr_engine.drop_in.bf_stvsr import BFQuery
from vinr_engine.models.layers import splatted

CASES = ("scale4", "fraction", "scale1", "ties", "growing", "half_pixel")
every = pytest.mark.parametrize("name", CASES)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def query_of(parameters):
    return BFQuery.from_state_dict(parameters)


@every
def test_the_straight_form_is_golden(name):
    case, parameters = case_of("bf_stvsr", name)
    features = case["features"].requires_grad_()
    leaves = {n: t.requires_grad_() for n, t in parameters.items()}
    found = reference.bf_query(leaves, features, case["times"], size_of(case))
    for what in ("rgb", "motion", "extra", "splatted"):
        if what in case:
            assert (getattr(found, what) - case[what]).abs().max() <= GOLDEN_SPLATTED[torch.float64], what
    assert_golden_gradients(case, found.rgb, features, leaves)


@DTYPES
@every
def test_golden(name, dtype):
    case, parameters = case_of("bf_stvsr", name, dtype)
    query = query_of(parameters).to(dtype)
    with torch.inference_mode():
        rgb, motion = query.decode(case["features"], case["times"], size_of(case))
        clamped = query(case["features"], case["times"], size_of(case))
    assert (rgb - case["rgb"]).abs().max() <= GOLDEN_SPLATTED[dtype]
    assert (motion.permute(1, 2, 0, 3, 4, 5) - case["motion"]).abs().max() <= GOLDEN_SPLATTED[dtype]
    torch.testing.assert_close(clamped, rgb.clamp(0, 1), rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-12)


@every
def test_golden_gradients(name):
    case, parameters = case_of("bf_stvsr", name)
    query = query_of(parameters).double()
    features = case["features"].requires_grad_()
    rgb, _ = query.decode(features, case["times"], size_of(case))
    assert (rgb - case["rgb"]).abs().max() <= GOLDEN_SPLATTED[torch.float64]
    assert_golden_gradients(case, rgb, features, dict(query.named_parameters()))


def test_given_flow_replaces_the_networks_own():
    """That of the network itself changes nothing; another one does."""
    case, parameters = case_of("bf_stvsr", "scale4")
    query, size = query_of(parameters).double(), size_of(case)
    with torch.inference_mode():
        expected, motion = query.decode(case["features"], case["times"], size)
        unit = 20 * size[0] / case["features"].shape[-2]
        flow = motion[..., :2].permute(0, 1, 2, 5, 3, 4) * unit
        torch.testing.assert_close(query.decode(case["features"], case["times"], size, flow)[0], expected)
        assert (query.decode(case["features"], case["times"], size, flow + 3)[0] - expected).abs().max() > 1e-3


def test_blocks_of_rows_change_nothing(monkeypatch):
    case, parameters = case_of("bf_stvsr", "fraction")
    query = query_of(parameters).double()
    with torch.inference_mode():
        expected = query(case["features"], case["times"], size_of(case))
        monkeypatch.setattr(splatted, "BLOCK", 40)
        torch.testing.assert_close(query(case["features"], case["times"], size_of(case)), expected, rtol=0, atol=1e-12)


def test_autocast():
    case, parameters = case_of("bf_stvsr", "scale4", torch.float32)
    query = query_of(parameters)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = query(case["features"], case["times"], size_of(case))
    assert found.dtype == torch.float32
    assert (found - case["rgb"].clamp(0, 1)).square().mean().sqrt() < 2e-2


@pytest.mark.parametrize("grad", [True, False], ids=["training", "inference"])
def test_compiles_as_one_graph(grad):
    case, parameters = case_of("bf_stvsr", "scale4", torch.float32)
    query = query_of(parameters)
    compiled = torch.compile(query, fullgraph=True, backend="aot_eager")
    with torch.set_grad_enabled(grad):
        arguments = case["features"], case["times"], size_of(case)
        torch.testing.assert_close(compiled(*arguments), query(*arguments))


def test_states_of_other_networks_are_named():
    _, other = case_of("motif", "scale4", torch.float32)
    with pytest.raises(ValueError, match=r"not the parameters of a BFQuery: this is a MoTIF checkpoint; flow_imnet"):
        query_of(other)


def zeros(*shape):
    return torch.zeros(shape)


BAD = {
    "rank": ((zeros(3, 64, 4, 5), 0.5, (8, 10)), r"features must be \[B, 3, 64, h, w\], got \[3, 64, 4, 5\]"),
    "channels": ((zeros(1, 3, 32, 4, 5), 0.5, (8, 10)), r"features must be .* = \[1, 3, 64, 4, 5\]"),
    "empty": ((zeros(1, 3, 64, 0, 5), 0.5, (8, 10)), "features must have pixels"),
    "times": ((zeros(1, 3, 64, 4, 5), -0.1, (8, 10)), r"times must lie in \[0, 1\]"),
    "time that is no number": ((zeros(1, 3, 64, 4, 5), float("nan"), (8, 10)), r"times must lie in \[0, 1\]"),
    "size": ((zeros(1, 3, 64, 4, 5), 0.5, (8.5, 10)), "size must be two whole numbers above 0"),
    "flow": ((zeros(1, 3, 64, 4, 5), 0.5, (8, 10), zeros(1, 2, 1, 2, 8, 9)), r"flow must be \[N, 2, B, 2, HH, WW\]"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_arguments(what):
    arguments, message = BAD[what]
    with pytest.raises(ValueError, match=message):
        BFQuery()(*arguments)


def test_a_projects_own_module_shares_its_parameters():
    """What the query learns the module learns; its encoder, and names behind "module.", do not matter."""
    theirs = nn.DataParallel(BFQuery())
    theirs.module.encoder = nn.Linear(2, 2)
    query = BFQuery.of(theirs)
    assert all(p is dict(theirs.module.named_parameters())[n] for n, p in query.named_parameters())
    query(torch.rand(1, 3, 64, 3, 4), 0.5, (6, 8)).sum().backward()
    assert theirs.module.synth_net.net[4].bias.grad is not None
    with pytest.raises(ValueError, match=r"not the parameters of a BFQuery; alpha is missing, .* and \d+ more"):
        BFQuery.of(nn.Linear(2, 2))
