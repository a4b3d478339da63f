import dataclasses
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

import vinr_engine as vinr
from ops.deform_conv2d.samples import Sample
from vinr_engine import backends
from vinr_engine.kernels.common import runtime
from vinr_engine.ops.inr_query import Arguments as Query
from vinr_engine.ops.op import OPS, on_triton
from vinr_engine.ops.sampled_mlp import Arguments as Mlp

has_extension = backends.extension().path is not None


def arguments():
    input, offset, weight, bias, mask = Sample("any").tensors(torch.float64)
    return input, offset, weight, bias, 1, 1, 1, mask


def query_refusal(features, frames, times):
    arguments = Query(features, frames, times, (1, 1), (1, 1), ([], [], []), 1, torch.float32, False)
    return OPS["inr_query"].backends["triton"].refuse(arguments)


def test_block_sets_and_restores():
    before = backends.chosen()
    with vinr.backend("reference"):
        with vinr.backend("auto"):
            assert backends.chosen() == "auto"
        assert backends.chosen() == "reference"
    assert backends.chosen() == before
    with pytest.raises(KeyError), vinr.backend("reference"):
        raise KeyError
    assert backends.chosen() == before


def test_unknown_name_lists_the_known_ones():
    with (
        pytest.raises(ValueError, match="unknown backend 'gpu': choose one of auto, cpu, triton, cuda, reference"),
        vinr.backend("gpu"),
    ):
        pass


def test_a_named_backend_that_cannot_run_says_why():
    with vinr.backend("triton"), pytest.raises(vinr.BackendError, match="deform_conv2d: backend 'triton' cannot run: "):
        vinr.ops.deform_conv2d(*arguments())
    meta = [a.to("meta") if isinstance(a, torch.Tensor) else a for a in arguments()]
    assert OPS["deform_conv2d"].refusal("reference", meta[:2]) == ""


@pytest.mark.parametrize(
    ("version", "capability", "refused"),
    [((3, 6), (10, 0), True), ((3, 8), (10, 3), True), ((3, 9), (10, 0), False), ((3, 6), (9, 0), False),
     ((3, 6), (12, 0), False), ((), (10, 0), False)],
)  # fmt: skip
def test_kernels_that_triton_makes_empty_are_refused(monkeypatch, version, capability, refused):
    from torch._subclasses.fake_tensor import FakeTensorMode

    monkeypatch.setattr(runtime, "VERSION", version)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(runtime, "refusal", lambda *tensors: "")
    with FakeTensorMode():
        tensors = [torch.empty(1, 2, 3, 3, device="cuda:0") for _ in range(3)]
    assert query_refusal(*tensors).startswith("Triton before 3.9 makes empty kernels") == refused
    assert query_refusal(*(torch.zeros(1, 2, 3, 3) for _ in range(3))) == ""


def test_auto_prefers_compiled_code():
    with vinr.backend("auto"):
        assert OPS["deform_conv2d"].select((torch.zeros(1),)) == ("cpu" if has_extension else "reference")


def test_auto_says_once_why_it_takes_the_reference(caplog, monkeypatch):
    monkeypatch.setattr(backends, "said", set())
    integers = torch.zeros(1, dtype=torch.int32)
    with vinr.backend("auto"):
        assert [OPS["deform_conv2d"].select((integers,)) for _ in range(2)] == ["reference"] * 2
    (record,) = caplog.records
    assert "deform_conv2d runs on the reference, which is slow. cpu: " in record.getMessage()


class OnGpu(torch.Tensor):
    """Stands for a tensor on a GPU, of which only device and dtype are looked at."""

    @property
    def device(self):
        return torch.device("cuda", 0)


@pytest.fixture
def a_gpu(monkeypatch):
    """Makes this look like a machine with one GPU, whose compute capability the test sets."""
    properties = SimpleNamespace(major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(runtime, "INSTALLED", True)
    monkeypatch.setattr(runtime, "INTERPRETED", False)
    any_shape = dataclasses.replace(OPS["deform_conv2d"].backends["triton"], refuse=on_triton)
    monkeypatch.setitem(OPS["deform_conv2d"].backends, "triton", any_shape)
    return properties


def on_gpu(dtype=torch.float32):
    return torch.zeros(1, dtype=dtype).as_subclass(OnGpu)


def why_not(*tensors):
    with pytest.raises(vinr.BackendError) as error:
        OPS["deform_conv2d"].check("triton", tensors)
    return str(error.value).partition("cannot run: ")[2]


def test_triton_takes_tensors_of_a_recent_gpu(a_gpu):
    with vinr.backend("auto"):
        assert OPS["deform_conv2d"].select((on_gpu(), None, on_gpu(torch.bfloat16))) == "triton"
    assert not {s.name: s.reason for s in backends.report()}["triton"]


def test_triton_says_why_not(a_gpu, monkeypatch):
    assert why_not(torch.zeros(1)) == "it takes CUDA tensors, got one on cpu"
    assert why_not(on_gpu(), torch.zeros(1)) == "its tensors must be on one device, got cuda:0 and cpu"
    assert why_not(on_gpu(torch.float64)) == "it takes float32, float16 and bfloat16 tensors, got torch.float64"
    a_gpu.major, a_gpu.minor = 7, 5
    assert why_not(on_gpu()) == "it needs a GPU of compute capability 8.0 or later, got 7.5"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert why_not(on_gpu()).startswith("it needs an NVIDIA GPU; TRITON_INTERPRET=1 runs its kernels in")
    monkeypatch.setattr(runtime, "INSTALLED", False)
    assert why_not(on_gpu()) == "Triton is not installed"


def test_triton_says_why_it_runs_no_such_network(a_gpu):
    """The query and the sampled MLP look at their weights too."""

    def layers_of(weights):
        return [(weight, weight) for weight in weights]

    def arguments_of(op, tensors):
        if op == "inr_query":
            return Query(*tensors[:3], (1, 1), (1, 1), (layers_of(tensors[3:]), [], []), 1, torch.float32, False)
        return Mlp(tensors[:1], [], layers_of(tensors[1:]), None, None, None, [], "sine", 30.0)

    def why_no(op, *tensors):
        with pytest.raises(vinr.BackendError) as error:
            OPS[op].check("triton", arguments_of(op, tensors))
        return str(error.value).partition(f"{op}: backend 'triton' cannot run: ")[2]

    def weight(*shape):
        return torch.empty(shape).as_subclass(OnGpu)

    query = [on_gpu(), on_gpu(), on_gpu()]
    assert OPS["inr_query"].refusal("triton", arguments_of("inr_query", [*query, *[weight(512, 21)] * 30])) == ""
    assert why_no("inr_query", torch.zeros(1), *query[1:]) == "it takes CUDA tensors, got one on cpu"
    assert why_no("inr_query", *query, torch.empty(8, 21)) == "its tensors must be on one device, got cuda:0 and cpu"
    assert why_no("inr_query", *query, weight(513, 21)) == "it takes layers of up to 512 outputs, got 513"
    trained = on_gpu().requires_grad_()
    assert why_no("inr_query", *query[:2], trained, weight(8, 21)) == "it has no gradient of times"
    assert OPS["sampled_mlp"].refusal("triton", arguments_of("sampled_mlp", [on_gpu(), *[weight(512, 512)] * 30])) == ""
    reason = "it takes layers of up to 512 inputs and outputs, got [4, 513]"
    assert why_no("sampled_mlp", on_gpu(), weight(4, 513)) == reason
    assert why_no("sampled_mlp", on_gpu(torch.int32)).endswith("got torch.int32")


def test_the_interpreter_takes_cpu_tensors_when_asked_by_name(monkeypatch):
    monkeypatch.setattr(runtime, "INSTALLED", True)
    monkeypatch.setattr(runtime, "INTERPRETED", True)
    any_shape = dataclasses.replace(OPS["deform_conv2d"].backends["triton"], refuse=on_triton)
    monkeypatch.setitem(OPS["deform_conv2d"].backends, "triton", any_shape)
    with vinr.backend("triton"):
        assert OPS["deform_conv2d"].select((torch.zeros(1),)) == "triton"
    with vinr.backend("auto"):
        assert OPS["deform_conv2d"].select((torch.zeros(1),)) != "triton"
    assert why_not(torch.zeros(1, dtype=torch.bfloat16)) == "Triton's interpreter computes bfloat16 wrongly"


def test_input_precision():
    assert backends.chosen_input_precision() == "tf32x3"
    with vinr.input_precision("ieee"):
        assert backends.chosen_input_precision() == "ieee"
    assert backends.chosen_input_precision() == "tf32x3"
    message = "unknown input precision 'tf16': choose one of ieee, tf32x3, tf32"
    with pytest.raises(ValueError, match=message), vinr.input_precision("tf16"):
        pass


def test_report_has_a_reason_for_each_that_cannot_run():
    assert [s.name for s in backends.report()] == list(backends.ORDER)
    for status in backends.report():
        assert status.available == (not status.reason)


@pytest.mark.parametrize(("value", "expected"), [("reference", "reference"), ("", "auto"), (None, "auto")])
def test_environment_variable(value, expected):
    code = "from vinr_engine import backends; print(backends.chosen())"
    environment = {k: v for k, v in os.environ.items() if k != "VINR_BACKEND"}
    environment |= {} if value is None else {"VINR_BACKEND": value}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == expected
