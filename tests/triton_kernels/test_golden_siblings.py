"""Queries of other networks with every op on the triton backend, against the published networks' stored outputs."""

import pytest
import torch
from torch.utils._pytree import tree_map

import golden_cases
import vinr_engine as vinr
from golden_splatting import case_of, size_of
from vinr_engine import reference
from vinr_engine.drop_in.bf_stvsr import BFQuery
from vinr_engine.drop_in.lte import lte_query
from vinr_engine.drop_in.motif import MoTIFQuery
from vinr_engine.drop_in.softsplat import softsplat
from vinr_engine.drop_in.v3 import V3Query

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
LARGEST = 3e-4  # of colours and sums, absolute, in float32
GRADIENT = 2e-3  # relative to the largest


@pytest.mark.parametrize("name", ["scale1", "ties"])
def test_bf_stvsr(triton_device, name):
    case, parameters = case_of("bf_stvsr", name, torch.float32)
    query, features = BFQuery.from_state_dict(parameters).to(triton_device), case["features"].to(triton_device)
    with vinr.backend("triton"):
        rgb, _ = query.decode(features.requires_grad_(), case["times"].to(triton_device), size_of(case))
        (grad,) = torch.autograd.grad(rgb, features, case["grad"].to(triton_device))
    assert (rgb.cpu() - case["rgb"]).abs().max() <= LARGEST
    expected = case["grad:features"]
    assert (grad.cpu() - expected).abs().max() <= GRADIENT * expected.abs().max()


def test_motif(triton_device):
    case, parameters = case_of("motif", "fraction", torch.float32)
    query, size = MoTIFQuery.from_state_dict(parameters).to(triton_device), size_of(case)
    features, frames, flow, times = (case[n].to(triton_device) for n in ("features", "frames", "raft", "times"))
    with torch.inference_mode():
        motion = query.motion_features(frames, flow)
        with vinr.backend("triton"):
            rgb, _ = query.decode(features, motion, times, size)
    assert (rgb.cpu() - case["rgb"]).abs().max() <= LARGEST


@pytest.mark.parametrize("mode", ["sum", "avg", "linear", "soft", "soft-zeroeps"])
def test_softsplat(triton_device, mode):
    case = golden_cases.sibling_cases("softsplat", torch.float32)["generic"]
    x, flow, metric = (case[name].to(triton_device) for name in ("x", "flow", "metric"))
    with torch.inference_mode(), vinr.backend("triton"):
        out = softsplat(x, flow, metric if mode.startswith(("linear", "soft")) else None, mode)
    assert (out.cpu() - case[f"{mode}/out"]).abs().max() <= 4e-6 * max(1, case[f"{mode}/out"].abs().max())


def test_lte(triton_device):
    case = golden_cases.sibling_cases("lte", torch.float32)["lte4"]
    state = golden_cases.sibling_parameters("lte", case["seed"], torch.float32)
    state = {name: tensor.to(triton_device) for name, tensor in state.items()}
    features, picture = case["features"].to(triton_device), case["input"].to(triton_device)
    with torch.inference_mode(), vinr.backend("triton"):
        out = lte_query(features, state, size_of(case), image=picture)
    assert (out.cpu().permute(0, 3, 1, 2) - case["out"]).abs().max() <= LARGEST


def test_v3(triton_device):
    case = golden_cases.sibling_cases("v3", torch.float32)["fraction"]
    state = golden_cases.sibling_parameters("v3", case["seed"], torch.float32)
    head = state["out_conv.kernel"].T.contiguous(), state["out_conv.bias"]
    damping = reference.field_damping(state["freqs"], state["k"], 25 / 169)
    times = torch.arange(2), case["z"]
    given = [case["encoding"], head, state["freqs"], damping, times]
    encoding, head, frequencies, damping, times = tree_map(lambda t: t.to(triton_device), given)
    with torch.inference_mode(), vinr.backend("triton"):
        out = vinr.ops.v3_query(encoding, head, frequencies, damping, size_of(case), times)
    colours = out.cpu() * torch.tensor(V3Query.std) + torch.tensor(V3Query.mean)
    assert (colours - case["field"]).abs().max() <= LARGEST
