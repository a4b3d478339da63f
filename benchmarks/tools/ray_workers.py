"""What a second worker of one core saves `vinr upscale --ray`, on this machine, with the package's network.

    python -m benchmarks.tools.ray_workers

Rounds are interleaved, and each starts a cluster anew; a local run of one thread stands beside them.
Outputs are compared first: nothing is reported if they differ.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from benchmarks.common import machine

RUN = """
import sys, time
import torch
from vinr_engine.video.job import Job
from vinr_engine.video.render import render
src, dst, workers, scale, factor, segment = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
job = Job(src, dst, space=scale, time=factor, segment=segment, overwrite=True, device="cpu")
began, first = time.monotonic(), []
if not workers:
    torch.set_num_threads(1)
    done, began_work = render(job), began
else:
    import ray
    from vinr_engine.frontends.ray import connected
    ray.init(address="local", num_cpus=workers, log_to_driver=False, include_dashboard=False, logging_level="error")
    with connected("local") as cluster:
        began_work = time.monotonic()
        done = cluster.render(job)
print(began_work - began, time.monotonic() - began_work, done.stages.compute)
"""


def clip(path: Path, width: int, height: int, frames: int) -> None:
    """A textured picture that moves to the left."""
    noise = np.random.default_rng(0).integers(0, 256, (height // 4, (width + frames) // 4 + 1, 3), dtype="u1")
    wide = noise.repeat(4, 0).repeat(4, 1)
    wide = np.pad(wide, ((0, height - wide.shape[0]), (0, 0), (0, 0)), mode="edge")
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "10"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for n in range(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(wide[:, n : n + width]), "rgb24")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def packets(path: Path) -> list[bytes]:
    """All of a video's."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux() if packet.size]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="160x90")
    parser.add_argument("--space", type=int, default=4)
    parser.add_argument("--time", type=int, default=2)
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--segment", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(argv)
    width, height = map(int, options.size.split("x"))
    # By itself Ray runs workers at a low priority, at which other programs' load counts several times.
    environment = os.environ | {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    seconds: dict[int, list[list[float]]] = {0: [], 1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "in.mp4")
        clip(source, width, height, options.frames)
        for number in range(options.rounds):
            for workers, took in seconds.items():
                output = Path(folder, f"{workers}.mp4")
                numbers = (workers, options.space, options.time, options.segment)
                command = [sys.executable, "-c", RUN, str(source), str(output), *map(str, numbers)]
                load = os.getloadavg()[0]
                began = time.monotonic()
                done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
                took.append([*map(float, done.stdout.split()), time.monotonic() - began])
                start, work, compute, whole = took[-1]
                print(
                    f"round {number + 1}, {f'{workers} workers' if workers else 'local'}: start {start:.1f} s, "
                    f"work {work:.1f} s (network {compute:.1f} s), process {whole:.1f} s; load before {load:.1f}",
                    flush=True,
                )
            if len({tuple(packets(Path(folder, f"{workers}.mp4"))) for workers in seconds}) > 1:
                print("the outputs differ")
                return 1
    print(
        f"{machine.describe().cpu}, {os.cpu_count()} CPUs, commit {machine.commit()}; outputs equal packet for packet"
    )
    median = {w: [statistics.median(column) for column in zip(*took, strict=True)] for w, took in seconds.items()}
    for workers, (start, work, _, whole) in median.items():
        print(
            f"{f'{workers} workers' if workers else 'local'}: start {start:.1f}, work {work:.1f}, process {whole:.1f} s"
        )
    one, two = median[1], median[2]
    # Seconds of networks are sums over workers: without what starting them takes, at the same load.
    print(
        f"two against one: {one[1] / two[1]:.2f} of work, {one[3] / two[3]:.2f} in all, "
        f"{2 * one[2] / two[2]:.2f} of networks alone"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
