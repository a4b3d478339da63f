"""Another commit, checked out beside this one and built."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

PLACE = Path("build", "bench")  # in the checkout, which git ignores
TAIL = 12  # lines of a failing build that are shown


class TreeError(Exception):
    """There is no such tree to measure; says why in one line, or with the end of what the build said."""


def _run(command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    try:
        done = subprocess.run(
            command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    except FileNotFoundError:
        return 127, f"{command[0]} is not installed"
    return done.returncode, done.stdout.strip()


def _git(root: Path, *arguments: str) -> str:
    code, said = _run(["git", *arguments], root)
    if code:
        raise TreeError(f"git {arguments[0]}: {said.splitlines()[-1] if said else f'exit code {code}'}")
    return said


def commit_of(root: Path, rev: str) -> str:
    """The full name of a commit. Raises TreeError if `root` is no checkout or has no such commit."""
    if not (root / ".git").exists():  # git would look in the folders around it
        raise TreeError(f"{root} is no git checkout: another commit cannot be taken from it")
    _git(root, "rev-parse", "HEAD")
    code, said = _run(["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}"], root)
    if code:
        raise TreeError(f"no commit is called {rev}")
    return said


def changed(root: Path) -> bool:
    """Whether `root` differs from its commit."""
    return bool(_git(root, "status", "--porcelain", "--untracked-files=no"))


def stale(root: Path) -> str:
    """A source that is newer than the extension of `root`; empty without one. Raises TreeError without an extension."""
    built = list((root / "vinr_engine").glob("_C*.so"))
    if not built:
        raise TreeError("this tree has no extension: build it (make build)")
    newest = max((path for path in (root / "csrc").rglob("*.*")), key=lambda path: path.stat().st_mtime, default=None)
    if newest is None or newest.stat().st_mtime <= built[0].stat().st_mtime:
        return ""
    return newest.relative_to(root).as_posix()


def built(root: Path, commit: str) -> Path:
    """The tree of a commit, made and built unless it is there. Raises TreeError."""
    tree = root / PLACE / commit[:12]
    if not tree.is_dir():
        _git(root, "worktree", "prune")  # of folders that were removed
        _git(root, "worktree", "add", "--detach", "--force", str(tree), commit)
    done, by = tree / "build" / "done", f"{sys.version}\n{torch.__version__}\n"
    if done.is_file() and done.read_text(encoding="utf-8") == by:
        return tree
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace", "--force"]
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("VINR_", "PYTHON"))} | {"VINR_CUDA": "0"}
    code, said = _run(command, tree, variables)
    if code:
        end = "\n".join(said.splitlines()[-TAIL:])
        raise TreeError(f"commit {commit[:12]} does not build in {tree}:\n{end}")
    done.parent.mkdir(exist_ok=True)
    done.write_text(by, encoding="utf-8")
    return tree
