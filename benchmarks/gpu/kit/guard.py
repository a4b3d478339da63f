"""Runs a module as `python -m` would, but tells an exception from what the module found.

    python -m benchmarks.gpu.kit.guard MODULE [ARGUMENTS ...]

Python ends with exit code 1 on an exception, which also is what a piece says that found something wrong.
"""

from __future__ import annotations

import runpy
import sys
import traceback

RAISED = 70


def main() -> int:
    module = sys.argv[1]
    sys.argv = sys.argv[1:]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except Exception:
        traceback.print_exc()
        return RAISED
    return 0


if __name__ == "__main__":
    sys.exit(main())
