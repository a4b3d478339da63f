import pytest

from vinr_engine.cli import main as cli


@pytest.fixture(scope="session")
def own(tmp_path_factory):
    """The package's own network, exported by the command line: the quickest export, of all options."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("own") / "model"
    assert cli.main(["export", "onnx", str(folder)]) == 0
    return folder
