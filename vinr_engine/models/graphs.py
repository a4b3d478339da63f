"""CUDA graphs of the network: its launches recorded once for each set of shapes, and started together from then on.

At small sizes a GPU waits for the host, which starts hundreds of kernels for one pair of frames. Follows "CUDA Graphs"
in PyTorch's notes; no GPU was at hand to run it, tests stand in for the device.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only

from vinr_engine import backends
from vinr_engine.errors import VinrError, reason
from vinr_engine.memory import Need
from vinr_engine.models.network import Network, NetworkModule, Size, Times, times_tensor

WARM_UP = 3  # runs before recording: kernels are compiled, tuned and loaded, and libraries take their memory
MOST_SHAPES = 8  # recorded at most of one function; each keeps its inputs and outputs in memory
_LOG = logging.getLogger("vinr_engine")


class GraphError(VinrError):
    """No CUDA graph could be recorded. The current stream is what it was; memory of the attempt may stay taken."""


@dataclass(frozen=True)
class _Recording:
    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    outputs: Any

    def replay(self, given: list[Tensor]) -> Any:
        for own, new in zip(self.inputs, given, strict=True):
            own.copy_(new)
        self.graph.replay()
        return tree_map_only(Tensor, Tensor.clone, self.outputs)  # the next replay writes to the same memory


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _on_a_gpu(tensor: Tensor) -> bool:
    return tensor.device.type == "cuda"


class Graphed:
    """A function of tensors on one GPU whose launches are recorded when it first gets tensors of some shapes.

    Arguments and results are tensors and what tuples, lists and dictionaries hold of them; other arguments are
    hashable. The results depend on the arguments and on weights that stay where they are; the function never waits for
    the GPU and copies nothing from the host. What it gives belongs to the caller: later calls do not change it.

    It is called as it is, and the log says why once, where tensors are not on a GPU, gradients are on, or `most` sets
    of shapes are recorded already. Raises GraphError where it cannot be recorded. Calls come from one thread at a time.
    """

    def __init__(self, function: Callable[..., Any], name: str, most: int = MOST_SHAPES) -> None:
        self.function, self.name, self.most = function, name, most
        self._recordings: dict[Hashable, _Recording | None] = {}
        self._said: set[str] = set()
        self._stream: torch.cuda.Stream | None = None
        self._pool: Any = None

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        given = arguments, named
        leaves, structure = tree_flatten(given)
        tensors = _tensors(leaves)
        if torch.is_grad_enabled():
            return self._plainly("gradients are enabled", given)
        if not all(map(_on_a_gpu, tensors)):
            return self._plainly("its tensors are not on a GPU", given)
        key = self._key(leaves, tensors[0].device), str(structure)
        if key not in self._recordings:
            if len(self._recordings) >= self.most:
                return self._plainly(f"shapes change: {self.most} sets are recorded already", given)
            self._recordings[key] = self._record(given, tensors[0].device)
        recording = self._recordings[key]
        return self.function(*arguments, **named) if recording is None else recording.replay(tensors)

    def _plainly(self, cause: str, given: tuple[tuple[Any, ...], dict[str, Any]]) -> Any:
        if cause not in self._said:
            self._said.add(cause)
            _LOG.warning("%s runs without a CUDA graph: %s", self.name, cause)
        arguments, named = given
        return self.function(*arguments, **named)

    @staticmethod
    def _key(leaves: list[Any], device: torch.device) -> Hashable:
        """Everything that decides which kernels are launched, but for the structure that holds the leaves."""
        kind = device.type
        autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        settings = autocast, backends.chosen(), backends.chosen_input_precision(), torch.is_inference_mode_enabled()
        facts = ((x.shape, x.stride(), x.dtype, x.device) if isinstance(x, Tensor) else x for x in leaves)
        return tuple(facts), settings

    def _record(self, given: Any, device: torch.device) -> _Recording | None:
        """None where the function makes no tensors."""
        arguments, named = given = tree_map_only(Tensor, Tensor.clone, given)
        if self._stream is None:
            self._stream, self._pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()
        current = torch.cuda.current_stream(device)
        # Casts that autocast keeps for later would lie in memory that is given away when it ends.
        with torch.autocast(
            device.type, torch.get_autocast_dtype(device.type), torch.is_autocast_enabled(device.type), False
        ):
            self._stream.wait_stream(current)
            with torch.cuda.stream(self._stream):
                outputs: Any = given
                for _ in range(WARM_UP):
                    outputs = self.function(*arguments, **named)
            current.wait_stream(self._stream)
            if not _tensors(outputs):
                return None
            graph = torch.cuda.CUDAGraph()
            try:
                # Other threads may wait for their copies meanwhile; recordings hold nothing between two replays, so
                # that all of them may share one pool.
                with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                    outputs = self.function(*arguments, **named)
            except Exception as error:
                # torch ends a recording before it restores the stream, and may not get so far.
                torch.cuda.set_stream(current)
                self._stream = self._pool = None
                cause = reason(error.__context__ or error)  # the end of a recording fails where something in it did
                raise GraphError(f"no CUDA graph of {self.name}, run without --cuda-graphs: {cause}") from error
        return _Recording(graph, _tensors(given), outputs)


class GraphedNetwork(Network):
    """A network of PyTorch on a GPU, each of its methods for inference a `Graphed` one.

    The network's weights may change in place, and must not move. Raises what the network raises, and GraphError.
    """

    def __init__(self, model: NetworkModule, most: int = MOST_SHAPES) -> None:
        self.model, self.name = model, model.name
        self.reach, self.grid = model.reach, model.grid
        self._known, self._encode_pair, self._shared, self._query = (
            Graphed(method, f"{type(model).__name__}.{method.__name__}", most)
            for method in (model.known, model.encode_pair, model.shared, model.query)
        )

    @property
    def device(self) -> torch.device:
        """The network's."""
        return self.model.device

    def check(self, size: Size, times: Sequence[float | Fraction] | None, frames: Size | None = None) -> None:
        """See Network."""
        self.model.check(size, times, frames)

    def need(self, frames: Size, size: Size) -> Need | None:
        """See Network."""
        return self.model.need(frames, size)

    def known(self, frame: Tensor, size: Size | None = None) -> Any:
        """See Network."""
        return self._known(frame, None if size is None else tuple(size))

    def encode_pair(self, first: Any, second: Any) -> Any:
        """See Network."""
        return self._encode_pair(first, second)

    def shared(self, features: Any, frames: Tensor, size: Size) -> Any:
        """See Network."""
        return self._shared(features, frames, tuple(size))

    def query(self, features: Any, frames: Tensor, times: Times, size: Size, *, shared: Any = None) -> Any:
        """See Network."""
        return self._query(features, frames, times_tensor(times, len(frames), frames), tuple(size), shared=shared)
