"""Engines that TensorRT-RTX builds ahead of time, without a GPU: their sizes, and what building them takes.

    python -m benchmarks.tools.tensorrt_rtx [--network own|published] [--dtype float16|float32] [--together]

The package's own network, and one of the published size, untrained: both graphs, for each GPU
alone, or with --together in one engine for all of them. Nothing here runs an engine: that takes such a GPU.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, astuple
from pathlib import Path

from benchmarks.common import machine
from benchmarks.cpu import results
from vinr_engine.export.tensorrt.build import runtime_module, to_tensorrt
from vinr_engine.export.tensorrt.engine_files import TARGETS
from vinr_engine.video.enlarge import load

UNTRAINED = {"own": False, "published": True}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=UNTRAINED, action="append", help="one of them alone")
    parser.add_argument("--dtype", choices=("float16", "float32"), action="append", help="one of them alone")
    parser.add_argument("--together", action="store_true", help="one engine for all GPUs")
    parser.add_argument("--out", type=Path, default=results.FOLDER / "tensorrt_rtx.csv")
    options = parser.parse_args(argv)
    version = runtime_module("tensorrt-rtx")[1].__version__
    where = machine.describe()
    names = ["network", "dtype", "gpus", "graph", "bytes", "build_s", "tensorrt_rtx", *asdict(where)]
    with tempfile.TemporaryDirectory() as folder:
        for name in options.network or UNTRAINED:
            model = load(None, UNTRAINED[name])
            for dtype in options.dtype or ("float16", "float32"):
                for targets in [TARGETS] if options.together else [(target,) for target in TARGETS]:
                    gpus = "+".join(targets)
                    files = to_tensorrt(
                        model, Path(folder, f"{name}-{dtype}-{gpus}.engine"), builder="tensorrt-rtx", targets=targets,
                        dtype=dtype,
                    )  # fmt: skip
                    rows = []
                    for graph, facts in json.loads(files.report.read_bytes())["graphs"].items():
                        print(f"{name} {dtype} {gpus} {graph}: {facts['bytes'] / 1e6:.1f} MB, {facts['seconds']} s")
                        figures = facts["bytes"], facts["seconds"]
                        rows.append([name, dtype, gpus, graph, *figures, version, *astuple(where)])
                    results.append_table(options.out, names, rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
