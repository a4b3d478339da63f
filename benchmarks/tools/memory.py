"""The most memory that `vinr upscale` takes, and its time: a process of its own a run, on a clip that moves.

    python -m benchmarks.tools.memory --size 1920x1080 --space 2 [--time 2] [--frames 6] [--memory 4GB]...

The peak is the process's resident set as the system counts it, all libraries and the encoder with it. Arguments after
`--` go to `vinr upscale` as they are.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from benchmarks.common.markdown import table


def make_clip(path: Path, width: int, height: int, frames: int) -> None:
    """Waves of several lengths that move by some pixels a frame, and noise that stands still."""
    noise = np.random.default_rng(0).integers(0, 12, (height, width), dtype=np.uint8)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 25, options={"crf": "18", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, 25)
        for n in range(frames):
            wave = np.sin((x + 6 * n) / 9) + np.sin((y - 4 * n) / 23) + np.sin((x + y + 9 * n) / 51)
            grey = (128 + 35 * wave).astype(np.uint8) + noise
            frame = av.VideoFrame.from_ndarray(np.repeat(grey[..., None], 3, 2), "rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode(None))


def measure(arguments: list[str]) -> tuple[float, float, str]:
    """Bytes at most, seconds, and the last line if it failed."""
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen(
            [sys.executable, "-m", "vinr_engine.cli", "upscale", *arguments], stdout=said, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        last = ["", *said.read().strip().splitlines()][-1]
    return usage.ru_maxrss * 1024, time.monotonic() - began, last if child.returncode else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--space", default="2")
    parser.add_argument("--time", default="2")
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--memory", action="append")
    parser.add_argument("rest", nargs="*")
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        clip, out = Path(folder, "clip.mp4"), Path(folder, "out.mp4")
        make_clip(clip, width, height, args.frames)
        for memory in args.memory or [None]:
            limit = [] if memory is None else ["--memory", memory]
            options = ["--space", args.space, "--time", args.time, "--overwrite", *limit, *args.rest]
            peak, seconds, error = measure([str(clip), str(out), *options])
            rows.append([args.size, args.space, memory or "default", f"{peak / 1e9:.2f}", f"{seconds:.0f}", error])
            print(table(["frames", "scale", "memory", "peak, GB", "seconds", "error"], rows[-1:]), flush=True)


if __name__ == "__main__":
    main()
