"""Weights as the kernels take them: none stale, few launches, and gradients back in the tensors' order."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import vinr_engine as vinr
from benchmarks.tolerances import TRITON, relative_error
from vinr_engine.kernels.common.packing import Split, _factors, _sources, pack, plan, unpack

CPU = torch.device("cpu")


class Operations(TorchDispatchMode):
    """Lists the operations that torch runs inside."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


def network(depth, inputs=9, width=20):
    """Shapes, how the first layer is split, and tensors."""
    shapes = ((width, inputs), *((width, width) for _ in range(depth - 1)))
    rng = torch.Generator().manual_seed(depth)
    tensors = [torch.rand(s, generator=rng) for out, of in shapes for s in ((out, of), (out,))]
    return plan((shapes,), (Split((5, 0), leading=3, trailing=1),)), tensors


def test_what_a_cuda_graph_may_read_stays():
    """However many networks follow: a recorded graph keeps addresses alone."""
    kept = [_sources(network(2)[0], CPU), _factors(network(2)[0], 30.0, CPU)]
    for width in range(30, 130):
        layout, tensors = network(2, width=width)
        pack(layout, tensors, torch.float32, CPU, omega=30.0)
    assert _sources(network(2)[0], CPU) is kept[0]
    assert _factors(network(2)[0], 30.0, CPU) is kept[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_where_everything_lies(dtype):
    layout, tensors = network(3)
    matrices, vectors = pack(layout, tensors, dtype, CPU, omega=30.0)
    for i, layer in enumerate(layout.networks[0]):
        weight, bias = tensors[2 * i : 2 * i + 2]
        held = matrices[layer.weight : layer.weight + layer.outputs * layer.inputs].view(layer.outputs, layer.inputs)
        held_bias = vectors[layer.bias : layer.bias + layer.outputs]
        if i == 0:  # columns 0 to 2 and 8 are vectors behind the bias
            for j, column in enumerate((0, 1, 2, 8), start=1):
                at = layer.bias + j * layer.outputs
                assert torch.equal(vectors[at : at + 20], weight[:, column])
            weight = weight[:, 3:8]
        out, of = weight.shape
        assert torch.equal(held[:out, :of], weight.to(dtype))
        assert held.count_nonzero() == weight.to(dtype).count_nonzero()  # zeros around it
        assert torch.equal(held_bias[:20], bias * 30 if i == 1 else bias)
        assert not held_bias[20:].any()


def test_unpacking_restores_the_tensors():
    layout, tensors = network(4)
    flat = unpack(layout, *pack(layout, tensors, torch.float32, CPU))
    assert torch.equal(flat, torch.cat([t.flatten() for t in tensors]))


def test_as_many_operations_for_many_layers_as_for_few():
    counts = []
    for depth in (2, 12):
        layout, tensors = network(depth)
        for _ in range(2):  # the first call finds out where each number goes
            with Operations() as operations:
                pack(layout, tensors, torch.float16, CPU, omega=30.0)
        counts.append(sum("view" not in name and "detach" not in name for name in operations.names))
    assert counts[0] == counts[1] <= 6


def test_weights_are_kept_by_no_call(triton_device):
    """A weight that is changed in place, by hand or by an optimiser, is seen by the next call."""
    rng = torch.Generator().manual_seed(0)
    weights = [torch.rand(s, generator=rng).to(triton_device).requires_grad_() for s in ((8, 3), (8,), (2, 8), (2,))]
    x = torch.rand(1, 5, 3, generator=rng).to(triton_device)
    optimiser = torch.optim.SGD(weights, lr=1e-4)

    def run(backend):
        with vinr.backend(backend):
            return vinr.ops.sampled_mlp([], [], [tuple(weights[2:])], x=x, x_weight=weights[0], bias=weights[1])

    seen = []
    for change in (lambda: None, lambda: weights[2].data.mul_(-2), optimiser.step):
        change()
        out = run("triton")
        assert relative_error(out, run("reference")) <= TRITON[torch.float32]
        out.square().sum().backward()
        assert all(relative_error(out, before) > 1e-3 for before in seen)
        seen.append(out.detach())
