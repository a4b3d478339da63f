import pathlib

import pytest

from simt import build
from tensorrt_plugins import headers

FOLDER = pathlib.Path(__file__).parent


@pytest.fixture(scope="session")
def harness():
    """The TensorRT plugins on the host, see plugin_harness.cpp."""
    return build.load("plugin_harness", FOLDER, (headers(), FOLDER / "cuda_stub"))
