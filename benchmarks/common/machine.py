"""Where and with what a run was made."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import torch

from vinr_engine import __version__, backends, info

ROOT = Path(__file__).resolve().parents[2]
BUILD_INFO = "build_info.json"  # {"commit": ...} at the root of a checkout that was carried elsewhere without its .git


@dataclass(frozen=True)
class Machine:
    """The columns that stand in every row of the results."""

    cpu: str
    threads: int
    variant: str
    torch: str
    commit: str
    version: str = __version__


def commit() -> str:
    """The commit of this checkout, with a plus if sources differ; what `BUILD_INFO` says where git cannot tell."""
    if not (ROOT / ".git").exists():  # git would name the commit of whatever repository this lies in
        return _noted_commit()

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        except OSError:  # not installed
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    name = git("rev-parse", "--short=12", "HEAD")
    sources = ("csrc", "kernels", "vinr_engine", "benchmarks/*.py")
    changed = name and git("status", "--porcelain", "--untracked-files=no", "--", *sources)
    return (name + "+" if changed else name) or _noted_commit()


def _noted_commit() -> str:
    try:
        noted = json.loads((ROOT / BUILD_INFO).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "unknown"
    commit = noted.get("commit") if isinstance(noted, dict) else None
    return commit if isinstance(commit, str) and commit else "unknown"


def describe() -> Machine:
    """This machine, now."""
    facts = info.gather()["cpu"]
    family = " ".join(f"{key} {value}" for key, value in _model_numbers().items())
    variant = str(facts["kernels"]) if backends.extension().path else "no extension"
    cpu = facts["name"] + (f" ({family})" if family else "")
    return Machine(cpu, torch.get_num_threads(), variant, str(torch.__version__), commit())


def _model_numbers() -> dict[str, str]:
    """Family and model: virtual machines often name the CPU by its maker only."""
    wanted = {"cpu family": "family", "model": "model"}
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {wanted[k.strip()]: v.strip() for k, _, v in pairs if k.strip() in wanted}
