"""Compiling kernels ahead of time, with no GPU: what the tests and the static report inspect.

Needs a process without TRITON_INTERPRET=1, in which `triton.jit` makes kernels that can be compiled.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, CompiledKernel

from vinr_engine.kernels.common.tuning import OPTIONS

# Compute capability -> what it stands for: A100, RTX 3090, RTX 4090, H100, B200, RTX 5090.
CAPABILITIES = (80, 86, 89, 90, 100, 120)
WARP = 32
POINTERS = {"float16": "*fp16", "bfloat16": "*bf16"}  # by operands; float32 for all others


@dataclass(frozen=True)
class Configuration:
    """One compiled form of a kernel, as an op launches it.

    name: op, pass and precision, such as "deform_conv2d forward float16"
    kernel: what `triton.jit` made
    signature: the Triton type of every argument that is no constexpr, such as "*fp16", "i32", or those of a tuple
    constexprs: the values of the others; an integer argument that is 1 in every launch may stand here too
    aligned: arguments that are divisible by 16, or point to addresses that are
    matrix: whether it must hold matrix instructions and neither spill nor use local memory
    """

    name: str
    kernel: Any
    signature: Mapping[str, str | tuple[str, ...]]
    constexprs: Mapping[str, Any]
    num_warps: int
    num_stages: int
    aligned: frozenset[str] = frozenset()
    training: bool = False
    matrix: bool = True


def compile_for(configuration: Configuration, capability: int) -> CompiledKernel:
    """The kernel for a GPU of this compute capability (90 for 9.0); `.asm["cubin"]` holds the machine code."""
    kernel = configuration.kernel
    while not isinstance(kernel, triton.JITFunction):  # an autotuner around it
        kernel = kernel.fn
    names = kernel.arg_names
    missing = set(names) ^ (set(configuration.signature) | set(configuration.constexprs))
    if missing:
        raise ValueError(f"{configuration.name}: {sorted(missing)} are not described, or not arguments")
    source = ASTSource(
        fn=kernel,
        signature={n: configuration.signature.get(n, "constexpr") for n in names},
        constexprs=dict(configuration.constexprs),
        attrs={(i,): [["tt.divisibility", 16]] for i, n in enumerate(names) if n in configuration.aligned},
    )
    options = {"num_warps": configuration.num_warps, "num_stages": configuration.num_stages, **OPTIONS}
    return triton.compile(source, target=GPUTarget("cuda", capability, WARP), options=options)


def configurations(capability: int) -> Iterator[Configuration]:
    """Every configuration of every op, as it ships for a GPU of this compute capability."""
    from vinr_engine import kernels

    for package in sorted(m.name for m in pkgutil.iter_modules(kernels.__path__, f"{kernels.__name__}.") if m.ispkg):
        yield from importlib.import_module(f"{package}.compiled").configurations(capability)
