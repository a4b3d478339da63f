"""What machine this is, and which backends can run on it: the first piece, and the end of it all without a GPU."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path

import torch

import vinr_engine as vinr
from benchmarks.common.files import write_json
from benchmarks.gpu.worker import about
from vinr_engine import backends

PACKAGES = ("triton", "torchvision", "numpy", "av", "pydantic", "accelerate", "safetensors", "pytest")
TOOLS = ("nvcc", "ncu", "compute-sanitizer", "nvidia-smi")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args()
    there = torch.cuda.is_available()
    facts = about(torch.device("cuda:0" if there else "cpu"))
    for package in PACKAGES:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            facts[package] = None
    facts |= {
        "host_cpu": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "tools": {tool: shutil.which(tool) is not None for tool in TOOLS},
        "backends": {status.name: status.reason for status in backends.report()},
        "extension": backends.extension().error or "loaded",
        "version": vinr.__version__,
    }
    write_json(options.out, facts)
    for name, value in facts.items():
        print(f"{name}: {value}")
    if not there and not options.dry_run:
        print("PyTorch finds no NVIDIA GPU here: --dry-run rehearses on the CPU")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
