"""Launches the kernels as ops do, by Triton's own driver and launcher, on a GPU that is not there.

    python tests/triton_kernels/record_launches.py CAPABILITY OP...

Under Triton lies `fake_cuda.c` in place of libcuda: what a kernel is launched with is held to the arguments that the op
gave and to the parameters that its machine code has, and a line is printed for each launch: kernel, grid, threads.
"""

import ctypes
import os
import re
import struct
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from types import SimpleNamespace

import torch
import triton

import vinr_engine.ops  # noqa: F401, it registers them

PROCESSORS = 132


def load_fake_cuda(folder, capability):
    """Loaded under its name before anything asks for it, so that it is what every later look-up finds."""
    here, include = Path(__file__).parent, Path(triton.__file__).parent / "backends" / "nvidia" / "include"
    library = Path(folder) / "libcuda.so.1"
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC").split()[0]
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", f"-I{include}", "-Wl,-soname,libcuda.so.1", here / "fake_cuda.c",
         "-o", library],
        check=True,
    )  # fmt: skip
    os.environ["TRITON_LIBCUDA_PATH"] = str(folder)
    fake = ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    ctypes.c_int.in_dll(fake, "fake_capability").value = capability
    return fake


def bench(call, quantiles, **_):
    """Runs once what the autotuner would time, and takes the first configuration for the fastest."""
    call()
    bench.runs += 1
    return [float(bench.runs)] * len(quantiles)


bench.runs = 0


def activate(capability):
    from triton.backends.nvidia.driver import CudaDriver

    driver = CudaDriver()
    driver.get_current_device = lambda: 0
    driver.get_current_stream = lambda device: 0
    driver.get_device_capability = lambda device: divmod(capability, 10)
    driver.get_benchmarker = lambda: bench
    triton.runtime.driver.set_active(driver)
    major, minor = divmod(capability, 10)
    properties = SimpleNamespace(major=major, minor=minor, multi_processor_count=PROCESSORS)
    torch.cuda.get_device_properties = lambda device=None: properties


def flat(values):
    for value in values:
        if isinstance(value, tuple):
            yield from flat(value)
        else:
            yield value


def expected(kernel, bound):
    """(type, value) of each parameter in turn, but for what was compiled into the kernel."""
    for (name, kind), value in zip(kernel.src.signature.items(), bound, strict=True):
        if kind == "constexpr":
            continue
        kinds, values = (flat(kind), flat(value)) if isinstance(kind, tuple) else ((kind,), (value,))
        for one, number in zip(kinds, values, strict=True):
            if one == "fp32":
                number = int.from_bytes(struct.pack("<f", number), "little")
            if one != "constexpr":
                yield one, number.data_ptr() if one[0] == "*" else number, name


def parameters_of(ptx):
    """Bits of each parameter of the kernel."""
    return [int(bits) for bits in re.findall(r"\.param \.[a-z](\d+) ", ptx.split(".entry")[1].split(")")[0])]


def hold(fake, launch):
    """`launch`, JITFunction.run, with what reaches the fake driver held to its arguments."""

    def count(name):
        return ctypes.c_int.in_dll(fake, name)

    def checked(self, *args, grid, warmup, **kwargs):
        kernel = launch(self, *args, grid=grid, warmup=True, **kwargs)
        bound = self.signature.bind(*args, **{k: v for k, v in kwargs.items() if k in self.arg_names})
        values = [bound.arguments[name] for name in self.arg_names]
        wanted = list(expected(kernel, values))
        bits = [64 if kind[0] == "*" else int(re.findall(r"\d+$", kind)[0]) for kind, *_ in wanted]
        assert parameters_of(kernel.asm["ptx"]) == [*bits, 64, 64]  # two scratch buffers of Triton's own
        before = count("fake_launches").value
        count("fake_parameters").value = len(wanted)
        assert launch(self, *args, grid=grid, warmup=False, **kwargs) is kernel
        assert count("fake_launches").value == before + 1
        got = (ctypes.c_uint64 * len(wanted)).in_dll(fake, "fake_values")
        for i, (kind, value, name) in enumerate(wanted):
            mask = (1 << bits[i]) - 1
            assert got[i] & mask == value & mask, (self.__name__, name, kind, got[i], value)
        cells = list((ctypes.c_int * 3).in_dll(fake, "fake_grid"))
        given = grid(dict(zip(self.arg_names, values, strict=True))) if callable(grid) else grid
        assert cells == [*given, 1, 1][:3]
        assert count("fake_shared").value == kernel.metadata.shared
        assert count("fake_threads").value == 32 * kernel.metadata.num_warps
        print(self.__name__, *cells, count("fake_threads").value, len(wanted), flush=True)
        return kernel

    return checked


ops = torch.ops.vinr


def deform_conv2d():
    from ops.deform_conv2d.samples import Sample

    sample = Sample("published groups", channels=16, out_channels=16, size=(4, 5), offset_groups=2)
    for dtype, deterministic in ((torch.float16, False), (torch.float32, True)):
        torch.use_deterministic_algorithms(deterministic)
        input, offset, weight, bias, mask = sample.tensors(dtype)
        geometry = sample.geometry
        out = ops.deform_conv2d_triton(input, offset, weight, bias, mask, *geometry, "tf32")
        grad = torch.zeros_like(out)
        ops.deform_conv2d_triton_backward(grad, input, offset, weight, mask, *geometry, [True] * 5, "tf32")
    torch.use_deterministic_algorithms(False)


def inr_query():
    from ops.inr_query.samples import cast, problem
    from vinr_engine.ops.hoisting import hoist

    for u, operands in ((4, "float16"), (1, "tf32")):
        features, frames, times, lr_size, size, *networks, u = cast(problem(u=u), torch.float32)
        maps, layers = hoist(features, frames, *networks, u)
        arguments = (*maps, times, lr_size, size, u, *layers, 30.0)
        image, flow = ops.inr_query_triton(*arguments, operands)
        if u > 1:
            ops.inr_query_triton_backward(torch.ones_like(image), torch.ones_like(flow), *arguments, True, "tf32")


def sampled_mlp():
    from ops.sampled_mlp.samples import Sample, op_arguments

    several = Sample("several maps", maps=((4, 7), (1, 1), (16, 32)), modes=("nearest", "bilinear", "bilinear"))
    for sample in (several, Sample("no maps", maps=()), Sample("no x", inputs=None)):
        arguments = op_arguments(sample.arguments(torch.float32))
        out = ops.sampled_mlp_triton(*arguments, "float16")
        ops.sampled_mlp_triton_backward(torch.ones_like(out).float(), *arguments, [True] * 4, "tf32")


def fourier_mlp():
    from ops.fourier_mlp.samples import Sample, op_arguments

    for sample in (Sample("cells", cell="point", joined=True), Sample("one", neighbours=1, weights=False, rows=1)):
        arguments = op_arguments(sample.arguments(torch.float32))
        out = ops.fourier_mlp_triton(*arguments, "float16")
        wanted = [True] * 6 if sample.cell else [True, True, True, False, True, False]
        ops.fourier_mlp_triton_backward(torch.ones_like(out).float(), *arguments, wanted, "tf32")


def local_correlation():
    from ops.local_correlation.samples import Sample

    for sample in (Sample("several"), Sample("one pixel", size=(1, 1), times=(0.5,), channels=64, radius=4)):
        first, second, times, radius = sample.arguments(torch.float32)
        arguments = (*(m.permute(0, 2, 3, 1) for m in (first, second)), times, radius)
        out = ops.local_correlation_triton(*arguments)
        ops.local_correlation_triton_backward(torch.ones_like(out), *arguments, [True, True])


def deform_attention():
    from ops.deform_attention.samples import Sample

    for sample in (Sample("several"), Sample("one pixel", size=(1, 1), heads=1, depth=16, groups=1)):
        q, kv, offset, *others = sample.arguments(torch.float32)
        arguments = q.squeeze(1), kv.flatten(0, 1), offset, sample.frames, *map(_listed, others), False
        out = ops.deform_attention_triton(*arguments)
        ops.deform_attention_triton_backward(torch.ones_like(out), *arguments, [True, True, True])


def _listed(value):
    return list(value) if isinstance(value, tuple) else value


def phase_linear():
    from ops.phase_linear.samples import Sample

    for sample in (Sample("whole", base=True), Sample("five halves", input=(6, 4), size=(15, 10), channels=16)):
        maps, weights, size, base = sample.arguments(torch.float32)
        maps = maps.permute(0, 2, 3, 1)
        out = ops.phase_linear_triton(maps, weights, base, list(size))
        ops.phase_linear_triton_backward(torch.ones_like(out), maps, weights, list(size), [True, True])


def nearest_conv():
    from ops.nearest_conv.samples import Sample
    from vinr_engine.reference.nearest import nearest_index

    for sample in (Sample("several"), Sample("one pixel", size=(1, 1), enlarged=(3, 1), channels=(64, 64), batch=1)):
        x, weight, bias, size = sample.arguments(torch.float32)
        x, weight = x.permute(0, 2, 3, 1), weight.permute(2, 3, 0, 1)
        axes = [nearest_index(out, n) for out, n in zip(size, x.shape[1:3], strict=True)]
        out = ops.nearest_conv_triton(x, weight, bias, *axes)
        ops.nearest_conv_triton_backward(torch.ones_like(out), x, weight, *axes, [True] * 3)
        out = ops.nearest_conv_table_triton(x, weight, bias, [1, 0, 2], [1, 2])
        ops.nearest_conv_table_triton_backward(torch.ones_like(out), x, weight, [1, 0, 2], [1, 2], [True] * 3)


def bspline_head():
    from ops.bspline_head.samples import Sample
    from vinr_engine.ops.bspline_head import BSPLINE_HEAD, Arguments

    for sample in (Sample("several", each=True), Sample("one", shape=(1,), splines=64, times=1)):
        arguments = BSPLINE_HEAD.prepare("triton", Arguments(*sample.arguments(torch.float32)))
        out = ops.bspline_head_triton(*arguments)
        ops.bspline_head_triton_backward(torch.ones_like(out), *arguments[:5], [True] * 6)


def splat():
    from ops.splat.samples import Sample

    for sample in (Sample("several"), Sample("one pixel", size=(1, 1), channels=64, batch=1)):
        arguments = (*sample.arguments(torch.float32), False)
        numerator, denominator, *_ = ops.splat_sum_triton(*arguments, True, True)
        ops.splat_sum_triton_backward(numerator, denominator, *arguments, [True] * 3)
        out, norm = ops.splat_triton(*arguments, True, "add")
        ops.splat_triton_backward(out, out, norm, *arguments, True, [True] * 3)


def fourier_field():
    from ops.fourier_field.samples import Sample

    for sample in (
        Sample("several"),
        Sample("one pixel", batch=1, pixels=(1, 1), axes=2, times=((0, 0.0),), colours=1),
    ):
        *tensors, size, times = sample.arguments(torch.float32)
        arguments = (*tensors, *times, list(size), [0, sample.pixels[0]])
        out = ops.fourier_field_triton(*arguments, "ieee")
        ops.fourier_field_triton_backward(torch.ones_like(out), *arguments, [True] * 5)


OPS = (
    deform_conv2d,
    inr_query,
    sampled_mlp,
    local_correlation,
    phase_linear,
    nearest_conv,
    bspline_head,
    splat,
    fourier_mlp,
    deform_attention,
    fourier_field,
)


def main(capability, *names):
    with tempfile.TemporaryDirectory() as folder:
        fake = load_fake_cuda(folder, int(capability))
        activate(int(capability))
        triton.JITFunction.run = hold(fake, triton.JITFunction.run)
        for op in OPS:
            if op.__name__ in names:
                op()


main(*sys.argv[1:])
