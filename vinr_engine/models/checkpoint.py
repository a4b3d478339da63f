"""Checkpoints: published `.pth` files, and safetensors files that carry the network's name and constructor's values.

No pickle is executed: `.pth` files go through torch's restricted unpickler.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vinr_engine import files
from vinr_engine.errors import CheckpointError
from vinr_engine.models.kinds import kind_of, told
from vinr_engine.models.network import DEFAULT, NetworkModule, networks

NETWORK_KEY, METADATA_KEY = "vinr_engine.network", "vinr_engine.config"  # files of version 0.1 lack the first
# Where a training state may keep the parameters.
_WRAPPERS = ("state_dict", "params_ema", "params", "model", "network", "net_g", "generator")
_ASSETS = pathlib.Path(__file__).parents[1] / "assets"
DEFAULT_WEIGHTS = _ASSETS / "flowinr.safetensors"
SMALL_VIDEOINR = _ASSETS / "small.safetensors"
"""A small VideoINR that comes with the package, for what takes no other network: `vinr export`."""


def _listed(names: Iterable[str], most: int = 4) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _numpy_globals() -> list[Any]:
    """What the pickle of a numpy scalar names: training states hold such numbers beside the parameters."""
    scalar = np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(t)) for t in (np.float64, np.float32, np.int64, np.int32, np.bool_)]
    # Files written before numpy 2 name the same function under its old module.
    return [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *dtypes]


def _read_pth(path: pathlib.Path) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_numpy_globals()):
            warnings.simplefilter("ignore")  # of pickle protocols that torch itself does not write
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"[Uu]nsupported (?:global: )?(?:GLOBAL|class) ([\w.]+)", str(error))
        # torch tries any file that is no archive as a bare pickle: only one that begins as such is worth that message
        if found or ("Unsupported" in str(error) and _head(path).startswith((b"\x80", b"PK\x03\x04"))):
            if kind := told(_flax_network(path)):
                raise CheckpointError(f"{path}: {kind}") from None
            what = f" ({found[1]})" if found else ""
            raise CheckpointError(
                f"{path}: refused: its pickle would run code{what}, and parameters need none"
            ) from None
        raise CheckpointError(f"{path}: not a checkpoint, or a damaged one") from None
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, OverflowError):
        raise CheckpointError(f"{path}: not a checkpoint, or a truncated one") from None
    except OSError as error:
        # torch's archive reader seeks before the start of some short files; an error of the system names the file
        if error.filename is not None:
            raise
        raise CheckpointError(f"{path}: not a checkpoint, or a truncated one") from None


def _flax_network(path: pathlib.Path) -> str:
    """The network whose parameters a pickle of flax holds; empty for any other. It is read without running code."""
    from vinr_engine.models.v3.checkpoint import FlaxCheckpoint

    try:
        return FlaxCheckpoint(path).network
    except CheckpointError:
        return ""


def _head(path: pathlib.Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(4)


def _parameters(path: pathlib.Path, content: Any) -> dict[str, Tensor]:
    """The name -> tensor mapping inside what a `.pth` held, unwrapped and without "module." prefixes."""
    for _ in range(3):
        if not isinstance(content, Mapping):
            break
        inner = next((content[k] for k in _WRAPPERS if isinstance(content.get(k), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not any(isinstance(v, Tensor) for v in content.values()):
        found = _listed(map(str, content)) if isinstance(content, Mapping) and content else type(content).__name__
        raise CheckpointError(f"{path}: holds no parameters, but {found}")
    return {str(k).removeprefix("module."): v for k, v in content.items() if isinstance(v, Tensor)}


def _read_safetensors(path: pathlib.Path) -> tuple[dict[str, Tensor], str, dict[str, Any] | None]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name.removeprefix("module."): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path}: not a safetensors file, or a truncated one ({error})") from None
    text = metadata.get(METADATA_KEY, "null")
    try:
        config = json.loads(text)
    except json.JSONDecodeError:
        raise CheckpointError(f"{path}: its metadata {METADATA_KEY!r} is not JSON") from None
    if config is not None and not isinstance(config, dict):
        raise CheckpointError(f"{path}: its metadata {METADATA_KEY!r} must be a JSON object")
    return state, metadata.get(NETWORK_KEY, DEFAULT), config


def _published(
    path: pathlib.Path, state: dict[str, Tensor]
) -> tuple[type[NetworkModule], dict[str, Any], dict[str, Tensor]]:
    """The first registered network that takes parameters without metadata for its own; see `from_published`."""
    refused = []
    for name, network in networks.items():
        try:
            if found := network.from_published(state):
                return network, *found
        except (KeyError, IndexError) as error:
            refused.append(f"not {name} parameters; missing: {error.args[0]}")
    if kind := told(kind_of(state)):
        raise CheckpointError(f"{path}: {kind}")
    raise CheckpointError(f"{path}: {', '.join(refused)}")


def _check_names_and_shapes(path: pathlib.Path, state: Mapping[str, Tensor], model: NetworkModule) -> None:
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    missing = [n for n in expected if n not in state and not n.startswith(model.unused)]
    unexpected = [n for n in state if n not in expected]
    misshapen = [
        f"{n} is {list(state[n].shape)}, not {list(s)}"
        for n, s in expected.items()
        if n in state and state[n].shape != s
    ]
    not_numbers = [n for n in state if n in expected and not state[n].is_floating_point()]
    found = (
        ("missing", missing),
        ("unexpected", unexpected),
        ("misshapen", misshapen),
        ("not floating-point", not_numbers),
    )
    problems = [f"{what}: {_listed(names)}" for what, names in found if names]
    if problems:
        raise CheckpointError(f"{path}: not the parameters of this {type(model).__name__}; {'; '.join(problems)}")


def _check_finite(path: pathlib.Path, state: Mapping[str, Tensor]) -> None:
    """One NaN among the parameters can leave pictures black that are finite: later layers may clamp it away."""
    found = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if found:
        raise CheckpointError(
            f"{path}: NaN or infinite values in {_listed(found)}: the file is damaged, or its training went wrong"
        )


class _Undrawn(TorchFunctionMode):
    """A context in which initial weights are not drawn.

    Tensors of the meta device have no values, and to draw none PyTorch imports its compiler: a second and 150 MB.
    """

    draws = frozenset({"normal_", "uniform_", "kaiming_normal_", "kaiming_uniform_"})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in self.draws:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def load_network(path: str | os.PathLike[str] | None = None) -> NetworkModule:
    """The network that a `.safetensors` or a published `.pth` file holds, on the CPU, in evaluation mode.

    None stands for the package's own weights, a FlowINR, trained as docs/default-weights.md says.
    Class and constructor's values come from the file's metadata, or from names and shapes of its tensors; the class
    must be registered. Raises FileNotFoundError, or CheckpointError saying what is wrong with the file; a pickle that
    would run code is refused.
    """
    path = DEFAULT_WEIGHTS if path is None else pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint file")
    if path.suffix == ".safetensors":
        state, name, config = _read_safetensors(path)
    else:
        state, name, config = _parameters(path, _read_pth(path)), DEFAULT, None
    if name not in networks:
        raise CheckpointError(
            f"{path}: of a network {name!r} that nobody has registered here; known: {_listed(networks)}"
        )
    network = networks[name]
    if config is None:
        network, config, state = _published(path, state)
    try:
        # On the meta device: nothing is allocated that the file's tensors replace.
        with torch.device("meta"), _Undrawn():
            model = network(**config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: its constructor values make no {network.__name__}: {error}") from None
    _check_names_and_shapes(path, state, model)
    _check_finite(path, state)
    for name, tensor in model.state_dict().items():
        if name.startswith(model.unused) and name not in state:
            state[name] = torch.zeros(tensor.shape)
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    return model.requires_grad_(True).eval()


def save_checkpoint(model: NetworkModule, path: str | os.PathLike[str], dtype: torch.dtype | None = None) -> None:
    """Write `model` as safetensors, its class's name and constructor's values as metadata; `path` ends in .safetensors.

    `dtype`, such as torch.float16, is that of the file, the model's own if not given. The file appears under its name
    when it is complete.
    """
    path = pathlib.Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: the name of a checkpoint must end in .safetensors")
    state = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in model.state_dict().items()}
    metadata = {NETWORK_KEY: type(model).__name__, METADATA_KEY: json.dumps(model.config)}
    with files.draft(path) as new:
        safetensors.torch.save_file(state, new, metadata=metadata)


def parameters_digest(model: NetworkModule) -> str:
    """SHA-256 of a network's class, constructor's arguments and parameters, in hexadecimal digits."""
    state = hashlib.sha256(type(model).__name__.encode())
    state.update(json.dumps(getattr(model, "config", None), sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        state.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        state.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return state.hexdigest()
