"""Compiles the kernels of deform_conv2d exactly as samples launch them, for a GPU that is not there.

    python tests/triton_kernels/compile_launches.py CAPABILITY DTYPE SAMPLE...

Triton binds and specialises the arguments as for a launch: a 1 becomes a constant, a multiple of 16 is marked as one.
Prints a line for each kernel: its name, the grid, and the size of its machine code.
"""

import sys

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from ops.deform_conv2d.samples import LARGER, SAMPLES
from vinr_engine.kernels.deform_conv2d import launch


class AbsentGpu:
    """What of a driver compiling asks for."""

    def __init__(self, capability):
        self.target = GPUTarget("cuda", capability, 32)

    def get_current_target(self):
        return self.target

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


def compile_launch(kernel, grid, **arguments):
    configuration = kernel.early_config_prune(kernel.configs, {}, **arguments)[0]
    compiled = kernel.fn.warmup(**arguments, **configuration.all_kwargs(), grid=grid)
    print(kernel.fn.__name__, *grid(configuration.kwargs), len(compiled.asm["cubin"]), flush=True)


def main(capability, dtype, *names):
    driver.set_active(AbsentGpu(int(capability)))
    launch.launch = compile_launch
    for sample in SAMPLES + LARGER:
        if sample.name in names:
            input, offset, weight, bias, mask = sample.tensors(getattr(torch, dtype))
            ops, geometry = torch.ops.vinr, sample.geometry
            out = ops.deform_conv2d_triton(input, offset, weight, bias, mask, *geometry, "tf32x3")
            wanted = [True] * 4 + [mask is not None]
            ops.deform_conv2d_triton_backward(
                torch.zeros_like(out), input, offset, weight, mask, *geometry, wanted, "tf32x3"
            )


main(*sys.argv[1:])
