"""Packs the kit: a folder to carry to a host with a GPU, without network and with little installed.

    python -m benchmarks.gpu.kit.build [--out build/gpu-kit] [--targets 90] [--python 3.12] [--without-cuda]

OUT/run starts it there. OUT/payload.tar.xz holds the files that git tracks, as they are here, the extension built for
the targets, and wheels that the host may lack, unpacked; OUT/kit.json says what it is. All of it stays below 64 MiB.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from benchmarks.common import machine
from benchmarks.common.files import write_json
from benchmarks.common.machine import ROOT
from benchmarks.gpu.kit import run

MOST = 64 << 20  # bytes of a kit
# Folder of the payload -> packages in it, by their modules: the first tells whether the host has them already.
CARRIED = {
    "av": ["av"],
    "pydantic": ["pydantic", "pydantic_core", "annotated_types", "typing_inspection", "typing_extensions"],
}
GLIBC = (17, 24, 26, 27, 28, 31, 34, 35)  # of manylinux tags: pip takes each by its own name alone
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in GLIBC] + ["manylinux2014_x86_64"]


class KitError(Exception):
    """Why no kit can be made."""


def checkout(folder: Path) -> None:
    """The files that git tracks, as they are in the working tree."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        raise KitError(f"git lists no files: {done.stderr.decode(errors='replace').strip()}")
    for name in filter(None, done.stdout.decode().split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file():  # deleted ones are gone
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def extension(folder: Path, targets: str, cuda: bool) -> str:
    """The extension, built into the package of a checkout; its name. Only what changed is compiled again."""
    built = ROOT / "build" / "gpu-kit-extension"
    variables = {**os.environ, "VINR_BUILD_EXT": "1", "VINR_CUDA": "1" if cuda else "0", "VINR_CUDA_TARGETS": targets}
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--build-lib", str(built / "lib"),
               "--build-temp", str(built / ("cuda" if cuda else "cpu"))]  # fmt: skip
    print(f"building the extension for {targets if cuda else 'CPUs alone'}: some minutes where it is new", flush=True)
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout[-8000:] + done.stderr[-8000:], file=sys.stderr)
        raise KitError("the extension does not build, see above; --without-cuda makes a kit without CUDA C++")
    (library,) = (built / "lib" / "vinr_engine").glob("_C.*")
    shutil.copy2(library, folder / "vinr_engine" / library.name)
    return library.name


def wheels(folder: Path, python: str) -> dict[str, str]:
    """The pinned wheels of the dependency group gpu-kit, unpacked below `folder`; their versions."""
    with tempfile.TemporaryDirectory() as downloads:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps",
                   "--only-binary=:all:", "--python-version", python, "--implementation", "cp",
                   *(f"--platform={platform}" for platform in PLATFORMS), "--dest", downloads,
                   "--group", "gpu-kit"]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise KitError(f"pip does not fetch the wheels of the dependency group gpu-kit:\n{done.stderr.strip()}")
        versions = {}
        for wheel in sorted(Path(downloads).glob("*.whl")):
            name, version = wheel.name.split("-")[:2]
            (group,) = [group for group, modules in CARRIED.items() if name.lower() in modules]
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder / group)
            versions[name] = version
    if missing := {module for modules in CARRIED.values() for module in modules} - versions.keys():
        raise KitError(f"the dependency group gpu-kit lacks {', '.join(sorted(missing))}")
    return versions


def pack(folder: Path, archive: Path) -> str:
    """`folder` as .tar.xz, without what differs from one machine to another; its sha256."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(archive, "w:xz", preset=6) as out:
        for path in sorted(folder.rglob("*")):
            out.add(path, path.relative_to(folder).as_posix(), recursive=False, filter=plain)
    return hashlib.sha256(archive.read_bytes()).hexdigest()


def make(out: Path, targets: str, python: str, cuda: bool) -> None:
    """Make a kit in `out`, in place of one that is there. Raises KitError."""
    if cuda and shutil.which("nvcc") is None:
        raise KitError("nvcc is not on PATH: --without-cuda makes a kit without CUDA C++")
    if out.exists() and not (out / "kit.json").is_file() and any(out.iterdir()):
        raise KitError(f"{out} holds something else than a kit: choose another folder")
    with tempfile.TemporaryDirectory(dir=_parent(out)) as part:
        payload = Path(part) / "payload"
        checkout(payload / "checkout")
        about = {
            "commit": machine.commit(), "made": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "targets": targets.split(",") if cuda else [], "python": python,
            "extension": extension(payload / "checkout", targets, cuda),
            "built_with_torch": importlib.metadata.version("torch"), "wheels": wheels(payload / "site", python),
        }  # fmt: skip
        write_json(payload / "checkout" / "build_info.json", about)
        kit = Path(part) / "kit"
        kit.mkdir()
        digest = pack(payload, kit / "payload.tar.xz")
        write_json(kit / "kit.json", {"id": digest[:12], "payload_sha256": digest, "carried": CARRIED, **about})
        shutil.copyfile(run.__file__, kit / "run")
        (kit / "run").chmod(0o755 | stat.S_IXUSR)
        total = sum(path.stat().st_size for path in kit.iterdir())
        if total >= MOST:
            raise KitError(f"the kit takes {total / (1 << 20):.1f} MiB, and must stay below {MOST >> 20}")
        if out.exists():
            shutil.rmtree(out)
        shutil.move(kit, out)
    print(
        f"{out}: {total / (1 << 20):.1f} MiB, commit {about['commit']}, for {', '.join(about['targets']) or 'no GPU'}"
    )
    print(f"there: python3 {out.name}/run all --deadline 540 --out results")


def _parent(out: Path) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    return out.parent


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu-kit", help="[build/gpu-kit]")
    parser.add_argument(
        "--targets", default=os.environ.get("VINR_CUDA_TARGETS") or "90",
        help="compute capabilities times ten, with commas [VINR_CUDA_TARGETS, or 90]",
    )  # fmt: skip
    parser.add_argument("--python", default="3.12", help="of the host, for wheels that differ [%(default)s]")
    parser.add_argument("--without-cuda", action="store_true", help="leave the CUDA C++ kernels out")
    options = parser.parse_args(argv)
    if not re.fullmatch(r"3\.1\d", options.python):
        parser.error(f"--python must be a version such as 3.12, got {options.python}")
    try:
        make(options.out.resolve(), options.targets, options.python, not options.without_cuda)
    except (KitError, OSError, json.JSONDecodeError) as error:
        print(f"gpu-kit: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
