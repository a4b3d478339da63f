"""The network applied to neighbouring pictures, each part computed once and only when an output needs it."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vinr_engine.errors import SourceError, UsageError, VinrError, WeightsError, reason

from . import transfers
from .io.colour import Array
from .threads import WAITING, join

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16", "float64")
SEED = 20220607
"""Seed of the weights that --untrained draws."""
DEFAULT_WEIGHTS = Path(__file__).parents[1] / "assets" / "small.safetensors"
"""What is used where no weights are given: a small network, trained as docs/default-weights.md says."""
DEFAULT_NAME = "the package's own (small.safetensors)"


class Model(Protocol):
    """What is used of vinr_engine.VideoINR.

    A model may also have two methods. `at_once`: of a size (height, width) of pictures, how many queries it likes to
    answer together, each on a thread of ours. `check`: UsageError unless it makes pictures of a size at all of some
    times, None for any times, from frames of a size.
    """

    def pyramid(self, frame: torch.Tensor) -> Any:
        """Levels of one frame [1, 3, h, w]."""

    def encode_pyramids(self, first: Any, second: Any) -> torch.Tensor:
        """Features of a pair of frames."""

    def query(self, features: torch.Tensor, frames: torch.Tensor, times: list[float], size: tuple[int, int]) -> Any:
        """Pictures [1, T, 3, H, W] at ``times`` in [0, 1]."""


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


def check_cuda_graphs(model: Any, device: torch.device) -> None:
    """UsageError unless the network can be recorded in CUDA graphs: a VideoINR on a CUDA device."""
    from vinr_engine.models import VideoINR

    if device.type != "cuda":
        raise UsageError(f"--cuda-graphs needs a CUDA device, and the network runs on {device.type}")
    if not isinstance(model, VideoINR):
        raise UsageError("--cuda-graphs needs a network of PyTorch, not an exported one or a stand-in")


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


def load(weights: str | os.PathLike[str] | None, untrained: bool = False) -> Model:
    """The network of a checkpoint, the package's own for None; or an untrained one of the published size, of SEED."""
    import torch

    import vinr_engine as vinr

    if untrained:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            return vinr.VideoINR()
    weights = DEFAULT_WEIGHTS if weights is None else weights
    try:
        return vinr.VideoINR.from_checkpoint(str(weights))
    except vinr.CheckpointError as error:
        raise WeightsError(reason(error)) from None
    except OSError as error:
        raise WeightsError(f"cannot read {weights}: {reason(error)}") from None


class Slot:
    """One picture on the device, with its pyramid once somebody asks for it."""

    def __init__(self, enlarger: Enlarger, rgb: Array) -> None:
        self._enlarger = enlarger
        self.frame = enlarger.transfers.upload(rgb).to(enlarger.work)[None]
        self._pyramid: Any = None

    @property
    def pyramid(self) -> Any:
        """Levels 1 to 3 of this picture, computed once."""
        if self._pyramid is None:
            enlarger = self._enlarger
            enlarger.pyramids += 1
            with enlarger.autocast():
                self._pyramid = enlarger.model.pyramid(self.frame)
        return self._pyramid


class Pair:
    """Two neighbouring pictures, with their features once somebody asks for them."""

    def __init__(self, enlarger: Enlarger, first: Slot, second: Slot) -> None:
        import torch

        self._enlarger = enlarger
        self.first, self.second = first, second
        self._frames = torch.stack([first.frame, second.frame], 1)
        self._features: Any = None
        self._shared: dict[str, Any] = {}

    def at(self, position: Fraction) -> Array:
        """The enlarged picture [3, H, W], clamped to [0, 1], at ``position`` in [0, 1] between the two."""
        return self.begin(position)()

    def begin(self, position: Fraction) -> Callable[[], Array]:
        """The same for another thread to wait for: see `Enlarger.begin`."""
        enlarger = self._enlarger
        if self._features is None:
            enlarger.encodings += 1
            with enlarger.autocast():
                features = enlarger.model.encode_pyramids(self.first.pyramid, self.second.pyramid)
                self._features = features.to(enlarger.work)
                self._shared = enlarger.shared(self._features, self._frames)
        given = self._features, self._frames, [float(position)]

        def colours() -> torch.Tensor:
            out = enlarger.model.query(*given, size=enlarger.size, **self._shared)
            return out[0, 0].float().clamp(0, 1)

        with enlarger.autocast():
            arrived = enlarger.begin(colours)

        def picture() -> Array:
            rgb = arrived()
            if not np.isfinite(rgb).all():
                raise VinrError("the network's output is not finite: the weights are damaged, or --dtype is too narrow")
            return rgb

        return picture


class Enlarger:
    """A network, the device and precision that it runs in, and the output size (height, width).

    bfloat16 and float16 run under autocast, which keeps coordinates and phases in float32.
    ``pyramids`` and ``encodings`` count the work.
    """

    def __init__(
        self, model: Any, size: tuple[int, int], device: torch.device | None, dtype: str, cuda_graphs: bool = False
    ) -> None:
        """``cuda_graphs``: see `check_cuda_graphs`."""
        import torch

        if device is None:
            parameter = next(iter(model.parameters()), None) if hasattr(model, "parameters") else None
            device = torch.device("cpu") if parameter is None else parameter.device
            check_dtype(dtype, device.type)
        if hasattr(model, "to"):
            wanted = torch.float64 if dtype == "float64" else torch.float32
            if any(p.is_floating_point() and p.dtype != wanted for p in getattr(model, "parameters", tuple)()):
                model = copy.deepcopy(model).to(wanted)  # the caller's model keeps its precision
            model = model.to(device)
        if cuda_graphs:
            check_cuda_graphs(model, device)
            from vinr_engine.models.graphs import GraphedVideoINR

            model = GraphedVideoINR(model)
        self.model: Model = model
        self.size = size
        self.device = device
        self.transfers = transfers.between(device)
        self.work = torch.float64 if dtype == "float64" else torch.float32
        self._low = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(dtype)
        self.pyramids = self.encodings = 0
        at_once = model.at_once(size) if hasattr(model, "at_once") else 1
        at_once = min(at_once, WAITING + 1)  # no more: one is asked for while so many wait to be written
        self._threads = ThreadPoolExecutor(at_once, "vinr-query") if at_once > 1 else None

    def autocast(self) -> Any:
        """The context in which the network runs."""
        import torch

        return torch.autocast(self.device.type, self._low) if self._low else nullcontext()

    def shared(self, features: torch.Tensor, frames: torch.Tensor) -> dict[str, Any]:
        """What all queries of one pair share."""
        model: Any = self.model
        if not getattr(model, "config", {}).get("residual"):
            return {}
        return {"enlarged": model.enlarge(features, frames, self.size)}

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
        return SourceError("not enough memory for frames of this size: choose a smaller --space, --size or input")
    return None
