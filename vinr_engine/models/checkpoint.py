"""Checkpoints: the published `.pth`, and safetensors files that carry the constructor's values.

No pickle is executed: `.pth` files go through torch's restricted unpickler.
"""

from __future__ import annotations

import json
import os
import pathlib
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from vinr_engine import files

if TYPE_CHECKING:
    from vinr_engine.models.videoinr import VideoINR

METADATA_KEY = "vinr_engine.config"
# Where a training state may keep the parameters.
_WRAPPERS = ("state_dict", "params_ema", "params", "model", "network", "net_g", "generator")
_UNUSED = ("upconv1.", "upconv2.", "HRconv.", "conv_last.")  # in the published file, never run


class CheckpointError(ValueError):
    """A file that holds no VideoINR parameters, or not the right ones; the message is one line."""


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


def _read_safetensors(path: pathlib.Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
            state = {name.removeprefix("module."): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path}: not a safetensors file, or a truncated one ({error})") from None
    try:
        config = None if text is None else json.loads(text)
    except json.JSONDecodeError:
        raise CheckpointError(f"{path}: its metadata {METADATA_KEY!r} is not JSON") from None
    if config is not None and not isinstance(config, dict):
        raise CheckpointError(f"{path}: its metadata {METADATA_KEY!r} must be a JSON object")
    return state, config


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered children `prefix` has."""
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    return len({m[1] for name in state if (m := pattern.match(name))})


def config_from_shapes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The constructor's values, read off the parameters' shapes. Raises KeyError naming a missing parameter."""

    def hidden(network: str) -> tuple[list[int], int]:
        layers = _count(state, network + ".net")
        if layers == 0:
            raise KeyError(f"{network}.net.0.linear.weight")
        widths = [state[f"{network}.net.{i}.linear.weight"].shape[0] for i in range(layers - 1)]
        return widths, state[f"{network}.net.{layers - 1}.weight"].shape[0]

    feat_hidden, hr_features = hidden("feat_imnet")
    return {
        "nf": state["conv_first.weight"].shape[0],
        "groups": state["pcd_align.L1_dcnpack_1.conv_offset_mask.weight"].shape[0] // 27,
        "front_blocks": _count(state, "feature_extraction"),
        "back_blocks": _count(state, "recon_trunk"),
        "hr_features": hr_features,
        "feat_hidden": feat_hidden,
        "flow_hidden": hidden("flow_imnet")[0],
        "encode_hidden": hidden("encode_imnet")[0],
        "recurrent": any(name.startswith("ConvBLSTM.") for name in state),
        "motion_prior": "motion_prior.conv.weight" in state,
    }


def _check_names_and_shapes(path: pathlib.Path, state: Mapping[str, Tensor], model: VideoINR) -> None:
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    unused = () if model.config["residual"] else _UNUSED
    missing = [n for n in expected if n not in state and not n.startswith(unused)]
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
        raise CheckpointError(f"{path}: not the parameters of this VideoINR; {'; '.join(problems)}")


def load_model(path: str | os.PathLike[str]) -> VideoINR:
    """See `VideoINR.from_checkpoint`."""
    from vinr_engine.models.videoinr import VideoINR

    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint file")
    if path.suffix == ".safetensors":
        state, config = _read_safetensors(path)
    else:
        state, config = _parameters(path, _read_pth(path)), None
    if config is None:
        try:
            config = config_from_shapes(state)
        except (KeyError, IndexError) as error:
            raise CheckpointError(f"{path}: not VideoINR parameters; missing: {error.args[0]}") from None
    try:
        # On the meta device: nothing is drawn or allocated that the file's tensors replace.
        with torch.device("meta"):
            model = VideoINR(**config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: its constructor values make no VideoINR: {error}") from None
    _check_names_and_shapes(path, state, model)
    for name, tensor in model.state_dict().items():
        if name.startswith(_UNUSED) and name not in state:
            state[name] = torch.zeros(tensor.shape)
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    return model.requires_grad_(True).eval()


def save_checkpoint(model: VideoINR, path: str | os.PathLike[str], dtype: torch.dtype | None = None) -> None:
    """Write `model` as safetensors, its constructor values as metadata; `path` must end in .safetensors.

    `dtype`, such as torch.float16, is that of the file, the model's own if not given. The file appears under its name
    when it is complete.
    """
    path = pathlib.Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: the name of a checkpoint must end in .safetensors")
    state = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in model.state_dict().items()}
    with files.draft(path) as new:
        safetensors.torch.save_file(state, new, metadata={METADATA_KEY: json.dumps(model.config)})
