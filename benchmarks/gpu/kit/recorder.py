"""A pytest plugin: writes each test's outcome as it comes, and ends the process once a GPU is out of order.

    python -m pytest -p benchmarks.gpu.kit.recorder    with the variable VINR_KIT_RECORD naming the file

A line of JSON a test: {"at": id} when it begins, {"id", "outcome", "seconds", "message"} when it ends. After an
illegal address every later call in the process fails, so the process ends with exit code `OUT_OF_ORDER` and another one
takes the rest.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

import pytest

OUT_OF_ORDER = 77
RECORD = "VINR_KIT_RECORD"
_BROKEN = re.compile(
    r"illegal memory access|misaligned address|unspecified launch failure|device-side assert|illegal instruction"
    r"|CUDA error|CUDA driver error|cudaError"
)
_ended: dict[str, dict[str, Any]] = {}


def _write(**line: Any) -> None:
    with open(os.environ[RECORD], "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def breaks_the_gpu(message: str) -> bool:
    """Whether a failure with this text leaves the process without a GPU."""
    return _BROKEN.search(message) is not None


def pytest_runtest_logstart(nodeid: str) -> None:
    _write(at=nodeid)
    _ended[nodeid] = {"outcome": "passed", "seconds": 0.0, "message": ""}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    seen = _ended[report.nodeid]
    seen["seconds"] += report.duration
    if report.failed:
        seen["outcome"] = "failed" if report.when == "call" else "error"
        seen["message"] = report.longreprtext[-4000:]
    elif report.skipped and seen["outcome"] == "passed":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        seen["outcome"], seen["message"] = "xfailed" if hasattr(report, "wasxfail") else "skipped", reason[-400:]


def pytest_runtest_logfinish(nodeid: str) -> None:
    seen = _ended.pop(nodeid)
    _write(id=nodeid, **{**seen, "seconds": round(seen["seconds"], 2)})
    if seen["outcome"] in ("failed", "error") and breaks_the_gpu(seen["message"]):
        os._exit(OUT_OF_ORDER)
