"""The whole state of a run as a folder of safetensors and JSON, which appears complete or not at all."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from vinr_engine import files
from vinr_engine.errors import StateError, reason
from vinr_engine.models import CheckpointError, NetworkModule, load_network, save_checkpoint
from vinr_engine.training.muon import Muon

NAME = re.compile(r"step_(\d{8})")
_OPTIMISER = ("step", "exp_avg", "exp_avg_sq")
_OF_KERNELS = ("exp_avg",)


@dataclass
class State:
    """What training changes. `step` counts optimiser steps done; `ema` averages the model, if wanted."""

    model: NetworkModule
    optimiser: Muon
    ema: torch.optim.swa_utils.AveragedModel | None
    step: int = 0
    bad_steps: int = 0

    @property
    def best(self) -> NetworkModule:
        """The network to use: the average if there is one."""
        if self.ema is None:
            return self.model
        module = self.ema.module
        assert isinstance(module, NetworkModule)
        return module


def differences(found: NetworkModule, wanted: NetworkModule) -> str:
    """In what class or constructor's values one network is not another, in words; "" if in nothing."""
    if type(found) is not type(wanted):
        return f"{type(found).__name__}, not {type(wanted).__name__}"
    return ", ".join(f"{k} {found.config[k]}, not {v}" for k, v in wanted.config.items() if found.config[k] != v)


def _named(state: State) -> list[tuple[str, Tensor]]:
    return [(name, p) for name, p in state.model.named_parameters() if p.requires_grad]


def _optimiser_tensors(state: State) -> dict[str, Tensor]:
    return {
        f"{kind}.{name}": state.optimiser.state[p][kind].detach().cpu().contiguous()
        for name, p in _named(state)
        for kind in _OPTIMISER
        if kind in state.optimiser.state[p]
    }


def states(folder: Path) -> list[Path]:
    """The complete states in `folder`, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name) and path.is_dir())


def save(state: State, folder: Path, kept: int, scaler: Any = None) -> Path:
    """Write `state` under `folder` and delete all but the newest `kept`. Raises StateError; older states survive it."""
    final = folder / f"step_{state.step:08d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with files.draft(final, folder=True) as draft:
            save_checkpoint(state.model, draft / "model.safetensors")
            if state.ema is not None:
                save_checkpoint(state.best, draft / "ema.safetensors")
            tensors = {**_optimiser_tensors(state), "rng.cpu": torch.get_rng_state()}
            if torch.cuda.is_available():
                tensors["rng.cuda"] = torch.cuda.get_rng_state().cpu()
            safetensors.torch.save_file(tensors, draft / "optimiser.safetensors")
            numbers = {
                "step": state.step,
                "bad_steps": state.bad_steps,
                "averaged": 0 if state.ema is None else int(state.ema.n_averaged),
                "scaler": None if scaler is None else scaler.state_dict(),
            }
            (draft / "state.json").write_text(json.dumps(numbers) + "\n", encoding="utf-8")
            for path in draft.iterdir():
                files.sync(path)
        files.sync(folder)
        for old in states(folder)[:-kept]:
            shutil.rmtree(old)
    except (OSError, safetensors.SafetensorError) as error:
        raise StateError(f"cannot save the state in {folder}: {reason(error)}; older states are kept") from None
    return final


def restore(state: State, path: Path, scaler: Any = None) -> None:
    """Put what `save` wrote to `path` into `state`. Raises StateError, such as for the state of another model."""
    try:
        numbers = json.loads((path / "state.json").read_text(encoding="utf-8"))
        with safetensors.safe_open(path / "optimiser.safetensors", framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        pairs = [(state.model, "model.safetensors")]
        if state.ema is not None:
            pairs.append((state.best, "ema.safetensors"))
        loaded = [(model, load_network(path / file)) for model, file in pairs]
    except FileNotFoundError as error:
        raise StateError(f"{path}: not a complete state: {reason(error)}") from None
    except (OSError, safetensors.SafetensorError, CheckpointError, json.JSONDecodeError) as error:
        raise StateError(f"{path}: cannot be resumed: {reason(error)}") from None
    for model, stored in loaded:
        if changed := differences(stored, model):
            raise StateError(f"{path}: the state of another model: {changed}")
        model.load_state_dict(stored.state_dict())
    kernels = {p for group in state.optimiser.param_groups if group["matrices"] for p in group["params"]}
    for name, p in _named(state):
        entry = {kind: tensors[f"{kind}.{name}"] for kind in _OPTIMISER if f"{kind}.{name}" in tensors}
        expected = _OF_KERNELS if p in kernels else _OPTIMISER
        if entry and (tuple(entry) != expected or entry["exp_avg"].shape != p.shape):
            raise StateError(f"{path}: its optimiser does not fit the model at {name}")
        # The count of steps stays on the CPU, where Adam keeps it.
        state.optimiser.state[p] = {k: v if k == "step" else v.to(p.device) for k, v in entry.items()}
    torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])
    state.step, state.bad_steps = numbers["step"], numbers["bad_steps"]
    if state.ema is not None:
        state.ema.n_averaged.fill_(numbers["averaged"])
    if scaler is not None and numbers["scaler"] is not None:
        scaler.load_state_dict(numbers["scaler"])
