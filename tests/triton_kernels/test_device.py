"""Kernels are launched on the device of the op's tensors, whichever device is current."""

import pytest
import torch

from vinr_engine.kernels.common import runtime

if runtime.unavailable():
    pytest.skip(runtime.unavailable(), allow_module_level=True)

from triton.runtime.interpreter import GridExecutor

import vinr_engine as vinr
from benchmarks.tolerances import OP, relative_error
from ops import against_reference
from ops.bspline_head import samples as spline
from ops.bspline_head.test_op import gradients as spline_gradients
from ops.deform_attention import samples as attention
from ops.deform_attention.test_triton import gradients as attention_gradients
from ops.deform_conv2d.triton_cases import SMALL, gradients, moved, packed, unpacked
from ops.fourier_field.test_op import gradients as field_gradients
from ops.fourier_field.test_triton import TINY as TINY_FIELD
from ops.fourier_field.test_triton import on as field_on
from ops.fourier_mlp import samples as texture
from ops.fourier_mlp.test_triton import on as texture_on
from ops.inr_query.samples import cast, problem
from ops.inr_query.samples import gradients as query_gradients
from ops.inr_query.test_triton import on as query_on
from ops.local_correlation import samples as correlation
from ops.local_correlation.test_triton import gradients as correlation_gradients
from ops.nearest_conv import samples as nearest
from ops.nearest_conv.test_op import gradients as nearest_gradients
from ops.phase_linear import samples as phase
from ops.phase_linear.test_triton import gradients as phase_gradients
from ops.sampled_mlp.samples import Sample
from ops.sampled_mlp.samples import gradients as mlp_gradients
from ops.sampled_mlp.test_triton import on
from ops.splat.test_op import FORMS
from ops.splat.test_op import gradients as splat_gradients
from ops.splat.test_triton import TINY


def deform_attention(device):
    sample = attention.Sample("small", size=(2, 3), kernel_size=(1, 1))
    return attention_gradients(against_reference.on(device, sample.arguments(torch.float32)))


def deform_conv2d(device):
    ones = torch.ones(1, 4, *SMALL.out_size, device=device)
    return gradients(unpacked, moved(SMALL.tensors(torch.float32), device), SMALL.geometry, ones)[1]


def deform_conv2d_packed(device):
    ones = torch.ones(1, 4, *SMALL.out_size, device=device)
    return gradients(packed, moved(SMALL.packed(torch.float32), device), SMALL.geometry, ones)[1]


def inr_query(device):
    return query_gradients(query_on(device, cast(problem(T=1, size=(3, 4)), torch.float32)), "triton")


def sampled_mlp(device):
    return mlp_gradients(on(device, Sample("maps").arguments(torch.float32)))


def sampled_mlp_of_x(device):
    return mlp_gradients(on(device, Sample("x", maps=()).arguments(torch.float32)))


def local_correlation(device):
    return correlation_gradients(against_reference.on(device, correlation.SAMPLES[0].arguments(torch.float32)))


def phase_linear(device):
    return phase_gradients(against_reference.on(device, phase.SAMPLES[0].arguments(torch.float32)))


def nearest_conv(device):
    return nearest_gradients(
        against_reference.on(device, nearest.Sample("few", size=(2, 2), enlarged=(5, 4)).arguments(torch.float32))
    )


def bspline_head(device):
    return spline_gradients(against_reference.on(device, spline.SAMPLES[0].arguments(torch.float32)))


def splat(device):
    return splat_gradients(FORMS["soft add"][0], against_reference.on(device, TINY.arguments(torch.float32)))


def fourier_mlp(device):
    return texture.gradients(texture_on(device, texture.Sample("few", batch=1, points=5).arguments(torch.float32)))


def fourier_field(device):
    return field_gradients(field_on(device, TINY_FIELD[0].arguments(torch.float32)), vinr.ops.fourier_field)


OPS = (
    deform_conv2d, deform_conv2d_packed, inr_query, sampled_mlp, sampled_mlp_of_x, local_correlation, phase_linear,
    nearest_conv, bspline_head, splat, deform_attention, fourier_mlp, fourier_field,
)  # fmt: skip
every = pytest.mark.parametrize("op", OPS, ids=lambda op: op.__name__)


@every
@pytest.mark.skipif(not runtime.INTERPRETED, reason="it looks at what the interpreter launches")
def test_launches_are_within_the_device_of_a_tensor(device, op, monkeypatch):
    entered, launches = [], []

    class DeviceOf:
        def __init__(self, tensor):
            self.tensor = tensor

        def __enter__(self):
            entered.append(self.tensor.device)

        def __exit__(self, *_):
            entered.pop()

    run = GridExecutor.__call__

    def launch(executor, *arguments, **options):
        launches.append(list(entered))
        return run(executor, *arguments, **options)

    monkeypatch.setattr(torch.cuda, "device_of", DeviceOf)
    monkeypatch.setattr(GridExecutor, "__call__", launch)
    op(device)
    assert len(launches) >= 2
    assert all(devices == [torch.device(device)] for devices in launches)
    assert not entered


@every
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two NVIDIA GPUs")
def test_on_a_device_that_is_not_current(device, op):
    with torch.cuda.device(0):
        for a, b in zip(op("cuda:1"), op("cuda:0"), strict=True):
            assert relative_error(a.cpu(), b.cpu()) <= OP[torch.float32]
        assert torch.cuda.current_device() == 0
