"""Compiles kernels for the host: `load("faults")` builds tests/simt/faults.cpp, a pybind11 module, and imports it."""

import functools
import hashlib
import importlib.util
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile

import ninja
import pybind11
import pytest

SIMT = pathlib.Path(__file__).parent
ROOT = SIMT.parents[1]
BUILD = ROOT / "build" / "simt"
# Above -O1 the kernels compile for longer than they then run.
FLAGS = "-std=c++17 -O1 -g0 -fPIC -fvisibility=hidden -DVINR_SIMT -Wall -Wextra -Werror"

_NINJA = """\
rule compile
  command = $cxx $flags -c $in -o $out
rule link
  command = $cxx -shared $in -o $out
build module.o: compile $source
build {module}: link module.o
"""


def _sources(module):
    """Everything that a module may include, and the module."""
    headers = [*SIMT.glob("*.h"), *(ROOT / "csrc").rglob("*.cuh")]
    headers += [*(ROOT / "csrc/common").glob("*.h"), *(ROOT / "csrc").glob("*/shape.h")]
    if module.parent != SIMT:
        headers += (ROOT / "export/tensorrt").glob("*.[ch]*")
    return [module, *sorted(headers)]


@functools.cache
def load(name, folder=SIMT, system=()):
    """The module of <folder>/<name>.cpp, built unless it was already, from these sources with this compiler.

    `system`: folders of others' headers, whose warnings do not count.

    Without a compiler it skips the test: the package, too, is then tested without its extension.
    """
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(shlex.split(compiler)[0]) is None:
        pytest.skip(f"no C++ compiler: {compiler!r} is not on PATH")
    version = subprocess.run([*shlex.split(compiler), "--version"], capture_output=True, text=True, check=True).stdout
    module = folder / f"{name}.cpp"
    flags = [FLAGS, *(f"-isystem {shlex.quote(str(path))}" for path in system)]
    key = hashlib.sha256("\0".join([compiler, version, *flags, sys.version, pybind11.__version__]).encode())
    for source in _sources(module):
        key.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    file = BUILD / key.hexdigest()[:24] / (name + sysconfig.get_config_var("EXT_SUFFIX"))
    if not file.exists():
        _build(module, compiler, flags, file)
    spec = importlib.util.spec_from_file_location(name, file)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def _build(module, compiler, flags, file):
    includes = [*(ROOT / name for name in ("csrc", "tests", "export")), pybind11.get_include()]
    includes.append(sysconfig.get_paths()["include"])
    flags = " ".join([*flags, *(shlex.quote(f"-I{folder}") for folder in includes)])
    file.parent.mkdir(parents=True, exist_ok=True)
    # In a folder of its own and then moved: another process may be building the same.
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        source = str(module).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")
        rules = f"cxx = {compiler}\nflags = {flags}\nsource = {source}\n" + _NINJA.format(module=file.name)
        (pathlib.Path(folder) / "build.ninja").write_text(rules, encoding="utf-8")
        command = [pathlib.Path(ninja.BIN_DIR) / "ninja", "--quiet", "-C", folder]
        built = subprocess.run(command, capture_output=True, text=True)
        if built.returncode:
            raise RuntimeError(f"{module.name} does not compile:\n{built.stdout}{built.stderr}")
        os.replace(pathlib.Path(folder) / file.name, file)
