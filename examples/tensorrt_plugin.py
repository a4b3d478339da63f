"""Builds the TensorRT plugin library, loads it where TensorRT is installed, and says what to do with it.

    python examples/tensorrt_plugin.py --headers FOLDER --gpu 86

Needs CMake, nvcc, and TensorRT's headers (FOLDER holds NvInfer.h; the package kernel-lens brings them too), but no GPU:
see docs/tensorrt-plugins.md.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

from vinr_engine.export import plugins
from vinr_engine.export.tensorrt import plugin_library

ROOT = pathlib.Path(__file__).resolve().parents[1]
RUNTIMES = ("tensorrt", "tensorrt_lean_bindings")  # modules with TensorRT's registry of plugins


def headers() -> str:
    """The folder of NvInfer.h in the package that brings it."""
    found = find_spec("kernel_lens")
    if found is None or found.origin is None:
        sys.exit("no TensorRT headers: name the folder of NvInfer.h by --headers, or pip install kernel-lens")
    return str(pathlib.Path(found.origin).parent / "include/tensorrt")


def build(folder: pathlib.Path, include: str, gpus: str) -> pathlib.Path:
    for tool in ("cmake", "nvcc"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is not on PATH")
    options = [f"-DTENSORRT_INCLUDE_DIR={include}", *([f"-DCMAKE_CUDA_ARCHITECTURES={gpus}"] if gpus else [])]
    for command in (["-S", str(ROOT / "export/tensorrt"), "-B", str(folder), *options], ["--build", str(folder)]):
        subprocess.run(["cmake", *command], check=True)
    return folder / "libvinr_tensorrt.so"


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the TensorRT plugin library, and load it.")
    parser.add_argument("--headers", metavar="FOLDER", help="of NvInfer.h")
    parser.add_argument("--gpu", default="", metavar="NN;NN", help="compute capabilities, as CMake has them [all]")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/tensorrt", metavar="FOLDER")
    given = parser.parse_args()
    library = build(given.build, given.headers or headers(), given.gpu)
    runtime = next((name for name in RUNTIMES if find_spec(name) is not None), None)
    if runtime is None:
        print("TensorRT is not installed here: the library is built, but not loaded")
    else:
        trt = import_module(runtime)
        plugin_library.load(trt, library)  # UsageError unless TensorRT finds both plugins in it
        print(f"TensorRT {trt.__version__} has {', '.join(plugins.PLUGINS)} of {library}")
    print(
        "\nOn a machine with the GPU and full TensorRT, build engines, and upscale with them:\n"
        f"  vinr export tensorrt model.engine --plugin-library {library}\n"
        f"  {plugin_library.VARIABLE}={library} \\\n"
        "    vinr upscale input.mp4 output.mp4 --runtime tensorrt --model model.engine\n"
        "Or give the graphs to TensorRT's own tool:\n"
        "  vinr export onnx model/ --profile plugin --dtype float16\n"
        f"  trtexec --onnx=model/encoder.onnx --stronglyTyped --dynamicPlugins={library} ..."
    )


if __name__ == "__main__":
    main()
