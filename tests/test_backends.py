import os
import subprocess
import sys

import pytest
import torch

import vinr_engine as vinr
from ops.deform_conv2d_samples import Sample
from vinr_engine import backends

has_extension = backends.extension().path is not None


def arguments():
    input, offset, weight, bias, mask = Sample("any").tensors(torch.float32)
    return input, offset, weight, bias, 1, 1, 1, mask


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
    assert backends.can_run("reference", "deform_conv2d", *meta[:2])


def test_auto_prefers_compiled_code():
    with vinr.backend("auto"):
        assert backends.select("deform_conv2d", torch.zeros(1)) == ("cpu" if has_extension else "reference")


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
