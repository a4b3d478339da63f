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
