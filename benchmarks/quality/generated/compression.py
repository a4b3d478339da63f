"""What coding does to pictures: H.264 by x264, JPEG by Pillow, both at a low quality."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import av
import numpy as np
from PIL import Image

from .canvas import Bytes

Damage = Callable[[Sequence[Bytes]], list[Bytes]]
"""Pictures [h, w, 3] of one size, in order of time -> the same, coded and decoded."""


def h264(factor: int) -> Damage:
    """By x264 at that constant rate factor (0 to 51, higher is worse), 4:2:0, on one thread."""

    def damage(pictures: Sequence[Bytes]) -> list[Bytes]:
        h, w = pictures[0].shape[:2]
        # 4:2:0 needs even sides
        even = [np.pad(p, ((0, h % 2), (0, w % 2), (0, 0)), mode="edge") for p in pictures]
        file = io.BytesIO()
        with av.open(file, "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=25, options={"crf": str(factor), "preset": "medium"})
            stream.width, stream.height, stream.pix_fmt = w + w % 2, h + h % 2, "yuv420p"
            stream.thread_count = 1
            for picture in even:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(stream.encode())
        file.seek(0)
        with av.open(file) as container:
            decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        if len(decoded) != len(pictures):
            raise RuntimeError(f"x264 gave {len(decoded)} of {len(pictures)} pictures")
        return [p[:h, :w] for p in decoded]

    return damage


def jpeg(quality: int) -> Damage:
    """Each picture by itself, at that quality (1 to 95, lower is worse)."""

    def damage(pictures: Sequence[Bytes]) -> list[Bytes]:
        decoded = []
        for picture in pictures:
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "JPEG", quality=quality)
            decoded.append(np.array(Image.open(file).convert("RGB")))
        return decoded

    return damage
