"""The whole network with every op on the triton backend, against the published network's stored output."""

import pytest
import torch

import golden_cases
import vinr_engine as vinr
from benchmarks.tolerances import GOLDEN_TRITON


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_network(triton_device):
    case = golden_cases.tensors("anisotropic_test", torch.float32)
    model = golden_cases.model(case["seed"], torch.float32).to(triton_device)
    frames, times = case["frames"].to(triton_device), case["times"].to(triton_device)
    with torch.inference_mode(), vinr.backend("triton"):
        out = model(frames, times, tuple(case["size"].tolist()), 4)
    assert (out.cpu() - case["out"]).abs().max() <= GOLDEN_TRITON
