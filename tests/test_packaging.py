"""What setup.py and pyproject.toml promise. `.ci/run` installs the wheels; these tests look at what goes into them."""

import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tarfile

import pytest

import vinr_engine as vinr

ROOT = pathlib.Path(__file__).parent.parent
# Folder of the repository -> package of an installation.
FOLDERS = {"vinr_engine": "vinr_engine", "kernels": "vinr_engine.kernels", "export": "vinr_engine.export"}


@pytest.fixture
def tree(tmp_path):
    """A copy of what a build reads: building leaves files in its folder."""
    for name in ("pyproject.toml", "setup.py", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("csrc", *FOLDERS):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.so", ".*"))
    return tmp_path


def setup(folder, *arguments, **variables):
    """`python setup.py ...` in `folder`: the exit code, and both outputs joined."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("VINR_")} | variables
    done = subprocess.run(
        [sys.executable, "setup.py", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def test_the_installed_version_is_the_sources():
    try:
        installed = importlib.metadata.version("vinr_engine")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("a bare checkout: no vinr_engine is installed")
    assert installed == vinr.__version__


def test_every_folder_with_code_is_a_package_of_the_wheel(tree):
    code, output = setup(tree, "--quiet", "build_py", "--build-lib", "built", VINR_BUILD_EXT="0")
    assert code == 0, output
    expected = {
        pathlib.Path(*package.split("."), path.relative_to(tree / folder))
        for folder, package in FOLDERS.items()
        for path in (tree / folder).rglob("*")
        if path.is_file() and (path.suffix == ".py" or folder != "export")  # C++, which is built from the sources
    }
    built = {path.relative_to(tree / "built") for path in (tree / "built").rglob("*") if path.is_file()}
    assert built == expected


@pytest.mark.parametrize("extension", ["0", "1"])
def test_the_source_distribution_holds_what_a_build_needs(tree, extension):
    code, output = setup(tree, "--quiet", "sdist", "--dist-dir", "dist", VINR_BUILD_EXT=extension)
    assert code == 0, output
    assert "warning" not in output.lower(), output
    (archive,) = (tree / "dist").iterdir()
    with tarfile.open(archive) as file:
        names = {pathlib.PurePosixPath(*pathlib.PurePosixPath(name).parts[1:]).as_posix() for name in file.getnames()}
    expected = {"pyproject.toml", "setup.py", "LICENSE", "README.md"}
    for folder in ("csrc", *FOLDERS):
        expected |= {p.relative_to(tree).as_posix() for p in (tree / folder).rglob("*") if p.is_file()}
    assert expected <= names
    assert not [name for name in names if name.startswith("tests")]


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (["--version"], {"VINR_BUILD_EXT": "yes"}, "VINR_BUILD_EXT must be 0 or 1, got 'yes'"),
        (["--version"], {"VINR_CUDA": "yes"}, "VINR_CUDA must be 0, 1 or auto, got 'yes'"),
        (
            ["--version"],
            {"VINR_CUDA": "1", "PATH": "", "CUDA_HOME": ""},
            "VINR_CUDA=1: no nvcc on PATH or in CUDA_HOME",
        ),
        (["--version"], {"VINR_CUDA": "1", "VINR_BUILD_EXT": "0"}, "VINR_CUDA=1: the CUDA kernels are part of the ext"),
        (["--quiet", "build_ext", "--inplace"], {"CXX": "no-such-compiler"}, "set VINR_BUILD_EXT=0 to build without"),
    ],
    ids=["flag", "cuda_flag", "cuda", "cuda_without_extension", "compiler"],
)
def test_a_build_that_cannot_be_is_refused(tree, arguments, variables, message):
    code, output = setup(tree, *arguments, **variables)
    assert code != 0
    assert message in output
    assert "Traceback" not in output


def test_without_the_extension_there_is_nothing_to_compile(tree):
    # PyTorch itself is not needed then: a package index may build it anywhere.
    (tree / "torch.py").write_text("raise ImportError('imported')")
    code, output = setup(tree, "--version", VINR_BUILD_EXT="0", PYTHONPATH=str(tree))
    assert (code, output.strip()) == (0, vinr.__version__)


# Each is made unimportable: a GPU's host may have none of them.
BARE = """
import sys
for name in ("av", "rich", "triton", "torchvision", "pydantic"):
    sys.modules[name] = None
import vinr_engine.export.runtimes.open
import vinr_engine.kernels, vinr_engine.kernels.common.runtime, vinr_engine.models.graphs
print(*(module.__file__ for module in (vinr_engine, vinr_engine.export, vinr_engine.kernels)), sep="\\n")
"""


def imported(folder, code):
    """What `code` prints in an interpreter that finds our package in `folder` alone: -S reads no .pth file."""
    site = sysconfig.get_path("purelib")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(folder), site))}
    command = [sys.executable, "-S", "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_bare_checkout_is_importable(tree):
    found = [pathlib.Path(file).parent for file in imported(tree, BARE)]
    assert found == [tree / "vinr_engine", tree / "export", tree / "kernels"]


def test_what_measures_a_gpu_runs_in_a_bare_checkout(tree):
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "benchmarks", tree / "benchmarks", ignore=ignored)
    (tree / "build_info.json").write_text('{"commit": "0123456789ab"}')
    code = "from benchmarks.common import machine, screen; from benchmarks.gpu import run, worker\n"
    code += "print(machine.commit(), type(screen.screen()))"
    commit, kind = imported(tree, BARE + code)[3].split(maxsplit=1)
    assert commit == "0123456789ab"
    assert "Plain" in kind


def test_an_installed_package_reads_nothing_beside_it(tree):
    package = tree / "vinr_engine"
    for name in ("export", "kernels"):
        shutil.copytree(tree / name, package / name)
        (tree / name / "__init__.py").write_text("raise AssertionError('not of this package')")
    found = [pathlib.Path(file).parent for file in imported(tree, BARE)]
    assert found == [package, package / "export", package / "kernels"]
    (package / "export" / "__init__.py").unlink()
    shutil.rmtree(package / "export")
    code = "import importlib.util, vinr_engine\nprint(importlib.util.find_spec('vinr_engine.export'))"
    assert imported(tree, code) == ["None"]
