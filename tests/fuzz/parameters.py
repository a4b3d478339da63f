"""Damaged checkpoints and configurations, and ops with arguments that do not fit: a result or an error, no crash."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import safetensors.torch
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import vinr_engine as vinr
from fuzz.media import one_line
from fuzz.mutate import mutated
from vinr_engine.drop_in.bf_stvsr import BFQuery
from vinr_engine.drop_in.thera import TheraQuery
from vinr_engine.drop_in.v3 import V3Query, times_of
from vinr_engine.errors import ConfigError
from vinr_engine.models import checkpoint
from vinr_engine.training import config

TINY: dict[str, Any] = {"nf": 8, "groups": 2, "front_blocks": 1, "back_blocks": 1}
MOST_ELEMENTS = 1 << 16
"""Of a tensor that an op is given."""
REFUSALS = (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError, OverflowError, MemoryError)
"""What an op raises of arguments that do not fit."""


@cache
def _network() -> vinr.VideoINR:
    torch.manual_seed(0)
    return vinr.VideoINR(**TINY)


@cache
def _checkpoints() -> list[bytes]:
    """A file of each form."""
    network = _network()
    state = network.state_dict()
    found = []
    for content in (state, {"model": state, "step": 3}):
        file = io.BytesIO()
        torch.save(content, file)
        found.append(file.getvalue())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.safetensors"
        vinr.save_checkpoint(network, path)
        found.append(path.read_bytes())
    return [*found, safetensors.torch.save(dict(state))]


def checkpoint_case(rng: Random, folder: Path) -> str:
    """A checkpoint, damaged."""
    every = _checkpoints()
    number = rng.randrange(len(every))
    path = folder / ("in.safetensors" if number > 1 else "in.pth")
    path.write_bytes(mutated(every[number], every, rng))
    try:
        vinr.load_network(path)
    except checkpoint.CheckpointError as error:
        one_line(error)
        return "refused"
    return "loaded"


WORDS = (
    "null", "true", "no", "-1", "0", "1e999", ".nan", ".inf", "[]", "{}", "[1, 2", "'", '"', "&a", "*a", "!!binary x",
    "9999999999999999999999", "2022-06-07", "model:", "network: FlowINR", "data:", "!!python/none", "? x", "|", "\x00",
)  # fmt: skip


def configuration_case(rng: Random, folder: Path) -> str:
    """A preset's file, changed."""
    presets = sorted(config.PRESETS.glob("*.yaml")) + sorted(config.PRESETS.glob("*.yml"))
    path = folder / "in.yaml"
    data = rng.choice(presets).read_bytes()
    if rng.random() < 0.5:
        data = mutated(data, [preset.read_bytes() for preset in presets], rng)
    else:
        lines = data.decode().split("\n")
        for _ in range(1 << rng.randrange(4)):
            at = rng.randrange(len(lines))
            key, colon, value = lines[at].partition(":")
            change = rng.randrange(4)
            if change == 0:
                del lines[at]
            elif change == 1:
                lines.insert(at, rng.choice(lines or [""]))
            else:
                lines[at] = f"{key}{colon} {rng.choice(WORDS)}" if change == 2 else rng.choice(WORDS) + value
            lines = lines or [""]
        data = "\n".join(lines).encode()
    path.write_bytes(data)
    try:
        config.load(path)
    except ConfigError as error:
        one_line(error)
        return "refused"
    return "loaded"


class _Calls(TorchDispatchMode):
    """Keeps the first few calls of each of our ops, in all their variants."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, list[tuple[Any, tuple[Any, ...], dict[str, Any]]]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "vinr":
            calls = self.found.setdefault(str(func), [])
            if len(calls) < 4:
                calls.append((func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))


@cache
def _calls() -> list[tuple[Any, tuple[Any, ...], dict[str, Any]]]:
    """Those that a step of training and one of inference of each network make, and of other networks' queries."""
    torch.manual_seed(0)
    with _Calls() as calls:
        for query in _queries():
            sum(out.sum() for out in query() if out is not None).backward()
            with torch.inference_mode():
                query()
        for model in (_network(), vinr.load_network()):
            frames = torch.rand(1, 2, 3, 16, 16)
            model.train()
            model(frames, [0.5], (32, 32)).sum().backward()
            model.zero_grad()
            with torch.inference_mode():
                model.eval()(frames, [0.25], (24, 40))
    return [call for name in sorted(calls.found) for call in calls.found[name]]


def _queries() -> list[Callable[[], tuple[torch.Tensor | None, ...]]]:
    """Of small inputs that want gradients."""

    def drawn(*shape: int) -> torch.Tensor:
        return torch.rand(shape, requires_grad=True)

    pictures, bf, field, still = drawn(1, 3, 4, 5), BFQuery(), V3Query(8, 16), TheraQuery(8, 16)
    q, kv, offset = drawn(2, 1, 8, 4, 5), drawn(1, 2, 16, 4, 5), drawn(2, 2 * 2 * 2 * 9, 4, 5)
    return [
        lambda: (bf(drawn(1, 3, 64, 3, 4), [0.25, 0.5], (9, 10)),),
        lambda: (field(drawn(2, 3, 4, 8), torch.rand(2, 3, 4, 3), (6, 9), times_of(2, 2)),),
        lambda: (still(drawn(1, 3, 4, 8), torch.rand(1, 3, 4, 3), (6, 9)),),
        lambda: (vinr.ops.splat(pictures, drawn(1, 2, 4, 5), drawn(1, 1, 4, 5)),),
        lambda: vinr.ops.splat_sum(pictures, drawn(1, 2, 4, 5), count=True, maximum=True),
        lambda: (vinr.ops.nearest_conv(pictures, drawn(4, 3, 3, 3), drawn(4), (9, 11)),),
        lambda: (vinr.ops.deform_attention(q, kv, offset, 2, 2),),
    ]


def _tensor(value: torch.Tensor, rng: Random) -> Any:
    change = rng.randrange(9)
    if change == 0:
        return value.to(rng.choice((torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.complex64)))
    if change == 1 and value.dim():
        shape = list(value.shape)
        shape[rng.randrange(len(shape))] = rng.choice((0, 1, 2, 7))
        return torch.rand(shape).to(value.dtype)
    if change == 2 and value.dim():
        return value.unsqueeze(rng.randrange(value.dim()))
    if change == 3 and value.dim() > 1:
        return value.transpose(rng.randrange(value.dim()), rng.randrange(value.dim()))
    if change == 4 and value.dim():
        return value.flatten()
    if change == 5:
        return value.to("meta")
    if change == 6:
        return value * rng.choice((float("nan"), float("inf"), -1e30, 1e30))
    if change == 7:
        return value.expand(2, *value.shape)
    return value[..., ::2] if value.dim() else None


def _changed(value: Any, rng: Random) -> Any:
    if isinstance(value, torch.Tensor):
        return _tensor(value, rng)
    if isinstance(value, (list, tuple)) and value:
        items, at = list(value), rng.randrange(len(value))
        change = rng.randrange(4)
        if change == 0:
            del items[at]
        elif change == 1:
            items.append(items[at])
        elif change == 2:
            items[at] = _changed(items[at], rng)
        else:
            items = []
        return items
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice((0, -1, 1, 3, 1 << 31, (1 << 63) - 1, -(1 << 63)))
    if isinstance(value, float):
        return rng.choice((0.0, -1.0, float("nan"), float("inf"), 1e300))
    if isinstance(value, str):
        return rng.choice(("", "ieee", "tf32", "nonsense", "\x00"))
    return rng.choice((None, 0, 1.5, "", []))


def op_case(rng: Random, folder: Path) -> str:
    """A call of an op, with some of its arguments changed."""
    func, args, kwargs = rng.choice(_calls())
    changed = list(args)
    for _ in range(1 << rng.randrange(3)):
        at = rng.randrange(len(changed))
        changed[at] = _changed(changed[at], rng)
    flat = [x for value in changed for x in (value if isinstance(value, (list, tuple)) else [value])]
    if any(isinstance(x, torch.Tensor) and x.numel() > MOST_ELEMENTS for x in flat):
        return f"{func} too large"
    try:
        with torch.inference_mode():
            func(*changed, **kwargs)
    except REFUSALS:
        return f"{func} refused"
    return f"{func} answered"
