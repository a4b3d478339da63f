"""What docs/export.md shows: torch.export, saved and reloaded, and AOTInductor, on a network with all options."""

import pathlib
import re

import pytest
import torch

import vinr_engine as vinr
from benchmarks.tolerances import EXPORT
from export_cases import RESIDUAL, SMALL, network

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "export.md"


def run_blocks(count, folder, monkeypatch, config):
    """The names that the page's first blocks of code leave, with a network of `config` as model.safetensors."""
    monkeypatch.chdir(folder)
    vinr.save_checkpoint(network(config), "model.safetensors")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 2
    names = {}
    with torch.no_grad():
        for block in blocks[:count]:
            exec(compile(block, str(PAGE), "exec"), names)
    return names


def expected(names):
    with torch.inference_mode():
        return names["model"](names["frames"], names["times"], (40, 56))


@pytest.mark.parametrize(
    "config", [pytest.param(SMALL, marks=pytest.mark.slow), RESIDUAL], ids=["published", "residual"]
)
def test_a_saved_and_reloaded_program(tmp_path, monkeypatch, config):
    names = run_blocks(1, tmp_path, monkeypatch, config)
    torch.testing.assert_close(names["out"], expected(names), rtol=0, atol=EXPORT)
    for program, op in ((names["encoder"], "vinr.deform_conv2d_packed"), (names["query"], "vinr.inr_query")):
        graphs = [m.graph for m in program.graph_module.modules() if isinstance(m, torch.fx.GraphModule)]
        assert any(op in str(node.target) for graph in graphs for node in graph.nodes)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's own, inside the compiler
def test_aot_inductor(tmp_path, monkeypatch):
    # The motion prior's many small operations would take the compiler minutes.
    names = run_blocks(2, tmp_path, monkeypatch, RESIDUAL | dict(motion_prior=False))
    torch.testing.assert_close(names["out"], expected(names), rtol=0, atol=EXPORT)
