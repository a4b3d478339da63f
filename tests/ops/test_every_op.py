"""What holds for each op that is declared, by its declaration alone."""

import pytest
import torch

from vinr_engine import backends
from vinr_engine.ops.op import OPS

every = pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)


def text_of(schema):
    """Without the name, and with the spaces that PyTorch writes."""
    return str(schema).partition("(")[2]


def assert_has_the_declared_schemas(op, variant):
    for name, schema in ((variant, op.schema), (f"{variant}_backward", op.backward_schema)):
        if schema is None:
            continue
        declared = torch._C.parse_schema(f"vinr::{name}{schema}")
        assert text_of(getattr(torch.ops.vinr, name).default._schema) == text_of(declared)


@pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)
@every
def test_the_extension_has_the_same_schemas(op):
    """They stand there too, for programs without Python."""
    assert_has_the_declared_schemas(op, op.name)


@every
def test_both_kinds_of_kernels_have_one_schema(op):
    if "triton" in op.backends:
        assert_has_the_declared_schemas(op, op.variant("triton"))


@every
def test_a_backend_that_the_op_lacks_says_so(op, monkeypatch):
    monkeypatch.setattr(backends, "unavailable", lambda name: "")
    for name in {*backends.ORDER} - {*op.backends, "reference"}:
        assert op.refusal(name, ()) == f"it has no {op.name}"
    with pytest.raises(ValueError, match="unknown backend 'gpu'"):
        op.refusal("gpu", ())


@every
def test_an_extension_that_is_older_than_the_op_is_named(op, monkeypatch):
    monkeypatch.setattr(backends, "unavailable", lambda name: "")
    monkeypatch.setattr(op, "torch_ops", {})
    for name in op.backends:
        assert f"built before it had {op.name}" in op.refusal(name, ())


@pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)
@pytest.mark.parametrize("name", ["sampled_mlp", "fourier_mlp"])
def test_masks_of_a_wrong_length_are_refused(name):
    """What is wanted of a backward op is looked at entry by entry."""
    one, two = torch.zeros(1, 1, 1), torch.zeros(1, 1, 2)
    layers = [torch.zeros(1, 1), torch.zeros(1)]
    if name == "sampled_mlp":
        arguments = [one, [one[None]], [two], [False], None, None, None, layers, "sine", 30.0]
    else:
        maps, layers = torch.zeros(1, 1, 32), [torch.zeros(1, 32), torch.zeros(1)]
        index, phase = torch.zeros(1, 1, 1, dtype=torch.int64), torch.zeros(16, 1)
        arguments = [one, maps, maps, index, two[:, :, None], phase, None, layers, None]
    with pytest.raises(RuntimeError, match=f"{name}: output_mask must have . entries, got 0"):
        getattr(torch.ops.vinr, f"{name}_backward")(*arguments, [], "ieee")
