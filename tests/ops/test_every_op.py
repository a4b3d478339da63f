"""What holds for each op that is declared, by its declaration alone."""

import pytest
import torch

from vinr_engine import backends
from vinr_engine.ops.op import OPS

every = pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)


def text_of(schema):
    """Without the name, and with the spaces that PyTorch writes."""
    return str(schema).partition("(")[2]


@pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)
@every
def test_the_extension_has_the_same_schemas(op):
    """They stand there too, for programs without Python."""
    for name, schema in ((op.name, op.schema), (f"{op.name}_backward", op.backward_schema)):
        declared = torch._C.parse_schema(f"vinr::{name}{schema}")
        assert text_of(getattr(torch.ops.vinr, name).default._schema) == text_of(declared)


@every
def test_both_kinds_of_kernels_have_one_schema(op):
    if "triton" in op.backends:
        for suffix, schema in (("", op.schema), ("_backward", op.backward_schema)):
            name = f"{op.name}_triton{suffix}"
            declared = torch._C.parse_schema(f"vinr::{name}{schema}")
            assert text_of(getattr(torch.ops.vinr, name).default._schema) == text_of(declared)


@every
def test_a_backend_that_the_op_lacks_says_so(op, monkeypatch):
    monkeypatch.setattr(backends, "unavailable", lambda name: "")
    for name in {*backends.ORDER} - {*op.backends, "reference"}:
        assert op.refusal(name, ()) == f"it has no {op.name}"
    with pytest.raises(ValueError, match="unknown backend 'gpu'"):
        op.refusal("gpu", ())
