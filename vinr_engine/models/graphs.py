"""CUDA graphs of the network: its launches recorded once for each set of shapes, and started together from then on.

At small sizes a GPU waits for the host, which starts hundreds of kernels for one pair of frames. Follows "CUDA Graphs"
in PyTorch's notes; no GPU was at hand to run it, tests stand in for the device.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vinr_engine import backends
from vinr_engine.errors import VinrError, reason
from vinr_engine.models.layers.blocks import Pyramid
from vinr_engine.models.videoinr.network import KnownFrame, Times, VideoINR, times_tensor

WARM_UP = 3  # runs before recording: kernels are compiled, tuned and loaded, and libraries take their memory
MOST_SHAPES = 8  # recorded at most of one function; each keeps its inputs and outputs in memory
_LOG = logging.getLogger("vinr_engine")

Function = Callable[..., tuple[Tensor, ...]]


class GraphError(VinrError):
    """No CUDA graph could be recorded. The current stream is what it was; memory of the attempt may stay taken."""


@dataclass(frozen=True)
class _Recording:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def replay(self, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        for own, new in zip(self.inputs, given, strict=True):
            own.copy_(new)
        self.graph.replay()
        return tuple(out.clone() for out in self.outputs)  # the next replay writes to the same memory


def _on_a_gpu(tensor: Tensor) -> bool:
    return tensor.device.type == "cuda"


class Graphed:
    """A function of tensors on one GPU whose launches are recorded when it first gets tensors of some shapes.

    `function(*tensors, *options)` gives a tuple of tensors. Its results may depend on its arguments and on weights that
    stay where they are; it never waits for the GPU and copies nothing from the host. Options are hashable. What it
    gives belongs to the caller: later calls do not change it.

    It is called as it is, and the log says why once, where tensors are not on a GPU, gradients are on, or `most` sets
    of shapes are recorded already. Raises GraphError where it cannot be recorded. Calls come from one thread at a time.
    """

    def __init__(self, function: Function, name: str, most: int = MOST_SHAPES) -> None:
        self.function, self.name, self.most = function, name, most
        self._recordings: dict[Hashable, _Recording] = {}
        self._said: set[str] = set()
        self._stream: torch.cuda.Stream | None = None
        self._pool: Any = None

    def __call__(self, *tensors: Tensor, options: tuple[Hashable, ...] = ()) -> tuple[Tensor, ...]:
        if torch.is_grad_enabled():
            return self._plainly("gradients are enabled", tensors, options)
        if not all(map(_on_a_gpu, tensors)):
            return self._plainly("its tensors are not on a GPU", tensors, options)
        key = self._key(tensors, options)
        if key not in self._recordings:
            if len(self._recordings) >= self.most:
                return self._plainly(f"shapes change: {self.most} sets are recorded already", tensors, options)
            self._recordings[key] = self._record(tensors, options)
        return self._recordings[key].replay(tensors)

    def _plainly(self, cause: str, tensors: tuple[Tensor, ...], options: tuple[Hashable, ...]) -> tuple[Tensor, ...]:
        if cause not in self._said:
            self._said.add(cause)
            _LOG.warning("%s runs without a CUDA graph: %s", self.name, cause)
        return self.function(*tensors, *options)

    @staticmethod
    def _key(tensors: tuple[Tensor, ...], options: tuple[Hashable, ...]) -> Hashable:
        """Everything that decides which kernels are launched."""
        device = tensors[0].device.type
        autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        settings = autocast, backends.chosen(), backends.chosen_input_precision(), torch.is_inference_mode_enabled()
        return tuple((t.shape, t.stride(), t.dtype, t.device) for t in tensors), options, settings

    def _record(self, tensors: tuple[Tensor, ...], options: tuple[Hashable, ...]) -> _Recording:
        device = tensors[0].device
        inputs = tuple(t.clone() for t in tensors)
        if self._stream is None:
            self._stream, self._pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()
        current = torch.cuda.current_stream(device)
        graph = torch.cuda.CUDAGraph()
        # Casts that autocast keeps for later would lie in memory that is given away when it ends.
        with torch.autocast(
            device.type, torch.get_autocast_dtype(device.type), torch.is_autocast_enabled(device.type), False
        ):
            self._stream.wait_stream(current)
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UP):
                    self.function(*inputs, *options)
            current.wait_stream(self._stream)
            try:
                # Other threads may wait for their copies meanwhile; recordings hold nothing between two replays, so
                # that all of them may share one pool.
                with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                    outputs = self.function(*inputs, *options)
            except Exception as error:
                # torch ends a recording before it restores the stream, and may not get so far.
                torch.cuda.set_stream(current)
                self._stream = self._pool = None
                cause = reason(error.__context__ or error)  # the end of a recording fails where something in it did
                raise GraphError(f"no CUDA graph of {self.name}, run without --cuda-graphs: {cause}") from error
        return _Recording(graph, inputs, outputs)


def _known(frame: Tensor, *levels: Tensor) -> KnownFrame:
    return KnownFrame(frame, Pyramid(*levels))


class GraphedVideoINR:
    """A `VideoINR` on a GPU with its methods for inference, each a `Graphed` one.

    The network's weights may change in place, and must not move. Raises what the network raises, and GraphError.
    """

    def __init__(self, model: VideoINR, most: int = MOST_SHAPES) -> None:
        self.model, self.config = model, model.config
        self._pyramid = Graphed(self._pyramid_of, "VideoINR.pyramid", most)
        self._encode = Graphed(self._features_of, "VideoINR.encode_pyramids", most)
        self._query = Graphed(self._picture_of, "VideoINR.query", most)
        self._enlarge = Graphed(lambda *given: (model.enlarge(*given),), "VideoINR.enlarge", most)

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """The network's."""
        return self.model.parameters()

    def _pyramid_of(self, frame: Tensor) -> tuple[Tensor, ...]:
        known = self.model.pyramid(frame)
        return known.frame, *known.levels

    def _features_of(self, *both: Tensor) -> tuple[Tensor, ...]:
        half = len(both) // 2
        return (self.model.encode_pyramids(_known(*both[:half]), _known(*both[half:])),)

    def _picture_of(self, features: Tensor, frames: Tensor, times: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        """`rest` is what `enlarge` gave, if it is there, then size, frame_upsample and return_flow."""
        *enlarged, size, frame_upsample, return_flow = rest
        out = self.model.query(features, frames, times, size, frame_upsample, return_flow, *enlarged)
        return (out,) if isinstance(out, Tensor) else out

    def pyramid(self, frame: Tensor) -> KnownFrame:
        """See VideoINR.pyramid."""
        return _known(*self._pyramid(frame))

    def encode_pyramids(self, first: KnownFrame, second: KnownFrame) -> Tensor:
        """See VideoINR.encode_pyramids."""
        return self._encode(first.frame, *first.levels, second.frame, *second.levels)[0]

    def enlarge(self, features: Tensor, frames: Tensor, size: tuple[int, int]) -> Tensor:
        """See VideoINR.enlarge."""
        return self._enlarge(features, frames, options=(tuple(size),))[0]

    def query(
        self,
        features: Tensor,
        frames: Tensor,
        times: Times,
        size: tuple[int, int],
        frame_upsample: int = 4,
        return_flow: bool = False,
        enlarged: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """See VideoINR.query."""
        at = times_tensor(times, len(frames), frames)
        given = (features, frames, at) if enlarged is None else (features, frames, at, enlarged)
        out, *flow = self._query(*given, options=(tuple(size), frame_upsample, return_flow))
        return (out, flow[0]) if flow else out
