"""Builds the C++ extension `vinr_engine/_C.abi3.so` on PyTorch's stable ABI; the metadata stands in pyproject.toml.

VINR_BUILD_EXT=0 builds a package without the extension: every op then runs on the reference backend.
VINR_SANITIZE=1 builds with AddressSanitizer and UndefinedBehaviorSanitizer.
VINR_CUDA=1 demands the CUDA kernels: an error wherever nvcc is missing or does not build them. Unset or auto, they are
built where nvcc is found and PyTorch is built with CUDA; VINR_CUDA=0 leaves them out.
VINR_CUDA_TARGETS=90,120 builds them for these GPUs only, and for later ones; six targets take a few minutes of a core.
"""

import os
import pathlib
import re
import shlex
import shutil
import subprocess

from setuptools import setup
from setuptools.command.sdist import sdist
from setuptools.errors import PlatformError

ROOT = pathlib.Path(__file__).parent
# Machine code for these GPUs, as far as nvcc knows them and unless VINR_CUDA_TARGETS names others, and PTX.
CUDA_TARGETS = ("80", "86", "89", "90", "100", "120")
# Instruction sets whose kernels are those of another, in other vectors or with another product: with the checks in them
# each takes a minute to compile.
NOT_SANITIZED = ("csrc/isa/avx2.cpp", "csrc/isa/amx_bf16.cpp")
DEFINES = [("TORCH_TARGET_VERSION", "0x020b000000000000"), ("Py_LIMITED_API", "0x030A0000")]


def _flag(name: str, default: str) -> bool:
    value = os.environ.get(name) or default
    if value not in ("0", "1"):
        raise SystemExit(f"{name} must be 0 or 1, got {value!r}")
    return value == "1"


def _csrc(pattern: str) -> list[str]:
    return sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "csrc").rglob(pattern))


def _nvcc() -> str | None:
    """The CUDA compiler: on PATH, or of the toolkit that CUDA_HOME names."""
    home = os.environ.get("CUDA_HOME")
    return shutil.which("nvcc") or (shutil.which("nvcc", path=os.path.join(home, "bin")) if home else None)


def _wants_cuda() -> bool:
    value = os.environ.get("VINR_CUDA") or "auto"
    if value not in ("0", "1", "auto"):
        raise SystemExit(f"VINR_CUDA must be 0, 1 or auto, got {value!r}")
    if value == "1" and not _flag("VINR_BUILD_EXT", "1"):
        raise SystemExit("VINR_CUDA=1: the CUDA kernels are part of the extension, which VINR_BUILD_EXT=0 leaves out")
    if value == "1" and _nvcc() is None:
        raise SystemExit("VINR_CUDA=1: no nvcc on PATH or in CUDA_HOME to build the CUDA kernels with")
    if value != "auto":
        return value == "1"
    if _nvcc() is None or not _flag("VINR_BUILD_EXT", "1") or _flag("VINR_SANITIZE", "0"):
        return False
    import torch

    return torch.version.cuda is not None


def _cuda_libraries() -> dict[str, list[str]]:
    """What the extension is linked with for its CUDA kernels: CUDA's runtime, whole.

    Whoever installs a wheel has a driver, but not the toolkit that built it.
    """
    # Where its toolkit lies nvcc knows best: what is on PATH may be a script that starts it.
    said = subprocess.run(
        [str(_nvcc()), "--dryrun", "-x", "cu", os.devnull], capture_output=True, text=True, check=True
    )
    folders = re.findall(r'"-L([^"]+)"', said.stderr)
    return {"libraries": ["cudart_static", "dl", "rt", "pthread"], "library_dirs": folders}


def _cuda_targets(nvcc: str) -> list[str]:
    known = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True, check=True).stdout.split()
    if wanted := os.environ.get("VINR_CUDA_TARGETS"):
        targets = sorted({target.strip() for target in wanted.split(",")}, key=lambda target: (len(target), target))
        for target in targets:
            if f"compute_{target}" not in known or int(re.sub(r"\D", "", target)) < int(CUDA_TARGETS[0]):
                raise SystemExit(
                    f"VINR_CUDA_TARGETS must list GPUs from {CUDA_TARGETS[0]} up that nvcc knows, such as "
                    f"{','.join(CUDA_TARGETS)}, got {wanted!r}"
                )
        return targets
    return [target for target in CUDA_TARGETS if f"compute_{target}" in known]


def _code(targets: list[str]) -> list[str]:
    """nvcc's flags for machine code of each target, and PTX of the first and the last.

    A driver takes the newest PTX that is not newer than its GPU: between targets too there are GPUs whose machine code
    is none of theirs, such as compute capability 11.0 between 10.0 and 12.0.
    """
    code = [f"-gencode=arch=compute_{target},code=sm_{target}" for target in targets]
    ends = dict.fromkeys((targets[0], targets[-1]))
    return code + [f"-gencode=arch=compute_{target},code=compute_{target}" for target in ends]


def _compile_cuda(source: str, build_temp: str) -> str:
    """Compile a .cu file for all targets, unless its object is newer than all sources. Returns the object."""
    from torch.utils.cpp_extension import include_paths

    nvcc = str(_nvcc())
    targets = _cuda_targets(nvcc)
    output = pathlib.Path(build_temp, source).with_suffix(f".{'_'.join(targets)}.o")
    newest = max((ROOT / path).stat().st_mtime for path in (*_csrc("*.*"), "setup.py"))
    if output.exists() and output.stat().st_mtime > newest:
        return str(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    host = f"-fPIC,-fvisibility=hidden,-g0,-ffile-prefix-map={ROOT.resolve()}/="
    command = [nvcc, "-c", str(ROOT / source), "-o", str(output), "-std=c++17", "-O3", "--threads=0", *_code(targets)]
    command += ["-Xcompiler", host, f"-I{ROOT / 'csrc'}", *(f"-isystem={path}" for path in include_paths())]
    command += [f"-D{name}={value}" for name, value in DEFINES]
    if subprocess.run(command).returncode:
        raise PlatformError(f"nvcc does not compile {source}; VINR_CUDA=0 builds without the CUDA kernels")
    return str(output)


class SourceDistribution(sdist):
    """Holds all C++ and CUDA whether or not it is built here, and no tests: setuptools would pick a few of them."""

    def make_distribution(self) -> None:
        self.filelist.exclude_pattern(None, prefix="tests")
        plugins = (p.relative_to(ROOT).as_posix() for p in (ROOT / "export/tensorrt").glob("*.*"))
        self.filelist.extend([*_csrc("*.*"), *plugins])
        self.filelist.sort()
        self.filelist.remove_duplicates()
        super().make_distribution()


def extension_arguments() -> dict:
    """Arguments of setup() for the extension; none where it is not wanted."""
    cuda = _wants_cuda()
    if not _flag("VINR_BUILD_EXT", "1"):
        return {}
    from torch.utils.cpp_extension import BuildExtension, CppExtension, get_cxx_compiler

    class BuildExtensionWithCompiler(BuildExtension):
        def build_extensions(self) -> None:
            compiler = get_cxx_compiler()
            if shutil.which(shlex.split(compiler)[0]) is None:
                raise PlatformError(
                    f"no C++ compiler: {compiler!r} is not on PATH. Install one (GCC or Clang), name another by CXX, "
                    "or set VINR_BUILD_EXT=0 to build without the extension (every op then runs in plain PyTorch)"
                )
            if cuda:
                for extension in self.extensions:
                    extension.extra_objects += [_compile_cuda(source, self.build_temp) for source in _csrc("*.cu")]
            super().build_extensions()

    # -g0: Python's own flags ask for -g, which triples the file and writes this machine's paths into it.
    compile_args = ["-O3", "-std=c++17", "-g0", "-Wall", "-Wextra", "-Wno-unused-parameter", "-fvisibility=hidden"]
    # Messages name their source file: by its place in the repository, not on the machine that built it.
    compile_args.append(f"-ffile-prefix-map={ROOT.resolve()}/=")
    # GCC stops inlining where a file grows much: a file of csrc/isa holds the kernels of every op.
    compile_args.append("--param=large-unit-insns=1000000")
    link_args = []
    sanitized = _flag("VINR_SANITIZE", "0")
    if sanitized:
        sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
        # With the checks in it, -O3 takes GCC ten times as long. -g1: functions and lines, for reports.
        compile_args += [*sanitize, "-O1", "-g1"]
        link_args += sanitize
    extension = CppExtension(
        "vinr_engine._C",
        [source for source in _csrc("*.cpp") if not (sanitized and source in NOT_SANITIZED)],
        depends=[*_csrc("*.h"), *_csrc("*.cu*")],
        include_dirs=[str(ROOT / "csrc")],
        define_macros=DEFINES,
        extra_compile_args={"cxx": compile_args},
        extra_link_args=link_args,
        py_limited_api=True,
        **(_cuda_libraries() if cuda else {}),
    )
    return {
        "ext_modules": [extension],
        "cmdclass": {"build_ext": BuildExtensionWithCompiler},
        "options": {"bdist_wheel": {"py_limited_api": "cp310"}},
    }


def packages() -> dict[str, str]:
    """Every package and its folder: kernels/ and export/ lie at the top level here, and inside an installed package."""
    found = {}
    for top, folder in (
        ("vinr_engine", "vinr_engine"),
        ("vinr_engine.kernels", "kernels"),
        ("vinr_engine.export", "export"),
    ):
        for init in sorted((ROOT / folder).rglob("__init__.py")):
            below = init.parent.relative_to(ROOT / folder).parts
            found[".".join((top, *below))] = "/".join((folder, *below))
    return found


arguments = extension_arguments()
arguments.setdefault("cmdclass", {})["sdist"] = SourceDistribution
setup(packages=list(packages()), package_dir=packages(), **arguments)
