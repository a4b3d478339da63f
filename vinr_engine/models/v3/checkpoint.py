"""Published checkpoints of V3 and of Thera: parameters of their query and of V3's refining block, as tensors."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from vinr_engine.errors import CheckpointError
from vinr_engine.models.v3.pickles import arrays_of, read_tree

_HEAD = ("out_conv.kernel", "out_conv.bias", "k")
FREQUENCIES = {"V3": ("freqs", 3), "Thera": ("components", 2)}
"""Of each network, what its frequencies are called, and how many axes they have."""
_BLOCK = (
    "layers_0.kernel", "layers_1.LayerNorm_0.scale", "layers_1.LayerNorm_0.bias",
    "layers_2.kernel", "layers_2.bias", "layers_4.kernel", "layers_4.bias",
)  # fmt: skip
_REFINE = "refine.layers_0.residual."


class FlaxCheckpoint:
    """The arrays of a checkpoint by name, and whose it is.

    network: "V3" or "Thera".
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        arrays = arrays_of(path, read_tree(path))
        roots = {n.removesuffix(_HEAD[0]) for n in arrays if n == _HEAD[0] or n.endswith("." + _HEAD[0])}
        roots = {r for r in roots if "optimizer" not in r.split(".")}
        found = [(n, r) for r in sorted(roots) for n, (f, _) in FREQUENCIES.items() if r + f in arrays]
        if not found:
            listed = ", ".join(sorted(arrays)[:4]) or "no arrays"
            raise CheckpointError(f"{path}: neither V3's nor Thera's parameters; it holds {listed}")
        self.network, self.root = found[0]
        self.arrays = arrays

    def query(self, network: str) -> dict[str, Tensor]:
        """Parameters of the query of `network` by their published names: `out_conv.kernel` [C, 4 D], `out_conv.bias`
        [4 D], `freqs` or `components` [3 or 2, D], `k` []. Raises CheckpointError."""
        if self.network != network:
            raise CheckpointError(f"{self.path}: this is a {self.network} checkpoint, not one of {network}")
        frequencies, axes = FREQUENCIES[network]
        a = self._named(self.root, (*_HEAD, frequencies))
        shape = a[frequencies].shape
        if len(shape) < 2 or shape[-2] != axes or shape[-1] < 1 or a[frequencies].size != axes * shape[-1]:
            raise CheckpointError(f"{self.path}: {frequencies} must be [.., {axes}, D], got {list(shape)}")
        D = shape[-1]
        kernel = a["out_conv.kernel"].shape
        if len(kernel) < 2 or kernel[-1] != 4 * D or a["out_conv.kernel"].size != kernel[-2] * kernel[-1]:
            raise CheckpointError(
                f"{self.path}: out_conv.kernel must be [1, 1, C, 4 D] with 4 D = {4 * D}, got {list(kernel)}"
            )
        shapes = {"out_conv.kernel": kernel[-2:], "out_conv.bias": (4 * D,), frequencies: (axes, D), "k": ()}
        return self._shaped(a, shapes)

    def refine(self) -> dict[str, Tensor]:
        """Parameters of V3's refining block, by their names from `residual.` on. Raises CheckpointError."""
        if self.network != "V3":
            raise CheckpointError(f"{self.path}: this is a {self.network} checkpoint, which has no refining block")
        a = self._named(self.root + _REFINE, _BLOCK)
        C = a["layers_0.kernel"].shape[-1] if a["layers_0.kernel"].ndim else 0
        shapes = {
            "layers_0.kernel": (3, 3, 3, C, C), "layers_1.LayerNorm_0.scale": (C,), "layers_1.LayerNorm_0.bias": (C,),
            "layers_2.kernel": (C, 4 * C), "layers_2.bias": (4 * C,), "layers_4.kernel": (4 * C, C),
            "layers_4.bias": (C,),
        }  # fmt: skip
        return {f"residual.{name}": t for name, t in self._shaped(a, shapes).items()}

    def _named(self, root: str, names: Iterable[str]) -> dict[str, np.ndarray]:
        missing = [n for n in names if root + n not in self.arrays]
        if missing:
            raise CheckpointError(f"{self.path}: a {self.network} checkpoint without {', '.join(missing)}")
        return {n: self.arrays[root + n] for n in names}

    def _shaped(self, arrays: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """Axes of length 1 before the others are left out."""
        state = {}
        for name, array in arrays.items():
            shape = tuple(shapes[name])
            front = array.shape[: max(0, array.ndim - len(shape))]
            if array.shape[len(front) :] != shape or any(n != 1 for n in front):
                raise CheckpointError(f"{self.path}: {name} must be {list(shape)}, got {list(array.shape)}")
            value = torch.from_numpy(np.array(array, np.float32)).reshape(shape)
            if not torch.isfinite(value).all():
                raise CheckpointError(f"{self.path}: NaN or infinite values in {name}")
            state[name] = value
        return state
