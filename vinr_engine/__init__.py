"""Continuous space-time video super-resolution (VideoINR): the network, fused ops, and a video tool.

What stands in `__all__` is loaded where it is first used, so that `import vinr_engine` alone costs nothing: neither the
command line's help nor a program that catches its errors has a use for PyTorch.

`import vinr_engine.ops` registers `torch.ops.vinr.*`, which programs of `torch.export` and AOTInductor name. So does
`import vinr_engine` in a process that has loaded PyTorch by then, as it always has.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from vinr_engine import _checkout  # noqa: F401  first: it finds what the others import
from vinr_engine._version import __version__

if TYPE_CHECKING:
    from vinr_engine import ops
    from vinr_engine.backends import BackendError, backend, input_precision
    from vinr_engine.models import (
        BFSTVSR,
        CheckpointError,
        FlowINR,
        Network,
        NetworkModule,
        VideoINR,
        load_network,
        register,
        save_checkpoint,
    )
    from vinr_engine.video.render import upscale

__all__ = [
    "BFSTVSR",
    "BackendError",
    "CheckpointError",
    "FlowINR",
    "Network",
    "NetworkModule",
    "VideoINR",
    "__version__",
    "backend",
    "input_precision",
    "load_network",
    "ops",
    "register",
    "save_checkpoint",
    "upscale",
]

_WHERE = {
    "BFSTVSR": "models",
    "BackendError": "backends",
    "CheckpointError": "models",
    "FlowINR": "models",
    "Network": "models",
    "NetworkModule": "models",
    "VideoINR": "models",
    "backend": "backends",
    "input_precision": "backends",
    "load_network": "models",
    "ops": "ops",
    "register": "models",
    "save_checkpoint": "models",
    "upscale": "video.render",
}
"""The module that each name is taken from; a module stands for itself."""


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_WHERE[name]}")
    value = module if name == _WHERE[name] else getattr(module, name)
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if sys.modules.get("torch") is not None:
    import_module(f"{__name__}.ops")
