"""docs/adding-an-op.md, followed literally: its op lies outside the package, and has what the package's own have."""

import importlib
import re
import sys
from pathlib import Path

import pytest
import torch

import vinr_engine as vinr
from vinr_engine import backends, info
from vinr_engine.ops.op import OPS

PAGE = Path(__file__).parents[2] / "docs" / "adding-an-op.md"
OP, USE, CHECK = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
pytestmark = pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)


@pytest.fixture(scope="module")
def gauss(tmp_path_factory):
    """The page's module; once, since torch keeps an op for the life of the process."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "gauss.py").write_text(OP)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    yield importlib.import_module("gauss")
    sys.path.remove(str(folder))
    del sys.modules["gauss"], OPS["gauss"]


def test_its_code_runs(gauss, capsys):
    exec(compile(USE, PAGE, "exec"), {})
    assert "0.3679" in capsys.readouterr().out
    exec(compile(CHECK, PAGE, "exec"), {})


def test_it_compiles_as_one_graph(gauss):
    x = torch.randn(2, 3)
    compiled = torch.compile(lambda x: gauss.gauss(x, 0.5), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), gauss.gauss(x, 0.5))


def test_backends_and_errors(gauss):
    x = torch.randn(2, 3, requires_grad=True)
    assert gauss.GAUSS.select(gauss.Arguments(x, 1.0)) == "cpu"
    with vinr.backend("triton"), pytest.raises(vinr.BackendError, match="gauss: backend 'triton' cannot run: "):
        gauss.gauss(x)
    (first,) = torch.autograd.grad(gauss.gauss(x).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="gauss: no second derivative on this backend"):
        first.sum().backward()
    (cpu,) = [b for b in info.gather()["backends"] if b["name"] == "cpu"]
    assert "gauss" in cpu["ops"]
