import pytest
import torch

from vinr_engine.kernels.common import runtime

if runtime.unavailable():
    pytest.skip(runtime.unavailable(), allow_module_level=True)

import vinr_engine as vinr
from benchmarks.tolerances import OP, relative_error
from ops.against_reference import on
from ops.splat.samples import EMPTY, SAMPLES, Sample
from ops.splat.test_op import FORMS, assert_like_the_reference, gradients
from vinr_engine.kernels.splat import launch
from vinr_engine.ops import splat, splat_sum

TINY = Sample("tiny", size=(3, 4), batch=2)
FEW = [
    (TINY, "sum"),
    (Sample("tiny_nhwc", size=(3, 4), layout="nhwc", flow="nonfinite"), "soft add"),
    (Sample("tiny_whole", size=(2, 4), flow="whole"), "linear clip"),
    (Sample("tiny_chunks", size=(2, 3), channels=70, batch=1), "soft zero"),
    (EMPTY[0], "soft add"),
    (EMPTY[1], "sum"),
]
MORE = [(sample, form) for sample in SAMPLES for form in FORMS]


@pytest.mark.parametrize(
    ("sample", "form"),
    [*FEW, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in MORE)],
    ids=lambda v: v.replace(" ", "_") if isinstance(v, str) else v.name,
)
def test_float32(device, sample, form):
    single = on(device, sample.arguments(torch.float32, seed=5))
    assert_like_the_reference(form, single, sample.arguments(seed=5))


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_only_wanted_gradients(device, wanted):
    single = on(device, TINY.arguments(torch.float32))
    assert_like_the_reference("soft add", single, TINY.arguments(), wanted)


def test_it_is_the_same_at_every_run(device):
    function, arguments = FORMS["soft add"][0], on(device, TINY.arguments(torch.float32))
    results = [[*function(*arguments), *gradients(function, arguments)] for _ in range(2)]
    assert all(map(torch.equal, *results))


def test_64_bit_offsets_change_nothing(device, monkeypatch):
    function, arguments = FORMS["soft add"][0], on(device, TINY.arguments(torch.float32))
    expected = [*function(*arguments), *gradients(function, arguments)]
    seen = []
    monkeypatch.setattr(launch, "passes_32_bits", lambda *tensors: seen.append(len(tensors)) or True)
    assert all(map(torch.equal, [*function(*arguments), *gradients(function, arguments)], expected))
    assert len(seen) == 6


@pytest.mark.parametrize("shift", [-60.0, 90.0, 800.0])
def test_metrics_beyond_the_range_of_exponentials(device, shift):
    x, flow, metric = TINY.arguments(torch.float32)
    expected = splat_on_the_reference(x, flow, metric + shift)
    found = splat(*on(device, (x, flow, metric + shift)))
    assert relative_error(found.cpu(), expected) <= OP[torch.float32]


def splat_on_the_reference(x, flow, metric):
    metric = metric.double()
    with vinr.backend("reference"):
        shifted = metric - metric.max() if metric.max() > 0 else metric
        return splat(x.double(), flow.double(), shifted, eps="zero" if metric.max() > 0 else "add")


@pytest.mark.slow
def test_opcheck(device):
    x, flow, metric = on(device, Sample("small", size=(2, 3), batch=1).arguments(torch.float32))
    leaves = [t.detach().requires_grad_() for t in (x, flow, metric)]
    ops, norm = torch.ops.vinr, torch.rand(1, 3, 2, 3, device=device)
    torch.library.opcheck(ops.splat_sum_triton.default, (*leaves, False, True, True))
    torch.library.opcheck(ops.splat_triton.default, (*leaves, False, True, "add"))
    for mask in ([True, True, True], [False, True, False]):
        arguments = x, flow, metric, False
        torch.library.opcheck(ops.splat_sum_triton_backward.default, (x, metric, *arguments, mask))
        torch.library.opcheck(ops.splat_triton_backward.default, (x, x, norm, *arguments, True, mask))


def test_float64_is_refused(device):
    for op in (splat, splat_sum):
        with pytest.raises(vinr.BackendError, match="it takes float32, float16 and bfloat16 tensors, got"):
            op(*on(device, TINY.arguments()))
