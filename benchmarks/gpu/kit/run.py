#!/usr/bin/env python3
"""Find out everything about this GPU: is vinr_engine right on it, how fast is it, and train on it.

    ./run all --deadline 540 --out results

does as much as fits into 540 seconds, most valuable first; the same line again goes on where it stopped. Results so
far are written to the folder results at each call, also while it runs. No network and nothing installed is needed but
Python 3.10 or later with torch; what the host lacks comes along.
"""

# The standard library alone, for it runs before anything is unpacked: the kit's builder copies this file as `run`.

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import sys
import tarfile
from pathlib import Path

GROUPS = ("all", "correctness", "times", "train")
HERE = Path(__file__).resolve().parent


def parser() -> argparse.ArgumentParser:
    """The command line; `benchmarks.gpu.kit.session` takes the same, with the folder of the state for --state."""
    parser = argparse.ArgumentParser(
        prog="run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="exit code: 0 all done and right; 1 something is wrong or failed; 2 wrong usage; 3 no GPU; "
        "4 not finished, type the same line again",
    )
    parser.add_argument("group", choices=GROUPS, help="which pieces: all, or one group of them")
    parser.add_argument("--deadline", type=float, default=540.0, metavar="S", help="seconds of this call [%(default)g]")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results so far")
    parser.add_argument("--only", action="append", default=[], metavar="PIECE", help="pieces of the group, by name")
    parser.add_argument(
        "--again", action="append", default=[], metavar="PIECE", help="forget what this piece found before"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="rehearse on the CPU: tiny, and no figure means anything"
    )
    parser.add_argument("--list", action="store_true", help="name the pieces and how they stand, and run none")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument(
        "--state",
        type=Path,
        default=cache / "vinr_gpu_kit",
        metavar="DIR",
        help="folder of what outlasts a call; not inside the kit [%(default)s]",
    )
    return parser


def unpacked(folder: Path, payload: Path, digest: str) -> Path:
    """`payload` unpacked under `folder`, once. Raises ValueError if it is damaged."""
    target = folder / "payload"
    if target.is_dir():
        return target
    with open(payload, "rb") as file:
        found = hashlib.sha256(file.read()).hexdigest()
    if found != digest:
        raise ValueError(f"{payload} is damaged: sha256 {found[:12]}, not {digest[:12]}")
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"payload.{os.getpid()}.part"
    try:
        with tarfile.open(payload, "r:xz") as archive:
            if hasattr(tarfile, "data_filter"):
                archive.extractall(part, filter="data")
            else:  # Python 3.10 before 3.10.12; the digest says that it is ours
                archive.extractall(part)
        os.rename(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def environment(payload: Path, carried: dict[str, list[str]], folder: Path) -> dict[str, str]:
    """The variables that the work runs with: our sources first, what the host lacks last, and caches that stay.

    carried: folder of packages below the payload's site -> modules, the first of which tells whether the host has them.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("VINR_")}
    missing = [name for name, modules in carried.items() if importlib.util.find_spec(modules[0]) is None]
    paths = [payload / "checkout", *(payload / "site" / name for name in missing)]
    before = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    return kept | {
        "PYTHONPATH": os.pathsep.join([*map(str, paths), *before]),
        "PYTHONUNBUFFERED": "1",
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),  # several processes share the cores
        "TRITON_CACHE_DIR": str(folder / "triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
    }


def main(argv: list[str] | None = None) -> int:
    command = parser()
    options = command.parse_args(argv)
    if not options.deadline > 0:
        command.error(f"--deadline must be more than 0, got {options.deadline:g}")
    if importlib.util.find_spec("torch") is None:
        command.error(
            f"{sys.executable} has no torch: start run by a Python that has it, as in: python3.12 {sys.argv[0]}"
        )
    try:
        about = json.loads((HERE / "kit.json").read_text(encoding="utf-8"))
        folder = options.state.expanduser().resolve() / (about["id"] + ("-dry" if options.dry_run else ""))
        payload = unpacked(folder, HERE / "payload.tar.xz", about["payload_sha256"])
    except (OSError, ValueError, KeyError, tarfile.TarError) as error:
        command.error(f"this kit does not unpack: {error}")
    arguments = [options.group, "--deadline", str(options.deadline), "--out", str(options.out.resolve())]
    arguments += [
        "--state",
        str(folder),
        *(["--dry-run"] if options.dry_run else []),
        *(["--list"] if options.list else []),
    ]
    arguments += [part for name in options.only for part in ("--only", name)]
    arguments += [part for name in options.again for part in ("--again", name)]
    variables = environment(payload, about["carried"], folder)
    os.chdir(payload / "checkout")
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "benchmarks.gpu.kit.session", *arguments], variables)


if __name__ == "__main__":
    sys.exit(main())
