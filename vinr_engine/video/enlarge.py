"""The network applied to neighbouring pictures, each part computed once and only when an output needs it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vinr_engine.errors import SourceError, UsageError, VinrError, WeightsError, reason
from vinr_engine.memory import parse
from vinr_engine.models import CheckpointError, Network, NetworkModule, VideoINR, load_network
from vinr_engine.models.checkpoint import parameters_digest
from vinr_engine.models.tiled import fitted

from . import transfers
from .io.colour import Array
from .job import NetworkOptions
from .threads import WAITING, join

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16", "float64")
SEED = 20220607
"""Seed of the weights that --untrained draws."""
UNTRAINED = "the network is untrained: its pictures mean nothing (nearly black)"
DEFAULT_NAME = "the package's own (flowinr.safetensors)"


def check_device(device: str) -> None:
    """UsageError unless ``device`` is auto, cpu, mps, cuda or cuda:N; looks at the text alone."""
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (number and not number.isdigit()) or device.endswith(":"):
        raise UsageError(f"--device must be auto, cpu, cuda, cuda:N or mps, got {device!r}")


def check_dtype(dtype: str, device: str) -> None:
    """UsageError unless ``dtype`` is one of DTYPES and runs on ``device``."""
    if dtype not in DTYPES:
        raise UsageError(f"--dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    if dtype == "float16" and device.startswith("cpu"):
        raise UsageError("--dtype float16 needs a GPU; on a CPU use float32 or bfloat16")
    if dtype == "float64" and device.startswith("mps"):
        raise UsageError("--dtype float64 does not exist on mps; use float32")


def resolve_device(device: str, dtype: str) -> torch.device:
    """The torch device; auto takes a GPU if there is one. Errors: UsageError when it is not there."""
    import torch

    cuda = torch.cuda.is_available()
    mps = torch.backends.mps.is_available()
    if device == "auto":
        device = "cuda" if cuda else "mps" if mps and dtype != "float64" else "cpu"
    kind, _, number = device.partition(":")
    if kind == "cuda" and not cuda:
        raise UsageError(f"--device {device}: this machine has no CUDA device that torch can use")
    if kind == "cuda" and number and int(number) >= torch.cuda.device_count():
        raise UsageError(f"--device {device}: there are {torch.cuda.device_count()} CUDA devices, numbered from 0")
    if kind == "mps" and not mps:
        raise UsageError("--device mps: this machine has no Metal device that torch can use")
    check_dtype(dtype, device)
    return torch.device(device)


def graphed(model: Network, device: torch.device) -> Network:
    """The network recorded in CUDA graphs. UsageError unless it is one of PyTorch, and on a CUDA device."""
    from vinr_engine.models.graphs import GraphedNetwork

    if device.type != "cuda":
        raise UsageError(f"--cuda-graphs needs a CUDA device, and the network runs on {device.type}")
    if not isinstance(model, NetworkModule):
        raise UsageError("--cuda-graphs needs a network of PyTorch, not an exported one or a stand-in")
    return GraphedNetwork(model)


def check_backend(name: str) -> str:
    """The backend to use; auto is the one in force. UsageError unless it exists and can run here."""
    from vinr_engine import backends

    option = f"--backend {name}"
    if name == "auto":
        name, option = backends.chosen(), f"the backend in force, {backends.chosen()},"
    known = {status.name: status for status in backends.report()}
    if name != "auto" and name not in known:
        raise UsageError(f"--backend (or VINR_BACKEND) must be one of auto, {', '.join(known)}, got {name!r}")
    if name != "auto" and not known[name].available:
        raise UsageError(f"{option} cannot run here: {known[name].reason}")
    return name


def check_weights(weights: str | os.PathLike[str] | None, untrained: bool, given: bool) -> None:
    """That at most one of weights, ``untrained`` and a loaded model (``given``) is there; WeightsError, UsageError."""
    if (weights is not None and untrained) or (given and (weights is not None or untrained)):
        raise UsageError("--weights and --untrained exclude each other (and a loaded model excludes both)")
    if weights is not None and not Path(weights).is_file():
        raise WeightsError(f"no such weights file: {weights}")


def load(weights: str | os.PathLike[str] | None, untrained: bool = False) -> Network:
    """The network of a checkpoint, the package's own for None; or an untrained one of the published size, of SEED."""
    import torch

    if untrained:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            return VideoINR()
    try:
        return load_network(weights)
    except CheckpointError as error:
        raise WeightsError(reason(error)) from None
    except OSError as error:
        raise WeightsError(f"cannot read {weights}: {reason(error)}") from None


def check(options: NetworkOptions, untrained: bool = False) -> str:
    """The backend to use, after all that can be refused before a file is opened; UsageError, WeightsError."""
    check_device(options.device)
    check_dtype(options.dtype, options.device)
    if options.memory is not None:
        parse(options.memory, 0)
    backend = check_backend(options.backend)
    check_weights(options.weights, untrained, options.model is not None)
    return backend


def name_of(options: NetworkOptions) -> str:
    """Where the weights come from, as text."""
    if options.model is not None:
        return options.model.name
    return DEFAULT_NAME if options.weights is None else os.fspath(options.weights)


def digest(model: Network) -> str:
    """What tells a network from others; one that is not of PyTorch is known by its name alone."""
    if isinstance(model, NetworkModule):
        return parameters_digest(model)
    return hashlib.sha256(model.name.encode()).hexdigest()


class Slot:
    """One picture on the device, with what the network knows of it once somebody asks for that."""

    def __init__(self, enlarger: Enlarger, rgb: Array) -> None:
        self._enlarger = enlarger
        self.frame = enlarger.transfers.upload(rgb).to(enlarger.work)[None]

    @cached_property
    def known(self) -> Any:
        """See `Network.known`."""
        with self._enlarger.autocast():
            return self._enlarger.model.known(self.frame, self._enlarger.size)


class Pair:
    """Two neighbouring pictures, with what their queries share once somebody asks for one."""

    def __init__(self, enlarger: Enlarger, first: Slot, second: Slot) -> None:
        import torch

        self._enlarger = enlarger
        self.first, self.second = first, second
        self._expected: list[Fraction] = []
        self._made: dict[Fraction, Callable[[], Array]] = {}
        self._frames = torch.stack([first.frame, second.frame], 1)

    @cached_property
    def _encoded(self) -> tuple[Any, Any]:
        """Features, and what `Network.shared` makes of them."""
        enlarger = self._enlarger
        with enlarger.autocast():
            features = enlarger.model.encode_pair(self.first.known, self.second.known)
            return features, enlarger.model.shared(features, self._frames, enlarger.size)

    def at(self, position: Fraction) -> Array:
        """The enlarged picture [3, H, W], clamped to [0, 1], at ``position`` in [0, 1] between the two."""
        return self.begin(position)()

    def begin(self, position: Fraction) -> Callable[[], Array]:
        """The same for another thread to wait for: see `Enlarger.begin`."""
        if position not in self._made:
            self._begin([position, *self._following(position)])
        return self._made.pop(position)

    def expect(self, positions: Sequence[Fraction]) -> None:
        """Say which positions will be asked for, in this order, for networks that like to make several together."""
        self._expected = list(positions)

    def _following(self, position: Fraction) -> list[Fraction]:
        """Those to make together with that one."""
        if position not in self._expected:
            return []
        n = self._expected.index(position)
        return self._expected[n + 1 : n + self._enlarger.model.together]

    def _begin(self, positions: list[Fraction]) -> None:
        enlarger = self._enlarger
        features, shared = self._encoded

        def query() -> torch.Tensor:
            return enlarger.model.query(features, self._frames, [*map(float, positions)], enlarger.size, shared=shared)

        with enlarger.autocast():
            if len(positions) == 1:
                self._made[positions[0]] = _checked(enlarger.begin(lambda: query()[0, 0].float()))
                return
            pictures = query()[0].float()
            for position, colours in zip(positions, pictures, strict=True):
                self._made[position] = _checked(enlarger.transfers.download(colours))


def _checked(arrived: Callable[[], Array]) -> Callable[[], Array]:
    def picture() -> Array:
        rgb = arrived()
        if not np.isfinite(rgb).all():
            raise VinrError("the network's output is not finite: the weights are damaged, or --dtype is too narrow")
        return np.clip(rgb, 0, 1)

    return picture


class Enlarger:
    """A network, the device and precision that it runs in, and the output size (height, width).

    bfloat16 and float16 run under autocast, which keeps coordinates and phases in float32.
    """

    def __init__(
        self,
        model: Network,
        size: tuple[int, int],
        device: torch.device | None,
        dtype: str,
        cuda_graphs: bool = False,
        frames: tuple[int, int] | None = None,
        memory: int | None = None,
    ) -> None:
        """``cuda_graphs``: see `graphed`. ``memory``: bytes to stay within, for frames of (height, width) ``frames``;
        see `fitted`, whose errors it raises."""
        import torch

        if device is None:
            device = model.device
            check_dtype(dtype, device.type)
        self.work = torch.float64 if dtype == "float64" else torch.float32
        model = model.placed(device, self.work)
        model = graphed(model, device) if cuda_graphs else model
        if memory is not None and frames is not None:
            model = fitted(model, frames, size, memory, device, double=dtype == "float64")
        self.model = model
        self.size = size
        self.device = device
        self.transfers = transfers.between(device)
        self._low = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(dtype)
        # No more: one is asked for while so many wait to be written.
        at_once = min(self.model.at_once(size), WAITING + 1)
        self._threads = ThreadPoolExecutor(at_once, "vinr-query") if at_once > 1 else None

    def autocast(self) -> Any:
        """The context in which the network runs."""
        import torch

        return torch.autocast(self.device.type, self._low) if self._low else nullcontext()

    def begin(self, picture: Callable[[], torch.Tensor]) -> Callable[[], Array]:
        """What waits for the picture, and brings it to the host: it is computed here, ordered from a device here, or
        computed beside others where the model likes that."""
        if self._threads is None:
            return self.transfers.download(picture())
        waiting = self._threads.submit(picture)
        return lambda: self.transfers.download(waiting.result())()

    def close(self) -> None:
        """Drop pictures that have not begun, and wait for those that have."""
        if self._threads is not None:
            join(self._threads)

    def slot(self, rgb: Array) -> Slot:
        """One picture [3, h, w]."""
        return Slot(self, rgb)

    def pair(self, first: Slot, second: Slot) -> Pair:
        """Two pictures, nothing computed yet."""
        return Pair(self, first, second)


def out_of_memory(error: BaseException) -> VinrError | None:
    """The user's message for a memory error of numpy or torch, None for other errors."""
    text = str(error).lower()
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return SourceError(
            "not enough memory for frames of this size: choose less --memory, a smaller --space, --size or input"
        )
    return None
