import pytest
import torch

from benchmarks.tolerances import GOLDEN_SPLATTED
from golden_splatting import assert_golden_gradients, case_of, size_of
from vinr_engine import reference
from vinr_engine.drop_in.motif import MoTIFQuery

every = pytest.mark.parametrize("name", ["scale4", "fraction"])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


@every
def test_the_straight_form_is_golden(name):
    case, parameters = case_of("motif", name)
    features = case["features"].requires_grad_()
    leaves = {n: t.requires_grad_() for n, t in parameters.items()}
    seen = reference.motif_motion_input(case["frames"], case["raft"])
    motion = reference.motif_motion_features(leaves, seen)
    found = reference.motif_query(leaves, features, motion, case["times"], size_of(case))
    bound = GOLDEN_SPLATTED[torch.float64]
    answers = [(getattr(found, what), what) for what in ("rgb", "motion", "extra")]
    for actual, what in ((seen, "motion_input"), (motion, "motion_features"), *answers):
        assert (actual - case[what]).abs().max() <= bound, what
    assert_golden_gradients(case, found.rgb, features, leaves)


@DTYPES
@every
def test_golden(name, dtype):
    case, parameters = case_of("motif", name, dtype)
    query = MoTIFQuery.from_state_dict(parameters).to(dtype)
    with torch.inference_mode():
        motion = query.motion_features(case["frames"], case["raft"])
        rgb, moved = query.decode(case["features"], motion, case["times"], size_of(case))
        clamped = query(case["features"], motion, case["times"], size_of(case))
    bound = GOLDEN_SPLATTED[dtype]
    assert (motion - case["motion_features"]).abs().max() <= bound
    assert (rgb - case["rgb"]).abs().max() <= bound
    assert (moved.permute(1, 2, 0, 3, 4, 5) - case["motion"]).abs().max() <= bound
    assert clamped.min() >= 0
    assert clamped.max() <= 1


@every
def test_golden_gradients(name):
    case, parameters = case_of("motif", name)
    query = MoTIFQuery.from_state_dict(parameters).double()
    features = case["features"].requires_grad_()
    motion = query.motion_features(case["frames"], case["raft"])
    rgb, _ = query.decode(features, motion, case["times"], size_of(case))
    assert_golden_gradients(case, rgb, features, dict(query.named_parameters()))


def test_the_whole_networks_state_is_taken_and_others_are_named():
    _, parameters = case_of("motif", "scale4", torch.float32)
    beside = {f"module.{n}": torch.zeros(2) for n in ("encoder.conv_first.weight", "g_filter", "norm_gamma")}
    query = MoTIFQuery.from_state_dict({f"module.{n}": t for n, t in parameters.items()} | beside)
    assert torch.equal(query.alpha, parameters["alpha"])
    _, other = case_of("bf_stvsr", "scale4", torch.float32)
    with pytest.raises(ValueError, match="a MoTIFQuery: this is a BF-STVSR checkpoint; flow_process"):
        MoTIFQuery.from_state_dict(other)


def zeros(*shape):
    return torch.zeros(shape)


BAD = {
    "features": (zeros(1, 2, 64, 4, 5), zeros(2, 1, 64, 4, 5), 0.5, (8, 10), r"features must be \[B, 3, 64, h, w\]"),
    "motion": (zeros(1, 3, 64, 4, 5), zeros(2, 1, 64, 4, 4), 0.5, (8, 10), r"motion must be \[2, B, 64, h, w\]"),
    "times": (zeros(1, 3, 64, 4, 5), zeros(2, 1, 64, 4, 5), 1.5, (8, 10), r"times must lie in \[0, 1\]"),
    "size": (zeros(1, 3, 64, 4, 5), zeros(2, 1, 64, 4, 5), 0.5, (8, 0), "size must be two whole numbers above 0"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_arguments(what):
    *arguments, message = BAD[what]
    with pytest.raises(ValueError, match=message):
        MoTIFQuery()(*arguments)


def test_flow_of_a_wrong_shape():
    with pytest.raises(ValueError, match=r"flow must be \[2, 2, B, 2, HH, WW\] = \[2, 2, 1, 2, 8, 10\]"):
        MoTIFQuery().motion_features(zeros(1, 2, 3, 4, 5), zeros(2, 1, 1, 2, 8, 10))
