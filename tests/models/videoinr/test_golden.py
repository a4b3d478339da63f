import pytest
import torch
import torch.nn.functional as F

import golden_cases
import vinr_engine as vinr
from benchmarks.tolerances import GOLDEN, GOLDEN_GRADIENT, relative_error

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


@DTYPES
@pytest.mark.parametrize("case_name", golden_cases.NETWORK_CASES)
def test_network(backend, case_name, dtype):
    case = golden_cases.tensors(case_name, dtype)
    model = golden_cases.model(case["seed"], dtype)
    size, upsample = tuple(case["size"].tolist()), golden_cases.frame_upsample(case_name)
    with torch.inference_mode():
        features = model.encode(case["frames"])
        out, flow = model.query_with_flow(features, case["frames"], case["times"], size, upsample)
        whole = model(case["frames"], case["times"], size, upsample)
    assert (features - case["encoded"]).abs().max() <= GOLDEN[dtype]
    assert (out - case["out"]).abs().max() <= GOLDEN[dtype]
    assert torch.equal(whole, out)
    if "flow0" in case:
        assert (flow[:, 0] - case["flow0"]).abs().max() <= GOLDEN[dtype]


@pytest.mark.parametrize("case_name", golden_cases.NETWORK_CASES)
def test_network_on_every_instruction_set(variant, case_name):
    case = golden_cases.tensors(case_name, torch.float32)
    model = golden_cases.model(case["seed"], torch.float32)
    size, upsample = tuple(case["size"].tolist()), golden_cases.frame_upsample(case_name)
    with torch.inference_mode():
        out = model(case["frames"], case["times"], size, upsample)
    assert (out - case["out"]).abs().max() <= GOLDEN[torch.float32]


@DTYPES
def test_training_step(backend, dtype):
    case = golden_cases.tensors("training_step", dtype)
    model = golden_cases.model(case["seed"], dtype)
    target = case["target"]
    out = model(case["frames"], case["times"], tuple(target.shape[-2:]), frame_upsample=1)
    loss = ((out - target).square() + 1e-6).sqrt().sum()
    loss.backward()
    tolerance = GOLDEN_GRADIENT[dtype]
    assert (out[:, 0] - case["pred0"]).abs().max() <= GOLDEN[dtype]
    assert loss.item() == pytest.approx(case["loss"].item(), rel=tolerance)
    parameters = dict(model.named_parameters())
    norms = dict(zip(case["grad_names"].tolist(), case["grad_norms"].tolist(), strict=True))
    assert {n for n, p in parameters.items() if p.grad is not None} == set(norms)
    for name, norm in norms.items():
        assert parameters[name].grad.norm().item() == pytest.approx(norm, rel=tolerance), name
    whole = [key for key in case if key.startswith("grad:")]
    assert len(whole) == 8
    for key in whole:
        assert relative_error(parameters[key.removeprefix("grad:")].grad, case[key]) <= tolerance, key


def test_hr_feature():
    """The first query network alone, through a colour network that hands one of its features on."""
    case = golden_cases.tensors("scale4_test", torch.float64)
    model = golden_cases.model(case["seed"], torch.float64)
    size = tuple(case["size"].tolist())
    layers = model.feat_imnet.layers()
    from vinr_engine.reference.inr_query import _hr_feature
    from vinr_engine.reference.sampling import axis_grid

    E, I = case["encoded"].flatten(1, 2), case["frames"].flatten(1, 2)
    grids = [axis_grid(n, m, torch.float64, E.device) for n, m in zip(E.shape[-2:], size, strict=True)]
    feature = _hr_feature(E, I, case["times"][0], *grids, layers).permute(0, 3, 1, 2)
    assert (feature - case["hrfeat0"]).abs().max() <= GOLDEN[torch.float64]


def test_padding_is_the_published_form_on_padded_frames(rng):
    """A network fed with replicated borders sees what ours pads itself; the output covers the unpadded rectangle."""
    model = vinr.VideoINR(nf=8, groups=2, front_blocks=1, back_blocks=1).double()
    frames = torch.rand(1, 2, 3, 10, 13, generator=rng, dtype=torch.float64)
    padded = F.pad(frames.flatten(0, 1), (0, 3, 0, 2), mode="replicate").unflatten(0, (1, 2))
    with torch.inference_mode():
        features = model.encode(frames)
        assert torch.equal(features, model.encode(padded))
        assert features.shape == (1, 3, 8, 12, 16)
        out = model.query(features, frames, 0.5, (20, 26))
    assert out.shape == (1, 1, 3, 20, 26)
