"""Builds the C++ extension `vinr_engine/_C.abi3.so` on PyTorch's stable ABI; the metadata stands in pyproject.toml.

VINR_BUILD_EXT=0 builds a package without the extension: every op then runs on the reference backend.
VINR_SANITIZE=1 builds with AddressSanitizer and UndefinedBehaviorSanitizer.
VINR_CUDA=1 demands the CUDA kernels: an error wherever they cannot be built.
"""

import os
import pathlib
import shlex
import shutil

from setuptools import setup
from setuptools.command.sdist import sdist
from setuptools.errors import PlatformError

ROOT = pathlib.Path(__file__).parent


def _flag(name: str, default: str) -> bool:
    value = os.environ.get(name) or default
    if value not in ("0", "1"):
        raise SystemExit(f"{name} must be 0 or 1, got {value!r}")
    return value == "1"


def _csrc(pattern: str) -> list[str]:
    return sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "csrc").rglob(pattern))


class SourceDistribution(sdist):
    """Holds csrc whether or not the extension is wanted here, and no tests: setuptools would pick a few of them."""

    def make_distribution(self) -> None:
        self.filelist.exclude_pattern(None, prefix="tests")
        self.filelist.extend(_csrc("*.*"))
        self.filelist.sort()
        self.filelist.remove_duplicates()
        super().make_distribution()


def extension_arguments() -> dict:
    """Arguments of setup() for the extension; none where it is not wanted."""
    if _flag("VINR_CUDA", "0"):
        raise SystemExit("VINR_CUDA=1: this version has no CUDA sources, so there are no CUDA kernels to build")
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
            super().build_extensions()

    # -g0: Python's own flags ask for -g, which triples the file and writes this machine's paths into it.
    compile_args = ["-O3", "-std=c++17", "-g0", "-Wall", "-Wextra", "-Wno-unused-parameter", "-fvisibility=hidden"]
    # Messages name their source file: by its place in the repository, not on the machine that built it.
    compile_args.append(f"-ffile-prefix-map={ROOT.resolve()}/=")
    link_args = []
    if _flag("VINR_SANITIZE", "0"):
        sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g"]
        compile_args += sanitize
        link_args += sanitize
    extension = CppExtension(
        "vinr_engine._C",
        _csrc("*.cpp"),
        depends=_csrc("*.h"),
        include_dirs=[str(ROOT / "csrc")],
        define_macros=[("TORCH_TARGET_VERSION", "0x020a000000000000"), ("Py_LIMITED_API", "0x030A0000")],
        extra_compile_args={"cxx": compile_args},
        extra_link_args=link_args,
        py_limited_api=True,
    )
    return {
        "ext_modules": [extension],
        "cmdclass": {"build_ext": BuildExtensionWithCompiler},
        "options": {"bdist_wheel": {"py_limited_api": "cp310"}},
    }


arguments = extension_arguments()
arguments.setdefault("cmdclass", {})["sdist"] = SourceDistribution
setup(**arguments)
