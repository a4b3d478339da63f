import pytest
import torch
import torch.nn.functional as F
from torch import nn

import vinr_engine as vinr
from benchmarks.tolerances import OP, relative_error
from vinr_engine import backends
from vinr_engine.models.layers.blocks import ResidualBlocks
from vinr_engine.models.layers.convolution import LEAST_PIXELS, convolve, is_fused, share

extension = pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)
LAST = torch.channels_last


@pytest.fixture
def layer():
    torch.manual_seed(3)
    return nn.Conv2d(16, 8, 3, 1, 1)


def maps(h=20, w=24, channels=(10, 6)):
    return [torch.randn(2, C, h, w).contiguous(memory_format=LAST) for C in channels]


@extension
def test_which_maps_are_fused():
    x = torch.zeros(1, 2, LEAST_PIXELS, 1)
    assert is_fused(x)
    assert not is_fused(x[:, :, 1:])
    assert not is_fused(x.double())
    assert not is_fused(x.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert is_fused(x.bfloat16())
    with vinr.backend("reference"):
        assert not is_fused(x)


@pytest.mark.parametrize("size", [(20, 24), (3, 3)], ids=str)
@pytest.mark.parametrize("slope", [1.0, 0.1, 0.0])
@pytest.mark.parametrize("adds", [False, True])
def test_as_pytorch_does_it(layer, size, slope, adds):
    x, add = maps(*size), torch.randn(2, 8, *size) if adds else None
    expected = F.leaky_relu(layer(torch.cat(x, 1)) + (0 if add is None else add), slope)
    assert relative_error(convolve(layer, *x, slope=slope, add=add), expected) <= OP[torch.float32]
    with vinr.backend("reference"):
        kept = None if add is None else add.clone()
        assert relative_error(convolve(layer, *x, slope=slope, add=add), expected) <= OP[torch.float32]
        assert add is None or torch.equal(add, kept)


@pytest.mark.parametrize("size", [(20, 24), (3, 3)], ids=str)
def test_shares_sum_to_the_whole(layer, size):
    x = maps(*size, channels=(8, 8))
    both = share(layer, x[1], 1, slope=0.1, add=share(layer, x[0], 0))
    assert relative_error(both, F.leaky_relu(layer(torch.cat(x, 1)), 0.1)) <= OP[torch.float32]


@extension
def test_autocast_rounds_only_where_asked(layer):
    x = maps()
    exact = layer.double()(torch.cat(x, 1).double())
    layer.float()
    with torch.autocast("cpu", torch.bfloat16):
        kept, rounded = convolve(layer, *x), convolve(layer, *x, rounds=True)
        from_low = convolve(layer, *(m.bfloat16() for m in x))
    assert kept.dtype == rounded.dtype == from_low.dtype == torch.float32
    assert relative_error(kept, exact) <= OP[torch.float32]
    assert relative_error(from_low, exact) <= OP[torch.bfloat16]
    if torch.ops.vinr.cpu_variant() == "avx512_bf16":
        assert relative_error(rounded, exact) > OP[torch.float32]


@pytest.mark.parametrize("size", [(0, 8, 20, 24), (1, 8, 1, 1), (2, 8, 3, 5), (3, 16, 12, 16)], ids=str)
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_residual_blocks_of_inference(size, channels_last, bias):
    """In two maps of memory, neither of them the caller's."""
    torch.manual_seed(4)
    blocks = ResidualBlocks(3, size[1], bias=bias)
    x = torch.randn(size)
    x = x.contiguous(memory_format=LAST) if channels_last else x
    kept = x.clone()
    exact = ResidualBlocks(3, size[1], bias=bias).double()
    exact.load_state_dict(blocks.state_dict())
    expected = exact(x.double())
    assert relative_error(blocks(x), expected) <= OP[torch.float32]
    with torch.inference_mode():
        assert relative_error(blocks(x), expected) <= OP[torch.float32]
    assert torch.equal(x, kept)


def test_graphs_that_leave_hold_no_op_of_ours(layer):
    program = torch.export.export(Joined(layer), tuple(maps()))
    assert "vinr" not in str(program.graph)


class Joined(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, first, second):
        return convolve(self.layer, first, second, slope=0.1)
