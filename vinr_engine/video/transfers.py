"""Pictures to the device and back. On a CUDA device both ways run beside the computation, through pinned memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .io.colour import Array

if TYPE_CHECKING:
    import torch


class Transfers:
    """Copies that the host waits for."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def upload(self, rgb: Array) -> torch.Tensor:
        """A picture of the host as a tensor on the device."""
        import torch

        return torch.from_numpy(rgb).to(self.device)

    def download(self, picture: torch.Tensor) -> Callable[[], Array]:
        """Begins to copy a tensor of the device, which is not written to again; what it returns waits for the copy."""
        return lambda: picture.cpu().numpy()


class CudaTransfers(Transfers):
    """Copies on a stream for each direction, ordered with the device's current stream and not with each other."""

    def __init__(self, device: torch.device) -> None:
        import torch

        super().__init__(device)
        self._up, self._down = torch.cuda.Stream(device), torch.cuda.Stream(device)

    def upload(self, rgb: Array) -> torch.Tensor:
        """See Transfers.upload. PyTorch keeps the pinned copy until the device has read it."""
        import torch

        pinned = torch.from_numpy(rgb).pin_memory()
        current = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._up):
            tensor = pinned.to(self.device, non_blocking=True)
        current.wait_stream(self._up)
        # The memory is the other stream's: it must not be given away while this one may still read it.
        tensor.record_stream(current)
        return tensor

    def download(self, picture: torch.Tensor) -> Callable[[], Array]:
        """See Transfers.download."""
        import torch

        host = torch.empty(picture.shape, dtype=picture.dtype, pin_memory=True)
        self._down.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._down):
            host.copy_(picture, non_blocking=True)
        picture.record_stream(self._down)
        arrived = self._down.record_event()

        def wait() -> Array:
            arrived.synchronize()
            return host.numpy()

        return wait


def between(device: torch.device) -> Transfers:
    """The transfers between the host and a device."""
    return CudaTransfers(device) if device.type == "cuda" else Transfers(device)
