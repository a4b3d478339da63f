"""What passes from an exported encoder to its query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass
class Encoded:
    """What the query takes of a pair of frames, by the names of its inputs."""

    maps: Mapping[str, Any]
    pictures: Any = None  # of a query that decodes all its times in one run

    @classmethod
    def of(cls, maps: Mapping[str, Any], frames: Any) -> Encoded:
        """From the encoder's outputs by name, and its input: the query of a residual network takes that too."""
        return cls({**maps, "frames": frames} if "detail" in maps else maps)
