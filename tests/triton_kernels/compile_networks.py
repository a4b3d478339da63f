"""Compiles the kernels of the query and of sampled_mlp exactly as ops launch them, for a GPU that is not there.

    python tests/triton_kernels/compile_networks.py CAPABILITY OPERANDS

Triton binds and specialises the arguments as for a launch, tuples of maps too, and lays them out for the launcher: up
to some version it writes C code for that, which a C compiler reads here. Prints a line for each kernel: its name, the
size of its machine code, and whether it can be launched.
"""

import subprocess
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia import driver as nvidia
from triton.runtime import driver, jit
from vinr_engine.kernels import sampled_mlp

from ops.test_inr_query import cast, problem
from vinr_engine.ops import _inr_query_triton
from vinr_engine.ops.hoisting import hoist


class AbsentGpu:
    """What of a driver compiling and laying out arguments asks for."""

    def __init__(self, capability):
        self.target = GPUTarget("cuda", capability, 32)
        self.utils = SimpleNamespace(build_signature_metadata=types_of_arguments)

    def get_current_target(self):
        return self.target

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


def has_launcher(compiled):
    """Whether Triton can pass such arguments to the kernel."""
    source = compiled.src
    signature = dict(enumerate(source.signature.values()))
    descriptors = getattr(compiled.metadata, "tensordesc_meta", None)
    if hasattr(nvidia, "make_launcher"):
        names, given = source.fn.arg_names, source.constants
        constants = {((names.index(k),) if isinstance(k, str) else k): v for k, v in given.items()}
        return is_c(nvidia.make_launcher(constants, signature, descriptors))
    flat = nvidia.expand_signature(signature.values(), descriptors, "nvTmaDesc")
    return bool(nvidia.make_kernel_signature(flat))


def types_of_arguments(signature):
    """What newer launchers keep of the flat arguments' types: here the types."""
    known = {"i1", "i8", "i32", "i64", "u32", "u64", "fp16", "bf16", "fp32", "fp64"}
    signature = list(signature)
    assert all(kind.startswith("*") or kind in known for kind in signature), signature
    return signature


def is_c(text):
    include = Path(triton.__file__).parent / "backends" / "nvidia" / "include"
    folders = [f"-I{include}", f"-I{sysconfig.get_paths()['include']}"]
    command = ["cc", "-fsyntax-only", "-x", "c", *folders, "-"]
    return subprocess.run(command, input=text, text=True, capture_output=True, check=False).returncode == 0


def main(capability, operands):
    driver.set_active(AbsentGpu(int(capability)))
    major, minor = divmod(int(capability), 10)
    properties = SimpleNamespace(major=major, minor=minor, multi_processor_count=132)
    torch.cuda.get_device_properties = lambda device=None: properties
    torch.cuda.get_device_capability = lambda device=None: (major, minor)
    run = jit.JITFunction.run

    def compile_only(kernel, *arguments, grid, warmup, **options):
        compiled = run(kernel, *arguments, grid=grid, warmup=True, **options)
        print(kernel.fn.__name__, len(compiled.asm["cubin"]), has_launcher(compiled), flush=True)
        return compiled

    jit.JITFunction.run = compile_only
    maps = [torch.randn(1, 5, 6, 64), torch.randn(1, 7, 8, 64)]
    positions = [torch.rand(1, 50, 2) for _ in maps]
    x, x_weight, bias = torch.randn(1, 50, 4), torch.randn(64, 4), torch.randn(64)
    layers = [torch.randn(256, 64), torch.randn(256), torch.randn(3, 256), torch.randn(3)]
    given = maps, positions, [False, True], x, x_weight, bias, layers, "relu", 30.0
    sampled_mlp.sampled_mlp(*given, operands, torch.empty(1, 50, 3))
    precision = _inr_query_triton.gradient_precision(operands)
    sampled_mlp.sampled_mlp_backward(torch.randn(1, 50, 3), *given, precision, [True] * 3)
    features, frames, times, lr_size, size, *networks = cast(problem(), torch.float32)[:8]
    hoisted = hoist(features, frames, *networks, 4)
    call = (*hoisted.maps, times, lr_size, size, 4, *hoisted.networks, 30.0)
    image, flow = _inr_query_triton._forward(*call, operands)
    _inr_query_triton._backward(torch.zeros_like(image), torch.zeros_like(flow), *call, True, precision)


main(*sys.argv[1:])
