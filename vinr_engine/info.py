"""What this machine and installation can do, for `vinr info`."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

from vinr_engine._version import __version__

OPTIONAL = ("triton", "onnx", "onnxruntime", "tensorrt")


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cpu_flags() -> list[str]:
    """The instruction sets that the kernels ask about, as the system names them."""
    wanted = ("avx2", "fma", "avx512f", "avx512bw", "avx512_bf16", "amx_bf16", "asimd", "bf16")
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return []
    for line in text.splitlines():
        if line.startswith(("flags", "Features")):
            have = set(line.partition(":")[2].split())
            return [name for name in wanted if name in have]
    return []


def _kernels() -> dict[str, Any]:
    """The instruction set that the compiled kernels use, and those to choose from."""
    import torch

    from vinr_engine import backends

    if backends.extension().path is None:
        return {"kernels": None, "choices": []}
    try:
        used = torch.ops.vinr.cpu_variant()
    except RuntimeError as error:  # VINR_CPU names one that does not run here
        used = "none: VINR_CPU=" + str(error).splitlines()[0].rpartition("VINR_CPU=")[2]
    return {"kernels": used, "choices": torch.ops.vinr.cpu_variants().split(",")}


def _video_libraries() -> dict[str, Any]:
    try:
        import av
    except ImportError:  # in a bare checkout, on a machine that only computes
        return {"av": None, "ffmpeg": None}
    libraries = {name: ".".join(map(str, number)) for name, number in av.library_versions.items()}
    return {"av": av.__version__, "ffmpeg": {"version": av.ffmpeg_version_info, **libraries}}


def gather() -> dict[str, Any]:
    """Facts by section, JSON-able."""
    import torch

    from vinr_engine import backends, memory
    from vinr_engine.ops.op import OPS

    extension, free = backends.extension(), memory.free_on_host()
    gpus = []
    if torch.cuda.is_available():
        for n in range(torch.cuda.device_count()):
            p = torch.cuda.get_device_properties(n)
            on_gpu = torch.cuda.mem_get_info(n)[0]
            gpus.append(
                {
                    "name": p.name,
                    "capability": f"{p.major}.{p.minor}",
                    "memory_gb": round(p.total_memory / 2**30, 1),
                    "free": on_gpu,
                    "default": memory.default(on_gpu),
                }
            )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "versions": {
            "vinr_engine": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            **_video_libraries(),
            **{name: _installed(name) for name in OPTIONAL},
        },
        "extension": {"path": str(extension.path) if extension.path else None, "error": extension.error or None},
        "cpu": {
            "name": _cpu_name(),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "features": cpu_flags(),
            "cores": cores,
            "threads": torch.get_num_threads(),
            **_kernels(),
        },
        "memory": {"free": free, "default": memory.default(free)},
        "gpus": gpus,
        "cuda": torch.version.cuda,
        "backends": [
            {
                "name": s.name,
                "available": s.available,
                "reason": s.reason or None,
                "ops": sorted(op.name for op in OPS.values() if s.name in (*op.backends, "reference")),
            }
            for s in backends.report()
        ],
    }


def _memory(facts: dict[str, Any]) -> str:
    return f"{facts['free'] / 1e9:.1f} GB free, of which --memory takes {facts['default'] / 1e9:.1f} GB by default"


def as_json(facts: dict[str, Any]) -> str:
    """The facts as indented JSON."""
    return json.dumps(facts, indent=2)


def as_text(facts: dict[str, Any]) -> str:
    """The facts as aligned lines."""
    rows: list[tuple[str, str]] = []
    for name, value in facts["versions"].items():
        if isinstance(value, dict):
            libraries = ", ".join(f"{k} {v}" for k, v in value.items() if k != "version")
            value = f"{value['version']} ({libraries})"
        rows.append((name, value if value is not None else "not installed"))
    extension = facts["extension"]
    rows.append(("extension", extension["path"] or f"none: {extension['error']}"))
    cpu = facts["cpu"]
    rows.append(("cpu", f"{cpu['name']}, {cpu['cores']} cores, {cpu['threads']} threads"))
    rows.append(("cpu features", f"torch uses {cpu['capability']}; {' '.join(cpu['features']) or 'unknown'}"))
    if cpu["kernels"]:
        rows.append(("cpu kernels", f"{cpu['kernels']} (VINR_CPU chooses: {', '.join(cpu['choices'])})"))
    rows.append(("memory", _memory(facts["memory"])))
    missing = "none" if facts["cuda"] else "none (this torch is built without CUDA)"
    for n, gpu in enumerate(facts["gpus"]):
        rows.append(
            (f"gpu {n}", f"{gpu['name']}, capability {gpu['capability']}, {gpu['memory_gb']} GB: {_memory(gpu)}")
        )
    if not facts["gpus"]:
        rows.append(("gpu", missing))
    for status in facts["backends"]:
        rows.append(
            (
                f"backend {status['name']}",
                f"ready: {', '.join(status['ops'])}" if status["available"] else f"cannot run: {status['reason']}",
            )
        )
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
