"""Peak memory of one case on one backend, in a process of its own.

    python -m benchmarks.cpu.memory CASE BACKEND [--threads N]

The high-water mark of the resident set (VmHWM of Linux, reset before the run) above what is resident once inputs and
parameters are there and the same task has run at a tiny size, which loads the code. Printed in MB of 10**6 bytes.

The process first pins glibc's thresholds, so that every tensor's memory comes from the system when it is allocated and
goes back when it is freed. Left alone they move up with what was freed, to 32 MB, and gaps of earlier tensors count or
do not count by chance: the same case then gave anything between 495 and 628 MB.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import os
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.common.machine import ROOT
from benchmarks.cpu import cases

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _resident(field: str) -> float:
    """VmRSS or VmHWM in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field + ":"))
    return float(line.split()[1]) * 1024


MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # of malloc.h
SMALL = 1 << 16  # bytes; larger blocks are mappings of their own


def _pin_allocator() -> None:
    """Make what is resident follow what is allocated."""
    with contextlib.suppress(OSError, AttributeError):  # glibc alone has it
        libc = ctypes.CDLL(None)
        libc.mallopt(MMAP_THRESHOLD, SMALL)
        libc.mallopt(TRIM_THRESHOLD, SMALL)


def _give_back() -> None:
    """Return what is free to the system: a run that filled old gaps would seem to need nothing."""
    with contextlib.suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)


def peak_here(case: cases.Case, backend: str) -> float:
    """Bytes above the resting state of this process."""
    with contextlib.nullcontext() if case.case.step else torch.inference_mode():
        case.tasks(tiny=True)[backend]()
        task = case.tasks()[backend]
        gc.collect()
        _give_back()
        CLEAR.write_text("5")
        before = _resident("VmRSS")
        result = task()
        peak = _resident("VmHWM") - before
        del result
    return peak


def peak_elsewhere(case: str, backend: str, threads: int) -> float | None:
    """Bytes, measured by a fresh process; None where the system does not tell, or the backend does not run."""
    if not CLEAR.exists():
        return None
    command = [sys.executable, "-m", "benchmarks.cpu.memory", case, backend, "--threads", str(threads)]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return float(done.stdout.split()[-1]) * 1e6 if done.returncode == 0 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case")
    parser.add_argument("backend")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    _pin_allocator()
    torch.set_num_threads(options.threads)
    print(f"{peak_here(cases.by_name(options.case), options.backend) / 1e6:.1f}")


if __name__ == "__main__":
    main()
