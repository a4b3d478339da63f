"""What the tools need of a network, and the networks that go by a name."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from vinr_engine.memory import Need

Times = float | Sequence[float] | Tensor
Size = tuple[int, int]
"""Height and width."""


class Network(Protocol):
    """Makes pictures of any size at any time between two frames: all that the video tool and the evaluation ask for.

    A class that derives from this one writes `query` alone; the rest has defaults. What `known`, `encode_pair` and
    `shared` give is the network's own: others hand it on and never look into it. Batches hold one pair.
    """

    name: str = "given model"
    """What summaries call it."""
    reach: int = 64
    """Input pixels beyond which a pixel changes hardly anything, see docs/memory.md: tiles lap over so far."""
    grid: int = 1
    """Tiles begin at multiples of it: input pixels of one of the coarsest maps that it makes."""

    @property
    def device(self) -> torch.device:
        """Where it takes frames and gives pictures."""
        return torch.device("cpu")

    def placed(self, device: torch.device, dtype: torch.dtype) -> Network:
        """The network on a device, for frames in float32 or float64."""
        return self

    def check(self, size: Size, times: Sequence[float | Fraction] | None, frames: Size | None = None) -> None:
        """UsageError unless it makes pictures of `size` at `times`, from `frames` of a size; None stands for any."""
        return None

    together: int = 1
    """Of how many times between two frames it likes to make pictures in one query: one whose queries share work."""

    def at_once(self, size: Size) -> int:
        """How many queries for pictures of `size` it likes to answer together, each on a thread of the caller's."""
        return 1

    def need(self, frames: Size, size: Size) -> Need | None:
        """What it takes of memory, for frames of one size and pictures of another; None where it does not say, which
        leaves it untouched by --memory."""
        return None

    def known(self, frame: Tensor, size: Size | None = None) -> Any:
        """What both pairs that a frame [1, 3, h, w] in [0, 1] belongs to share; by default the frame.

        `size`: of the pictures that will be asked for, for networks that make something of a frame alone at that size.
        """
        return frame

    def encode_pair(self, first: Any, second: Any) -> Any:
        """The features of a pair, from what is `known` of its frames: what all its queries share."""
        return None

    def shared(self, features: Any, frames: Tensor, size: Size) -> Any:
        """What all queries of a pair at one size share, beside its features; arguments as of `query`."""
        return None

    @abstractmethod
    def query(self, features: Any, frames: Tensor, times: Times, size: Size, *, shared: Any = None) -> Tensor:
        """Pictures [1, T, 3, HH, WW] of `size` (HH, WW), not clamped to [0, 1].

        Args:
            features: what `encode_pair` gave.
            frames: [1, 2, 3, h, w] in [0, 1].
            times: a number, [T] or [T, 1], in [0, 1]: 0 at the first frame and 1 at the second.
            shared: what `shared` gave; None if nobody asked it.
        """


class NetworkModule(nn.Module, Network):
    """A network of PyTorch: checkpoints hold it, `vinr train` trains it, CUDA graphs record it. See `register`."""

    config: dict[str, Any]
    """The constructor's arguments, as JSON has them: a checkpoint's metadata hold them."""
    learns: tuple[str, ...] = ("pictures",)
    """What `training_outputs` takes for `learn`."""

    @classmethod
    def from_published(cls, state: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """`config` for parameters that come without, such as a published `.pth`, and them under their names here.

        None, or a KeyError naming a parameter that is missing, if they are not of this network.
        """
        return None

    @property
    def unused(self) -> tuple[str, ...]:
        """How names of parameters begin that it never runs: a file may lack them, and no gradient reaches them."""
        return ()

    @property
    def device(self) -> torch.device:
        """Where its parameters lie."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    def placed(self, device: torch.device, dtype: torch.dtype) -> NetworkModule:
        """Itself, moved; a copy where its precision has to change."""
        model = self
        if any(p.is_floating_point() and p.dtype != dtype for p in self.parameters()):
            model = copy.deepcopy(self).to(dtype)
        return model.to(device)

    def encode(self, frames: Tensor) -> Any:
        """The features of frames [B, 2, 3, h, w] in [0, 1]."""
        first, second = (self.known(frame) for frame in frames.unbind(1))
        return self.encode_pair(first, second)

    def forward(self, frames: Tensor, times: Times, size: Size) -> Tensor:
        """frames [B, 2, 3, h, w] in [0, 1] -> [B, T, 3, HH, WW] at `times`; see `query`."""
        return self.query(self.encode(frames), frames, times, size)

    def initialise(self) -> None:
        """Draw weights to begin training with, where a run asks for better ones than the constructor's."""

    def training_outputs(
        self, frames: Tensor, times: Tensor, size: Size, frame_upsample: int, learn: str
    ) -> tuple[Tensor | None, list[Tensor] | None]:
        """What a training step compares: pictures [B, T, 3, HH, WW], and flows [B, T, 4, _, _], each in pixels of its
        own size, where the network makes any; None for what `learn` leaves out.

        `frame_upsample` is for networks that read enlarged colours. `learn` is one of `learns`: "pictures" at `times`;
        "frames", both enlarged, each from itself alone (T = 2); "flow"; or "parts", the last two at once.
        """
        return self(frames, times, size), None


N = TypeVar("N", bound=NetworkModule)
networks: dict[str, type[NetworkModule]] = {}
DEFAULT = "VideoINR"
"""The network of files and configurations that name none."""


def register(network: type[N]) -> type[N]:
    """Let checkpoints and training find a network by the name of its class; a decorator. ValueError: a name taken."""
    taken = networks.setdefault(network.__name__, network)
    if taken.__module__ != network.__module__:
        raise ValueError(f"{taken.__module__} has registered a network {network.__name__} already")
    networks[network.__name__] = network
    return network


def times_tensor(times: Times, batch: int, like: Tensor) -> Tensor:
    """A number, [T] or [T, B] -> [T, B], on the device and in the dtype of `like`. Raises ValueError outside [0, 1].

    Times that lie on a GPU already are not checked: that would wait for the GPU.
    """
    tensor = torch.as_tensor(times, dtype=like.dtype)
    if not torch.compiler.is_compiling():
        if tensor.device.type == "cpu" and not ((tensor >= 0) & (tensor <= 1)).all():
            raise ValueError(f"times must lie in [0, 1], got {tensor.tolist()}")
        if not isinstance(times, Tensor) and like.device.type != "cpu":
            # Filled there: a copy from the host's memory would wait for the GPU, at every frame.
            numbers = [like.new_full((1,), t) for t in tensor.flatten().tolist()]
            tensor = torch.cat([like.new_empty(0), *numbers]).view(tensor.shape)
    if tensor.dim() == 0:
        tensor = tensor[None]
    if tensor.dim() == 1:
        tensor = tensor[:, None].expand(-1, batch)
    if tensor.dim() != 2 or tensor.shape[1] != batch:
        raise ValueError(f"times must be a number, [T] or [T, B] with B = {batch}, got {list(tensor.shape)}")
    return tensor.to(like.device)
