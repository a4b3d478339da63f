"""FlowINR with every op on the triton backend, against the reference in float64."""

import pytest
import torch

import vinr_engine as vinr
from benchmarks.tolerances import TRITON, relative_error
from vinr_engine.models import FlowINR


@pytest.mark.slow
@pytest.mark.parametrize("size", [(48, 64), (54, 72)], ids=["whole_scale", "nine_quarters"])
def test_network(triton_device, size):
    torch.manual_seed(0)
    model, frames = FlowINR(nf=8, blocks=2, merge_blocks=1, pyramid=[8, 8, 8]).eval(), torch.rand(1, 2, 3, 24, 32)
    torch.nn.init.normal_(model.merge.decoder.functions, std=0.05)  # what begins as zeros hides what is wrong
    torch.nn.init.normal_(model.merge.flow.weight, std=0.02)
    with torch.inference_mode(), vinr.backend("triton"):
        actual = model.to(triton_device)(frames.to(triton_device), [0.25, 0.5], size)
    with torch.inference_mode(), vinr.backend("reference"):
        exact = model.cpu().double()(frames.double(), [0.25, 0.5], size)
    assert relative_error(actual.cpu(), exact) <= TRITON[torch.float32]
