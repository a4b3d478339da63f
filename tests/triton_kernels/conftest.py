import pytest

import vinr_engine as vinr


@pytest.fixture
def device(triton_device):
    """The device of tensors for the triton backend, which runs the test."""
    with vinr.backend("triton"):
        yield triton_device
